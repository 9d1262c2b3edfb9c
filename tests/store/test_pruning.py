"""Pruning: what is old enough goes whole, what somebody needs stays, and a death leaves nothing in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_workflow.core.actors import Actor
from django_workflow.core.types import RunStatus
from django_workflow.models import (
    Action,
    Attempt,
    Delivery,
    Event,
    FlowKey,
    FlowStart,
    FlowTicket,
    Run,
    RunLabel,
    Step,
    Sweep,
    TriggerKey,
)
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.pruning import SWEEP_BATCH, SWEEP_BATCHES, Selection, prune_keys
from django_workflow.runtime.sweeper import health, sweep
from django_workflow.store import (
    claims,
    completions,
    deletion,
    records,
    runs,
    trigger_keys,
    triggers,
    unused_keys,
)
from django_workflow.store.flow import found_or_made
from tests.crashes import CrashPoint, SimulatedCrash
from tests.store.made import FAILED_TRY, FAILURE, completed, insert, new_run

pytestmark = pytest.mark.django_db

OLD = timedelta(days=40)
ALL_ENDED = dict.fromkeys(("completed", "cancelled", "failed", "blocked"), timedelta(days=30))
OWNED = (Step, Attempt, RunLabel, Delivery, Event)


def ended(run_id: str, status: str = "completed", age: timedelta = OLD, **fields: Any) -> None:
    """Insert a run with all that a run can own, which ended so long ago."""
    triggers.insert([new_run(run_id, labels=("a", "b"), **fields)])
    [claim] = claims.claim("worker", 1, only=[run_id])
    records.record(claim, completed("a"), attempt=FAILED_TRY)
    Event.objects.create(event_id="e", run_id=run_id, created_at=timezone.now())
    if status in ("failed", "blocked"):
        runs.end_badly(claim, RunStatus(status), FAILURE)
    elif status == "cancelled":
        runs.cancel(run_id)
    else:
        completions.complete(claim, "1", leaves_open=False)
    moment = timezone.now() - age
    Run.objects.filter(pk=run_id).update(
        created_at=moment - timedelta(minutes=1), finished_at=moment
    )


def left() -> set[str]:
    return set(Run.objects.values_list("pk", flat=True))


def prune(ages: Any = None, **options: Any) -> int:
    batch = options.pop("batch", 500)
    selection = Selection(ages=ages or {"completed": timedelta(days=30)}, **options)
    return sum(count for _, count in selection.prune(batch=batch))


def test_an_old_run_goes_with_all_that_it_owns() -> None:
    ended("old")

    assert prune() == 1
    assert not left()
    assert not any(model._default_manager.exists() for model in OWNED)


def test_a_young_run_stays() -> None:
    ended("young", age=timedelta(days=29))
    # A long life does not make it old.
    Run.objects.update(created_at=timezone.now() - timedelta(days=300))

    assert prune() == 0
    assert left() == {"young"}


def test_states_that_were_not_asked_for_stay() -> None:
    for state in ("completed", "cancelled", "failed", "blocked"):
        ended(state, state)

    assert prune() == 1
    assert left() == {"cancelled", "failed", "blocked"}
    assert prune(ALL_ENDED) == 3


def test_unfinished_runs_stay_however_old_they_are() -> None:
    insert("pending", "running", "paused")
    claims.claim("worker", 1, only=["running"])
    runs.pause("paused")
    ended("handled", "failed")
    Run.objects.filter(pk="handled").update(handler_status="running")
    Run.objects.update(created_at=timezone.now() - OLD)

    assert prune(ALL_ENDED) == 0
    assert len(left()) == 4


def test_a_run_of_another_workflow_stays() -> None:
    ended("mine", workflow="mine")
    ended("yours", workflow="yours")

    assert prune(workflow="mine") == 1
    assert left() == {"yours"}


def test_the_oldest_go_first_and_each_batch_by_itself() -> None:
    for number in range(5):
        ended(f"run-{number}", age=OLD + timedelta(days=number))
    pruning = Selection(ages={"completed": timedelta(days=30)}).prune(batch=2)

    assert next(pruning) == ("completed", 2)
    assert left() == {"run-0", "run-1", "run-2"}
    assert [count for _, count in pruning] == [2, 1]


def test_runs_of_one_moment_are_all_found() -> None:
    moment = timezone.now() - OLD
    for number in range(7):
        ended(f"run-{number}")
    Run.objects.update(created_at=moment)

    assert prune(batch=2) == 7


def test_a_restart_outlives_its_origin() -> None:
    ended("origin")
    triggers.insert([new_run("again", restarted_from="origin")])

    assert prune() == 1
    assert Run.objects.get().restarted_from_id is None


def test_actions_go_with_a_pruned_run_and_stay_after_a_deleted_one() -> None:
    ended("pruned", "cancelled")
    ended("deleted", "cancelled")
    for run_id in ("pruned", "deleted"):
        Action.objects.create(run_id=run_id, verb="cancel", door="code", at=timezone.now())
    delete_runs(["deleted"], actor=Actor("Ann", "7", "admin"), why="asked to")

    assert prune(ALL_ENDED) == 1
    assert list(Action.objects.order_by("id").values_list("run_id", "verb", "actor", "why")) == [
        ("deleted", "cancel", "", ""),
        ("deleted", "delete", "Ann", "asked to"),
    ]


def test_who_prunes_is_known() -> None:
    ended("old", workflow="w")
    list(
        Selection(ages={"completed": OLD / 2}, workflow="w").prune(by=Actor("Ann", door="command"))
    )

    action = Action.objects.get()
    assert (action.verb, action.actor, action.door, action.run_id) == (
        "prune", "Ann", "command", "",
    )  # fmt: skip
    assert action.why.startswith("1 runs: completed, ended before")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_at_any_write_leaves_whole_runs_or_none(when: Any) -> None:
    numbers = range(4)
    at = 0
    while True:
        at += 1
        Run.objects.all().delete()
        for number in numbers:
            ended(f"run-{number}")
        point = CrashPoint(at, when)
        try:
            with point.watching():
                prune(batch=2)
            break
        except SimulatedCrash:
            pass
        found = left()
        assert len(found) in (0, 2, 4)
        for model in OWNED:
            owners = set(model._default_manager.values_list("run_id", flat=True))
            assert owners == (set() if model is Delivery else found), (at, model)
        assert prune(batch=2) == len(found)
        assert not left()
    assert at > 8


def retained(**ages: Any) -> Any:
    return override_settings(WORKFLOW={"RETENTION": ages or timedelta(days=30)})


def test_the_sweep_prunes_what_retention_keeps_no_longer() -> None:
    for state in ("completed", "cancelled", "failed"):
        ended(state, state)
    with retained():
        sweep(force=True)

    assert left() == {"failed"}
    assert health().swept_by == ""


def test_the_sweep_prunes_nothing_without_retention() -> None:
    ended("old")
    sweep(force=True)

    assert left() == {"old"}


def test_retention_is_by_state() -> None:
    for state in ("completed", "cancelled", "failed"):
        ended(state, state)
    with retained(completed=None, failed="20d", cancelled="50d"):
        sweep(force=True)

    assert left() == {"completed", "cancelled"}


def test_the_sweep_prunes_a_little_once_a_minute() -> None:
    ended("old")
    with retained():
        sweep(force=True)
        ended("later")
        sweep(force=True)
        assert left() == {"later"}

        Sweep.objects.filter(pk=claims.PRUNING).update(
            swept_at=timezone.now() - timedelta(minutes=2)
        )
        sweep(force=True)
    assert not left()
    assert SWEEP_BATCH * SWEEP_BATCHES == 500


def test_actions_of_runs_that_are_gone_are_kept_as_long_as_runs() -> None:
    ended("kept")
    for run_id, age in (("gone", OLD), ("gone", OLD / 2), ("kept", OLD)):
        Action.objects.create(run_id=run_id, verb="v", door="code", at=timezone.now() - age)
    with retained(completed="30d", cancelled="30d"):
        Run.objects.update(finished_at=timezone.now())
        sweep(force=True)

    assert sorted(Action.objects.values_list("run_id", flat=True)) == ["gone", "kept"]


@pytest.mark.pg_only
def test_what_is_to_be_pruned_is_found_by_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        prune()
    [statement] = [
        q["sql"] for q in captured if "ORDER BY" in q["sql"] and "created_at" in q["sql"]
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        plan = "\n".join(row[0] for row in cursor.fetchall())

    # Which of the indexes is the planner's choice, by what it knows of the table: none of them reads all runs.
    assert "Index Scan" in plan
    [presorted] = [line for line in plan.splitlines() if "Presorted Key: " in line]
    assert presorted.endswith("created_at")


@pytest.mark.sqlite_only
def test_what_is_to_be_pruned_is_found_by_an_index_on_sqlite() -> None:
    plan = Run.objects.prunable("completed", timezone.now()).order_by("created_at", "pk").explain()

    assert "dw_run_status" in plan


def child_of(parent: str, run_id: str = "child") -> None:
    ended(run_id)
    Run.objects.filter(pk=run_id).update(parent=parent)


@pytest.mark.parametrize("state", ["pending", "running", "paused", "cancelling"])
def test_a_child_of_a_parent_that_lives_stays(state: str) -> None:
    triggers.insert([new_run("parent")])
    Run.objects.update(status=state)
    child_of("parent")

    assert prune() == 0
    assert left() == {"parent", "child"}


def test_a_child_of_a_parent_that_is_being_undone_stays() -> None:
    ended("parent", "failed", age=timedelta(0))
    Run.objects.update(undo_status="running")
    child_of("parent")

    assert prune() == 0


@pytest.mark.parametrize("state", ["completed", "cancelled", "failed", "blocked"])
def test_a_child_of_a_parent_that_has_ended_goes(state: str) -> None:
    ended("parent", state, age=timedelta(0))
    child_of("parent")

    assert prune() == 1
    assert left() == {"parent"}


def test_a_child_whose_parent_came_to_life_since_it_was_chosen_stays() -> None:
    ended("parent", "failed", age=timedelta(0))
    child_of("parent")
    Run.objects.filter(pk="parent").update(status="running")

    assert deletion.prune(["child"], Q(), by=None) == 0
    assert left() == {"parent", "child"}


def flow_keys() -> set[str]:
    return set(FlowKey.objects.values_list("pk", flat=True))


def test_flow_keys_that_nobody_uses_go_with_what_has_begun_under_them() -> None:
    now = timezone.now()
    keys = {"free": {}, "paused": {"paused": True}, "pinned": {"pinned": True}}
    for key, fields in {**keys, "counted": {}, "line": {}, "past": {}}.items():
        FlowKey.objects.create(key=key, parallelism=1, period_ms=60_000, **fields)
    FlowStart.objects.create(flow_key="counted", begun_at=now)
    FlowStart.objects.create(flow_key="past", begun_at=now - timedelta(minutes=2))
    triggers.insert([new_run("run")])
    FlowTicket.objects.create(
        run_id="run", flow_key="line", state="waiting", delivery_id=1, created_at=now
    )

    assert prune_keys() == 2
    assert flow_keys() == {"paused", "pinned", "counted", "line"}
    assert [start.flow_key for start in FlowStart.objects.all()] == ["counted"]


def test_trigger_keys_that_hold_nothing_back_go() -> None:
    ended("old")
    triggers.insert([new_run("young")])
    for kind in TriggerKey.Kind:
        for run_id in ("old", "young", "gone", ""):
            TriggerKey.objects.create(kind=kind, workflow="w", key=f"of {run_id}", run_id=run_id)

    prune_keys()

    assert set(TriggerKey.objects.values_list("kind", "key")) == {
        ("singleton", "of young"),
        ("debounce", "of young"),
        ("throttle", "of young"),
        ("throttle", "of old"),
    }


def test_unused_keys_go_in_batches_and_with_the_sweep_too() -> None:
    FlowKey.objects.bulk_create(FlowKey(key=f"key {n}", rate=1) for n in range(5))
    assert unused_keys.delete_unused(2) == 2
    assert len(flow_keys()) == 3

    sweep(force=True)

    assert flow_keys() == set()


def test_a_key_that_went_is_made_anew_by_who_uses_it() -> None:
    made, is_new = found_or_made(connection.cursor(), "again", (1, None, 1000))
    assert (made.parallelism, is_new) == (1, True)
    prune_keys()

    again, is_new = found_or_made(connection.cursor(), "again", (2, None, 1000))

    assert (again.parallelism, is_new) == (2, True)
    assert trigger_keys.locked("singleton", "w", "key").run_id == ""
    prune_keys()
    assert trigger_keys.locked("singleton", "w", "key").run_id == ""
