"""Limits by key: how many step bodies run at once, how many begin in a period, and which triggers make a run.

Values only: what a user writes at ``@workflow``, ``trigger()`` and ``ctx.using()``, checked when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.singleton_lines import LENGTH, PREFIX, is_line

KEY_LENGTH: Final = LENGTH
MOST: Final = 1_000_000
LONGEST_PERIOD: Final = timedelta(days=31)
#: A higher one goes first.
PRIORITIES: Final = range(-100, 101)

Key = str | Callable[[Any], str]
OnConflict = Literal["return", "skip", "replace", "queue"]


def checked_key(key: Any, what: str) -> str:
    """Return a key that can be stored.

    Raises:
        InvalidOptionError: it is no printable text of 1 to 200 characters.
    """
    if (
        not isinstance(key, str)
        or not key.strip()
        or not key.isprintable()
        or len(key) > KEY_LENGTH
    ):
        shown = repr(key)
        found = (
            shown
            if len(shown) <= KEY_LENGTH + 2
            else f"{shown[:60]}… ({len(key if isinstance(key, str) else shown):,} characters)"
        )
        raise InvalidOptionError(
            f"The key of {what} is a printable text of 1 to {KEY_LENGTH} characters, not {found}."
        )
    return key


def _check_declared(key: Any, what: str) -> None:
    if not callable(key):
        checked_key(key, what)


def key_for(key: Key, payload: Any, what: str) -> str:
    """Return the key for this payload, where it is told by a function.

    Raises:
        InvalidOptionError: the function raised, or returned what cannot be a key.
    """
    if isinstance(key, str):
        return key
    try:
        found = key(payload)
    except Exception as error:  # a user's function: whatever it raises is about its payload
        raise InvalidOptionError(
            f"The key of {what} could not be told from the payload: {type(error).__name__}: {error}"
        ) from error
    return checked_key(found, what)


def checked_priority(priority: Any) -> int:
    """Return a priority.

    Raises:
        InvalidOptionError: it is no whole number in the range.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in PRIORITIES:
        raise InvalidOptionError(
            f"priority is a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}, higher first, not {priority!r}."
        )
    return priority


def checked_count(value: Any, name: str) -> int | None:
    """Return a limit, or None for none.

    Raises:
        InvalidOptionError: it is no whole number of 1 or more.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise InvalidOptionError(
            f"{name} is a whole number from 1 to {MOST:,}, or None, not {value!r}."
        )
    return value


def checked_period(value: Any) -> timedelta:
    """Return the period of a rate.

    Raises:
        InvalidOptionError: it is no duration, or too short or too long.
    """
    period = parse_duration(value)
    if not timedelta(milliseconds=1) <= period <= LONGEST_PERIOD:
        raise InvalidOptionError(
            f"period is from a millisecond to {LONGEST_PERIOD.days} days, not {value!r}."
        )
    return period


@dataclass(frozen=True, slots=True)
class FlowControl:
    """How many step bodies under one key run at once, and how many begin in any window of ``period``.

    What is over the limit waits in line and is never refused. Only bodies hold a slot: a run that sleeps or waits
    holds none. Several runs, workflows and processes that name one key share its limits.

    Args:
        key: 1 to 200 printable characters; on ``@workflow`` also a function of the payload.
        rate: How many bodies begin in any window of ``period``.
        period: Its length: timedelta, seconds, or text as ``"1m"``.
        parallelism: How many bodies run at once.
    """

    key: Key
    rate: int | None = None
    period: Any = "1s"
    parallelism: int | None = None

    def __post_init__(self) -> None:
        """Refuse at once what cannot work."""
        _check_declared(self.key, "flow control")
        if isinstance(self.key, str) and is_line(self.key):
            raise InvalidOptionError(
                f"Keys that begin with {PREFIX!r} are those of singletons; choose another one than {self.key!r}."
            )
        checked_count(self.rate, "rate")
        checked_count(self.parallelism, "parallelism")
        if self.rate is None and self.parallelism is None:
            raise InvalidOptionError(
                f"FlowControl(key={self.key!r}) limits nothing. Give it rate=, parallelism= or both."
            )
        object.__setattr__(self, "period", checked_period(self.period))

    @property
    def text_key(self) -> str:
        """The key, once it is known for a payload."""
        assert isinstance(self.key, str)  # noqa: S101  resolved before anybody asks
        return self.key

    def for_payload(self, payload: Any) -> FlowControl:
        """Return the same limits under the key for this payload.

        Raises:
            InvalidOptionError: the function of the key raised, or returned what cannot be a key.
        """
        if isinstance(self.key, str):
            return self
        return replace(self, key=key_for(self.key, payload, "flow control"))

    def to_json(self) -> dict[str, Any]:
        """Return the stored form."""
        return {
            "key": self.text_key,
            "rate": self.rate,
            "period": self.period.total_seconds(),
            "parallelism": self.parallelism,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FlowControl:
        """Build flow control from its stored form."""
        return cls(
            stored["key"],
            rate=stored["rate"],
            period=timedelta(seconds=stored["period"]),
            parallelism=stored["parallelism"],
        )


def checked_flow(value: Any, *, where: str, takes_function: bool = False) -> FlowControl | None:
    """Return flow control as given at ``where``.

    Raises:
        InvalidOptionError: it is something else, or its key is a function where there is no payload to ask.
    """
    if value is None:
        return None
    if not isinstance(value, FlowControl):
        raise InvalidOptionError(f"flow_control of {where} is a FlowControl, not {value!r}.")
    if not takes_function and not isinstance(value.key, str):
        raise InvalidOptionError(
            f"The key of the flow control of {where} is a text; a function of the payload is for @workflow."
        )
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowState:
    """A key at a moment."""

    key: str
    parallelism: int | None
    rate: int | None
    period: timedelta
    is_paused: bool
    is_pinned: bool
    #: How many bodies, and runs before their first one, stand in line.
    waiting: int
    #: How many hold a slot, or were given one and are about to begin.
    holding: int


@dataclass(frozen=True, slots=True)
class Singleton:
    """At most one run of the workflow per key at a time.

    Args:
        key: A text, or a function of the payload; without one the workflow has one run at a time.
        on_conflict: What a trigger does while there is one: ``"return"`` it (``.created`` is False), ``"skip"``
            (return None), ``"replace"`` it (it is cancelled), or ``"queue"``: make a run that begins when those before
            it have ended, in the order of their triggers.
    """

    key: Key = "*"
    on_conflict: OnConflict = "return"

    def __post_init__(self) -> None:
        """Refuse at once what cannot work."""
        _check_declared(self.key, "a singleton")
        known = ("return", "skip", "replace", "queue")
        if self.on_conflict not in known:
            raise InvalidOptionError(
                f"on_conflict is one of {', '.join(known)}, not {self.on_conflict!r}."
            )


@dataclass(frozen=True, slots=True)
class Debounce:
    """Triggers that follow one another quickly make one run: with the last payload, when it has been quiet.

    Args:
        key: What triggers must share to count as one, per workflow.
        quiet: How long nothing must have come.
        max_wait: How long after the first trigger the run begins even so.
    """

    key: str
    quiet: Any
    max_wait: Any = None

    def __post_init__(self) -> None:
        """Refuse at once what cannot work."""
        checked_key(self.key, "a debounce")
        quiet = parse_duration(self.quiet)
        if not quiet:
            raise InvalidOptionError("The quiet time of a debounce is longer than zero.")
        object.__setattr__(self, "quiet", quiet)
        if self.max_wait is None:
            return
        longest = parse_duration(self.max_wait)
        if longest < quiet:
            raise InvalidOptionError(
                f"max_wait of a debounce is not shorter than its quiet time, {quiet}; it is {longest}."
            )
        object.__setattr__(self, "max_wait", longest)


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most one run per period: a trigger within it returns the run of the first one, ``.created`` False.

    Args:
        key: What triggers must share, per workflow.
        period: For how long after a trigger that made a run others make none.
    """

    key: str
    period: Any

    def __post_init__(self) -> None:
        """Refuse at once what cannot work."""
        checked_key(self.key, "a throttle")
        period = parse_duration(self.period)
        if not period:
            raise InvalidOptionError("The period of a throttle is longer than zero.")
        object.__setattr__(self, "period", period)
