"""Branches that end at one moment, and losers that come too late: one winner, and nothing of the others."""

from __future__ import annotations

from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Attempt, Delivery, Step
from django_workflow.runtime.journals import journals
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, races, records
from tests.concurrency.together import PATIENCE_SECONDS, Gate, Threads, bodies, finished
from tests.store.made import completed, fan_out, pending

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(name="races_sync")
def sync(ctx: WorkflowContext[Any]) -> list[Any]:
    found = ctx.race(lambda: ctx.run("a", bodies, "a"), lambda: ctx.run("b", bodies, "b"))
    return [found.index, ctx.run("after", bodies, f"after {found.index}")]


@workflow(name="races_async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[Any]:
    found = await ctx.race(ctx.run("a", bodies, "a"), ctx.run("b", bodies, "b"))
    return [found.index, await ctx.run("after", bodies, f"after {found.index}")]


@pytest.mark.parametrize("time", range(6))
@pytest.mark.parametrize("function", [sync, asynchronous])
def test_two_branches_that_end_at_one_moment_have_one_winner(
    function: Any, time: int, crew: Threads
) -> None:
    run = function.trigger()
    drain(seconds=0)
    meet = Barrier(2)
    bodies.during |= {name: partial(meet.wait, PATIENCE_SECONDS) for name in "ab"}

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        crew.together(drain, drain)

    index, _ = finished(run).result
    order = list(
        Step.objects.filter(key__in=["r1.0/a", "r1.1/b"], sequence__isnull=False)
        .order_by("sequence")
        .values_list("key", flat=True)
    )
    assert order[0] == ["r1.0/a", "r1.1/b"][index]
    assert bodies.calls == {"a": 1, "b": 1, f"after {index}": 1}
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("function", [sync, asynchronous])
def test_attempt_of_a_loser_that_ends_after_the_race_is_fenced_and_set_aside(
    function: Any, crew: Threads
) -> None:
    run = function.trigger()
    drain(seconds=0)
    gate = Gate()
    bodies.during["a"] = gate.hold

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        late = crew.start(drain)
        gate.await_arrival()
        assert finished(run).result == [1, 1]
        gate.open()
        late.result(PATIENCE_SECONDS)

    assert Step.objects.get(key="r1.0/a").status == "abandoned"
    assert Attempt.objects.get(step_key="r1.0/a").outcome == "late"


def race_row() -> Any:
    return completed("race", kind="race", result_text='{"index":0,"stem":"r1.","count":2}')


def test_race_is_not_decided_by_a_pass_that_has_not_seen_every_record() -> None:
    [a, b] = fan_out("r1.0/a", "r1.1/b")
    records.record(a, completed("r1.0/a", branch="r1.0/", registered=True))
    [turn] = claims.claim("worker", 1)
    records.record(b, completed("r1.1/b", branch="r1.1/", registered=True))

    assert races.decide(turn, race_row(), ["r1.1/"], leaves=False) is None
    assert not Step.objects.filter(key="race").exists()

    claims.give_back(turn)
    [turn] = claims.claim("worker", 1)
    assert races.decide(turn, race_row(), ["r1.1/"], leaves=False) is not None


def test_step_whose_name_reads_as_a_losers_branch_is_left_alone() -> None:
    fan_out("r1.0/a", "r1.1//x#1")
    journals.clear()
    Step.objects.filter(key="r1.1//x#1").update(branch="", name="r1.1/x")
    Delivery.objects.filter(step_key="").update(due_at=claims.now())
    [turn] = claims.claim("worker", 1)

    races.decide(turn, race_row(), ["r1.1/"], leaves=False)

    assert Step.objects.get(key="r1.1//x#1").status == pending("x").status
    assert Delivery.objects.filter(step_key="r1.1//x#1").exists()
