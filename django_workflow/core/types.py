"""The plain types every other module speaks in. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from traceback import format_exception
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

JSONValue: TypeAlias = bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"] | None

TEXT_LIMIT: Final = 20_000
CUT: Final = "\n… {} characters left out …\n"


class RunStatus(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FAILED = "failed"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        """Tell whether nothing can ever happen to the run again."""
        return self in FINISHED

    @property
    def is_dead_letter(self) -> bool:
        """Tell whether the run stands still until a person decides."""
        return self in DEAD_LETTER


FINISHED: Final = frozenset({RunStatus.COMPLETED, RunStatus.CANCELLED})
DEAD_LETTER: Final = frozenset({RunStatus.FAILED, RunStatus.BLOCKED})


class StepKind(StrEnum):
    """What a step does; ``value`` is now, uuid and random, ``patch`` is patched."""

    RUN = "run"
    ATOMIC = "atomic"
    SLEEP = "sleep"
    SLEEP_UNTIL = "sleep_until"
    CALL = "call"
    WAIT_FOR_EVENT = "wait_for_event"
    NOTIFY = "notify"
    INVOKE = "invoke"
    CREATE_WEBHOOK = "create_webhook"
    WAIT_FOR_WEBHOOK = "wait_for_webhook"
    WAIT_FOR_APPROVAL = "wait_for_approval"
    PARALLEL = "parallel"
    RACE = "race"
    MAP = "map"
    VALUE = "value"
    PATCH = "patch"


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    EXECUTING = "executing"
    RETRYING = "retrying"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Tell whether the step still has something to do or to wait for."""
        return self in OPEN_STEP


OPEN_STEP: Final = frozenset(
    {
        StepStatus.PENDING,
        StepStatus.EXECUTING,
        StepStatus.RETRYING,
        StepStatus.SLEEPING,
        StepStatus.WAITING,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run or a step failed, as text: what is left of an exception once it is stored.

    ``step`` is None when the code between steps raised; ``run_id`` names the child whose end is told here.
    """

    message: str
    error_class: str
    traceback: str
    step: str | None
    attempts: int
    run_id: str | None = None

    @classmethod
    def from_exception(
        cls, error: BaseException, *, step: str | None = None, attempts: int = 1
    ) -> Failure:
        """Describe this exception; never raises, whatever its ``__str__`` does.

        Long texts keep their head and tail, and characters that a database refuses are escaped.
        """
        return cls(
            message=_storable(_message_of(error)),
            error_class=_storable(_class_path(type(error))),
            traceback=_storable(_traceback_of(error)),
            step=step,
            attempts=attempts,
        )

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form."""
        child = {} if self.run_id is None else {"run_id": self.run_id}
        return {
            "message": self.message,
            "error_class": self.error_class,
            "traceback": self.traceback,
            "step": self.step,
            "attempts": self.attempts,
            **child,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Failure:
        """Build a failure from its stored form; keys of later releases are ignored."""
        return cls(
            message=stored["message"],
            error_class=stored["error_class"],
            traceback=stored["traceback"],
            step=stored["step"],
            attempts=stored["attempts"],
            run_id=stored.get("run_id"),
        )


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as trouble:  # broad: a user's __str__ may raise anything
        return f"<no message: str() raised {type(trouble).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(format_exception(error))
    except Exception as trouble:  # broad: this runs the user's __str__ and __repr__ too
        return f"<no traceback: formatting it raised {type(trouble).__name__}>"


def _class_path(cls: type[BaseException]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def _storable(text: str) -> str:
    # PostgreSQL refuses NUL in text and jsonb, and no driver encodes a lone surrogate.
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if len(clean) <= TEXT_LIMIT:
        return clean
    half = (TEXT_LIMIT - len(CUT) - 10) // 2
    return clean[:half] + CUT.format(len(clean) - 2 * half) + clean[-half:]
