"""Turns of several runs that one worker has claimed: recorded and ended at once, and yet each by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings

from django_workflow import AsyncWorkflowContext, Singleton, WorkflowContext, workflow
from django_workflow.core.exceptions import AtRestError
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime import kept_back, leases
from django_workflow.runtime.journals import journals
from django_workflow.runtime.worker import drain, stopping
from django_workflow.signals import run_completed
from django_workflow.store import claims, completions, records
from tests.concurrency.sleepers import asleep, fan, rested, results, wake
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Threads,
    bodies,
    eventually,
    expire_leases,
    finished,
    held_in,
)
from tests.crashes import SimulatedCrash
from tests.store.made import PAST

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(name="turns_sleeper", transport="inline")
def sleeper(ctx: WorkflowContext[str]) -> str:
    ctx.sleep("rest", "1h")
    return ctx.request_payload


@workflow(name="turns_sleeper_async", transport="inline")
async def sleeper_async(ctx: AsyncWorkflowContext[str]) -> str:
    await ctx.sleep("rest", "1h")
    return ctx.request_payload


@workflow(name="turns_telling", transport="inline")
def telling(ctx: WorkflowContext[str]) -> str:
    ctx.sleep("rest", "1h")
    ctx.log("it is over")
    return ctx.request_payload


@workflow(
    name="turns_in_line",
    transport="inline",
    singleton=Singleton(key="one", on_conflict="queue"),
)
def in_line(ctx: WorkflowContext[str]) -> str:
    ctx.sleep("rest", "1h")
    return ctx.request_payload


@workflow(name="turns_parent", transport="inline")
def parent(ctx: WorkflowContext[str]) -> str:
    return str(ctx.invoke("child", sleeper, ctx.request_payload))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ends back until the last turn of the batch was passed, and hand nothing on, however slow the machine is."""
    monkeypatch.setattr(leases, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(kept_back, "WRITTEN_WITHIN", 60.0)


class Writes:
    """Counts what is written for several turns, and for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sleeps: list[int] = []
        self.ends: list[int] = []
        self.alone: Counter[str] = Counter()
        of_turns, together = records.record_of_turns, completions.complete_together
        record, complete = records.record, completions.complete

        def recorded(ended: Any) -> Any:
            self.sleeps.append(len(ended))
            return of_turns(ended)

        def ended(kept: Any) -> Any:
            self.ends.append(len(kept))
            return together(kept)

        def recorded_alone(claim: Any, row: Any, **given: Any) -> Any:
            self.alone[row.name] += 1
            return record(claim, row, **given)

        def ended_alone(claim: Any, text: Any, **given: Any) -> Any:
            self.alone["end"] += 1
            return complete(claim, text, **given)

        monkeypatch.setattr(records, "record_of_turns", recorded)
        monkeypatch.setattr(completions, "complete_together", ended)
        monkeypatch.setattr(records, "record", recorded_alone)
        monkeypatch.setattr(completions, "complete", ended_alone)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("of", [sleeper, sleeper_async], ids=["sync", "async"])
def test_sleeps_are_recorded_at_once_and_runs_ended_at_once(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = asleep(of, "a", "b", "c")
    wake(*runs)
    writes = Writes(monkeypatch)
    told: list[str] = []

    def hear(sender: Any, run: Run, **given: Any) -> None:
        assert run.status == "completed"
        told.append(str(run.result))

    run_completed.connect(hear)
    try:
        drain()
    finally:
        run_completed.disconnect(hear)

    assert (writes.sleeps, writes.ends, writes.alone) == ([3], [3], {})
    assert told == ["a", "b", "c"]
    assert results(runs) == ["a", "b", "c"]
    assert not Delivery.objects.exists()
    assert [step.sequence for step in Step.objects.all()] == [1, 1, 1]


def test_a_run_by_itself_writes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    [run] = asleep(sleeper, "alone")
    wake(run)
    writes = Writes(monkeypatch)

    assert finished(run).result == "alone"
    assert (writes.sleeps, writes.ends) == ([], [])
    assert writes.alone == {"rest": 1, "end": 1}


@pytest.mark.usefixtures("unhurried")
def test_who_has_executed_a_step_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = asleep(rested, "a", "b")
    wake(*runs)
    writes = Writes(monkeypatch)

    assert results(runs) == [1, 1]
    assert (writes.sleeps, writes.ends) == ([2], [])
    assert writes.alone == {"work": 2, "end": 2}


@pytest.mark.usefixtures("unhurried")
def test_what_a_run_says_is_written_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = asleep(telling, "a", "b")
    wake(*runs)
    writes = Writes(monkeypatch)

    assert results(runs) == ["a", "b"]
    assert (writes.sleeps, writes.ends) == ([2], [])
    assert [[line.message for line in run.logs.all()] for run in runs] == [["it is over"]] * 2


@pytest.mark.usefixtures("unhurried")
def test_who_has_others_to_tell_ends_by_itself() -> None:
    first, second = asleep(in_line, "first", "second")
    parents = asleep(parent, "a", "b")
    lone = asleep(sleeper, "lone")
    wake(first, *Run.objects.filter(parent__in=parents), *lone)
    drain()

    assert results([first, *parents, *lone]) == ["first", "a", "b", "lone"]
    assert Step.objects.get(run_id=second.id).status == "sleeping"
    wake(second)
    assert finished(second).result == "second"


def taken(run: Any) -> None:
    """Let another worker have the run's turn, and die."""
    turn = Delivery.objects.get(run_id=run.id)
    Delivery.objects.filter(pk=turn.pk).update(token=turn.token + 1, leased_by="another")


@pytest.mark.usefixtures("unhurried")
def test_being_taken_over_before_the_sleep_is_recorded_concerns_one_run_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = asleep(sleeper, "a", "b", "c")
    wake(*runs)
    load_all = records.load_all

    def taken_meanwhile(run_ids: Any) -> Any:
        found = load_all(run_ids)
        taken(runs[1])
        return found

    with monkeypatch.context() as patched:
        patched.setattr(records, "load_all", taken_meanwhile)
        drain()

    states = [run.refresh().status for run in runs]
    assert states == ["completed", "running", "completed"]
    assert Step.objects.get(run_id=runs[1].id).status == "sleeping"
    expire_leases(runs[1].id)
    assert finished(runs[1]).result == "b"


@pytest.mark.usefixtures("unhurried")
def test_being_taken_over_before_the_end_is_written_concerns_one_run_alone(crew: Threads) -> None:
    *runs, last = [*asleep(sleeper, "a", "b", "c"), *asleep(rested, "last")]
    wake(*runs, last)
    gate, working = held_in(crew, "last")
    assert {run.refresh().status for run in runs} == {"running"}
    taken(runs[1])
    gate.open()
    working.result(PATIENCE_SECONDS)

    assert [run.refresh().status for run in runs] == ["completed", "running", "completed"]
    expire_leases(runs[1].id)
    assert results(runs) == ["a", "b", "c"]
    assert finished(last).result == 1
    assert [step.sequence for step in Step.objects.filter(name="rest")] == [1] * 4


def test_a_slow_body_holds_no_end_back(crew: Threads) -> None:
    *runs, last = [*asleep(sleeper, "a", "b"), *asleep(rested, "last")]
    wake(*runs, last)
    gate, working = held_in(crew, "last")

    # By the keeper, while the thread is held in the body.
    eventually(lambda: {run.refresh().status for run in runs} == {"completed"})

    gate.open()
    working.result(PATIENCE_SECONDS)
    assert results([*runs, last]) == ["a", "b", 1]


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_a_verb_that_comes_before_the_end_is_written_counts(crew: Threads, verb: str) -> None:
    first, second, last = [*asleep(sleeper, "a", "b"), *asleep(rested, "last")]
    wake(first, second, last)
    gate, working = held_in(crew, "last")
    getattr(second, verb)()
    gate.open()
    working.result(PATIENCE_SECONDS)
    drain()

    assert finished(first).result == "a"
    assert second.refresh().status == {"cancel": "cancelled", "pause": "paused"}[verb]
    if verb == "pause":
        second.resume()
        assert finished(second).result == "b"
    assert not Delivery.objects.exists()


@pytest.mark.usefixtures("unhurried")
def test_what_others_record_before_the_sleep_is_not_lost(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fan.trigger()
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        gate, working = held_in(crew, "slow")
    eventually(lambda: Step.objects.filter(run_id=run.id, status="sleeping").exists())
    [other] = asleep(sleeper, "other")
    wake(run, other)
    load_all, loads = records.load_all, Counter[str]()

    def recorded_meanwhile(run_ids: Any) -> Any:
        found = load_all(run_ids)
        gate.open()
        working.result(PATIENCE_SECONDS)
        return found

    load = records.load

    def loaded(run_id: str, *given: Any, **options: Any) -> Any:
        loads[run_id] += 1
        return load(run_id, *given, **options)

    monkeypatch.setattr(records, "load_all", recorded_meanwhile)
    monkeypatch.setattr(records, "load", loaded)

    drain()

    # The slow step took the number before that of the sleep, so the journal that was loaded lacks it.
    assert {step.name: step.sequence for step in Step.objects.filter(run_id=run.id)} == {
        "slow": 1,
        "nap": 2,
    }
    assert loads[run.id] >= 1
    assert results([run, other]) == [[1, None], "other"]


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("what", ["record_of_turns", "complete_together"])
def test_a_database_that_is_away_for_a_moment_loses_nothing(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(kept: Any) -> Any:
        raise OperationalError("gone away")

    runs = asleep(sleeper, "a", "b")
    wake(*runs)
    module = records if what == "record_of_turns" else completions
    with monkeypatch.context() as patched:
        patched.setattr(module, what, away)
        drain()

    if what == "complete_together":
        assert {one.trouble for one in Delivery.objects.all()} == {
            "The database did not answer: gone away"
        }
        Delivery.objects.update(due_at=PAST)
    assert results(runs) == ["a", "b"]
    assert [step.sequence for step in Step.objects.all()] == [1, 1]


def test_what_cannot_be_read_of_one_run_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(run_ids: Any) -> Any:
        raise AtRestError("There is no key for it.")

    runs = asleep(sleeper, "a", "b")
    wake(*runs)
    monkeypatch.setattr(records, "load_all", unreadable)

    drain()

    assert results(runs) == ["a", "b"]


@pytest.mark.usefixtures("unhurried")
def test_a_claim_that_could_not_be_given_back_is_put_off_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*given: Any, **options: Any) -> Any:
        raise OperationalError("gone away")

    together = completions.complete_together
    runs = asleep(sleeper, "a", "b", "c")
    wake(*runs)
    with monkeypatch.context() as patched:
        # The first has moved on meanwhile, so that its end is refused.
        patched.setattr(completions, "complete_together", lambda kept: [False, *together(kept[1:])])
        patched.setattr(claims, "give_back", away)
        drain()

    assert [run.refresh().status for run in runs] == ["running", "completed", "completed"]
    assert Delivery.objects.get().trouble == "The database did not answer: gone away"
    Delivery.objects.update(due_at=PAST)
    assert results(runs) == ["a", "b", "c"]


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["record_of_turns", "complete_together"])
def test_who_dies_at_what_is_written_for_several_leaves_it_to_the_next(
    what: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = records if what == "record_of_turns" else completions
    write = getattr(module, what)

    def die(kept: Any) -> Any:
        if when == "after":
            write(kept)
        raise SimulatedCrash

    runs = asleep(sleeper, "a", "b", "c")
    wake(*runs)
    with monkeypatch.context() as patched:
        patched.setattr(module, what, die)
        # The dead gives nothing back.
        patched.setattr(claims, "release", lambda held: 0)
        with pytest.raises(SimulatedCrash):
            drain()
    journals.clear()
    for run in runs:
        expire_leases(run.id)

    assert results(runs) == ["a", "b", "c"]
    assert [step.sequence for step in Step.objects.all()] == [1, 1, 1]


@pytest.mark.usefixtures("unhurried")
def test_a_process_that_is_told_to_stop_writes_what_has_ended() -> None:
    *runs, last = [*asleep(sleeper, "a", "b"), *asleep(rested, "last")]
    late = asleep(sleeper, "late")
    wake(*runs, last, *late)
    bodies.during["last"] = stopping.set
    try:
        drain()
    finally:
        stopping.clear()

    assert {run.refresh().status for run in runs} == {"completed"}
    assert not Delivery.objects.exclude(leased_by="").exists()
    assert results([*runs, last, *late]) == ["a", "b", 1, "late"]


def test_workers_share_what_wakes(crew: Threads) -> None:
    for _ in range(3):
        runs = asleep(sleeper, *(str(number) for number in range(40)))
        wake(*runs)
        crew.together(drain, drain, drain)
        assert results(runs) == [str(number) for number in range(40)]


@pytest.mark.django_db(transaction=False)
def test_in_the_transaction_of_a_test_each_run_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = asleep(sleeper, "a", "b")
    wake(*runs)
    writes = Writes(monkeypatch)

    assert results(runs) == ["a", "b"]
    assert (writes.ends, writes.alone) == ([], {"end": 2})
