from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_workflow.core import idle_loop
from django_workflow.core.exceptions import (
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    StepError,
)
from django_workflow.core.replay import Completed, Diverged, Raised
from tests.core.fakes import MemoryRun
from tests.core.outcomes import (
    Ctx,
    async_line,
    divergence_in,
    error_of,
    one,
    open_in,
    recorded,
)


async def releasing(ctx: Ctx) -> None:
    await ctx.run("release", one)


async def releasing_side_by_side(ctx: Ctx) -> None:
    await ctx.parallel(ctx.run("release", one), ctx.run("tell", one))


async def cancelling(ctx: Ctx) -> None:
    await ctx.cancel()


# What may be awaited between steps.


def read() -> str:
    return threading.current_thread().name


@pytest.mark.parametrize(
    "reading",
    [
        lambda: asyncio.to_thread(read),
        lambda: asyncio.get_running_loop().run_in_executor(None, read),
        lambda: sync_to_async(read, thread_sensitive=True)(),
        lambda: sync_to_async(read, thread_sensitive=False)(),
    ],
    ids=["to_thread", "run_in_executor", "sync_to_async", "insensitive"],
)
def test_code_between_steps_may_read_in_a_thread(reading: Callable[[], Any]) -> None:
    async def branch(ctx: Ctx, name: str) -> bool:
        names = [await reading()]
        await ctx.run(name, one)
        names.append(await reading())
        return threading.current_thread().name not in names

    async def workflow(ctx: Ctx) -> Any:
        return await asyncio.gather(branch(ctx, "a"), branch(ctx, "b"))

    run = MemoryRun(workflow)

    assert open_in(run.turn()) in (["t1/a", "t2/b"], ["t2/b", "t1/a"])
    assert run.drive() == Completed([True, True])
    assert run.run_pass() == Completed([True, True])


def test_nothing_is_handed_out_while_a_thread_is_at_work() -> None:
    release = threading.Event()
    seen: list[str] = []

    async def reader() -> None:
        await asyncio.to_thread(release.wait, 5)
        seen.append("read")

    async def workflow(ctx: Ctx) -> None:
        task = asyncio.create_task(reader())
        threading.Timer(0.02, release.set).start()
        await ctx.run("a", one)
        seen.append("a")
        await task

    run = MemoryRun(workflow)
    run.turn()
    release.clear()
    run.run_pass()

    assert seen == ["read", "a", "read", "a"]


def test_socket_is_waited_for() -> None:
    async def workflow(ctx: Ctx) -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await ctx.run("a", one)
        return data

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    assert MemoryRun(workflow).turn() == Completed(b"hello")


def test_socket_that_stays_open_is_an_error_of_the_workflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle_loop, "LONGEST_WAIT_SECONDS", 0.05)

    async def workflow(ctx: Ctx) -> None:
        ctx.server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        try:
            await ctx.run("a", one)
        finally:
            ctx.server.close()

    run = MemoryRun(workflow)
    outcome = run.turn()

    assert isinstance(outcome, Raised)
    assert isinstance(outcome.error, TimeoutError)
    assert "close connections before you ask for a step" in str(outcome.error)
    assert run.called == []


def test_socket_that_is_never_closed_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_loop, "LONGEST_WAIT_SECONDS", 0.05)
    here, there = socket.socketpair()

    async def workflow(ctx: Ctx) -> None:
        asyncio.get_running_loop().add_reader(here, one)
        with suppress(asyncio.CancelledError):
            await ctx.run("a", one)
        await asyncio.Event().wait()

    with here, there:
        outcome = MemoryRun(workflow).turn()

    assert isinstance(error_of(outcome), TimeoutError)


@pytest.mark.parametrize(
    "waiting_for",
    [
        lambda: asyncio.sleep(5),
        lambda: asyncio.timeout(5).__aenter__(),
        lambda: asyncio.wait_for(asyncio.get_running_loop().create_future(), 5),
    ],
    ids=["sleep", "timeout", "wait_for"],
)
def test_long_timer_is_refused_and_the_step_named_that_does_it(
    waiting_for: Callable[[], Any],
) -> None:
    async def workflow(_: Ctx) -> None:
        await waiting_for()

    error = error_of(MemoryRun(workflow).turn())

    assert isinstance(error, InvalidOptionError)
    assert "A timer of 5 s" in str(error)
    assert "ctx.sleep" in str(error)


def test_short_timers_are_waited_for() -> None:
    async def workflow(ctx: Ctx) -> Any:
        await asyncio.sleep(0.01)
        async with asyncio.timeout(0.5):
            await asyncio.sleep(0)
        return await async_line("ab")(ctx)

    assert MemoryRun(workflow).turn() == Completed([1, 1])


def test_waiting_for_what_no_step_will_end_is_an_error() -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("a", one)
        await asyncio.Event().wait()

    outcome = MemoryRun(workflow).turn()

    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, MisplacedStepError)
    assert "waits for something that no step will end (run run-1)" in str(outcome.error)


# Where verbs may stand.


async def patch(ctx: Ctx) -> None:
    ctx.patched("inner")


MISPLACED = [
    releasing,
    releasing_side_by_side,
    patch,
    lambda ctx: ctx.uuid(),
    lambda ctx: ctx.random(),
    cancelling,
]


@pytest.mark.parametrize("verb", MISPLACED)
def test_steps_do_not_nest(verb: Callable[[Ctx], Any]) -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("outer", lambda: asyncio.run(verb(ctx)))

    error = error_of(MemoryRun(workflow).turn())

    assert isinstance(error, StepError)
    assert error.failure.error_class == "django_workflow.core.exceptions.MisplacedStepError"


@pytest.mark.parametrize("verb", MISPLACED)
def test_verb_is_refused_when_its_pass_has_ended(verb: Callable[[Ctx], Any]) -> None:
    kept: list[Any] = []

    async def workflow(ctx: Ctx) -> None:
        kept.append(ctx)

    MemoryRun(workflow).turn()

    with pytest.raises(MisplacedStepError, match="outside the pass"):
        asyncio.run(verb(kept[0]))


def test_verb_is_refused_in_another_thread() -> None:
    async def workflow(ctx: Ctx) -> None:
        await asyncio.to_thread(asyncio.run, releasing(ctx))

    assert isinstance(error_of(MemoryRun(workflow).turn()), MisplacedStepError)


def test_verb_is_refused_without_a_loop() -> None:
    async def workflow(ctx: Ctx) -> None:
        await asyncio.to_thread(ctx.patched, "new")

    assert isinstance(error_of(MemoryRun(workflow).turn()), MisplacedStepError)


def test_pass_may_be_made_inside_a_body() -> None:
    inner = MemoryRun(async_line("a"))

    async def workflow(ctx: Ctx) -> Any:
        return await ctx.run("outer", lambda: str(inner.turn()))

    assert MemoryRun(workflow).turn() == Completed("Completed(value=[1])")


@pytest.mark.parametrize("name", ["", None, "x" * 201])
def test_name_is_checked(name: Any) -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run(name, one)

    assert isinstance(error_of(MemoryRun(workflow).turn()), InvalidOptionError)


def test_divergence_is_a_non_determinism_error() -> None:
    assert isinstance(
        divergence_in(recorded(async_line("a")).run_pass(function=async_line(""))),
        NonDeterminismError,
    )
