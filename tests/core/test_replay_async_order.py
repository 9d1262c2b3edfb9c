from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from django_workflow.core.exceptions import (
    ArgumentDrift,
    StepError,
    UndecodableValueError,
)
from django_workflow.core.replay import Completed, Suspended
from tests.core.fakes import MemoryRun
from tests.core.outcomes import (
    Ctx,
    async_line,
    divergence_in,
    error_of,
    fail,
    gathered,
    one,
    open_in,
    recorded,
    waiting,
)

# Order.


@pytest.mark.parametrize(
    ("now", "expected", "found"),
    [
        ("xabc", 'run "a"', 'run "x"'),
        ("axbc", 'run "b"', 'run "x"'),
        ("ac", 'run "b"', 'run "c"'),
        ("acb", 'run "b"', 'run "c"'),
        ("ab", 'run "c"', "nothing: it returned"),
    ],
)
@pytest.mark.parametrize("placed", [async_line, lambda names: gathered("o", names)])
def test_code_that_does_not_meet_the_recorded_order_has_diverged(
    placed: Callable[[str], Any], now: str, expected: str, found: str
) -> None:
    run = recorded(placed("abc"))
    called = list(run.called)

    error = divergence_in(run.run_pass(function=placed(now)))

    assert (error.expected, error.found) == (expected, found)
    assert run.called == called


def test_unrecorded_step_in_the_place_of_a_pending_one_is_not_executed() -> None:
    run = waiting(async_line("a"), steps_per_pass=0)

    error = divergence_in(run.run_pass(function=async_line("x")))

    assert 'Step run "a" is pending at this place' in str(error)
    assert error.found == 'run "x"'
    assert run.called == []


def test_waiting_elsewhere_than_recorded_has_diverged() -> None:
    async def changed(_: Ctx) -> None:
        await asyncio.Event().wait()

    run = recorded(async_line("a"))

    assert divergence_in(run.run_pass(function=changed)).found == "nothing there"


def test_other_kind_under_a_recorded_name_has_diverged() -> None:
    async def changed(ctx: Ctx) -> None:
        await ctx.sleep("a", 1)

    run = recorded(async_line("a"))

    assert divergence_in(run.run_pass(function=changed)).found == 'sleep "a"'


def test_raising_before_what_is_recorded_has_diverged_because_of_the_error() -> None:
    async def changed(_: Ctx) -> None:
        fail("away")

    run = recorded(async_line("a"))

    assert str(divergence_in(run.run_pass(function=changed)).__cause__) == "away"


def test_user_code_does_not_catch_a_divergence() -> None:
    seen: list[str] = []

    async def changed(ctx: Ctx) -> None:
        try:
            await ctx.sleep("a", 1)
        except Exception as error:
            seen.append(str(error))
        await ctx.run("b", one)

    run = recorded(async_line("a"))

    assert divergence_in(run.run_pass(function=changed)).found == 'sleep "a"'
    assert (seen, run.called) == ([], ["a"])


def test_record_that_cannot_be_read_back_is_a_verdict_that_user_code_does_not_see() -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.run("a", one)
        except Exception:
            await ctx.run("b", one)

    run = recorded(async_line("a"))
    run.stored["a"] = run.stored["a"]._replace(result_text='{"$":"Money","v":3}')

    assert isinstance(error_of(run.run_pass(function=workflow)), UndecodableValueError)
    assert run.called == ["a"]


def test_recorded_arguments_win_with_a_warning_at_the_line_of_the_verb() -> None:
    async def rest(ctx: Ctx) -> None:
        await ctx.sleep("rest", "1h")

    async def longer(ctx: Ctx) -> None:
        await ctx.sleep("rest", "2h")

    run = recorded(rest)

    with pytest.warns(ArgumentDrift) as caught:
        outcome = run.run_pass(function=longer)

    assert outcome == Completed(None)
    assert caught[0].filename == __file__


def test_handler_has_a_branch_and_a_journal_of_its_own() -> None:
    run = recorded(gathered("a", "b"))
    run.prefix = "failure.1/"

    assert run.run_pass(function=async_line("ax")) == Completed([1, 1])
    assert run.order[2:] == ["failure.1/a", "failure.1/x"]
    run.prefix = ""
    assert run.run_pass() == Completed([[1], [1]])


async def patched(ctx: Ctx) -> Any:
    async def branch(name: str) -> Any:
        await ctx.run(name, one)
        return await ctx.run("new", str, "new") if ctx.patched("new") else "old"

    results = await asyncio.gather(branch("a"), branch("b"))
    await ctx.run("after", one)
    return results


async def unpatched(ctx: Ctx) -> None:
    await gathered("a", "b")(ctx)
    await ctx.run("after", one)


def test_branches_under_way_take_the_new_code() -> None:
    run = waiting(unpatched)
    run.deliver("t1/a")
    run.function = patched

    assert run.drive() == Completed(["new", "new"])
    assert {"t1/patch:new", "t2/patch:new"} <= set(run.order)


def test_branches_that_were_left_keep_to_the_old_code() -> None:
    run = recorded(unpatched)

    assert run.run_pass(function=patched) == Completed(["old", "old"])


# A step that the workflow itself gives up.


async def doomed(ctx: Ctx) -> Any:
    """Fail in one branch of a task group while the other waits, and go on."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run("a", fail))
            group.create_task(ctx.run("b", one))
    except* StepError:
        pass
    return await ctx.run("after", one)


def test_run_goes_on_without_the_step_it_has_given_up() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")

    assert run.turn() == Completed(1)
    assert run.order == ["t1/a", "after"]
    assert run.run_pass() == Completed(1)


def test_late_record_of_a_step_that_was_given_up_changes_nothing() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")
    run.deliver("t2/b", until=0)

    assert run.turn() == Completed(1)
    assert run.order == ["t1/a", "t2/b", "after"]
    assert run.run_pass() == Completed(1)


def test_step_that_was_recorded_in_time_is_not_given_up() -> None:
    run = waiting(doomed)
    run.deliver("t2/b")
    run.deliver("t1/a")

    assert run.turn() == Completed(1)
    assert run.order == ["t2/b", "t1/a", "after"]


def test_gather_leaves_the_others_running_when_one_fails() -> None:
    async def workflow(ctx: Ctx) -> Any:
        other = asyncio.ensure_future(async_line("bc")(ctx))
        try:
            await asyncio.gather(ctx.run("a", fail), other)
        except StepError:
            await ctx.run("undo", one)
        return await other

    run = waiting(workflow)
    run.deliver("t2/a")

    assert open_in(run.turn()) == ["t1/b", "undo"]
    assert run.drive() == Completed([1, 1])
    assert run.run_pass() == Completed([1, 1])


def tidy(names: str) -> Callable[[Ctx], Any]:
    async def workflow(ctx: Ctx) -> None:
        try:
            await async_line(names)(ctx)
        finally:
            await ctx.run("tidy up", one)

    return workflow


@pytest.mark.parametrize("seed", range(4))
def test_cancelled_sibling_may_tidy_up_in_a_step(seed: int) -> None:
    async def workflow(ctx: Ctx) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.run("a", fail))
                group.create_task(tidy("bcd")(ctx))
        except* StepError:
            await ctx.run("after", one)
        return "done"

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive(Random(seed)) == Completed("done")
    assert run.calls["t2/tidy up"] == 1
    assert run.run_pass() == Completed("done")


def test_step_given_up_by_a_timeout_lets_the_branch_go_on() -> None:
    async def workflow(ctx: Ctx) -> Any:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await ctx.run("slow", one)
        return await async_line("ab")(ctx)

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive() == Completed([1, 1])
    assert run.order == ["a", "b"]
    assert run.run_pass() == Completed([1, 1])


def test_step_delivery_whose_step_the_workflow_has_given_up_executes_nothing() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")

    outcome = run.deliver("t2/b")

    assert isinstance(outcome, Suspended)
    assert run.called == ["t1/a"]
