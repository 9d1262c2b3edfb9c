"""Branches of async workflows as they are given, and the tasks that are made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from inspect import iscoroutine
from types import coroutine
from typing import Any, NoReturn


async def as_coroutine(given: Callable[[], Awaitable[Any]] | Awaitable[Any]) -> Any:
    """Await a branch, or what a function gives for one."""
    result = given() if callable(given) else given
    return await result if isinstance(result, Awaitable) else result


def close_coroutines(branches: Iterable[Any]) -> None:
    """Close the coroutines among them: nobody will await them, and Python would say so."""
    for given in filter(iscoroutine, branches):
        given.close()


async def first_to_end(tasks: list[asyncio.Task[Any]], decided: int | None) -> int:
    """Return which task ends first, or wait for the one that is known to have done so.

    Cancelled meanwhile, it cancels the tasks and awaits them, as ``gather`` does.
    """
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ended(task: asyncio.Task[Any]) -> None:
        if not first.done():
            first.set_result(tasks.index(task))

    for task in tasks if decided is None else [tasks[decided]]:
        task.add_done_callback(ended)
    try:
        return await first
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def raised_by(task: asyncio.Task[Any], error: BaseException) -> bool:
    """Tell whether a task has ended by this error."""
    return task.done() and not task.cancelled() and task.exception() is error


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an error is a cancellation, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_cancellation(part) for part in error.exceptions)
    return isinstance(error, asyncio.CancelledError)


@coroutine
def yielded() -> Generator[None, None, None]:
    """Give the loop one turn."""
    # What yields while it is closed is left by Python then and there.
    yield


async def wait_for_the_end() -> NoReturn:
    """Wait where there can be no answer any more; the pass's end cancels the task."""
    while True:
        await asyncio.get_running_loop().create_future()
