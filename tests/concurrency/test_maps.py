"""Slices that meet: workers share the items, the last slice records the map, and nothing runs twice or is lost."""

from __future__ import annotations

from functools import partial
from threading import Barrier, Lock
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.core.maps import slice_keys, slice_of
from django_workflow.models import Delivery, MapItem, Step
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, maps
from tests.concurrency.together import (
    PATIENCE_SECONDS,
    Gate,
    Threads,
    bodies,
    expire_leases,
    finished,
)

pytestmark = pytest.mark.django_db(transaction=True)


def item(number: int) -> int:
    bodies(f"item {number}")
    return number


@workflow(name="maps_sync")
def sync(ctx: WorkflowContext[Any]) -> Any:
    size, most = ctx.request_payload
    found = ctx.map("items", item, range(size), max_parallel=most)
    return [sum(found), ctx.run("after", bodies, "after")]


@workflow(name="maps_async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    size, most = ctx.request_payload
    found = await ctx.map("items", item, range(size), max_parallel=most)
    return [sum(found), await ctx.run("after", bodies, "after")]


@pytest.mark.parametrize("function", [sync, asynchronous])
def test_workers_share_the_items_and_each_is_executed_once(function: Any, crew: Threads) -> None:
    run = function.trigger([200, 20])

    with override_settings(WORKFLOW={"CLAIM_BATCH": 2}):
        crew.together(drain, drain, drain, drain)
        crew.together(drain, drain)

    assert finished(run).result == [19900, 1]
    assert set(bodies.calls.values()) == {1}
    assert Step.objects.count() == 2


@pytest.mark.parametrize("time", range(6))
def test_last_slices_that_end_at_one_moment_record_the_map_once(time: int, crew: Threads) -> None:
    run = sync.trigger([2, 2])
    drain(seconds=0)
    meet = Barrier(2)
    bodies.during |= {f"item {n}": partial(meet.wait, PATIENCE_SECONDS) for n in range(2)}

    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        crew.together(drain, drain)

    assert finished(run).result == [1, 1]
    assert bodies.calls == {"item 0": 1, "item 1": 1, "after": 1}


def test_no_more_items_are_executed_at_once_than_max_parallel(crew: Threads) -> None:
    lock, now, most = Lock(), [0], [0]

    def busy(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        bodies(f"item {number}")
        with lock:
            now[0] -= 1
        return number

    @workflow(name="maps_bounded")
    def bounded(ctx: WorkflowContext[Any]) -> Any:
        return sum(ctx.map("items", busy, range(60), max_parallel=2))

    run = bounded.trigger()
    drain(seconds=0)
    with override_settings(WORKFLOW={"CLAIM_BATCH": 1}):
        crew.together(drain, drain, drain, drain)

    assert finished(run).result == sum(range(60))
    assert most[0] <= 2


def test_item_of_a_holder_that_was_taken_over_is_refused_and_executed_again(
    crew: Threads,
) -> None:
    run = sync.trigger([3, 1])
    drain(seconds=0)
    gate = Gate()
    bodies.during["item 1"] = gate.hold

    late = crew.start(drain)
    gate.await_arrival()
    bodies.during.clear()
    expire_leases(run.id)
    assert finished(run).result == [3, 1]
    gate.open()
    late.result(PATIENCE_SECONDS)

    assert bodies.calls == {"item 0": 1, "item 1": 2, "item 2": 1, "after": 1}
    assert MapItem.objects.filter(finished_at=None).count() == 0


def test_cancel_ends_a_map_between_two_items(crew: Threads) -> None:
    run = sync.trigger([50, 1])
    drain(seconds=0)
    bodies.during["item 3"] = run.cancel

    drain()

    assert run.refresh().status == "cancelled"
    assert len(bodies.calls) == 4
    assert not Delivery.objects.exists()


def test_slice_that_the_code_does_not_come_to_for_a_while_is_made_anew() -> None:
    run = sync.trigger([4, 2])
    drain(seconds=0)
    for claim in claims.claim("worker", 2):
        assert maps.leave_slice(claim, "items")

    assert finished(run).result == [6, 1]
    assert len(bodies.calls) == 5


def test_keys_of_slices() -> None:
    keys = slice_keys("p1.0/a", 10, 3)

    assert [slice_of(key) for key in keys] == [
        ("p1.0/a", range(3)), ("p1.0/a", range(3, 6)), ("p1.0/a", range(6, 10)),
    ]  # fmt: skip
    assert slice_of("a////[0:2]#1") is None
    assert slice_of("") is None
