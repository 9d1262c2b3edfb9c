"""What an ``undo=`` is told of the step that it takes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import dotted_path

WHAT: Final = "undo"
#: States of a run's undo in which there is something left to do.
AT_WORK: Final = ("pending", "running")


@dataclass(frozen=True, kw_only=True, slots=True)
class Undone:
    """The step that is to be undone."""

    #: The name of the step.
    step: str
    #: ``"done"``: it was recorded. ``"unknown"``: it was begun, and whether it had its effect nobody knows.
    outcome: str
    #: What it returned; None where the outcome is unknown.
    result: Any = None
    #: What its body was called with.
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    #: The key that its body had from ``current_step()``: by it others may tell whether it had its effect.
    idempotency_key: str
    workflow_run_id: str


def checked_undo(value: Any) -> Callable[[Undone], Any] | None:
    """Return what can be called to undo a step, in whatever process.

    Raises:
        InvalidOptionError: it cannot be called, or not be imported elsewhere.
    """
    if value is None:
        return None
    if isinstance(value, str) or not callable(value):
        raise InvalidOptionError(
            f"undo is a function that takes what is to be undone, not {value!r}."
        )
    dotted_path(value, WHAT)
    return value  # type: ignore[no-any-return]
