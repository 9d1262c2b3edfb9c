"""Step bodies: called with what they may know of themselves, async ones on the process's long-lived loop."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from datetime import timedelta
from threading import Lock, Thread
from typing import Any
from uuid import UUID, uuid5

from django.db import connections

from django_workflow.conf import settings
from django_workflow.core import faults
from django_workflow.core.context import CurrentStep, executing
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.steps import RunStep
from django_workflow.store.rows import Claim

NAMESPACE = UUID("b7a0b4c6-4f27-5c39-8a53-0d5f0b1f8d24")


def idempotency_key(run_id: str, generation: int, handler_round: int, step_key: str) -> str:
    """Return the key that stays over attempts, deaths and resumes, and changes with a restart."""
    return str(uuid5(NAMESPACE, f"{run_id}\n{generation}\n{handler_round}\n{step_key}"))


def trigger_seed(claim: Claim, place: str) -> str:
    """Return what the ids of the runs follow from that a body triggers at this place of a run's journal."""
    # With the run's age: after a run is deleted its id may be used again, and what it triggered is kept.
    run = claim.run
    generation = f"\n{run.generation}" if run.generation else ""
    return f"{run.id}\n{run.created_at.isoformat()}\n{place}{generation}"


class _BodyLoop:
    """The one event loop of the process on which async step bodies run, in a thread of its own."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(
        self,
        value: Awaitable[Any],
        timeout: timedelta | None,
        attend: Callable[[Future[Any]], Any] = Future.result,
    ) -> Any:
        """Await the value on the loop, in the caller's context, and return what it gave; ``attend`` waits for it."""
        coroutine = _in_context(value, timeout, copy_context())
        return attend(asyncio.run_coroutine_threadsafe(coroutine, self.get()))

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(
                    target=self._loop.run_forever, name="django_workflow-bodies", daemon=True
                ).start()
            return self._loop


body_loop = _BodyLoop()


class BodyTimeoutError(TimeoutError):
    """An async body was cancelled at its deadline."""


async def awaited(value: Awaitable[Any], timeout: timedelta | None) -> Any:
    """Await the value; it is cancelled at the timeout.

    Raises:
        BodyTimeoutError: the timeout was over.
    """
    if timeout is None:
        return await value
    limit = asyncio.timeout(timeout.total_seconds())
    try:
        async with limit:
            return await value
    except TimeoutError as error:
        if limit.expired():
            raise BodyTimeoutError(
                f"The body took longer than {timeout.total_seconds():g} s."
            ) from error
        raise


def call_body(
    step: RunStep,
    current: CurrentStep,
    timeout: timedelta | None,
    attend: Callable[[Future[Any]], Any] = Future.result,
) -> Any:
    """Call the body of a run step and return what it returned; an async body is cancelled at its timeout."""
    token = executing.set(current)
    try:
        value = step.fn(*step.args, **step.kwargs)
        if not inspect.isawaitable(value):
            return value
        return body_loop.run(value, timeout, attend)
    except faults.STRAY as error:
        raise faults.stray(error, f'The body of step "{step.name}"') from error
    finally:
        executing.reset(token)


async def _in_context(value: Awaitable[Any], timeout: timedelta | None, context: Context) -> Any:
    return await asyncio.get_running_loop().create_task(awaited(value, timeout), context=context)


@contextmanager
def other_aliases_refuse_writes(step_name: str) -> Iterator[None]:
    """Let every database alias but the journal's refuse what is not a query, while an atomic body runs."""
    journal = settings().DATABASE

    def refuse(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        text = str(sql).lstrip(" (\n").upper()
        if text.startswith(
            ("SELECT", "EXPLAIN", "SHOW", "PRAGMA", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET")
        ):
            return execute(sql, params, many, context)
        alias = context["connection"].alias
        raise InvalidOptionError(
            f'The atomic step "{step_name}" tried to write on the database alias "{alias}", but only "{journal}" commits '
            f'together with its record. Write there in a ctx.run step, or set WORKFLOW["DATABASE"] to "{alias}".'
        )

    with ExitStack() as stack:
        for alias in connections:
            if alias != journal:
                stack.enter_context(connections[alias].execute_wrapper(refuse))
        yield


def refuse_coroutine_function(step: RunStep) -> None:
    """Refuse an async body in an atomic step: a transaction belongs to one thread."""
    if inspect.iscoroutinefunction(step.fn):
        raise InvalidOptionError(
            f'The body of the atomic step "{step.name}" is async; a transaction needs a plain function. Use ctx.run, or '
            "write the body without async."
        )
