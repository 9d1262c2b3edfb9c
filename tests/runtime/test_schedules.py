"""Schedules: made, changed, declared, fired after an outage, and steered from the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import (
    Cron,
    Debounce,
    FlowControl,
    InvalidOptionError,
    NotSerializableError,
    ScheduleNotFoundError,
    Singleton,
    Throttle,
    Workflow,
    WorkflowContext,
    aget_schedule,
    get_schedule,
    workflow,
)
from django_workflow.core.ports import get_runtime, install_clock
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run, Schedule
from django_workflow.runtime.sweeper import health, seconds_to_next_due
from django_workflow.runtime.worker import drain
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db(transaction=True)

BEGIN = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


@workflow(name="schedules_report")
def report(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="schedules_other")
def other(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self) -> None:
        self.at = BEGIN

    def now(self) -> datetime:
        return self.at

    def advance(self, **by: float) -> int:
        """Let time pass without anybody looking, and then have the schedules swept."""
        self.at += timedelta(**by)
        started: int = get_runtime().fire_schedules()
        return started


@pytest.fixture
def hands() -> Iterator[Hands]:
    made = Hands()
    previous = install_clock(made)
    yield made
    install_clock(previous)


@pytest.fixture
def nightly() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="nightly", schedule="0 3 * * *", timezone="Europe/Paris")(lambda ctx: None)
    yield made
    registry.remove("nightly")


def slots() -> list[str]:
    runs = Run.objects.order_by("created_at", "pk")
    return [f"{run.scheduled_for:%d %H:%M}" for run in runs if run.scheduled_for]


@pytest.mark.parametrize(
    ("catch_up", "fired"),
    [
        ("last", ["02 05:00"]),
        ("none", []),
        ("all", [f"0{1 + h // 24} {h % 24:02}:00" for h in range(13, 30)]),
    ],
)
def test_outage_is_made_up_for_as_the_schedule_says(
    hands: Hands, catch_up: str, fired: list[str]
) -> None:
    schedule = report.schedule("0 * * * *", schedule_id="hourly", catch_up=catch_up)

    hands.advance(hours=17)

    assert slots() == fired
    assert schedule.refresh().slot_at == datetime(2030, 1, 2, 6, tzinfo=UTC)
    hands.advance(hours=0.5)
    assert slots() == [*fired, "02 06:00"]
    assert not Run.objects.stuck().exists()


def test_schedule_that_nobody_fires_is_unhealthy(hands: Hands) -> None:
    report.schedule("0 * * * *", schedule_id="hourly")
    hands.at += timedelta(minutes=31)

    assert not health().is_healthy
    with pytest.raises(CommandError, match="The slot of a schedule has come"):
        call_command("workflow_check")
    hands.advance()
    assert health().is_healthy


def test_slot_that_waits_is_followed_by_the_next_to_wait(hands: Hands) -> None:
    other.schedule("0 * * * *", schedule_id="hourly", overlap="queue")
    hands.advance(minutes=30)
    hands.advance(hours=1)
    Run.objects.get().cancel()

    # One sweep finds the end of the first run, and another slot too.
    assert hands.advance(hours=1) == 1
    assert slots() == ["01 13:00", "01 14:00"]
    assert (get_schedule("hourly").queued_for.hour, get_schedule("hourly").skipped) == (15, 0)


def test_slot_that_is_swept_a_little_late_was_not_missed(hands: Hands) -> None:
    report.schedule("0 * * * *", schedule_id="hourly", catch_up="none")

    assert hands.advance(minutes=30, seconds=59) == 1


def test_all_is_the_newest_hundred(hands: Hands) -> None:
    report.schedule("* * * * *", schedule_id="often", catch_up="all")

    assert hands.advance(days=400) == 100
    assert hands.advance(seconds=1) == 0


@pytest.mark.parametrize(
    ("overlap", "started"), [("skip", 1), ("queue", 1), ("cancel_previous", 1)]
)
def test_missed_slots_overlap_each_other(hands: Hands, overlap: str, started: int) -> None:
    other.schedule("0 * * * *", schedule_id="hourly", overlap=overlap, catch_up="all")

    assert hands.advance(hours=5) == started
    found = get_schedule("hourly")
    assert (found.skipped, found.queued_for is None) == {
        "skip": (4, True),
        "queue": (3, False),
        "cancel_previous": (0, True),
    }[overlap]


def test_jitter_puts_off_within_the_slot(hands: Hands) -> None:
    schedule = report.schedule("0 * * * *", schedule_id="late", jitter="10m")
    due = schedule.due_at
    assert timedelta(0) < due - schedule.slot_at < timedelta(minutes=10)

    hands.at = due - timedelta(milliseconds=1)
    assert hands.advance() == 0
    hands.at = due
    assert hands.advance() == 1
    assert slots() == ["01 13:00"]


def test_pause_holds_and_resume_begins_with_the_next_slot(hands: Hands) -> None:
    schedule = report.schedule("0 * * * *", schedule_id="hourly", catch_up="all").pause()
    assert hands.advance(hours=5) == 0
    assert seconds_to_next_due() is None

    assert schedule.resume().next_fires(2) == [BEGIN + timedelta(hours=h) for h in (5.5, 6.5)]
    assert seconds_to_next_due() == 1800
    assert hands.advance(hours=1) == 1


def test_same_plan_keeps_its_slot_and_another_one_begins_anew(hands: Hands) -> None:
    report.schedule("0 * * * *", schedule_id="hourly", payload=1)
    hands.at += timedelta(hours=1)

    same = report.schedule("0 * * * *", schedule_id="hourly", payload=2, label="b")
    assert (same.slot_at.hour, same.payload) == (13, 2)
    hands.advance()
    drain()
    assert [(run.result, run.labels) for run in Run.objects.all()] == [(2, ["b"])]

    another = report.schedule("0 9 * * *", schedule_id="hourly", timezone="Asia/Tokyo")
    assert another.slot_at == datetime(2030, 1, 2, 0, tzinfo=UTC)
    assert Schedule.objects.count() == 1


def test_run_now_starts_one_even_while_paused(hands: Hands) -> None:
    schedule = other.schedule("0 * * * *", schedule_id="hourly", overlap="skip").pause()

    first, second = schedule.run_now(), schedule.run_now()

    assert first.id != second.id
    assert (first.schedule_id, first.scheduled_for) == ("hourly", BEGIN)
    assert schedule.refresh().last_run_id == second.id


def test_deleted_schedule_leaves_its_runs_and_fires_a_slot_once_if_made_again(hands: Hands) -> None:
    schedule = report.schedule("0 * * * *", schedule_id="hourly")
    hands.advance(minutes=30)
    assert schedule.delete() == (1, {"django_workflow.Schedule": 1})
    assert not report.unschedule("hourly")

    hands.at -= timedelta(minutes=1)
    report.schedule("0 * * * *", schedule_id="hourly")
    assert hands.advance(minutes=1) == 0
    assert Run.objects.count() == 1
    with pytest.raises(ScheduleNotFoundError, match="no schedule"):
        get_schedule("nobody")


def test_schedule_joins_the_callers_transaction() -> None:
    with transaction.atomic():
        report.schedule("0 * * * *", schedule_id="hourly")
        transaction.set_rollback(True)

    assert not Schedule.objects.exists()


def test_async_verbs(hands: Hands) -> None:
    async def play() -> tuple[bool, bool, Any]:
        made = await report.aschedule("0 * * * *", schedule_id="hourly")
        await made.apause()
        paused = (await aget_schedule("hourly")).is_paused
        await made.aresume()
        run = await made.arun_now()
        gone = await report.aunschedule("hourly")
        return paused, gone, run.schedule_id

    assert async_to_sync(play)() == (True, True, "hourly")


def needs_payload(payload: Any) -> Any:
    return {"day": payload["day"]}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"cron": "0 0 30 2 *"}, "never comes"),
        ({"timezone": "Mars"}, "timezone is the name"),
        ({"schedule_id": ""}, "schedule_id must be"),
        ({"schedule_id": "x" * 101}, "schedule_id must be"),
        ({"schedule_id": None}, "schedule_id must be"),
        ({"workflow_run_id": "mine"}, "each slot has its own"),
        ({"not_before": BEGIN}, "each slot has its own"),
        ({"priority_": 1}, "no option 'priority_'"),
        ({"cron": Cron("* * * * *"), "overlap": "skip"}, "holds its time zone and policies"),
        ({"version": "9"}, 'no version "9"'),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(
    arguments: dict[str, Any], error: str
) -> None:
    given = {"cron": "* * * * *", "schedule_id": "one", **arguments}
    with pytest.raises(InvalidOptionError, match=error):
        report.schedule(given.pop("cron"), **given)
    assert not Schedule.objects.exists()


def test_payload_is_checked_when_the_schedule_is_made() -> None:
    checked = workflow(name="schedules_checked", payload_schema=needs_payload)(lambda ctx: None)
    try:
        with pytest.raises(InvalidOptionError, match="does not fit"):
            checked.schedule("* * * * *", schedule_id="one", payload={})
        with pytest.raises(NotSerializableError):
            report.schedule("* * * * *", schedule_id="one", payload={1, 2})
        assert checked.schedule(
            "* * * * *", schedule_id="one", payload={"day": 1, "x": 2}
        ).payload == {"day": 1}
    finally:
        registry.remove("schedules_checked")


def test_id_of_another_workflow_or_of_the_code_is_refused(nightly: Workflow[Any, Any]) -> None:
    report.schedule("* * * * *", schedule_id="mine")
    get_runtime().sync_schedules()

    with pytest.raises(InvalidOptionError, match='belongs to workflow "schedules_report"'):
        other.schedule("* * * * *", schedule_id="mine")
    with pytest.raises(InvalidOptionError, match="is declared in code"):
        report.schedule("* * * * *", schedule_id="nightly")
    with pytest.raises(InvalidOptionError, match="is declared in code"):
        nightly.unschedule("nightly")


def test_code_declares_changes_and_removes_a_schedule(
    nightly: Workflow[Any, Any], hands: Hands
) -> None:
    runtime = get_runtime()
    assert runtime.sync_schedules() == ["nightly"]
    assert get_schedule("nightly").description == "every day at 03:00 Europe/Paris"
    get_schedule("nightly").pause()
    with CaptureQueriesContext(connection) as asked:
        runtime.sync_schedules()
    assert len(asked) == 1

    changed = workflow(name="nightly", schedule=Cron("30 3 * * *", overlap="skip"))(
        lambda ctx: None
    )
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        runtime.sync_schedules()
    found = get_schedule("nightly")
    assert (found.description, found.overlap) == ("every day at 03:30 Asia/Tokyo", "skip")
    assert (found.is_paused, found.due_at) == (True, None)

    registry.remove(changed.name)
    runtime.sync_schedules()
    assert get_schedule("nightly").workflow == "nightly"

    workflow(name="nightly")(lambda ctx: None)
    runtime.sync_schedules()
    assert not Schedule.objects.exists()


def test_migrate_writes_what_is_declared(nightly: Workflow[Any, Any]) -> None:
    call_command("migrate", verbosity=0)
    assert get_schedule("nightly").is_declared


def test_workflow_that_is_not_known_here_waits_for_a_process_that_knows_it(
    nightly: Workflow[Any, Any], hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    get_runtime().sync_schedules()
    report.schedule("0 * * * *", schedule_id="z")
    registry.remove("nightly")

    assert hands.advance(days=1) == 1
    assert 'No workflow "nightly"' in get_schedule("nightly").note
    hands.advance(seconds=1)
    assert caplog.text.count("cannot be fired") == 1
    assert health().stuck == []

    registry.add(nightly)
    assert hands.advance(seconds=1) == 1
    assert get_schedule("nightly").note == ""


def test_box_begins_declared_schedules_at_its_own_time(nightly: Workflow[Any, Any]) -> None:
    get_runtime().sync_schedules()
    with WorkflowSandbox(now=BEGIN) as box:
        report.trigger()
        assert Run.objects.count() == 1
        box.advance("2d")
        assert slots() == ["02 02:00", "03 02:00"]
    with WorkflowSandbox(now=BEGIN + timedelta(days=30), schedules=False) as box:
        box.advance("2d")
    assert len(slots()) == 2


def test_restart_keeps_the_slot(hands: Hands) -> None:
    report.schedule("0 * * * *", schedule_id="hourly")
    hands.advance(minutes=30)
    drain()

    again = Run.objects.get().restart()
    assert (again.schedule_id, again.scheduled_for) == ("hourly", BEGIN + timedelta(minutes=30))


def printed(*args: str) -> Any:
    out = io.StringIO()
    call_command("workflow_schedules", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_command_lists_and_steers(hands: Hands) -> None:
    report.schedule("0 9 * * 1-5", schedule_id="b", payload={"n": 1}, timezone="Europe/Paris")
    other.schedule("0 * * * *", schedule_id="a")

    [found] = json.loads(printed("--json", "--workflow", "schedules_report", "--fires", "2"))
    assert found["schedule_id"] == "b"
    assert found["description"] == "every weekday at 09:00 Europe/Paris"
    assert found["next_fires"] == ["2030-01-02T08:00:00+00:00", "2030-01-03T08:00:00+00:00"]
    lines = printed("--pause", "a", "--run-now", "b").splitlines()
    assert lines[1].startswith("a\tschedules_other\tat the start of every hour, UTC\tpaused")
    assert Run.objects.get().payload == {"n": 1}
    printed("--resume", "a", "--delete", "b")
    assert list(Schedule.objects.values_list("id", "is_paused")) == [("a", False)]
    with pytest.raises(CommandError, match='no schedule "nobody"') as raised:
        printed("--pause", "a", "--delete", "nobody")
    assert raised.value.returncode == 2
    assert not get_schedule("a").is_paused


def test_run_tells_its_schedule_and_slot(hands: Hands) -> None:
    report.schedule("0 * * * *", schedule_id="hourly")
    hands.advance(minutes=30)
    out = io.StringIO()
    call_command("workflow_show", "hourly@20300101T1300Z", "--json", stdout=out)

    found = json.loads(out.getvalue())
    assert (found["schedule_id"], found["scheduled_for"]) == ("hourly", "2030-01-01T13:00:00+00:00")
    assert Delivery.objects.count() == 1


# With flow control and singletons


@workflow(name="schedules_limited", flow_control=FlowControl("schedules", parallelism=1))
def limited(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("work", str, "done")


def rest(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")


single = workflow(name="schedules_single", singleton=Singleton(on_conflict="return"))(rest)
replaced = workflow(name="schedules_replaced", singleton=Singleton(on_conflict="replace"))(rest)
keyed = workflow(name="schedules_keyed", singleton=Singleton(lambda payload: payload["id"]))(rest)


def test_slot_of_a_limited_workflow_is_given_its_turn(hands: Hands) -> None:
    schedule = limited.schedule("0 * * * *", schedule_id="limited")
    assert hands.advance(hours=1) == 1

    assert Delivery.objects.get().due_at is not None
    drain()
    assert Run.objects.get().status == "completed"
    assert schedule.run_now().id
    drain()
    assert not Run.objects.exclude(status="completed").exists()


def test_slot_is_skipped_while_the_only_run_of_its_workflow_is_under_way(hands: Hands) -> None:
    standing = single.trigger()
    schedule = single.schedule("0 * * * *", schedule_id="single", overlap="allow")

    assert hands.advance(hours=1) == 0
    assert standing.id in schedule.refresh().note
    assert schedule.skipped == 1
    assert schedule.run_now().id == standing.id

    standing.cancel()
    assert hands.advance(hours=1) == 1
    assert single.trigger().id == schedule.refresh().last_run_id


def test_slot_replaces_the_only_run_of_its_workflow(hands: Hands) -> None:
    standing = replaced.trigger()
    replaced.schedule("0 * * * *", schedule_id="replaced")

    assert hands.advance(hours=1) == 1
    assert standing.refresh().status == "cancelled"


def test_what_holds_triggers_back_is_refused() -> None:
    for option in ({"debounce": Debounce("x", "1s")}, {"throttle": Throttle("x", "1s")}):
        with pytest.raises(InvalidOptionError, match="each slot has its own"):
            report.schedule("0 * * * *", schedule_id="held", **option)
    with pytest.raises(InvalidOptionError, match="could not be told"):
        keyed.schedule("0 * * * *", schedule_id="keyed")
    assert not Schedule.objects.filter(id__in=["held", "keyed"]).exists()
