"""When a failed step is tried again. Pure: the caller brings the randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import e
from random import Random
from typing import Any, Final, TypeAlias, TypeGuard

from django_workflow.core.durations import Duration, parse_duration
from django_workflow.core.exceptions import (
    InvalidOptionError,
    MisplacedStepError,
    NonRetryableError,
    NotSerializableError,
    PayloadTooLargeError,
    RetryAfterError,
    StepError,
    StepTimeoutError,
)
from django_workflow.core.expressions import DelayExpression, is_expression
from django_workflow.core.types import JSONValue

#: What ``retry_on=`` takes: the errors that are worth another attempt, or what decides.
RetryOn: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
)

# With these, retry n waits e^(2.5 n) seconds: 12 s, 2 min 28 s, 30 min, 6 h 7 min, a day.
DEFAULT_FACTOR: Final = e**2.5
DEFAULT_FIRST_DELAY: Final = timedelta(seconds=DEFAULT_FACTOR)
DEFAULT_MAX_DELAY: Final = timedelta(days=1)

# Beyond this the delay has long met max_delay, and a float power would overflow.
GROWTH_STEPS: Final = 64

# Trying again gives the same error, or the body would be run again for nothing.
NOT_RETRYABLE: Final = (
    NonRetryableError,
    InvalidOptionError,
    MisplacedStepError,
    NotSerializableError,
    PayloadTooLargeError,
    StepError,
)


@dataclass(frozen=True, kw_only=True, slots=True, init=False)
class RetryPolicy:
    """How often, and how far apart, a failed step is tried again.

    Retry *n* (counted from 1) waits ``first_delay * factor ** (n - 1)``, at most
    ``max_delay``, shortened by a random share of up to ``jitter``. With the defaults that is
    ``e ** (2.5 * n)`` seconds, at most a day. Delays are durations as everywhere.

    ``expression`` computes the delay instead, in milliseconds: ``"1000 * (1 + retried)"``.
    """

    max_retries: int
    first_delay: timedelta
    factor: float
    max_delay: timedelta
    jitter: float
    expression: DelayExpression | None

    def __init__(
        self,
        *,
        max_retries: int = 3,
        first_delay: Duration = DEFAULT_FIRST_DELAY,
        factor: float = DEFAULT_FACTOR,
        max_delay: Duration = DEFAULT_MAX_DELAY,
        jitter: float = 0.1,
        expression: str | DelayExpression | None = None,
    ) -> None:
        if not _is_count(max_retries):
            raise InvalidOptionError(
                f"max_retries must be a whole number, 0 or more, not {max_retries!r}."
            )
        if not _is_number(factor) or not 1 <= factor <= 100:
            raise InvalidOptionError(f"factor must be between 1 and 100, not {factor!r}.")
        if not _is_number(jitter) or not 0 <= jitter < 1:
            raise InvalidOptionError(f"jitter must be at least 0 and below 1, not {jitter!r}.")
        # The way a frozen dataclass sets its own fields while it is being made.
        object.__setattr__(self, "max_retries", max_retries)
        object.__setattr__(self, "first_delay", parse_duration(first_delay))
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "max_delay", parse_duration(max_delay))
        object.__setattr__(self, "jitter", jitter)
        if isinstance(expression, str):
            expression = DelayExpression(expression)
        object.__setattr__(self, "expression", expression)

    @classmethod
    def of(cls, value: int | RetryPolicy | None, default: RetryPolicy) -> RetryPolicy:
        """Return the policy that a ``retries=`` option means.

        A number is the default policy with that many retries, None is the default itself.
        """
        if value is None:
            return default
        if isinstance(value, cls):
            return value
        if not _is_count(value):
            raise InvalidOptionError(
                f"retries must be a whole number, 0 or more, or a RetryPolicy, not {value!r}."
            )
        return default.using(max_retries=value)

    def using(
        self,
        *,
        max_retries: int | None = None,
        first_delay: Duration | None = None,
        factor: float | None = None,
        max_delay: Duration | None = None,
        jitter: float | None = None,
    ) -> RetryPolicy:
        """Return a copy with these fields changed."""
        changes = {
            "max_retries": max_retries,
            "first_delay": first_delay,
            "factor": factor,
            "max_delay": max_delay,
            "jitter": jitter,
        }
        given: dict[str, Any] = {
            name: field for name, field in changes.items() if field is not None
        }
        return replace(self, **given)

    def with_delay(self, delay: Duration | DelayExpression) -> RetryPolicy:
        """Return a copy whose retries all wait exactly ``delay``: the ``retry_delay=`` option."""
        if isinstance(delay, DelayExpression):
            return replace(self, expression=delay)
        made = self.using(first_delay=delay, factor=1, max_delay=delay, jitter=0)
        return made if made.expression is None else replace(made, expression=None)

    def delay_before(self, retry: int, *, random: Random) -> timedelta | None:
        """Return the wait before this retry, counted from 1, or None when none is left."""
        if retry > self.max_retries:
            return None
        if self.expression is not None:
            return self.expression.delay(retry - 1)
        growth = self.factor ** min(retry - 1, GROWTH_STEPS)
        seconds = min(self.first_delay.total_seconds() * growth, self.max_delay.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * random.random()))

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form, delays in seconds."""
        stored: dict[str, JSONValue] = {
            "max_retries": self.max_retries,
            "first_delay": self.first_delay.total_seconds(),
            "factor": self.factor,
            "max_delay": self.max_delay.total_seconds(),
            "jitter": self.jitter,
        }
        if self.expression is not None:
            stored["expression"] = self.expression.text
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RetryPolicy:
        """Build a policy from its stored form; keys of later releases are ignored."""
        return cls(
            max_retries=stored["max_retries"],
            first_delay=stored["first_delay"],
            factor=stored["factor"],
            max_delay=stored["max_delay"],
            jitter=stored["jitter"],
            expression=stored.get("expression"),
        )


def parse_retry_delay(value: Duration | DelayExpression) -> timedelta | DelayExpression:
    """Return what ``retry_delay=`` means: a duration, or a text that computes one.

    Raises:
        InvalidOptionError: it is neither.
    """
    if isinstance(value, DelayExpression):
        return value
    if isinstance(value, str) and is_expression(value):
        return DelayExpression(value)
    return parse_duration(value)


def stored_delay(delay: timedelta | DelayExpression) -> JSONValue:
    """Return the stored form of a ``retry_delay=``: seconds, or the text of the expression."""
    return delay.text if isinstance(delay, DelayExpression) else delay.total_seconds()


def checked_retry_on(value: Any) -> RetryOn:
    """Return what ``retry_on=`` means: a tuple of exception classes, or a predicate.

    A ``StepTimeoutError`` stands for the ``TimeoutError`` that an attempt ends with at its timeout.

    Raises:
        InvalidOptionError: it is neither.
    """
    if isinstance(value, type) or (isinstance(value, Iterable) and not isinstance(value, str)):
        classes = (value,) if isinstance(value, type) else tuple(value)
        if classes and all(isinstance(c, type) and issubclass(c, Exception) for c in classes):
            return (*classes, TimeoutError) if StepTimeoutError in classes else classes
    elif callable(value):
        return value  # type: ignore[no-any-return]
    raise InvalidOptionError(
        f"retry_on is an exception class, several, or a function of the error that returns True or False, not {value!r}."
    )


def is_retryable(error: BaseException) -> bool:
    """Tell whether another attempt may end otherwise than with this error.

    A ``StepError`` is built from a record, so running the code between steps again meets it again.
    """
    return isinstance(error, Exception) and not isinstance(error, NOT_RETRYABLE)


def is_worth_it(error: BaseException, retry_on: RetryOn | None) -> bool:
    """Tell whether ``retry_on=`` lets this error be tried again; one that asks for it by itself always is."""
    if retry_on is None or isinstance(error, RetryAfterError):
        return True
    if isinstance(retry_on, type | tuple):
        return isinstance(error, retry_on)
    return bool(retry_on(error))


def requested_delay(error: BaseException) -> timedelta | None:
    """Return the delay a ``RetryAfterError`` asks for; None for every other error.

    A delay that is no duration is None too, and a note on the error says so: ask for the delay
    before the error is described, and the note stands in its traceback.
    """
    if not isinstance(error, RetryAfterError):
        return None
    try:
        return parse_duration(error.delay)
    except InvalidOptionError as refusal:
        error.add_note(f"{refusal} The delay of the retry policy is used.")
        return None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
