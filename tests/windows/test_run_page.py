"""The page of a run, its steps, values and history: who sees what, and what is asked of the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_workflow import RetryPolicy, Workflow, WorkflowContext, workflow
from django_workflow.admin.run_verbs import MORE_ON_PAGE
from django_workflow.admin.timeline import Row, Span, closer, drawn, zoomed
from django_workflow.admin.timeline_rows import lanes
from django_workflow.admin.tracebacks import parts_of
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Delivery, Run, RunLog, Step
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now
from tests.windows.test_admin_verbs import page, staff, told, url

pytestmark = pytest.mark.django_db(transaction=True)

LATER = RetryPolicy(max_retries=3, first_delay=timedelta(hours=1), jitter=0)
broken: list[bool] = []
SEEN = "view_run", "view_payload"


def body(value: Any) -> Any:
    if broken:
        raise ValueError(f"cannot s3cret-error {value}")
    return value


def acting(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("first", body, {"card": "s3cret-card", "city": "Riga"})
    ctx.log("s3cret-log")
    ctx.set_state({"at": "s3cret-state"})
    ctx.sleep("rest", "2h")
    if ctx.wait_for_event("word", "page:word", timeout="1h").timed_out:
        return None
    return ctx.run("last", body, {"token": "s3cret-token"})


@pytest.fixture(autouse=True)
def actor() -> Iterator[Workflow[Any, Any]]:
    broken.clear()
    redact = ["card", "steps.first.card", "result.token"]
    yield workflow(name="page_act", retries=LATER, redact=redact)(acting)
    registry.remove("page_act")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def made(actor: Workflow[Any, Any], run_id: str = "one") -> Run:
    payload = {"card": "s3cret-4111", "city": "Riga", "s3cret-field": 1}
    run: Run = actor.trigger(payload, workflow_run_id=run_id)
    drain()
    return run.refresh()


PAGES = [
    "one/change/",
    "one/story/",
    "one/step/?key=first",
    "one/happened/",
    "one/happened/?format=json",
]


def test_nothing_of_payloads_is_seen_without_the_permission(actor: Workflow[Any, Any]) -> None:
    broken.append(True)
    run = made(actor)
    broken.clear()
    run.retry_now()
    drain()
    run.pause()
    run.edit_result("first", {"card": "s3cret-other"}, why="typed wrong")
    run.resume()
    drain()
    broken.append(True)
    Delivery.objects.update(trouble="s3cret-trouble")
    client = staff("view_run", "fork_run", "edit_run", "trigger_run")

    seen = "".join(page(client, f"/admin/django_workflow/run/{path}") for path in PAGES)
    seen += "".join(page(client, url("one", verb)) for verb in ("fork", "trigger"))
    run.pause()
    seen += page(client, url("one", "edit") + "?step=first")

    assert "s3cret" not in seen
    assert "first" in seen
    for what in ("payload", "result", "state", "step&key=first"):
        assert client.get(f"{url('one', 'value')}?of={what}").status_code == 403
    assert client.get(url("one", "compare")).status_code == 403


def test_what_is_redacted_is_hidden_from_all(admin: Client, actor: Workflow[Any, Any]) -> None:
    run = made(actor)
    run.pause()
    run.edit_result("first", {"card": "s3cret-card", "city": "Oslo"})
    paths = [f"/admin/django_workflow/run/{path}" for path in PAGES]
    paths += [url("one", "fork"), url("one", "trigger"), url("one", "edit") + "?step=first"]
    values = [f"{url('one', 'value')}?of={what}" for what in ("payload", "step&key=first")]

    seen = "".join(page(admin, path) for path in [*paths, *values])

    assert "s3cret-card" not in seen
    assert "s3cret-4111" not in seen
    assert "REDACTED:" in seen
    assert "Oslo" in seen


def test_a_value_is_sent_whole_to_be_kept(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor)
    Step.objects.filter(key="first").update(result_text=json.dumps({"long": "x" * 50_000}))

    response = admin.get(f"{url('one', 'value')}?of=step&key=first")

    assert len(response.json()["long"]) == 50_000
    assert response["Content-Disposition"] == 'attachment; filename="step.json"'
    assert response["Content-Type"].startswith("application/json")
    assert admin.get(f"{url('one', 'value')}?of=state").json() == {"at": "s3cret-state"}
    for what in ("other", "step&key=none"):
        assert admin.get(f"{url('one', 'value')}?of={what}").status_code == 404


@pytest.mark.parametrize("name", ["step", "value", "happened", "compare", "story"])
def test_pages_need_the_permission_and_a_run(
    name: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)

    assert staff("trigger_run").get(f"{url('one', name)}?key=first").status_code == 403
    assert Client().get(url("one", name)).status_code == 302
    assert admin.get(url("lost", name)).status_code == 404


def test_a_step_tells_all_that_is_known_of_it(admin: Client, actor: Workflow[Any, Any]) -> None:
    broken.append(True)
    made(actor)

    html = page(admin, f"{url('one', 'step')}?key=first")

    for text in (
        "cannot s3cret-error",
        "Next attempt",
        "3 retries, the first after 1h",
        "Attempt 1",
    ):
        assert text in html
    assert f"{url('one', 'retry')}?step=first" in html
    assert admin.get(f"{url('one', 'step')}?key=none").status_code == 404


def test_where_a_script_asks_a_step_comes_without_a_page(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)

    html = admin.get(f"{url('one', 'step')}?key=first", headers={"HX-Request": "true"}).content

    assert b"<html" not in html
    assert b"first" in html


def test_history_is_in_the_order_of_time(admin: Client, actor: Workflow[Any, Any]) -> None:
    run = made(actor)
    run.skip_sleep(actor="Ann", why="no time")
    drain()

    response = admin.get(f"{url('one', 'happened')}?format=json")

    found = response.json()
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)
    whats = [one["what"] for one in found]
    assert whats[0] == "run created"
    assert whats.index("step completed (run)") < whats.index("skip (code)")
    assert whats.index("skip (code)") < whats.index("step completed (sleep)")
    assert {"by": "Ann", "why": "no time"}.items() <= found[whats.index("skip (code)")].items()


def test_actions_tell_what_was_changed(admin: Client, actor: Workflow[Any, Any]) -> None:
    run = made(actor)
    run.pause()
    run.edit_result("first", {"city": "Oslo"}, why="moved")

    html = page(admin, url("one"))

    assert "before: {&quot;card&quot;: &quot;REDACTED:" in html
    assert "after: {&quot;city&quot;: &quot;Oslo&quot;}" in html


def count_queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        page(client, path)
    return len(captured)


def test_a_run_of_thousands_of_steps_takes_no_more_queries(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)
    page(admin, url("one"))
    few = [count_queries(admin, url("one", name)) for name in ("change", "story", "happened")]
    moment = now()
    Step.objects.bulk_create(
        Step(
            run_id="one", key=f"more {n}", name="more", kind="run", status="completed", sequence=n + 100,
            result_text="1", created_at=moment, started_at=moment, finished_at=moment,
        )
        for n in range(3_000)
    )  # fmt: skip

    many = [count_queries(admin, url("one", name)) for name in ("change", "story", "happened")]

    assert many == few
    assert max(few) <= 25


def test_the_page_tells_when_nobody_looks(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor)
    note = "no worker has looked for due work"
    assert note not in page(admin, url("one"))

    Delivery.objects.update(due_at=now() - timedelta(minutes=5))

    assert note in page(admin, url("one"))


def test_relations_are_linked(admin: Client, actor: Workflow[Any, Any]) -> None:
    run = made(actor)
    new = run.fork("rest")

    assert url("one") in page(admin, url(new.id))
    assert "Forked from" in page(admin, url(new.id))
    assert url(new.id) in page(admin, url("one"))


# The verbs


GIVEN: dict[str, dict[str, str]] = {
    "skip": {"step": "rest"},
    "prioritise": {"priority": "5"},
    "fork": {"step": "rest", "seen": "0"},
    "trigger": {"workflow_run_id": "two", "payload": "{}", "labels": "a, b"},
}


@pytest.mark.parametrize("verb", sorted(GIVEN))
def test_a_verb_is_done_and_kept_with_who_and_why(
    verb: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)

    told(admin, url("one", verb), {"why": "the bank called", **GIVEN[verb]})

    action = Action.objects.order_by("id").last()
    assert action is not None
    assert (action.verb, action.actor, action.door) == (verb, "boss", "admin")
    assert not Run.objects.stuck().exists()


@pytest.mark.parametrize("verb", [one.name for one in MORE_ON_PAGE])
def test_each_verb_has_its_permission_and_asks_by_a_page(
    verb: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)
    Action.objects.all().delete()
    others = {one.name for one in MORE_ON_PAGE} - {verb}
    client = staff("view_run", *(f"{name}_run" for name in others))

    assert client.get(url("one", verb)).status_code == 403
    assert client.post(url("one", verb), GIVEN.get(verb, {})).status_code == 403
    assert url("one", verb) not in page(client, url("one"))
    assert admin.get(url("one", verb)).status_code == 200
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin.cookies
    assert strict.post(url("one", verb), GIVEN.get(verb, {})).status_code == 403
    assert not Action.objects.exists()


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("retry", "Nothing waits for a retry; it is cancelled."),
        ("skip", "Nothing sleeps; it is cancelled."),
        ("extend", "Nothing waits with a timeout; it is cancelled."),
        ("prioritise", "It has ended: cancelled."),
        ("edit", "Results are edited while a run is paused, failed or blocked; it is cancelled."),
    ],
)
def test_a_verb_that_cannot_be_done_says_why(
    verb: str, why: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor).cancel()

    assert why in page(admin, url("one"))
    assert f"nothing was done. {why}" in told(admin, url("one", verb), {"step": "first"})


@pytest.mark.parametrize(
    ("verb", "given", "says"),
    [
        ("fork", {"step": "none", "seen": "0"}, "Select a valid choice"),
        ("fork", {"step": "rest", "seen": "0", "payload": "{"}, "This is no JSON"),
        ("fork", {"step": "rest", "seen": "0", "results": "[]"}, "This is no JSON object."),
        ("fork", {"step": "rest", "seen": "0", "results": '{"word": 1}'}, "has no recorded step"),
        ("prioritise", {"priority": "x"}, "Enter a whole number."),
        ("trigger", {"workflow_run_id": "one", "payload": "{}"}, "is taken by a run"),
        ("trigger", {"workflow_run_id": "two", "delay": "soon"}, "soon"),
    ],
)
def test_what_cannot_be_is_told_in_the_form(
    verb: str, given: dict[str, str], says: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)

    html = told(admin, url("one", verb), given)

    assert says in html
    assert Run.objects.count() == 1


def test_a_start_that_is_sent_twice_is_done_once(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor)
    given = {"workflow_run_id": "two", "payload": "{}"}

    told(admin, url("one", "trigger"), given)
    told(admin, url("one", "trigger"), given)

    assert Run.objects.count() == 2


def test_a_workflow_may_refuse_to_be_started(admin: Client, actor: Workflow[Any, Any]) -> None:
    workflow(name="page_guarded", trigger_permission=lambda request: False)(acting)
    try:
        made(actor)
        Run.objects.update(workflow="page_guarded")
        assert admin.get(url("one", "trigger")).status_code == 403
    finally:
        registry.remove("page_guarded")


# Timeline and tracebacks, without a database

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def row(*spans: tuple[str, float, float]) -> Row:
    found = [Span(kind=kind, start=at(start), end=at(end)) for kind, start, end in spans]
    return Row(label="a", key="a", status="completed", took="", spans=found)


def share(text: str) -> float:
    return float(text.removesuffix("%"))


def test_idle_time_is_folded_and_what_was_done_is_to_be_seen() -> None:
    rows = [row(("run", 0, 10)), row(("wait", 10, 86_410)), row(("run", 86_410, 86_420))]

    folded = drawn(rows, start=at(0), end=at(86_420))
    plain = drawn(rows, start=at(0), end=at(86_420), fold=False)

    assert [fold.label for fold in folded.folds] == ["1d"]
    assert 40 < share(folded.lines[0].bars[0].width) < 50
    assert share(folded.lines[1].bars[0].width) < 10
    assert share(plain.lines[0].bars[0].width) < 1
    assert plain.folds == []


def test_zoom_shows_a_part_of_the_time() -> None:
    rows = [row(("run", 0, 50)), row(("run", 50, 100))]

    found = drawn(rows, start=at(0), end=at(100), zoom=(50.0, 75.0))

    assert found.lines[0].bars[0].x == "99.650%" or share(found.lines[0].bars[0].width) < 1
    assert share(found.lines[1].bars[0].width) == 100
    assert found.ticks[-1].label == "+25s"


@pytest.mark.parametrize(
    "text", [None, "", "a-b", "50", "50-50", "60-40", "-5-10", "0-nan", "0-101"]
)
def test_zoom_that_means_nothing_is_left_out(text: str | None) -> None:
    assert zoomed(text) is None


def test_zoom_leads_closer_wider_and_aside() -> None:
    assert closer(None) == {"in": "25.00-75.00"}
    assert closer((25.0, 75.0)) == {
        "in": "37.50-62.50", "out": "", "earlier": "0.00-50.00", "later": "50.00-100.00",
    }  # fmt: skip
    assert zoomed(closer((10.0, 20.0))["later"]) == (15.0, 25.0)


def test_nothing_and_a_moment_are_drawn() -> None:
    assert drawn([row()], start=at(0), end=at(0)).lines[0].bars == []
    assert drawn([row(("run", 0, 0))], start=at(0), end=at(0)).lines[0].bars[0].kind == "run"


def test_branches_of_a_parallel_stand_together() -> None:
    keys = ["a", "p1.0/b", "p1.1/c", "p1.0/d", "p1.1/p1.0/e", "p1.0/f", "g", "t1/h", "t2/i", "t1/j"]
    steps = [
        Step(key=key, branch=key.rpartition("/")[0] + "/" if "/" in key else "") for key in keys
    ]

    found = [(step.key, depth) for step, depth in lanes(steps)]

    assert found == [
        ("a", 0), ("p1.0/b", 1), ("p1.0/d", 1), ("p1.0/f", 1), ("p1.1/c", 1), ("p1.1/p1.0/e", 2), ("g", 0),
        ("t1/h", 1), ("t1/j", 1), ("t2/i", 1),
    ]  # fmt: skip


def test_frames_of_libraries_are_folded() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/django_workflow/runtime/bodies.py", line 1, in call\n    return fn()\n'
        '  File "/x/lib/python3.11/json.py", line 1, in loads\n    raise\n'
        '  File "/home/shop/payments.py", line 7, in charge\n    bank()\n    ^^^^^^\n'
        "ValueError: no\n"
    )

    parts = parts_of(text)

    assert [part.folded for part in parts] == [0, 2, 0]
    assert "payments.py" in parts[2].text
    assert parts[2].text.endswith("ValueError: no\n")
    assert "".join(part.text for part in parts) == text


def test_a_traceback_without_own_frames_is_shown_whole() -> None:
    text = 'Traceback:\n  File "/x/site-packages/a.py", line 1, in a\n    b()\nE: no\n'

    assert [part.text for part in parts_of(text)] == [text]
    assert parts_of("") == []


def test_logs_are_kept_apart_from_those_who_may_not_see_them(actor: Workflow[Any, Any]) -> None:
    made(actor)

    assert RunLog.objects.count() == 1
    assert "s3cret-log" not in page(staff("view_run"), url("one"))
    assert "s3cret-log" in page(staff(*SEEN, name="eve"), url("one"))
