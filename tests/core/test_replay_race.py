from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workflow.core.exceptions import InvalidOptionError, NotSerializableError, StepError
from django_workflow.core.replay import Completed, Diverged
from tests.core.fakes import MemoryRun
from tests.core.outcomes import Ctx, divergence_in, error_of, fail, one, open_in, waiting

few = settings(max_examples=40)
orders = st.randoms(use_true_random=False)


def line(ctx: Ctx, names: str) -> str:
    for name in names:
        ctx.run(name, one)
    return names


async def async_line(ctx: Ctx, names: str) -> str:
    for name in names:
        await ctx.run(name, one)
    return names


def race(ctx: Ctx) -> Any:
    index, result = ctx.race(
        lambda: line(ctx, "ab"), lambda: line(ctx, "cd"), lambda: line(ctx, "efg")
    )
    return [index, result, ctx.run(f"after {result}", one)]


async def async_race(ctx: Ctx) -> Any:
    index, result = await ctx.race(*(async_line(ctx, names) for names in ("ab", "cd", "efg")))
    return [index, result, await ctx.run(f"after {result}", one)]


def nested(ctx: Ctx) -> Any:
    def inner(names: str, more: str) -> Any:
        found = ctx.race(lambda: line(ctx, names), lambda: line(ctx, more))
        return [*found, line(ctx, "z")]

    outer = ctx.race(
        lambda: inner("ab", "c"),
        lambda: ctx.parallel(lambda: inner("d", "e"), lambda: line(ctx, "f")),
    )
    return [*outer, ctx.run("after", one)]


async def async_nested(ctx: Ctx) -> Any:
    async def inner(names: str, more: str) -> Any:
        found = await ctx.race(async_line(ctx, names), async_line(ctx, more))
        return [*found, await async_line(ctx, "z")]

    outer = await ctx.race(inner("ab", "c"), ctx.parallel(inner("d", "e"), async_line(ctx, "f")))
    return [*outer, await ctx.run("after", one)]


@pytest.mark.parametrize("workflow", [race, async_race, nested, async_nested])
@pytest.mark.parametrize("leaves", [False, True])
@few
@given(orders, st.sampled_from([None, 1]), st.sets(st.integers(1, 8)))
def test_replay_has_the_same_winner_whatever_the_order_of_completion(
    workflow: Any, leaves: bool, order: Random, size: int | None, crashes: set[int]
) -> None:
    run = MemoryRun(workflow, steps_per_pass=size, crashes=crashes)

    outcome = run.drive(order)

    assert isinstance(outcome, Completed)
    assert run.run_pass() == outcome
    run.steps_per_pass = 0
    prefixes = [run.run_pass(journal=run.load(until=n)) for n in range(run.sequence + 1)]
    assert [found for found in prefixes if isinstance(found, Diverged)] == []


@pytest.mark.parametrize("workflow", [race, async_race])
@pytest.mark.parametrize(
    ("order", "winner"), [("abcd", 0), ("acbd", 0), ("cdab", 1), ("acdb", 1), ("ecfgd", 2)]
)
def test_branch_whose_last_record_came_first_has_won(
    workflow: Any, order: str, winner: int
) -> None:
    run = waiting(workflow)
    places = {
        name: f"r1.{index}/{name}"
        for index, names in enumerate(("ab", "cd", "efg"))
        for name in names
    }
    for name in order:
        if places[name] not in run.stored:
            run.turn()
        if places[name] in run.waiting:
            run.deliver(places[name])
    outcome = run.drive()

    assert isinstance(outcome, Completed)
    assert outcome.value[0] == winner


@pytest.mark.parametrize("workflow", [race, async_race])
def test_nothing_of_a_loser_has_to_be_met_again(workflow: Any) -> None:
    run = waiting(workflow)
    for key in ("r1.1/c", "r1.0/a"):
        run.deliver(key)
    run.turn()
    run.deliver("r1.0/b")
    run.turn()

    def changed(ctx: Ctx) -> Any:
        index, result = ctx.race(lambda: line(ctx, "ab"), lambda: line(ctx, "xy"))
        return [index, result, ctx.run(f"after {result}", one)]

    async def async_changed(ctx: Ctx) -> Any:
        index, result = await ctx.race(async_line(ctx, "ab"), async_line(ctx, "xy"))
        return [index, result, await ctx.run(f"after {result}", one)]

    code = changed if workflow is race else async_changed

    assert run.run_pass(function=code) == Completed([0, "ab", 1])


def test_code_that_no_longer_ends_the_winners_branch_diverges() -> None:
    run = MemoryRun(lambda ctx: ctx.race(lambda: line(ctx, "a"), lambda: ctx.sleep("s", 9)))
    run.turn()
    run.deliver("r1.0/a")
    run.drive()

    outcome = run.run_pass(
        function=lambda ctx: ctx.race(lambda: line(ctx, "ax"), lambda: ctx.sleep("s", 9))
    )

    assert divergence_in(outcome).expected == 'race "race"'


@pytest.mark.parametrize("branches", [(), (1,)])
@pytest.mark.parametrize("losers", ["cancel", "keep"])
def test_race_that_cannot_be_run_is_refused(branches: Any, losers: str) -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.race(*branches, losers=losers)

    for code in (lambda ctx: ctx.race(*branches, losers=losers), workflow):
        assert isinstance(error_of(MemoryRun(code).turn()), InvalidOptionError)


def test_error_of_the_first_branch_is_raised() -> None:
    run = MemoryRun(lambda ctx: ctx.race(lambda: ctx.run("bad", fail), lambda: ctx.sleep("s", 9)))
    run.turn()
    run.deliver("r1.0/bad")

    assert isinstance(error_of(run.drive()), StepError)
    assert run.waiting == []


def test_verbs_in_the_finally_of_a_loser_do_nothing() -> None:
    seen: list[str] = []

    async def loser(ctx: Ctx) -> None:
        try:
            await ctx.sleep("long", 9)
        finally:
            seen.append("left")
            await ctx.run("tidy up", one)

    async def workflow(ctx: Ctx) -> Any:
        found = await ctx.race(loser(ctx), ctx.run("a", one))
        return [found.index, await ctx.run("b", one)]

    run = MemoryRun(workflow)
    run.turn()
    run.deliver("r1.1/a")

    assert run.drive() == Completed([1, 1])
    assert "r1.0/tidy up" not in run.stored
    assert "left" in seen


def test_loser_that_swallows_its_end_stands_still() -> None:
    async def loser(ctx: Ctx) -> None:
        while True:
            try:
                await ctx.sleep("long", 9)
            except asyncio.CancelledError:
                continue

    async def workflow(ctx: Ctx) -> Any:
        found = await ctx.race(loser(ctx), ctx.run("a", one))
        return found.index

    run = MemoryRun(workflow)
    run.turn()
    run.deliver("r1.1/a")

    assert run.drive() == Completed(1)


def test_what_the_branches_share_replays_as_it_went() -> None:
    async def workflow(ctx: Ctx) -> Any:
        go = asyncio.Event()

        async def opens() -> None:
            await ctx.run("open", one)
            go.set()
            await ctx.sleep("long", 9)

        async def waits() -> str:
            await go.wait()
            return "through"

        found = await ctx.race(opens(), waits())
        return [*found, await ctx.run("after", one)]

    run = MemoryRun(workflow, steps_per_pass=1)

    outcome = run.drive()

    assert outcome == run.run_pass() == Completed([1, "through", 1])


def test_open_steps_of_the_losers_are_none_of_the_passs_any_more() -> None:
    run = waiting(
        lambda ctx: [
            ctx.race(lambda: ctx.sleep("a", 1), lambda: ctx.sleep("b", 2)),
            ctx.sleep("c", 3),
        ]
    )
    run.end_wait("r1.1/b")
    run.turn()

    assert open_in(run.turn()) == ["c"]
    assert run.waiting == ["c"]


def test_error_of_a_branchs_own_task_has_its_place_among_the_others() -> None:
    async def through_a_task(ctx: Ctx) -> None:
        await asyncio.gather(ctx.run("late", fail, "late"))

    async def workflow(ctx: Ctx) -> None:
        await ctx.parallel(through_a_task(ctx), ctx.run("early", fail, "early"))

    run = MemoryRun(workflow)
    run.turn()
    run.deliver("p1.1/early")
    run.deliver("p1.0/t1/late")
    error = error_of(run.turn())

    assert isinstance(error, StepError)
    assert error.failure.message == "early"
    assert [other.failure.message for other in error.others] == ["late"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fn", "items", "options"),
    [
        (1, [], {}),
        (one, "text", {}),
        (one, 3, {}),
        (one, [], {"max_parallel": 0}),
        (one, [], {"max_parallel": True}),
        (one, [], {"max_parallel": 1001}),
        (one, [], {"return_errors": 1}),
        (one, [object()], {}),
    ],
)
def test_map_that_cannot_be_run_is_refused(fn: Any, items: Any, options: Any) -> None:
    outcome = MemoryRun(lambda ctx: ctx.map("a", fn, items, **options)).turn()

    assert isinstance(error_of(outcome), InvalidOptionError | NotSerializableError)


def test_map_whose_name_leaves_no_room_for_its_slices_is_refused() -> None:
    outcome = MemoryRun(lambda ctx: ctx.map("a/" * 100, one, [1])).turn()
    assert open_in(outcome) == ["a//" * 100 + "#1"]

    deep = "failure.1/" * 20
    outcome = MemoryRun(lambda ctx: ctx.map("a" * 190, one, [1]), prefix=deep).turn()
    assert "too long" in str(error_of(outcome))
