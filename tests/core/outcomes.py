"""Small bodies, and what the tests of a pass look at in its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from django_workflow.core.exceptions import NonDeterminismError, SwallowedInterruptError
from django_workflow.core.replay import Diverged, Outcome, Raised, Suspended
from tests.core.fakes import MemoryRun

# Not WorkflowContext: what has no value is asked for in expressions here.
Ctx: TypeAlias = Any


def one() -> int:
    return 1


def fail(message: str = "no") -> NoReturn:
    raise ValueError(message)


def leave() -> NoReturn:
    raise SystemExit(3)


def error_of(outcome: Outcome) -> BaseException:
    """Return the error that an outcome carries."""
    assert isinstance(outcome, Raised | Diverged)
    return outcome.error


def swallowed_in(outcome: Outcome) -> SwallowedInterruptError:
    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, SwallowedInterruptError)
    return outcome.error


def divergence_in(outcome: Outcome) -> NonDeterminismError:
    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, NonDeterminismError)
    return outcome.error


def open_in(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Suspended)
    return [step.key for step, _ in outcome.steps]


def recorded(function: Callable[[Ctx], Any], **options: Any) -> MemoryRun:
    """Return a run that this function has made and ended."""
    run = MemoryRun(function, **options)
    run.drive()
    return run


def waiting(function: Callable[[Ctx], Any], **options: Any) -> MemoryRun:
    """Return a run whose turn has found its open steps and registered them."""
    run = MemoryRun(function, **options)
    assert isinstance(run.turn(), Suspended)
    return run


def line(names: str) -> Callable[[Ctx], list[Any]]:
    """Return a workflow with one step after the other."""
    return lambda ctx: [ctx.run(name, one) for name in names]


def three(ctx: Ctx) -> Any:
    """Run three branches of two steps each."""
    return ctx.parallel(lambda: line("ax")(ctx), lambda: line("by")(ctx), lambda: line("cz")(ctx))


def async_line(names: str) -> Callable[[Ctx], Any]:
    """Return a workflow with one step after the other."""

    async def workflow(ctx: Ctx) -> list[Any]:
        return [await ctx.run(name, one) for name in names]

    return workflow


def gathered(*names: str) -> Callable[[Ctx], Any]:
    """Return a workflow of tasks side by side, each a line."""

    async def workflow(ctx: Ctx) -> Any:
        return await asyncio.gather(*(async_line(part)(ctx) for part in names))

    return workflow
