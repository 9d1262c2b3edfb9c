from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from django_workflow.core.exceptions import (
    StepError,
)
from django_workflow.core.replay import Cancelled, Completed, Suspended
from tests.core.fakes import MemoryRun
from tests.core.outcomes import (
    Ctx,
    async_line,
    fail,
    one,
    open_in,
    recorded,
    swallowed_in,
    waiting,
)


def tidy(names: str) -> Callable[[Ctx], Any]:
    async def workflow(ctx: Ctx) -> None:
        try:
            await async_line(names)(ctx)
        finally:
            await ctx.run("tidy up", one)

    return workflow


# Interrupts.


def test_verb_in_finally_is_left_while_the_pass_ends() -> None:
    begun: list[str] = []

    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            begun.append("finally")
            await ctx.run("release", one)
            begun.append("released")

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert begun == ["finally"]
    run.end_wait("rest")
    assert run.turn() == Completed(None)
    assert run.order == ["rest", "release"]


async def releasing(ctx: Ctx) -> None:
    await ctx.run("release", one)


async def releasing_side_by_side(ctx: Ctx) -> None:
    await ctx.parallel(ctx.run("release", one), ctx.run("tell", one))


async def releasing_in_tasks(ctx: Ctx) -> None:
    await asyncio.gather(ctx.run("release", one), releasing(ctx))


async def releasing_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(releasing(ctx))


async def releasing_in_time(ctx: Ctx) -> None:
    await asyncio.wait_for(ctx.run("release", one), 0.5)


async def asking_for_a_patch(ctx: Ctx) -> None:
    ctx.patched("new")


async def cancelling(ctx: Ctx) -> None:
    await ctx.cancel()


VERBS = [
    releasing,
    releasing_side_by_side,
    releasing_in_tasks,
    releasing_in_a_group,
    releasing_in_time,
    asking_for_a_patch,
    cancelling,
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_left_while_the_pass_ends(verb: Callable[[Ctx], Any]) -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            await verb(ctx)

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert run.called == []
    assert run.replay is not None
    assert run.replay.markers == []


def test_async_with_block_may_ask_at_its_end() -> None:
    @asynccontextmanager
    async def locked(ctx: Ctx) -> AsyncIterator[None]:
        await ctx.run("lock", one)
        try:
            yield
        finally:
            await ctx.run("unlock", one)

    async def workflow(ctx: Ctx) -> None:
        async with locked(ctx):
            await ctx.sleep("rest", 1)

    run = recorded(workflow)

    assert run.order == ["lock", "rest", "unlock"]


async def numbers(ctx: Ctx) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await ctx.run("put back", one)


def test_generator_that_is_closed_as_the_pass_ends_may_ask_at_its_end() -> None:
    async def workflow(ctx: Ctx) -> None:
        async with aclosing(numbers(ctx)) as given:  # type: ignore[type-var]
            async for number in given:
                await ctx.sleep(f"rest {number}", 1)

    run = recorded(workflow)

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_generator_that_is_dropped_as_the_pass_ends_may_ask_at_its_end() -> None:
    async def workflow(ctx: Ctx) -> None:
        async for number in numbers(ctx):
            await ctx.sleep(f"rest {number}", 1)

    run = recorded(workflow)

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_generator_that_is_still_held_is_closed_with_the_pass() -> None:
    closed: list[int] = []

    async def counting() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(1)

    async def workflow(ctx: Ctx) -> None:
        ctx.kept = counting()
        await anext(ctx.kept)
        await ctx.sleep("rest", 1)

    run = MemoryRun(workflow)
    assert isinstance(run.turn(), Suspended)

    assert closed == [1]


async def swallowing_then_asking(ctx: Ctx) -> Any:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    return await ctx.run("b", one)


async def swallowing_then_returning(ctx: Ctx) -> str:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    return "done"


async def swallowing_then_raising(ctx: Ctx) -> None:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    fail()


async def swallowing_what_tasks_raise(ctx: Ctx) -> str:
    with suppress(BaseException):
        await asyncio.gather(ctx.sleep("rest", 1))
    return "done"


async def swallowing_around_a_group(ctx: Ctx) -> str:
    with suppress(BaseException):
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep("rest", 1))
    return "done"


async def swallowing_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(swallowing_then_asking(ctx))


async def swallowing_and_raising_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(swallowing_then_raising(ctx))


async def swallowing_in_a_branch(ctx: Ctx) -> None:
    await ctx.parallel(swallowing_then_asking(ctx))


async def swallowing_for_ever(ctx: Ctx) -> None:
    while True:
        with suppress(BaseException):
            await ctx.sleep("rest", 1)


@pytest.mark.parametrize(
    "workflow",
    [
        swallowing_then_asking,
        swallowing_then_returning,
        swallowing_then_raising,
        swallowing_what_tasks_raise,
        swallowing_around_a_group,
        swallowing_in_a_group,
        swallowing_and_raising_in_a_group,
        swallowing_in_a_branch,
    ],
)
def test_swallowed_interrupt_is_refused(workflow: Callable[[Ctx], Any]) -> None:
    run = MemoryRun(workflow)

    error = swallowed_in(run.turn())

    assert error.step == "rest"
    assert "`except Exception:`" in str(error)
    assert run.stored == {}


# Python itself complains of a coroutine that cannot be closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_function_that_swallows_whatever_it_is_sent_hangs_nothing() -> None:
    error = swallowed_in(MemoryRun(swallowing_for_ever).turn())
    gc.collect()

    assert error.step == "rest"


def test_gather_that_returns_exceptions_swallows_nothing() -> None:
    async def workflow(ctx: Ctx) -> Any:
        results = await asyncio.gather(
            ctx.run("a", fail), ctx.run("b", one), return_exceptions=True
        )
        return [type(result) for result in results]

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["t1/a", "t2/b"]
    assert run.drive() == Completed([StepError, int])


def test_group_of_cancellations_is_a_cancellation() -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        except asyncio.CancelledError as error:
            raise BaseExceptionGroup("as some libraries do", [error]) from None

    assert open_in(MemoryRun(workflow).turn()) == ["rest"]


def test_task_that_ends_when_it_is_cancelled_swallows_nothing() -> None:
    async def workflow(ctx: Ctx) -> Any:
        queue: asyncio.Queue[str] = asyncio.Queue()

        async def consumer() -> None:
            with suppress(asyncio.CancelledError):
                while True:
                    await ctx.run(await queue.get(), one)
                    queue.task_done()

        task = asyncio.create_task(consumer())
        for name in "ab":
            await queue.put(name)
        await queue.join()
        task.cancel()
        await task
        return await ctx.run("after", str, "done")

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive() == Completed("done")
    assert run.order == ["t1/a", "t1/b", "after"]


def test_awaiting_a_task_that_was_cancelled_swallows_nothing() -> None:
    async def resting(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            await ctx.sleep("tidy up", 1)

    async def workflow(ctx: Ctx) -> Any:
        task = asyncio.create_task(resting(ctx))
        await ctx.run("begin", one)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await ctx.run("after", one)

    run = waiting(workflow)
    run.deliver("begin")

    assert open_in(run.turn()) == ["t1/tidy up"]
    assert run.drive() == Completed(1)
    assert run.order == ["begin", "t1/tidy up", "after"]
    assert run.run_pass() == Completed(1)


# Background tasks.


def test_tasks_that_nobody_awaits_end_with_the_pass() -> None:
    ended: list[str] = []

    async def background(ctx: Ctx) -> None:
        try:
            await async_line("xyz")(ctx)
        finally:
            ended.append("background")

    async def workflow(ctx: Ctx) -> tuple[Any, Any]:
        task = asyncio.create_task(background(ctx))
        return await ctx.run("a", one), task.done()

    run = waiting(workflow)
    run.deliver("a")

    assert run.turn() == Completed((1, False))
    assert ended == ["background", "background", "background"]
    assert run.called == ["a"]


def test_error_of_a_task_that_nobody_awaits_makes_no_noise(caplog: Any) -> None:
    async def background() -> None:
        fail()

    async def workflow(ctx: Ctx) -> Any:
        task = asyncio.create_task(background())
        await ctx.run("a", one)
        return task.done()

    assert MemoryRun(workflow).turn() == Completed(True)
    assert caplog.records == []


def test_task_that_has_not_begun_when_the_function_returns_makes_no_noise() -> None:
    async def workflow(ctx: Ctx) -> int:
        ctx.task = asyncio.create_task(async_line("a")(ctx))
        return 1

    run = MemoryRun(workflow)

    assert run.turn() == Completed(1)
    assert run.stored == {}


def test_branch_that_has_not_begun_when_the_pass_ends_makes_no_noise() -> None:
    async def workflow(ctx: Ctx) -> int:
        ctx.task = asyncio.create_task(ctx.parallel(ctx.run("a", one)))
        return 1

    run = MemoryRun(workflow)

    assert run.turn() == Completed(1)
    assert run.stored == {}
    gc.collect()


def test_tasks_of_a_pass_have_all_ended_after_it() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def shielded(task: asyncio.Task[Any]) -> None:
        await asyncio.shield(task)

    async def workflow(ctx: Ctx) -> None:
        tasks.extend(asyncio.create_task(ctx.sleep(name, 1)) for name in "abc")
        tasks.append(asyncio.create_task(shielded(tasks[0])))
        await asyncio.wait(tasks)

    MemoryRun(workflow).turn()

    assert [task.done() for task in tasks] == [True] * 4


def test_task_that_refuses_to_end_is_refused_and_makes_no_noise() -> None:
    async def workflow(_: Ctx) -> None:
        event = asyncio.Event()
        while True:
            with suppress(asyncio.CancelledError):
                await event.wait()

    async def beside(ctx: Ctx) -> None:
        ctx.task = asyncio.create_task(workflow(ctx))
        await ctx.sleep("rest", 1)

    assert "then did not end" in str(swallowed_in(MemoryRun(beside).turn()))


# Cancel.


async def cancel_in_root(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await ctx.cancel()


async def cancel_in_branch(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await ctx.parallel(ctx.sleep("rest", 1), ctx.cancel())


async def cancel_in_task(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await asyncio.gather(ctx.sleep("rest", 1), ctx.cancel(), return_exceptions=True)


async def cancel_in_group(ctx: Ctx) -> None:
    await ctx.run("a", one)
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sleep("rest", 1))
        group.create_task(ctx.cancel())


async def cancel_in_background(ctx: Ctx) -> None:
    task = asyncio.create_task(ctx.cancel())
    await ctx.run("a", one)
    await ctx.run(f"after {task}", one)


async def cancel_with_finally(ctx: Ctx) -> None:
    await ctx.run("a", one)
    try:
        await ctx.cancel()
    finally:
        await ctx.run("release", one)


@pytest.mark.parametrize(
    "workflow",
    [cancel_in_root, cancel_in_branch, cancel_in_task, cancel_in_group, cancel_with_finally],
)
def test_cancel_ends_the_run_from_wherever_it_is_called(workflow: Callable[[Ctx], Any]) -> None:
    run = MemoryRun(workflow)

    assert run.turn() == Cancelled()
    assert run.order == ["a"]


def test_cancel_in_the_background_ends_the_pass_at_once() -> None:
    run = MemoryRun(cancel_in_background)

    assert run.turn() == Cancelled()
    assert run.order == []
