"""Durations and moments as people write them, to ``timedelta`` and aware UTC ``datetime``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, TypeAlias, TypeGuard

from django_workflow.core.exceptions import InvalidOptionError

Duration: TypeAlias = timedelta | int | float | str
Moment: TypeAlias = datetime | date | int | float | str

LONGEST: Final = timedelta(days=36_500)

UNIT_SECONDS: Final = {
    "y": 365 * 86_400,
    "mo": 30 * 86_400,
    "w": 7 * 86_400,
    "d": 86_400,
    "h": 3_600,
    "m": 60,
    "s": 1,
}
DURATION_TEXT: Final = re.compile(
    r"\s*".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?)\s*{unit})?" for unit in UNIT_SECONDS)
)
MOMENT_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9].*)?", re.ASCII)

DURATION_FORMS: Final = (
    'Give a timedelta, seconds, or text as "10s", "5m", "2h", "7d", "1w", "1mo", "1y" or "1d12h".'
)
MOMENT_FORMS: Final = (
    'Give an aware datetime, a date, ISO text as "2030-01-31T09:00:00+00:00", or unix seconds.'
)


def parse_duration(value: Duration) -> timedelta:
    """Return the duration that is meant: a timedelta, seconds, or text as ``"1d12h"``.

    The units of text are ``y`` (365 days), ``mo`` (30 days), ``w``, ``d``, ``h``, ``m`` and
    ``s``, each at most once and the largest first; figures may have a fraction. A bare number
    is seconds, never milliseconds.

    Raises:
        InvalidOptionError: It is no duration, or negative, or longer than 100 years.
    """
    if isinstance(value, timedelta):
        duration = value
    elif _is_number(value):
        # Compared before it is converted: NaN, infinity and huge integers all raise there.
        if not 0 <= value <= LONGEST.total_seconds():
            raise InvalidOptionError(
                f"A duration lies between 0 and 100 years, not {_shown(value)} seconds. "
                f"{DURATION_FORMS}"
            )
        duration = timedelta(seconds=value)
    elif isinstance(value, str):
        duration = _parse_duration_text(value)
    else:
        raise InvalidOptionError(f"{_shown(value)} is not a duration. {DURATION_FORMS}")
    if not timedelta() <= duration <= LONGEST:
        raise InvalidOptionError(
            f"A duration lies between 0 and 100 years, not {_shown(value)}. {DURATION_FORMS}"
        )
    return duration


def _parse_duration_text(text: str) -> timedelta:
    match = DURATION_TEXT.fullmatch(text.strip())
    figures = (
        {unit: figure for unit, figure in match.groupdict().items() if figure} if match else {}
    )
    if not figures:
        trouble = "has no unit" if _is_numeral(text) else "is not a duration"
        raise InvalidOptionError(f"{_shown(text)} {trouble}. {DURATION_FORMS}")
    seconds = sum(float(figure) * UNIT_SECONDS[unit] for unit, figure in figures.items())
    return timedelta(seconds=min(seconds, 2 * LONGEST.total_seconds()))


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def format_duration(duration: timedelta, *, parts: int | None = None) -> str:
    """Return the short form that ``parse_duration`` reads, as ``"1d12h"`` or ``"0.25s"``.

    With ``parts`` only that many units are kept, the largest ones, and the rest is cut off.
    """
    if duration < timedelta():
        return f"-{format_duration(-duration, parts=parts)}"
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{duration.microseconds:06}".rstrip("0") if duration.microseconds else ""
    units = [(duration.days, "d"), (hours, "h"), (minutes, "m")]
    shown = [f"{figure}{unit}" for figure, unit in units if figure]
    if seconds or fraction or not shown:
        # A fraction of a second says nothing beside a larger unit, unless all is asked for.
        shown.append(f"{seconds}{'' if parts and shown else fraction}s")
    return "".join(shown[:parts])


def parse_moment(value: Moment) -> datetime:
    """Return the moment that is meant, as an aware datetime in UTC.

    A date is its midnight in UTC, a number unix seconds. Text is ISO 8601: a date, or a date
    and time with an offset.

    Raises:
        InvalidOptionError: It is no moment, has no time zone, or is out of range.
    """
    if isinstance(value, datetime):
        return _to_utc(value)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    if isinstance(value, str):
        return _parse_moment_text(value)
    if not _is_number(value):
        raise InvalidOptionError(f"{_shown(value)} is not a moment. {MOMENT_FORMS}")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidOptionError(
            f"{_shown(value)} seconds after 1970 is out of range. "
            "Unix time is given in seconds, not milliseconds."
        ) from error


def _to_utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidOptionError(
            f"{_shown(moment.isoformat())} has no time zone. Use django.utils.timezone.now() or "
            "make_aware(), or give the datetime a tzinfo."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidOptionError(f"{_shown(moment.isoformat())} is out of range.") from error


def _parse_moment_text(text: str) -> datetime:
    if not MOMENT_TEXT.fullmatch(text):
        raise InvalidOptionError(f"{_shown(text)} is not a moment. {MOMENT_FORMS}")
    try:
        if len(text) == len("2030-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOptionError(f"{_shown(text)} is not a moment. {MOMENT_FORMS}") from error
    if moment.utcoffset() is None:
        raise InvalidOptionError(
            f"{_shown(text)} has no offset from UTC. Add one, as in {_shown(text + '+00:00')}."
        )
    return _to_utc(moment)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**20:
        # repr() refuses an integer of more than 4,300 digits.
        return "a number of more than 20 digits"
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:76]}…{shown[-1]}"
