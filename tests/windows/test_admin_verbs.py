"""What people do in the admin: by whom, when it is refused, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import NonRetryableError, Workflow, WorkflowContext, workflow
from django_workflow.admin.runs import RunAdmin
from django_workflow.admin.verbs import MOST_AT_ONCE
from django_workflow.core.exceptions import InvalidOptionError, RunNotFoundError, RunStateError
from django_workflow.core.types import Failure
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Event, Run
from django_workflow.runtime.dead_letters import fingerprint, normalised
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.operating import send_event
from django_workflow.runtime.steering import send_to_all
from django_workflow.runtime.worker import drain

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_workflow/run/"
DEAD = f"{RUNS}dead-letters/"
VERBS = ["cancel", "pause", "resume", "restart", "notify"]
broken = True


def refuse(text: str) -> str:
    if broken:
        raise NonRetryableError(text)
    return text


def acting(ctx: WorkflowContext[dict[str, Any]]) -> Any:
    payload = ctx.request_payload
    if "fails" in payload:
        ctx.run("charge", refuse, payload["fails"])
    if payload.get("waits"):
        return ctx.wait_for_event("pickup", payload["waits"], timeout="2d").event_data
    return None


@pytest.fixture(autouse=True)
def actor() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="adm_act")(acting)
    yield made
    registry.remove("adm_act")


@pytest.fixture
def undone(actor: Workflow[Any, Any]) -> list[Failure]:
    """Give the workflow a failure handler."""
    seen: list[Failure] = []

    def handle(ctx: WorkflowContext[Any], failure: Failure) -> None:
        seen.append(failure)

    actor.on_failure(handle)
    return seen


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def staff(*permissions: str, name: str = "clerk") -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    client = Client()
    client.force_login(user)
    return client


def made(actor: Workflow[Any, Any], run_id: str = "one", **payload: Any) -> Run:
    run: Run = actor.trigger(payload, workflow_run_id=run_id)
    drain()
    return run.refresh()


def url(run_id: str, verb: str = "change") -> str:
    return reverse(f"admin:django_workflow_run_{verb}", args=[quote(run_id)])


def told(client: Client, path: str, data: dict[str, Any]) -> str:
    response = client.post(path, data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def state(run_id: str = "one") -> str:
    return Run.objects.get(pk=run_id).status


# One run


@pytest.mark.parametrize(
    ("verb", "payload", "before", "after"),
    [
        ("cancel", {"waits": "e"}, "running", "cancelled"),
        ("pause", {"waits": "e"}, "running", "paused"),
        ("resume", {"fails": "x"}, "failed", "running"),
        ("restart", {}, "completed", "completed"),
        ("notify", {"waits": "e"}, "running", "running"),
    ],
)
def test_a_verb_is_done_and_kept_with_who_and_why(
    verb: str,
    payload: dict[str, Any],
    before: str,
    after: str,
    admin: Client,
    actor: Workflow[Any, Any],
) -> None:
    made(actor, **payload)
    Action.objects.all().delete()

    html = told(
        admin,
        url("one", verb),
        {"why": "the bank called", "seen": "0", "event_id": "e", "keep": "on"},
    )

    [action] = Action.objects.all()
    assert (action.verb, action.actor, action.door) == (verb, "boss", "admin")
    assert (action.before, action.after, action.why) == (before, after, "the bank called")
    assert "the bank called" in LogEntry.objects.get().change_message
    assert LogEntry.objects.get().object_id == "one"
    assert "Run one was " in html
    assert not Run.objects.stuck().exists()


def test_a_resumed_run_goes_on(
    admin: Client, actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(actor, fails="x")
    monkeypatch.setattr(f"{__name__}.broken", False)

    told(admin, url("one", "resume"), {})
    drain()

    assert state() == "completed"


def test_a_restart_leads_to_the_new_run(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor)

    response = admin.post(url("one", "restart"), {"seen": "0"})

    assert response["Location"] == url(Run.objects.exclude(pk="one").get().pk)


def test_a_restart_that_is_sent_twice_is_done_once(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)
    told(admin, url("one", "restart"), {"seen": "0"})

    assert "It was restarted meanwhile." in told(admin, url("one", "restart"), {"seen": "0"})
    assert Run.objects.count() == 2
    assert 'name="seen" value="1"' in page(admin, url("one", "restart"))


@pytest.mark.parametrize("verb", VERBS)
def test_asking_does_nothing(verb: str, admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e")

    page(admin, url("one", verb))

    assert state() == "running"
    assert not Action.objects.exists()
    assert admin.put(url("one", verb)).status_code == 405


@pytest.mark.parametrize("verb", VERBS)
def test_a_post_from_elsewhere_is_refused(
    verb: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, waits="e")
    client = Client(enforce_csrf_checks=True)
    client.cookies = admin.cookies

    assert client.post(url("one", verb), {"event_id": "e", "seen": "0"}).status_code == 403
    assert not Action.objects.exists()


@pytest.mark.parametrize(
    ("verb", "payload", "why"),
    [
        ("cancel", {}, "It has ended: completed."),
        ("pause", {}, "Only a pending or running one is paused; it is completed."),
        (
            "resume",
            {"waits": "e"},
            "Only a paused, failed or blocked one is resumed; it is running.",
        ),
        ("notify", {}, "It takes no more events: it is completed."),
    ],
)
def test_a_verb_that_cannot_be_done_says_why(
    verb: str, payload: dict[str, Any], why: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    before = made(actor, **payload).status

    assert why in page(admin, url("one"))
    assert url("one", verb) not in page(admin, url("one"))
    asked = page(admin, url("one", verb))
    assert why in asked
    assert 'type="submit" class' not in asked
    assert f"nothing was done. {why}" in told(admin, url("one", verb), {"event_id": "e"})
    assert state() == before
    assert not LogEntry.objects.exists()


def test_a_run_whose_workflow_is_unknown_is_not_restarted(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor)
    Run.objects.update(workflow="gone")

    assert "knows no workflow named gone" in told(admin, url("one", "restart"), {"seen": "0"})


@pytest.mark.parametrize(("verb", "found"), [("cancel", "cancelled"), ("pause", "cancelled")])
def test_who_comes_second_is_told_what_was_found(
    verb: str,
    found: str,
    admin: Client,
    actor: Workflow[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale = made(actor, waits="e")
    # The other's verb is done after this one's look at the run.
    Run.objects.get(pk="one").cancel(actor="the other")
    monkeypatch.setattr(RunAdmin, "get_object", lambda *args: stale)

    html = told(admin, url("one", verb), {"why": "too late"})

    assert f"is {found}; it cannot be" in html
    assert Action.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_going_on_after_the_failure_handler_must_be_wanted(
    admin: Client, actor: Workflow[Any, Any], undone: list[Failure]
) -> None:
    made(actor, fails="x")
    assert undone

    refused = told(admin, url("one", "resume"), {})

    assert "This field is required." in refused
    assert state() == "failed"
    told(admin, url("one", "resume"), {"force": "on"})
    assert state() == "running"


def test_an_unknown_run_cannot_be_acted_on(admin: Client) -> None:
    assert admin.post(url("lost", "cancel")).status_code == 302


def test_a_run_with_a_strange_id_is_acted_on(admin: Client, actor: Workflow[Any, Any]) -> None:
    for run_id in ("a/b?c_d<e>", "dead-letters", "one/cancel"):
        made(actor, run_id, waits="e")

        told(admin, url(run_id, "cancel"), {})

        assert state(run_id) == "cancelled"


# Events


def test_an_event_reaches_this_run_alone(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one", waits="e")
    made(actor, "two", waits="e")

    told(
        admin,
        url("one", "notify"),
        {"event_id": "e", "event_data": '{"by": ["Ann"]}', "why": "she was here"},
    )
    drain()

    assert Run.objects.get(pk="one").result == {"by": ["Ann"]}
    assert state("two") == "running"


def test_data_that_are_no_json_are_refused(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e")

    html = told(admin, url("one", "notify"), {"event_id": "e", "event_data": "{by: Ann"})

    assert "This is no JSON" in html
    assert "{by: Ann" in html
    assert not Event.objects.exists()


def test_the_page_offers_what_the_run_waits_for(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, waits="pickup:42")

    assert "<code>pickup:42</code>" in page(admin, url("one", "notify"))


def test_the_event_of_an_approval_is_not_offered(admin: Client) -> None:
    @workflow(name="adm_approve")
    def approve(ctx: WorkflowContext[None]) -> None:
        ctx.wait_for_approval("yes?", timeout="2d", title="May it?")

    try:
        approve.trigger(workflow_run_id="asked")
        drain()
        run = Run.objects.get(pk="asked")
        secret = run.approvals.get().event_id

        assert secret not in page(admin, url("asked", "notify"))
        assert secret not in page(admin, url("asked"))
    finally:
        registry.remove("adm_approve")


def test_events_of_webhooks_and_approvals_are_refused(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    run = made(actor, waits="e")
    run.webhooks.create(
        step_key="h", event_id="webhook:x", digest="d", created_at=datetime.now(UTC)
    )
    run.approvals.create(
        step_key="a", event_id="approval:x", created_at=datetime.now(UTC), due_at=datetime.now(UTC)
    )

    for event_id, why in (("webhook:x", "call of its webhook"), ("approval:x", "decision")):
        assert f"Only a {why} sends this event" in told(
            admin, url("one", "notify"), {"event_id": event_id}
        )
        # Whoever does not come through the form is refused, too.
        for send in (partial(send_event, "one"), send_to_all):
            with pytest.raises(InvalidOptionError, match=r"only a (call|decision)"):
                send(event_id)
    assert not Event.objects.exists()
    assert not Action.objects.exists()


def test_an_event_that_is_too_late_leaves_nothing(actor: Workflow[Any, Any]) -> None:
    made(actor)

    with pytest.raises(RunStateError, match='Run "one" is completed; it takes no more events'):
        send_event("one", "e")
    with pytest.raises(RunNotFoundError):
        send_event("lost", "e")
    assert not Event.objects.exists()
    assert not Action.objects.exists()


# Many


def chosen(action: str, *ids: str, **more: Any) -> dict[str, Any]:
    return {"action": f"{action}_selected", "_selected_action": list(ids), **more}


def test_selected_runs_are_asked_about_first(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one", waits="e")
    made(actor, "two")

    html = told(admin, RUNS, chosen("cancel", "one", "two"))

    assert "Cancel 2 runs?" in html
    assert "It has ended: completed." in html
    assert state("one") == "running"


@pytest.mark.parametrize(
    ("verb", "payload", "after"),
    [
        ("cancel", {"waits": "e"}, "cancelled"),
        ("pause", {"waits": "e"}, "paused"),
        ("resume", {"fails": "x"}, "running"),
    ],
)
def test_a_verb_is_done_to_each_selected_run_and_told_of_each(
    verb: str, payload: dict[str, Any], after: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, "one", **payload)
    made(actor, "two", **payload)
    made(actor, "done")
    made(actor, "left", **payload)

    html = told(admin, RUNS, chosen(verb, "one", "two", "done", post="yes", why="tidy up"))

    assert "2 of 3 runs were" in html
    assert (state("one"), state("two")) == (after, after)
    assert state("left") != after
    assert "&quot;done&quot; is completed; it cannot be" in html
    assert list(Action.objects.order_by("run_id").values_list("run_id", "why")) == [
        ("one", "tidy up"),
        ("two", "tidy up"),
    ]
    assert LogEntry.objects.count() == 2


def test_selected_runs_are_restarted_once(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one")
    made(actor, "two")
    confirmed = chosen("restart", "one", "two", post="yes", seen="0")

    html = told(admin, RUNS, confirmed)

    assert all(url(run.pk) in html for run in Run.objects.exclude(restarted_from=None))
    assert "It was restarted meanwhile." in told(admin, RUNS, confirmed)
    assert Run.objects.count() == 4


def test_filters_survive(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one", waits="e")

    html = told(admin, f"{RUNS}?status__exact=running", chosen("pause", "one"))
    assert f'href="{RUNS}?status__exact=running"' in html

    outcome = told(admin, f"{RUNS}?status__exact=running", chosen("pause", "one", post="yes"))
    assert f'href="{RUNS}?status__exact=running"' in outcome
    assert state() == "paused"


def test_too_many_are_refused(admin: Client, actor: Workflow[Any, Any]) -> None:
    actor.trigger_many([{}] * (MOST_AT_ONCE + 1))

    html = told(
        admin,
        RUNS,
        {**chosen("cancel", Run.objects.first().pk), "index": "0", "select_across": "1"},  # type: ignore[union-attr]
    )

    assert f"Select {MOST_AT_ONCE} runs at most" in html
    assert not Run.objects.filter(status="cancelled").exists()


def test_actions_are_offered_to_those_who_may(actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e")
    html = page(staff("view_run", "pause_run"), RUNS)

    assert "pause_selected" in html
    assert "cancel_selected" not in html


# Dead letters


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is gone", "order 4711 is gone"),
        ("no run wfr_01JABC here", "no run wfr_99XYZ here"),
        (
            "card 6f1d2c3a-1111-4abc-8def-abcdefabcdef",
            "card aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        ),
        ("at 10.0.0.1:80", "at 192.168.1.200:8080"),
        ("ch_1A2b refused", "ch_99zz refused"),
    ],
)
def test_messages_that_differ_by_figures_are_alike(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_messages_that_differ_by_words_are_not_alike() -> None:
    assert normalised("no funds") != normalised("no card")
    assert normalised("run abc failed", "abc") == normalised("run xyz failed", "xyz")


def test_errors_differ_by_class_step_and_message() -> None:
    def mark(**changed: Any) -> str:
        fields = {"message": "m", "error_class": "E", "traceback": "", "step": "s", "attempts": 1}
        return fingerprint(Failure(**(fields | changed)))

    assert mark(traceback="other", attempts=7) == mark()
    assert len({mark(), mark(message="n"), mark(error_class="F"), mark(step=None)}) == 4
    assert fingerprint(None)


def dead(actor: Workflow[Any, Any]) -> None:
    for number in range(3):
        made(actor, f"bank-{number}", fails=f"bank refused {number}00 euro")
    made(actor, "card", fails="no card")
    made(actor, "fine")


def mark_of(run_id: str) -> str:
    run = Run.objects.get(pk=run_id)
    return fingerprint(run.failure, run_id)


def group(run_id: str, verb: str) -> str:
    return f"{DEAD}group/{mark_of(run_id)}/{verb}/"


def test_dead_letters_are_grouped_by_error(admin: Client, actor: Workflow[Any, Any]) -> None:
    dead(actor)

    html = page(admin, DEAD)

    assert html.count(">NonRetryableError<") + html.count("NonRetryableError<span") == 2
    assert "bank refused 200 euro" in html
    assert f'?error={mark_of("bank-0")}">3</a>' in html
    assert f'?error={mark_of("card")}">1</a>' in html
    assert html.index("bank refused") < html.index("no card")


def test_a_group_leads_to_its_runs(admin: Client, actor: Workflow[Any, Any]) -> None:
    dead(actor)

    html = page(admin, f"{RUNS}?error={mark_of('bank-0')}")

    assert all(url(f"bank-{number}") in html for number in range(3))
    assert url("card") not in html
    assert url("fine") not in html
    assert "No run matches." in page(admin, f"{RUNS}?error=gone")


def test_without_dead_letters_the_page_says_so(admin: Client) -> None:
    assert "No dead letters" in page(admin, DEAD)
    assert DEAD in page(admin, RUNS)


def test_a_group_is_resumed(
    admin: Client, actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(actor)
    asked = page(admin, group("bank-0", "resume"))
    assert "Resume 3 runs?" in asked
    path = group("bank-0", "resume")
    monkeypatch.setattr(f"{__name__}.broken", False)

    html = told(
        admin, path, {"post": "yes", "run": ["bank-0", "bank-1", "bank-2"], "why": "bank is back"}
    )
    drain()

    assert "3 of 3 runs were resumed" in html
    assert [state(f"bank-{number}") for number in range(3)] == ["completed"] * 3
    assert state("card") == "failed"
    assert Action.objects.filter(verb="resume", why="bank is back", actor="boss").count() == 3


def test_a_group_is_restarted(admin: Client, actor: Workflow[Any, Any]) -> None:
    dead(actor)

    told(admin, group("card", "restart"), {"post": "yes", "run": ["card"], "seen": "0"})

    assert Run.objects.filter(restarted_from="card").count() == 1


def test_a_group_is_deleted_but_for_what_goes_on_again(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    dead(actor)
    path = group("bank-0", "delete")
    Run.objects.get(pk="bank-1").resume()
    delete_runs(["bank-2"])

    html = told(admin, path, {"post": "yes", "run": ["bank-0", "bank-1", "bank-2"]})

    assert "1 of 2 runs was deleted" in html or "1 of 2 runs were deleted" in html
    assert "It was not deleted: it is running" in html
    assert not Run.objects.filter(pk="bank-0").exists()
    assert Action.objects.filter(verb="delete", run_id="bank-0", actor="boss").exists()
    assert LogEntry.objects.get().object_id == "bank-0"


def test_a_group_has_no_other_verbs(admin: Client, actor: Workflow[Any, Any]) -> None:
    dead(actor)

    assert admin.get(group("card", "cancel")).status_code == 404
    assert admin.put(group("card", "resume")).status_code == 405


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        page(client, path)
    return len(captured)


def test_the_pages_take_the_same_queries_for_any_number(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, "first", fails="x")
    paths = [DEAD, group("first", "resume"), url("first", "resume")]
    few = [queries(admin, path) for path in paths]
    actor.trigger_many([{"fails": "x"}] * 15 + [{"fails": f"{'y' * n}"} for n in range(1, 6)])
    drain()

    assert [queries(admin, path) for path in paths] == few
    assert max(few) <= 6


# The page that follows


def test_the_page_follows_a_run_until_it_has_ended(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, waits="e")
    live = f'hx-get="{url("one", "story")}"'

    assert live in page(admin, url("one"))
    assert live in page(admin, url("one", "story"))
    assert "<html" not in page(admin, url("one", "story"))

    Run.objects.get(pk="one").cancel()

    assert live not in page(admin, url("one", "story"))
    assert "live.js" not in page(admin, url("one"))


def test_the_story_needs_what_the_page_needs(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, fails="s3cret")

    assert staff(name="nobody").get(url("one", "story")).status_code == 403
    assert "s3cret" not in page(staff("view_run"), url("one", "story"))
    assert "s3cret" in page(admin, url("one", "story"))
    assert admin.get(url("lost", "story")).status_code == 404


# Who may

NEEDS = {verb: f"{verb}_run" for verb in VERBS}


@pytest.mark.parametrize("granted", [None, "view_run", *NEEDS.values(), "delete_run"])
def test_each_role_reaches_what_it_may_and_nothing_else(
    granted: str | None, actor: Workflow[Any, Any]
) -> None:
    made(actor, "dead", fails="s3cret")
    made(actor, "live", waits="e")
    mark = mark_of("dead")
    client = staff(*({"view_run", granted} - {None}))  # type: ignore[arg-type]
    outsider = staff(*([granted] if granted and granted != "view_run" else []), name="outsider")
    doors = {url("live", verb): permission for verb, permission in NEEDS.items()}
    doors |= {
        f"{DEAD}group/{mark}/{verb}/": f"{verb}_run" for verb in ("resume", "restart", "delete")
    }

    for path, permission in doors.items():
        expected = 200 if granted == permission else 403
        assert client.get(path).status_code == expected, path
        if expected == 403:
            assert client.post(path, {"post": "yes", "run": "dead"}).status_code == 403, path
        # A verb alone opens nothing: what is acted on has to be seen.
        assert outsider.get(path).status_code == 403, path
        assert outsider.post(path, {"post": "yes", "run": "dead"}).status_code == 403, path
    assert (state("dead"), state("live")) == ("failed", "running")
    assert not Action.objects.exists()
    assert outsider.get(DEAD).status_code == 403

    html = page(client, DEAD) + page(client, url("live")) + page(client, url("dead"))
    html += page(client, RUNS) + page(client, f"{RUNS}?error={mark}")
    shown = {verb for verb, permission in NEEDS.items() if url("live", verb) in html}
    assert shown <= {verb for verb, permission in NEEDS.items() if permission == granted}
    # Nobody of them may see payloads.
    assert "s3cret" not in html
    assert "NonRetryableError" not in html


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "restart"])
def test_an_action_needs_its_permission(verb: str, actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e")
    client = staff("view_run", "delete_run")

    client.post(RUNS, chosen(verb, "one", post="yes", seen="0"))

    assert state() == "running"
    assert Run.objects.count() == 1


def test_who_is_not_signed_in_is_sent_to_the_login(actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e")

    for path in [DEAD, url("one", "cancel"), f"{DEAD}group/x/resume/"]:
        assert "/login/" in Client().post(path, {"post": "yes"})["Location"]
    assert state() == "running"


# Texts of others

CORPUS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</textarea><svg/onload=alert(1)>",
    "{{ 7|add:7 }}{% load x %}",
    "javascript:alert(1)",
    "</title><script>alert(1)</script>",
]


@pytest.mark.parametrize("text", CORPUS)
def test_texts_of_others_are_only_texts(
    text: str, admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, text[:60], waits=text)
    made(actor, f"dead{text}"[:60], fails=text)
    Run.objects.get(pk=f"dead{text}"[:60]).restart(actor=text, why=text)
    mark = mark_of(f"dead{text}"[:60])

    pages = [
        page(admin, url(text[:60], "notify")),
        told(admin, url(text[:60], "notify"), {"event_id": text, "event_data": text, "why": text}),
        page(admin, DEAD),
        page(admin, f"{DEAD}group/{mark}/resume/"),
        page(admin, url(f"dead{text}"[:60], "resume")),
        told(admin, RUNS, chosen("cancel", text[:60], post="yes", why=text)),
        told(admin, RUNS, chosen("cancel", text[:60], post="yes", why=text)),
        page(admin, f"{RUNS}?error={quote(text)}"),
        page(admin, url(text[:60])),
        page(admin, url(f"dead{text}"[:60], "story")),
    ]

    for html in pages:
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "<svg/onload" not in html
        assert 'href="javascript:' not in html
        assert "14{%" not in html
