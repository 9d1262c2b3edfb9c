from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import Any, NoReturn

import pytest

from django_workflow.core.exceptions import (
    InvalidOptionError,
    StepError,
)
from django_workflow.core.replay import Completed, Suspended
from tests.core.fakes import STARTED_AT, Crash, MemoryRun
from tests.core.outcomes import (
    Ctx,
    async_line,
    error_of,
    fail,
    gathered,
    leave,
    one,
    open_in,
    recorded,
    waiting,
)

# Identity.


def test_tasks_are_branches_numbered_by_their_parent() -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("a", one)
        await asyncio.gather(ctx.run("a", one), gathered("a", "a")(ctx))
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run("a", one))
        await ctx.run("a", one)

    run = recorded(workflow)

    assert run.keys == {"a", "t1/a", "t2/t1/a", "t2/t2/a", "t3/a", "a#2"}


def test_parallel_has_the_paths_it_has_in_sync_code() -> None:
    async def workflow(ctx: Ctx) -> Any:
        inner = ctx.parallel(lambda: ctx.run("a", one), ctx.run("a", one))
        return await ctx.parallel(ctx.run("a", one), inner)

    run = MemoryRun(workflow)

    assert run.drive() == Completed((1, (1, 1)))
    assert run.keys == {"p1.0/a", "p1.1/p1.0/a", "p1.1/p1.1/a"}


def test_branches_progress_independently() -> None:
    run = waiting(gathered("abc", "xyz"))

    run.deliver("t1/a")
    run.turn()
    run.deliver("t1/b")

    assert open_in(run.turn()) == ["t2/x", "t1/c"]


def test_task_made_by_a_callback_does_not_change_the_numbers_of_others() -> None:
    async def workflow(ctx: Ctx) -> Any:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(loop.create_task(ctx.run("stray", one))))
        await asyncio.create_task(ctx.run("a", one))
        return await (await done)

    run = MemoryRun(workflow)

    assert run.drive() == Completed(1)
    assert run.keys == {"x1/stray", "t1/a"}


# A pass.


def test_single_open_step_is_executed_on_the_stack_with_the_loop_stopped() -> None:
    def body() -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return True

    async def workflow(ctx: Ctx) -> list[Any]:
        return [await ctx.run("a", body), await ctx.run("b", body)]

    run = MemoryRun(workflow)

    assert run.turn() == Completed([True, True])
    assert run.passes == 1


def test_turn_finds_all_open_steps_and_executes_none() -> None:
    run = MemoryRun(gathered("a", "b", "c"))

    assert open_in(run.turn()) == ["t1/a", "t2/b", "t3/c"]
    assert run.called == []


def test_recorded_step_is_not_executed() -> None:
    run = recorded(async_line("ab"))

    assert run.run_pass() == Completed([1, 1])
    assert run.called == ["a", "b"]


def test_step_error_is_the_same_at_first_and_at_replay() -> None:
    async def workflow(ctx: Ctx) -> str:
        try:
            await ctx.run("a", fail, "out of stock")
        except StepError as error:
            return str(error)
        return ""

    run = MemoryRun(workflow, retries=1)

    assert run.drive() == run.run_pass()
    assert run.run_pass() == Completed(
        'Step "a" gave up after 2 attempts: ValueError: out of stock'
    )


def test_error_of_the_function_is_the_outcome() -> None:
    async def workflow(_: Ctx) -> None:
        fail("no")

    assert str(error_of(MemoryRun(workflow).turn())) == "no"


@pytest.mark.parametrize("how", ["root", "gather", "group", "parallel"])
def test_system_exit_of_user_code_is_its_outcome(how: str) -> None:
    async def leaving() -> None:
        leave()

    async def workflow(ctx: Ctx) -> None:
        match how:
            case "root":
                leave()
            case "gather":
                await asyncio.gather(leaving())
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(leaving())
            case "parallel":
                await ctx.parallel(leaving)

    assert isinstance(error_of(MemoryRun(workflow).turn()), SystemExit)


def test_exit_that_is_no_task_s_outcome_goes_through() -> None:
    async def workflow(_: Ctx) -> None:
        asyncio.get_running_loop().call_soon(leave)
        await asyncio.sleep(0.1)

    with pytest.raises(SystemExit):
        MemoryRun(workflow).turn()


def test_keyboard_interrupt_goes_through() -> None:
    async def workflow(ctx: Ctx) -> None:
        waiting = asyncio.create_task(ctx.run("a", one))
        await asyncio.sleep(0)
        assert not waiting.done()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MemoryRun(workflow).turn()


def test_workflow_that_cancels_itself_has_raised() -> None:
    async def workflow(_: Ctx) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert isinstance(error_of(MemoryRun(workflow).turn()), asyncio.CancelledError)


def test_foreign_exception_that_leaves_the_stack_goes_through() -> None:
    class Custom(BaseException):
        pass

    async def workflow(_: Ctx) -> NoReturn:
        raise Custom

    with pytest.raises(Custom):
        MemoryRun(workflow).turn()


def test_trouble_of_the_host_leaves_the_pass_past_user_code() -> None:
    class Broken(MemoryRun):
        def execute(self, *_: Any) -> Any:
            raise ConnectionError("away")

    async def workflow(ctx: Ctx) -> str:
        try:
            await ctx.run("a", one)
        except Exception:
            await ctx.run("b", one)
        return "went on"

    with pytest.raises(ConnectionError, match="away"):
        Broken(workflow).turn()


def test_crash_between_body_and_record_repeats_the_body() -> None:
    run = MemoryRun(async_line("ab"), crashes=[2])

    with pytest.raises(Crash):
        run.turn()

    assert run.drive() == Completed([1, 1])
    assert run.called == ["a", "b", "b"]


# It replays as it went.


async def racing(ctx: Ctx) -> list[str]:
    """Let three lines run, and note in which order their steps came back."""
    seen: list[str] = []

    async def runner(name: str) -> None:
        for lap in range(3):
            await ctx.run(f"{name}{lap}", one)
            seen.append(f"{name}{lap}")

    await asyncio.gather(runner("a"), runner("b"), runner("c"))
    await ctx.run(f"{seen[0]} was first", one)
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_what_depended_on_who_was_first_goes_the_same_way_again(seed: int) -> None:
    run = MemoryRun(racing)

    live = run.drive(Random(seed))
    replayed = run.run_pass()

    names = [run.stored[key].name for key in run.order]
    assert live == replayed == Completed(names[:-1])
    assert names[-1] == f"{names[0]} was first"


def test_several_new_records_are_handed_out_as_they_were_recorded() -> None:
    run = waiting(racing)

    for key in ("t3/c0", "t1/a0", "t2/b0"):
        run.deliver(key)
    run.turn()
    for key in ("t2/b1", "t3/c1", "t1/a1"):
        run.deliver(key)
    outcome = run.drive()

    assert isinstance(outcome, Completed)
    assert outcome.value[:6] == ["c0", "a0", "b0", "b1", "c1", "a1"]


def test_first_of_several_is_found_again() -> None:
    async def workflow(ctx: Ctx) -> tuple[str, Any]:
        tasks = [asyncio.create_task(ctx.run(name, str, name)) for name in "abc"]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        (first,) = done
        return first.result(), await ctx.run("after", one)

    run = waiting(workflow)
    run.deliver("t2/b")

    assert run.drive() == Completed(("b", 1))
    run.deliver("t1/a", until=0)
    assert run.order == ["t2/b", "after", "t1/a"]
    assert run.run_pass() == Completed(("b", 1))


def test_queues_and_locks_replay_too() -> None:
    async def workflow(ctx: Ctx) -> list[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        eaten: list[str] = []
        lock = asyncio.Lock()

        async def feed(name: str) -> None:
            await ctx.run(name, one)
            await queue.put(name)

        async def eat() -> None:
            for _ in range(2):
                name = await queue.get()
                async with lock:
                    await ctx.run(f"eat {name}", one)
                    eaten.append(name)

        await asyncio.gather(*map(feed, "abcd"), eat(), eat())
        return eaten

    runs = [MemoryRun(workflow) for _ in range(6)]

    outcomes = [run.drive(Random(seed)) for seed, run in enumerate(runs)]

    assert [run.run_pass() for run in runs] == outcomes
    assert len({str(outcome) for outcome in outcomes}) > 1


def test_now_is_when_the_run_was_last_handed_something() -> None:
    async def workflow(ctx: Ctx) -> list[Any]:
        before = await ctx.now()
        moments = await asyncio.gather(*(at(ctx, name) for name in "ab"))
        return [before, *moments, await ctx.now()]

    async def at(ctx: Ctx, name: str) -> Any:
        await ctx.run(name, one)
        return await ctx.now()

    run = waiting(workflow)
    run.deliver("t2/b")
    run.deliver("t1/a")

    outcome = run.turn()

    assert outcome == Completed([STARTED_AT + timedelta(seconds=s) for s in (0, 2, 1, 2)])
    assert run.run_pass() == outcome


def test_values_are_the_same_at_replay_and_differ_by_place() -> None:
    async def draw(ctx: Ctx) -> list[Any]:
        return [await ctx.uuid(), await ctx.uuid(), await ctx.random()]

    async def workflow(ctx: Ctx) -> list[Any]:
        parts = await asyncio.gather(draw(ctx), draw(ctx))
        await ctx.run("a", one)
        return [*await draw(ctx), *parts[0], *parts[1]]

    run = MemoryRun(workflow)

    outcome = run.drive()

    assert isinstance(outcome, Completed)
    assert len(set(outcome.value)) == 9
    assert run.run_pass() == outcome


# Parallel.


async def failing_branches(ctx: Ctx, *, return_errors: bool = False) -> Any:
    return await ctx.parallel(
        ctx.run("a", fail, "first"),
        ctx.run("b", one),
        ctx.run("c", fail, "third"),
        return_errors=return_errors,
    )


@pytest.mark.parametrize(
    ("keys", "first", "other"),
    [
        (["p1.0/a", "p1.1/b", "p1.2/c"], "first", "third"),
        (["p1.2/c", "p1.1/b", "p1.0/a"], "third", "first"),
    ],
)
def test_parallel_raises_the_error_that_was_recorded_first_when_all_have_ended(
    keys: list[str], first: str, other: str
) -> None:
    run = waiting(failing_branches)

    run.deliver(keys[0])
    assert isinstance(run.turn(), Suspended)
    run.deliver(keys[1])
    run.deliver(keys[2])
    error = error_of(run.turn())

    assert isinstance(error, StepError)
    assert error.failure.message == first
    assert [one.failure.message for one in error.others] == [other]  # type: ignore[attr-defined]


def test_parallel_returns_errors_in_place_where_asked() -> None:
    async def workflow(ctx: Ctx) -> list[type]:
        return list(map(type, await failing_branches(ctx, return_errors=True)))

    assert MemoryRun(workflow).drive() == Completed([StepError, int, StepError])


def test_parallel_of_nothing_is_empty() -> None:
    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel()

    assert MemoryRun(workflow).turn() == Completed(())


def test_refused_parallel_leaves_no_coroutine_behind() -> None:
    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel(ctx.run("a", one), 3)

    assert isinstance(error_of(MemoryRun(workflow).turn()), InvalidOptionError)


def test_branch_that_cancels_itself_cancels_the_parallel() -> None:
    async def branch() -> None:
        raise asyncio.CancelledError

    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel(branch)

    assert isinstance(error_of(MemoryRun(workflow).turn()), asyncio.CancelledError)


# Step deliveries.


def test_step_delivery_executes_its_step_and_goes_no_further() -> None:
    run = waiting(gathered("ax", "by", "cz"))

    outcome = run.deliver("t2/b")

    assert isinstance(outcome, Suspended)
    assert run.called == ["t2/b"]
    assert run.waiting == ["t1/a", "t3/c"]


def test_step_delivery_gives_no_verdict_on_what_it_waits_for() -> None:
    async def changed(_: Ctx) -> None:
        await asyncio.Event().wait()

    run = waiting(gathered("a", "b"))

    assert run.run_pass(target="t1/a", function=changed) == Suspended(())
