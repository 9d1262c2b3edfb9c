"""What the engine says when a workflow and its journal do not fit, or a verb stands where it cannot."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Iterable, Mapping
from json import loads
from operator import itemgetter
from typing import Any, Final

from django_workflow.core.at_rest import opened
from django_workflow.core.exceptions import (
    ArgumentDriftError,
    AtRestError,
    CallError,
    ChildRunError,
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    StepError,
    StepTimeoutError,
    SwallowedInterruptError,
    TooManyStepsError,
)
from django_workflow.core.journal import Record
from django_workflow.core.steps import KEY_LENGTH, NAME_LENGTH
from django_workflow.core.types import Failure, StepKind

#: What a step's failure is raised as, where the engine itself gave it up.
OWN_ERRORS: Final = {
    f"{cls.__module__}.{cls.__name__}": cls for cls in (StepTimeoutError, CallError)
}


#: What user code may raise that passes by `except Exception`: no end of the process, so an error as any other.
STRAY: Final = (CancelledError, GeneratorExit)


def divergence(record: Record, found: str, *, name: str, run_id: str) -> NonDeterminismError:
    """Return the verdict on code that asks for something else than what stands in the journal."""
    state = "was recorded" if record.sequence is not None else "is pending"
    expected = f'{record.kind} "{record.name}"'
    return NonDeterminismError(
        f"Step {expected} {state} at this place ({record.key}), but the workflow now asks for {found} "
        f"(run {run_id}). Mend the code and resume the run, guard the change with ctx.patched(), or "
        "register a new workflow version.",
        step=name,
        expected=expected,
        found=found,
    )


def swallowed(interrupt: BaseException | None, did: str, *, run_id: str) -> SwallowedInterruptError:
    """Return the verdict on a function that caught an interrupt and went on."""
    step = getattr(interrupt, "step", None) or ""
    place = f'at step "{step}"' if step else "where it waits or is cancelled"
    return SwallowedInterruptError(
        f"The interrupt that leaves the function {place} was caught, and the workflow then {did} "
        f"(run {run_id}). Write `except Exception:`, which lets interrupts through.",
        step=step,
    )


def drift(record: Record, asked: str, *, run_id: str) -> ArgumentDriftError:
    """Return what is said of a recorded step that is asked for with other arguments."""
    return ArgumentDriftError(
        f'Step "{record.name}" was recorded with {record.arguments_text}, but is now asked for with {asked} '
        f"(run {run_id}). The recorded arguments win.",
        step=record.name,
        recorded=record.arguments_text,
        asked=asked,
    )


def nested(name: str, outer: str, *, run_id: str) -> MisplacedStepError:
    """Return the refusal of a verb inside a step's body."""
    return MisplacedStepError(
        f'"{name}" was asked for inside the body of step "{outer}" (run {run_id}). '
        "Steps do not nest: return from the body, then ask.",
        step=name,
    )


def outside(name: str, *, run_id: str) -> MisplacedStepError:
    """Return the refusal of a verb whose pass has ended, or that is called in another thread."""
    return MisplacedStepError(
        f'"{name}" was asked for outside the pass its context belongs to (run {run_id}). '
        "Call verbs in the workflow function, in its own thread.",
        step=name,
    )


def in_a_loop(name: str, *, run_id: str) -> MisplacedStepError:
    """Return the refusal of a verb that a plain workflow calls inside an event loop of its own."""
    return MisplacedStepError(
        f'"{name}" was asked for inside an event loop that the workflow runs itself (run {run_id}). '
        "Make the workflow async and await its verbs, or call them outside asyncio.run().",
        step=name,
    )


def in_a_transaction(name: str, *, run_id: str) -> MisplacedStepError:
    """Return the refusal of a verb inside a transaction that the workflow has opened between its steps."""
    return MisplacedStepError(
        f'"{name}" was asked for inside a transaction that the workflow has opened (run {run_id}), and its record would be '
        "rolled back with that. Take transaction.atomic off the workflow; what commits together is the body of one ctx.atomic.",
        step=name,
    )


def endless(*, run_id: str) -> MisplacedStepError:
    """Return the verdict on a function that waits, but for no step."""
    return MisplacedStepError(
        f"The workflow waits for something that no step will end (run {run_id}). "
        "Await steps, or what depends on them.",
        step="",
    )


def stuck(seconds: float) -> TimeoutError:
    """Return the error of a function that waited too long for a socket or a thread of its own."""
    return TimeoutError(
        f"The workflow function waited for {seconds:g} s outside a step, for a socket or a thread. "
        "Put what takes long into ctx.run, and close connections before you ask for a step."
    )


def stray(error: BaseException, what: str) -> RuntimeError:
    """Return the error that stands for one of `STRAY`, which only leaves what somebody else has cancelled or closed."""
    name = type(error).__name__
    told = f": {error}" if str(error) else ""
    return RuntimeError(f"{what} raised {name}{told}. Nobody has cancelled or closed it.")


def cannot_continue(place: str, still_open: list[str], *, run_id: str) -> MisplacedStepError:
    """Return the refusal of ``ctx.continue_as_new()`` where something would be left behind."""
    if still_open:
        names = ", ".join(f'"{name}"' for name in still_open[:5])
        why = f"while steps are open: {names}{' and others' if len(still_open) > 5 else ''}"
    else:
        why = f"in {place or 'the workflow function, while tasks of it go on'}"
    return MisplacedStepError(
        f"continue_as_new() was called {why} (run {run_id}). Call it in the workflow function itself, when every "
        "step and branch has ended.",
        step=still_open[0] if still_open else "",
    )


def too_many_steps(limit: int, *, run_id: str) -> TooManyStepsError:
    """Return the verdict on a run that grows without end."""
    return TooManyStepsError(
        f"The run has {limit:,} steps, as many as are allowed (run {run_id}). Begin a new journal with "
        'ctx.continue_as_new() before that, or raise WORKFLOW["MAX_STEPS"]; then resume the run.',
        limit=limit,
    )


def unusable_name(name: object, verb: str, *, run_id: str) -> InvalidOptionError:
    """Return the refusal of what cannot be a step's name."""
    return InvalidOptionError(
        f"The first argument of ctx.{verb} is the step's name, a text that is not empty; "
        f"found {name!r} (run {run_id})."
    )


def check_storable(name: str, key: str, *, run_id: str) -> None:
    """Refuse a name that the database would cut or refuse.

    Raises:
        InvalidOptionError: it is too long, or holds a NUL or half of a surrogate pair.
    """
    if len(name) > NAME_LENGTH or len(key) > KEY_LENGTH:
        raise InvalidOptionError(
            f"A step's name may have {NAME_LENGTH} characters, and {KEY_LENGTH} with its branches; "
            f'"{name[:60]}…" has {len(name)} and {len(key)} (run {run_id}).'
        )
    if "\x00" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidOptionError(
            f"The step's name {name!r} holds characters that no database stores (run {run_id})."
        )


def unreadable(error: AtRestError, record: Record, *, run_id: str) -> AtRestError:
    """Return what is said of a record that cannot be read at this moment."""
    what = "result" if record.failure_text is None else "failure"
    return AtRestError(
        f'The {what} of step "{record.name}" (run {run_id}) cannot be read. {error}',
        key=error.key,
        file=error.file,
    )


def error_of(record: Record, failure: Failure) -> StepError:
    """Build the error of a failed step from its record, as it is raised at every pass."""
    if failure.run_id is not None and record.kind == StepKind.INVOKE:
        return _child_error(record, failure, failure.run_id)
    if record.kind == StepKind.MAP:
        stored = loads(opened(record.failure_text or "{}"))
        if "index" in stored:
            error = item_error(record.name, stored["index"], failure)
            error.key = record.key
            error.others = [  # type: ignore[attr-defined]
                item_error(record.name, one["index"], Failure.from_json(one))
                for one in stored["others"]
            ]
            return error
    cls = OWN_ERRORS.get(failure.error_class, StepError)
    times = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
    error = cls(
        f'Step "{record.name}" gave up after {times}: {failure.error_class}: {failure.message}',
        step=record.name,
        attempts=failure.attempts,
        failure=failure,
    )
    error.key = record.key
    return error


def item_error(name: str, index: int, failure: Failure) -> StepError:
    """Build the error of one item of a map."""
    cls = StepTimeoutError if failure.error_class.endswith(".StepTimeoutError") else StepError
    times = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
    error = cls(
        f'Item {index} of map "{name}" gave up after {times}: {failure.error_class}: {failure.message}',
        step=name,
        attempts=failure.attempts,
        failure=failure,
    )
    error.index = index
    return error


def mapped(name: str, stored: Mapping[str, Any]) -> list[Any]:
    """Return the results of a map as recorded, with errors in the place of what failed."""
    results: list[Any] = list(stored["results"])
    for place, failure in stored.get("failures", {}).items():
        results[int(place)] = item_error(name, int(place), Failure.from_json(failure))
    return results


def _child_error(record: Record, failure: Failure, run_id: str) -> ChildRunError:
    error = ChildRunError(
        f'Run {run_id}, invoked by step "{record.name}", did not complete: '
        f"{failure.error_class}: {failure.message}",
        step=record.name,
        attempts=failure.attempts,
        failure=failure,
        run_id=run_id,
    )
    error.key = record.key
    return error


def first_of(errors: Iterable[tuple[int, BaseException]]) -> BaseException:
    """Return the error that was recorded first, with the others on it."""
    first, *others = [error for _, error in sorted(errors, key=itemgetter(0))]
    first.others = others  # type: ignore[attr-defined]
    return first


def in_flight(*looked_for: type[BaseException] | BaseException) -> BaseException | None:
    """Return what is looked for (an error, or any of a class) if it is on its way up the stack now."""
    error = sys.exc_info()[1]
    # A chain of contexts may be closed to a ring by hand.
    for _ in range(100):
        if error is None:
            return None
        for wanted in looked_for:
            if error is wanted or (isinstance(wanted, type) and isinstance(error, wanted)):
                return error
        error = error.__context__
    return None
