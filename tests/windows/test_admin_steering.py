"""What people do in the admin to schedules, limits, events and errors: by whom, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import (
    FlowControl,
    InvalidOptionError,
    NonRetryableError,
    Workflow,
    WorkflowContext,
    flow_control,
    notify,
    workflow,
)
from django_workflow.admin.dead_letters import SHOWN, Group, dead_letters
from django_workflow.admin.definitions import definitions
from django_workflow.core.exceptions import (
    RunNotFoundError,
    RunStateError,
    WorkflowNotFoundError,
)
from django_workflow.core.workflow import registry
from django_workflow.models import (
    Action,
    DeadLetterNote,
    Event,
    FlowKey,
    Run,
    Schedule,
)
from django_workflow.runtime.dry_retry import dry_retry
from django_workflow.runtime.handler_again import rerun_handler
from django_workflow.runtime.redriving import NAME, pace, start_redrive
from django_workflow.runtime.steering import note_error, steer_schedule
from django_workflow.runtime.worker import drain
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "<script>alert('s3cret')</script>"
broken = True


def refuse(text: str) -> str:
    if broken:
        raise NonRetryableError(text)
    return text


def acting(ctx: WorkflowContext[dict[str, Any]]) -> Any:
    payload = ctx.request_payload or {}
    if "fails" in payload:
        ctx.run("charge", refuse, payload["fails"])
    if payload.get("form"):
        form = "tests.app.forms.BudgetForm"
        return ctx.wait_for_event("pickup", payload["waits"], schema=form).event_data
    if payload.get("waits"):
        return ctx.wait_for_event("pickup", payload["waits"], timeout="2d").event_data
    return None


@pytest.fixture(autouse=True)
def actor() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="adm_steer")(acting)
    yield made
    registry.remove("adm_steer")


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


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def told(client: Client, path: str, **data: Any) -> str:
    response = client.post(path, data, follow=True)
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def url(name: str, *args: str) -> str:
    return reverse(f"admin:django_workflow_{name}", args=args)


def kept() -> Action:
    found = Action.objects.latest("id")
    assert found.door == "admin"
    assert found.actor == "boss"
    return found


# Schedules


@pytest.fixture
def nightly(actor: Workflow[Any, Any]) -> Schedule:
    made: Schedule = actor.schedule("0 3 * * *", schedule_id="night/ly", timezone="Europe/Paris")
    return made


def test_a_schedule_says_when_it_fires_next(admin: Client, nightly: Schedule) -> None:
    assert "at 03:00" in page(admin, url("schedule_changelist")).lower()

    html = page(admin, url("schedule_change", "night_2Fly"))

    assert nightly.description in html
    assert html.count("<li><time") == 10
    assert "Is a worker running?" not in html


@pytest.mark.parametrize(("verb", "before"), [("pause", False), ("resume", True)])
def test_a_schedule_is_paused_and_resumed(
    verb: str, before: bool, admin: Client, nightly: Schedule
) -> None:
    if before:
        nightly.pause()

    html = told(admin, url(f"schedule_{verb}", "night_2Fly"), why="the audit")

    assert nightly.refresh().is_paused is not before
    assert (kept().verb, kept().subject, kept().why) == (
        verb,
        "schedule night/ly",
        "the audit",
    )
    entry = LogEntry.objects.get()
    assert entry.object_id == "night/ly"
    assert "→" in entry.change_message
    assert "the audit" in entry.change_message
    assert "“night/ly”: " in html


def test_a_schedule_is_run_now(admin: Client, nightly: Schedule) -> None:
    told(admin, url("schedule_run_now", "night_2Fly"), why="")

    run = Run.objects.get()
    assert kept().run_id == run.pk
    assert run.pk in page(admin, url("schedule_change", "night_2Fly"))


def test_a_schedule_is_deleted_with_a_reason_alone(admin: Client, nightly: Schedule) -> None:
    refused = admin.post(url("schedule_remove", "night_2Fly"), {"why": ""})
    assert "This field is required" in refused.content.decode()
    assert Schedule.objects.exists()

    told(admin, url("schedule_remove", "night_2Fly"), why="no longer needed")

    assert not Schedule.objects.exists()
    assert kept().verb == "delete"


def test_a_schedule_in_code_is_not_deleted(admin: Client, nightly: Schedule) -> None:
    Schedule.objects.update(is_declared=True)

    html = told(admin, url("schedule_remove", "night_2Fly"), why="x")

    assert "is declared in code" in html
    assert Schedule.objects.exists()
    with pytest.raises(InvalidOptionError, match="declared in code"):
        steer_schedule("night/ly", "delete")


def test_slots_that_were_not_fired_are_told(admin: Client, nightly: Schedule) -> None:
    before = datetime.now(UTC) - timedelta(days=3, hours=1)
    slot = nightly.plan.next_after(before)
    Schedule.objects.update(slot_at=slot, due_at=slot)

    assert "slots have come and were not fired yet" in page(
        admin, url("schedule_change", "night_2Fly")
    )


# Limits


@pytest.fixture
def key() -> FlowKey:
    flow_control("ten/ant").set(parallelism=2, rate=5, period="1m")
    return FlowKey.objects.get()


def test_limits_are_changed_and_pinned(admin: Client, key: FlowKey) -> None:
    html = page(admin, url("flowkey_set", "ten_2Fant"))
    assert 'value="2"' in html
    assert 'value="1m"' in html

    told(
        admin, url("flowkey_set", "ten_2Fant"), parallelism="7", rate="", period="5m", why="launch"
    )

    state = flow_control("ten/ant").state()
    assert (state.parallelism, state.rate, state.period) == (7, None, timedelta(minutes=5))
    assert state.is_pinned
    assert (kept().verb, kept().subject) == ("set", "flow control ten/ant")
    assert "2 at once, 5 in 1m" in LogEntry.objects.get().change_message
    assert "7 at once" in LogEntry.objects.get().change_message


@pytest.mark.parametrize("period", ["", "soon", "0s"])
def test_a_period_that_cannot_be_is_refused(period: str, admin: Client, key: FlowKey) -> None:
    response = admin.post(url("flowkey_set", "ten_2Fant"), {"period": period, "parallelism": "7"})

    assert "errornote" in response.content.decode()
    assert flow_control("ten/ant").parallelism == 2


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [
        ("pause", "paused", True),
        ("resume", "paused", False),
        ("pin", "pinned", True),
        ("unpin", "pinned", False),
    ],
)
def test_a_key_is_steered(verb: str, field: str, value: bool, admin: Client, key: FlowKey) -> None:
    FlowKey.objects.update(**{field: not value})

    told(admin, url(f"flowkey_{verb}", "ten_2Fant"), why="")
    again = told(admin, url(f"flowkey_{verb}", "ten_2Fant"), why="")

    assert getattr(FlowKey.objects.get(), field) is value
    assert "nothing was done" in again
    assert Action.objects.filter(verb=verb).count() == 1


def test_a_reset_needs_a_reason(admin: Client, key: FlowKey) -> None:
    FlowKey.objects.update(paused=True)

    admin.post(url("flowkey_reset", "ten_2Fant"), {"why": ""})
    assert FlowKey.objects.get().paused

    told(admin, url("flowkey_reset", "ten_2Fant"), why="clean slate")
    assert not FlowKey.objects.get().paused


def test_the_line_of_a_key_is_shown(admin: Client, actor: Workflow[Any, Any], key: FlowKey) -> None:
    flow_control("ten/ant").pause()
    for number in range(3):
        actor.trigger(
            {},
            workflow_run_id=f"w{number}",
            flow_control=FlowControl("ten/ant", parallelism=1),
        )
    drain()

    listed = page(admin, url("flowkey_changelist"))
    html = page(admin, url("flowkey_change", "ten_2Fant"))

    assert '<td class="field-in_line">3</td>' in listed
    assert all(f"w{number}" in html for number in range(3))


# Waiters and events


def test_who_waits_is_listed_and_those_who_have_it_are_not(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    made(actor, "one", waits=SECRET)
    made(actor, "two", waits="other")
    notify("other")

    html = page(admin, url("waiter_changelist"))

    assert "s3cret" in html
    assert SECRET not in html
    assert "one" in html
    assert ">two<" not in html


def test_an_event_is_shown_before_it_is_sent(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one", waits="e")
    made(actor, "two", waits="e")
    send = url("waiter_notify")

    seen = told(admin, send, event_id="e", event_data='{"a": 1}', keep="on")
    assert "It would reach 2 steps" in seen
    assert not Event.objects.exists()

    html = told(admin, send, event_id="e", event_data='{"a": 1}', keep="on", seen="e", why="w")
    drain()

    assert "reached 2 runs" in html
    assert {run.refresh().result["a"] for run in Run.objects.all()} == {1}
    assert set(Action.objects.filter(verb="notify").values_list("run_id", "subject", "why")) == {
        ("one", "event e", "w"),
        ("two", "event e", "w"),
    }
    assert LogEntry.objects.count() == 1


def test_another_event_than_the_one_that_was_seen_is_shown_again(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    html = told(admin, url("waiter_notify"), event_id="b", seen="a", keep="on")

    assert "It would reach 0 steps" in html
    assert not Event.objects.exists()


def test_an_event_that_reaches_nobody_is_in_the_mailbox(admin: Client) -> None:
    told(admin, url("waiter_notify"), event_id="early", seen="early", keep="on", why="")

    assert "early" in page(admin, url("event_changelist") + "?mailbox=kept")
    assert "early" not in page(admin, url("event_changelist") + "?mailbox=taken")
    assert kept().subject == "event early"


@pytest.mark.parametrize("data", ["{", "{1: 2}"])
def test_what_is_no_json_is_refused(data: str, admin: Client) -> None:
    response = admin.post(url("waiter_notify"), {"event_id": "e", "event_data": data, "seen": "e"})

    assert response.status_code == 422
    assert "This is no JSON" in response.content.decode()
    assert not Event.objects.exists()


def test_the_form_of_the_wait_is_filled_in(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, waits="e", form=True)
    send = url("waiter_notify")
    html = page(admin, f"{send}?event_id=e")
    assert 'name="data-amount"' in html
    assert 'name="event_data"' not in html

    wrong = admin.post(send, {"event_id": "e", "own": "yes", "seen": "e", "data-amount": "0"})
    assert wrong.status_code == 422
    assert not Event.objects.exists()

    told(admin, send, **{"event_id": "e", "own": "yes", "seen": "e", "data-amount": "12.50"})
    drain()

    assert str(Run.objects.get().result["amount"]) == "12.50"


def test_events_of_webhooks_and_approvals_are_not_sent_by_hand(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    run = made(actor, waits="e")
    run.webhooks.create(
        step_key="h", event_id="webhook:x", digest="d", created_at=datetime.now(UTC)
    )

    response = admin.post(url("waiter_notify"), {"event_id": "webhook:x", "seen": "webhook:x"})

    assert "Only a call of its webhook" in response.content.decode()
    assert not Event.objects.exists()


def test_calls_of_a_webhook_are_shown_without_what_opens_it(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    run = made(actor, waits="e")
    moment = datetime.now(UTC)
    hook = run.webhooks.create(
        step_key="h", event_id="webhook:x", digest="d", created_at=moment, calls=1
    )
    Event.objects.create(
        event_id="webhook:x",
        run=run,
        created_at=moment,
        data_text='{"is_base64": false, "content": "hello there", "method": "POST", '
        '"content_type": "text/plain", "query": "", "url": "https://x/tok3n/", "headers": {"Authorization": "Bearer s3cret", "X-A": "shown"}}',
    )

    html = page(admin, url("webhook_change", str(hook.pk)))
    event = page(admin, url("event_change", str(Event.objects.get().pk)))

    for text in (html, event):
        assert "hello there" in text
        assert "shown" in text
        assert "tok3n" not in text
        assert "s3cret" not in text
    hidden = page(staff("view_webhook"), url("webhook_change", str(hook.pk)))
    assert "hello there" not in hidden


# Errors


def fail(actor: Workflow[Any, Any], *ids: str, error: str = "no money") -> Group:
    for run_id in ids:
        made(actor, run_id, fails=error)
    return dead_letters().groups[0]


def test_an_error_is_noted_and_ignored(admin: Client, actor: Workflow[Any, Any]) -> None:
    group = fail(actor, "one")
    path = url("dead_letters_note", group.fingerprint)
    page(admin, path)

    told(admin, path, note="the bank is down", assignee="Ann", why="w")
    html = page(admin, url("dead_letters"))
    assert "the bank is down" in html
    assert "Ann" in html
    assert 'id="dw-ignored"' not in html
    assert "the bank is down" in page(admin, path)

    told(admin, path, note="the bank is down", assignee="Ann", is_ignored="on")
    assert 'id="dw-ignored"' in page(admin, url("dead_letters"))
    done = Action.objects.filter(actor="boss").order_by("id")
    assert [action.verb for action in done] == ["note", "ignore"]
    assert kept().subject == f"error {group.fingerprint}"
    assert DeadLetterNote.objects.get().changed_by == "boss"


def test_a_note_about_nothing_is_not_found(admin: Client) -> None:
    assert admin.get(url("dead_letters_note", "0" * 16)).status_code == 404
    with pytest.raises(InvalidOptionError):
        note_error("x", note="x" * 10_000, assignee="", is_ignored=False)


def test_crash_loops_are_in_quarantine(admin: Client, actor: Workflow[Any, Any]) -> None:
    run = made(actor, fails="x")
    assert run.failure_text is not None
    assert run.failure is not None
    looped = run.failure_text.replace(run.failure.error_class, "CrashLoopError")
    Run.objects.filter(pk=run.pk).update(status="blocked", failure_text=looped)

    html = page(admin, url("dead_letters"))

    assert 'id="dw-quarantine"' in html
    assert "Resume at a rate" not in html
    mark = dead_letters().groups[0].fingerprint
    for page_name in ("group", "rate"):
        path = url(f"dead_letters_{page_name}", mark, "resume")
        assert path not in html
        assert "one by one" in admin.get(path, follow=True).content.decode()


def test_a_sparkline_counts_the_last_week() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    ages = [
        timedelta(0),
        timedelta(hours=1),
        timedelta(days=6, hours=23),
        SHOWN,
        timedelta(days=30),
    ]
    seen = [now - age for age in ages]
    group = Group(fingerprint="x", failure=None, last_seen=now, first_seen=seen[-1], seen=seen)

    spark = group.sparkline(now)

    assert (spark.total, spark.most) == (3, 2)
    heights = [height for _left, _top, height in spark.bars]
    assert heights[-1] == spark.height
    assert heights[0] == spark.height // 2
    assert sum(height > 0 for height in heights) == 2


def test_a_dry_retry_says_whether_the_code_fits(
    admin: Client, actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = fail(actor, "one")
    path = url("dead_letters_dry_retry", group.fingerprint)
    assert "would go on" not in page(admin, path)
    before = list(Run.objects.values())

    html = told(admin, path)
    assert "1 of 1 would go on" in html
    assert "“charge”" in html
    assert list(Run.objects.values()) == before

    def changed(ctx: WorkflowContext[dict[str, Any]]) -> Any:
        ctx.sleep("charge", "1s")

    def raising(ctx: WorkflowContext[dict[str, Any]]) -> Any:
        raise ValueError("no good")

    registry.remove("adm_steer")
    workflow(name="adm_steer")(changed)
    assert dry_retry("one").verdict == "diverges"
    assert "0 of 1 would go on" in told(admin, path)
    registry.remove("adm_steer")
    workflow(name="adm_steer")(raising)
    assert dry_retry("one").verdict in ("raises", "diverges")
    registry.remove("adm_steer")
    assert dry_retry("one").verdict == "unknown"
    assert dry_retry("none").verdict == "gone"
    workflow(name="adm_steer")(acting)


# At a rate


@pytest.mark.parametrize(
    ("per_minute", "size", "rest"),
    [(1, 1, 60), (30, 1, 2), (60, 1, 1), (90, 2, 4 / 3), (600, 10, 1)],
)
def test_the_pace_of_a_rate(per_minute: int, size: int, rest: float) -> None:
    assert pace(per_minute) == (size, pytest.approx(rest))


def failed_in(box: WorkflowSandbox, actor: Workflow[Any, Any], count: int) -> list[str]:
    ids = [f"r{number}" for number in range(count)]
    for run_id in ids:
        actor.trigger({"fails": "x"}, workflow_run_id=run_id, retries=0)
    return ids


def test_dead_letters_are_resumed_so_many_a_minute(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkflowSandbox() as box:
        ids = failed_in(box, actor, 4)
        monkeypatch.setattr(f"{__name__}.broken", False)

        run = start_redrive("resume", ids, per_minute=30, actor="Ann", why="mended")

        assert Run.objects.filter(status="completed").count() == 1
        box.advance("2s")
        assert Run.objects.filter(status="completed").count() == 2
        assert str(run.refresh().progress).startswith("50")
        box.advance("10s")
        assert run.refresh().result == {"done": 4, "refused": {}}
        actions = Action.objects.filter(verb="resume", door="redrive")
        assert set(actions.values_list("actor", "why")) == {("Ann", "mended")}
        assert actions.count() == 4


def test_what_is_refused_holds_nobody_up(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkflowSandbox() as box:
        ids = failed_in(box, actor, 3)
        monkeypatch.setattr(f"{__name__}.broken", False)
        Run.objects.get(pk="r1").resume()

        run = start_redrive("resume", [*ids, "gone"], per_minute=6000, actor=None)
        box.advance("1m")

        result = run.refresh().result
        assert result["done"] == 2
        assert set(result["refused"]) == {"r1", "gone"}


def test_a_rate_is_stopped_midway(
    actor: Workflow[Any, Any], admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkflowSandbox() as box:
        failed_in(box, actor, 5)
        monkeypatch.setattr(f"{__name__}.broken", False)
        group = dead_letters().groups[0]
        path = url("dead_letters_rate", group.fingerprint, "resume")
        html = page(admin, path)
        seen = html.split('name="seen" value="')[1].split('"')[0]

        told(admin, path, per_minute="30", why="mended", seen=seen)
        run = Run.objects.get(workflow=NAME)
        box.settle()
        box.advance("2s")
        listed = page(admin, url("dead_letters"))
        assert "2 of 5" in listed
        stop = url("dead_letters_stop", run.pk.replace("_", "_5F"))
        assert stop in listed

        stopped = told(admin, stop, why="enough")

        assert "Stopped: " in stopped
        box.advance("1m")
        assert Run.objects.filter(workflow="adm_steer", status="completed").count() == 2
        assert run.refresh().status == "cancelled"
        assert kept().why == "enough"


def test_a_restart_at_a_rate_restarts_each_once(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WorkflowSandbox() as box:
        ids = failed_in(box, actor, 3)
        monkeypatch.setattr(f"{__name__}.broken", False)
        box.crash_after("restart")

        run = start_redrive("restart", ids, per_minute=6000, actor=None)
        box.settle()
        box.advance("5m")

        assert run.refresh().status == "completed"
        assert Run.objects.exclude(restarted_from=None).count() == 3


@pytest.mark.parametrize(
    ("verb", "ids", "rate"),
    [("cancel", ["a"], 1), ("resume", [], 1), ("resume", ["a"], 0), ("resume", ["a"], True)],
)
def test_a_rate_that_cannot_be_is_refused(verb: str, ids: list[str], rate: int) -> None:
    with pytest.raises(InvalidOptionError):
        start_redrive(verb, ids, per_minute=rate, actor=None)


def test_those_that_failed_since_are_left_alone(admin: Client, actor: Workflow[Any, Any]) -> None:
    group = fail(actor, "one")
    path = url("dead_letters_rate", group.fingerprint, "delete")
    seen = page(admin, path).split('name="seen" value="')[1].split('"')[0]
    fail(actor, "two")

    told(admin, path, per_minute="60", why="old", seen=seen)

    assert Run.objects.get(workflow=NAME).payload["ids"] == ["one"]
    nonsense = admin.post(path, {"per_minute": "60", "why": "x", "seen": "yesterday"})
    assert nonsense.status_code == 302
    assert Run.objects.filter(workflow=NAME).count() == 1


# Workflows


def test_runs_on_old_and_unknown_code_are_told(admin: Client, actor: Workflow[Any, Any]) -> None:
    made(actor, "one", waits="e")
    actor.version("2")(acting)
    made(actor, "two", waits="e")
    made(actor, "three", waits="e")
    Run.objects.filter(pk="three").update(version="0")

    found = next(one for one in definitions() if one.name == "adm_steer")
    assert (found.on_old_code, found.on_unknown_code) == (1, 1)

    assert "adm_steer" in page(admin, url("definitions"))
    html = page(admin, url("definition", "adm_5Fsteer"))
    assert "keep it until its last run has ended" in html
    checked = told(admin, url("definition", "adm_5Fsteer"))
    assert "unknown" in checked
    assert ">three<" in checked
    assert admin.get(url("definition", "nothing")).status_code == 404


def test_a_rate_ends_with_the_permission_of_who_began_it(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="resume_run"))
    with WorkflowSandbox() as box:
        ids = failed_in(box, actor, 3)
        monkeypatch.setattr(f"{__name__}.broken", False)
        run = start_redrive("resume", ids, per_minute=60, actor=clerk)

        clerk.is_active = False
        clerk.save()
        box.advance("10s")

        assert run.refresh().result["done"] == 1
        assert set(run.result["refused"].values()) == {"clerk may do this no more."}


# How much is asked


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as found:
        page(client, path)
    return len(found)


def test_lists_take_the_same_queries_for_any_number(
    admin: Client, actor: Workflow[Any, Any]
) -> None:
    def more(begin: int, end: int) -> None:
        for number in range(begin, end):
            run = made(actor, f"w{number}", waits=f"e{number}")
            moment = datetime.now(UTC)
            run.webhooks.create(
                step_key="h", event_id=f"h{number}", digest=f"d{number}", created_at=moment
            )
            actor.schedule("0 3 * * *", schedule_id=f"s{number}")
            flow_control(f"k{number}").set(parallelism=1)
            notify(f"nobody{number}")
            note_error(f"m{number}", note="", assignee="", is_ignored=False)

    names = ["waiter", "webhook", "schedule", "flowkey", "event", "action"]
    paths = [url(f"{name}_changelist") for name in names] + [url("definitions")]
    more(0, 2)
    few = [queries(admin, path) for path in paths]
    more(2, 12)

    assert [queries(admin, path) for path in paths] == few
    assert max(few) <= 8


# The failure handler, again


def handled(actor: Workflow[Any, Any]) -> Run:
    def handle(ctx: WorkflowContext[Any], failure: Any) -> None:
        ctx.run("refund", refuse, "no refund")

    actor.on_failure(handle)
    run = made(actor, fails="x")
    assert (run.status, run.handler_status) == ("failed", "failed")
    return run


def test_a_failed_handler_is_run_again(
    admin: Client, actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = handled(actor)
    monkeypatch.setattr(f"{__name__}.broken", False)
    path = url("dead_letters_group", dead_letters().groups[0].fingerprint, "rerun_handler")
    assert "Rerun handler" in page(admin, path)

    told(admin, path, post="yes", run="one", why="the bank is back")

    assert not Run.objects.stuck().exists()
    drain()
    run.refresh()
    assert (run.status, run.handler_status, run.handler_failure) == ("failed", "completed", None)
    assert (kept().verb, kept().run_id, kept().why) == ("rerun_handler", "one", "the bank is back")
    assert run.steps.filter(name="refund").count() == 2
    with pytest.raises(RunStateError, match="only a handler that failed"):
        rerun_handler("one")


def test_a_handler_is_run_again_at_a_rate(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = handled(actor)
    monkeypatch.setattr(f"{__name__}.broken", False)

    start_redrive("rerun_handler", ["one"], per_minute=60, actor=None)
    drain()

    assert run.refresh().handler_status == "completed"


def test_a_handler_is_not_run_again_where_there_is_none(actor: Workflow[Any, Any]) -> None:
    made(actor, fails="x")

    with pytest.raises(RunStateError, match="has no failure handler"):
        rerun_handler("one")
    with pytest.raises(RunNotFoundError):
        rerun_handler("none")
    registry.remove("adm_steer")
    with pytest.raises(WorkflowNotFoundError):
        rerun_handler("one")
    workflow(name="adm_steer")(acting)
