"""What a run tells of itself while it goes on: log lines, progress, state. No steps: a pass says them on its way.

What is said between steps is known by its place: the step that was asked for last in its branch (or the branch, before
the first one), and the how manieth it is there. So a replay says the same thing again, and it is kept once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.types import JSONValue

LEVELS: Final = ("debug", "info", "warning", "error")
LONGEST_MESSAGE: Final = 10_000
MOST_BYTES: Final = 1_000_000

LOG: Final = "log"
PROGRESS: Final = "progress"
STATE: Final = "state"


class Saying(NamedTuple):
    """One thing said, checked: a log line with its fields, or a new progress or state."""

    what: str
    #: As stored: the fields of a line, the progress, the state.
    text: str
    level: str = ""
    message: str = ""


class Told(NamedTuple):
    """One thing said, and where."""

    saying: Saying
    #: The step asked for last in the branch, or the branch; for a body, its step.
    after: str
    #: The how manieth at this place; None from a body, which is not replayed.
    number: int | None
    #: The attempt whose body says it; 0 between steps.
    attempt: int
    #: The sequence number that the saying follows: of two, the later one counts.
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run says it is."""

    percent: float
    done: int | None = None
    total: int | None = None
    message: str = ""

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form."""
        return {
            "percent": self.percent,
            "done": self.done,
            "total": self.total,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Progress:
        """Build a progress from its stored form."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        parts = [f"{self.percent:g} %"]
        if self.total is not None:
            parts.append(f"({self.done} of {self.total})")
        return " ".join([*parts, self.message] if self.message else parts)


class Speaking:
    """The verbs of whoever may tell something: a context between steps, a step in its body."""

    __slots__ = ()

    def _tell(self, saying: Saying) -> None:
        raise NotImplementedError

    def set_progress(
        self,
        percent: float | None = None,
        *,
        done: int | None = None,
        total: int | None = None,
        message: str = "",
    ) -> None:
        """Tell how far the run is, in percent or as ``done`` of ``total``; read it as ``run.progress``.

        No step: kept with the run's next write; said in a body, at once.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        self._tell(progress_of(percent, done, total, message))

    def set_state(self, value: Any) -> None:
        """Put a value beside the run that everybody may read as ``run.state``; see `set_progress()` for when.

        Raises:
            NotSerializableError: the value cannot be stored; the error names the path.
            PayloadTooLargeError: it takes more than a megabyte.
        """
        self._tell(Saying(STATE, codec.dumps(value, what="state", max_bytes=MOST_BYTES)))

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Keep a line with the run, once whatever is replayed; see `set_progress()` for when.

        Raises:
            InvalidOptionError: the message is no text, or the level is not one of debug, info, warning, error.
            NotSerializableError: a field cannot be stored; the error names the path.
            PayloadTooLargeError: the fields take more than a megabyte.
        """
        self._tell(line_of(message, level, fields))


def line_of(message: Any, level: Any, fields: dict[str, Any]) -> Saying:
    """Check a log line."""
    if not isinstance(message, str):
        raise InvalidOptionError(f"A log line is a text, not {message!r}.")
    if level not in LEVELS:
        raise InvalidOptionError(f"level is one of {', '.join(LEVELS)}, not {level!r}.")
    text = codec.dumps(fields, what="fields", max_bytes=MOST_BYTES) if fields else ""
    return Saying(LOG, text, level, _storable(message))


def progress_of(percent: Any, done: Any, total: Any, message: Any) -> Saying:
    """Check a progress."""
    if not isinstance(message, str):
        raise InvalidOptionError(f"The message of a progress is a text, not {message!r}.")
    if percent is not None and (done is not None or total is not None):
        raise InvalidOptionError("Give set_progress() a percent, or done= and total=, not both.")
    if percent is None:
        percent = _share(done, total)
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InvalidOptionError(f"percent is a number from 0 to 100, not {percent!r}.")
    progress = Progress(percent=percent, done=done, total=total, message=_storable(message))
    return Saying(PROGRESS, codec.dumps(progress.to_json(), what="progress"))


def _share(done: Any, total: Any) -> float:
    for name, value, least in (("done", done, 0), ("total", total, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidOptionError(
                f"{name} is a whole number of {least} or more, not {value!r}: set_progress(percent), or "
                "set_progress(done=…, total=…)."
            )
    if done > total:
        raise InvalidOptionError(f"done is {done}, and total is {total}: that is more than all.")
    return float(round(100 * done / total, 2))


def _storable(message: str) -> str:
    # PostgreSQL refuses NUL, and no driver encodes half of a surrogate pair.
    clean = message.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    return clean if len(clean) <= LONGEST_MESSAGE else f"{clean[: LONGEST_MESSAGE - 1]}…"
