"""When a schedule fires: a cron text in a time zone, and what is done with slots that overlap or were missed.

Pure: the caller brings the time. A slot is a moment in UTC. Where the clocks are put back, a time named by minute and
hour is met once, at its first passing; where they are put forward, one that does not exist is moved to the first
moment that does. A minute or an hour given as ``*`` or ``*/n`` goes with the time that really passes.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError

OVERLAPS: Final = ("allow", "skip", "queue", "cancel_previous")
CATCH_UPS: Final = ("last", "none", "all")
#: A slot that is swept later than this was missed, where nothing is caught up.
LATE: Final = timedelta(minutes=1)
#: How many missed slots are caught up at most, the newest ones.
MOST_CAUGHT_UP: Final = 100
SCHEDULE_ID_LENGTH: Final = 100
CRON_LENGTH: Final = 200
TIMEZONE_LENGTH: Final = 64

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FORMS: Final = (
    'Give five fields, minute hour day-of-month month day-of-week, as in "0 9 * * MON-FRI", or one of '
    f"{', '.join(ALIASES)}."
)
DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHORT_DAYS: Final = tuple(day[:3].upper() for day in DAYS)
#: What a plan says, see `Cron.said()`.
EVERY_DAY: Final = "every %(day)s at %(time)s"
EVERY_MINUTE: Final = "every minute,"
EVERY_MINUTES: Final = "every %(count)d minutes,"
OTHERWISE: Final = "%(plan)s,"
# Any moment does to see whether there is a slot at all.
BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, init=False)
class Cron:
    """A plan: when to fire, and what to do about slots that overlap or were missed.

    Args:
        expression: Five cron fields, or an alias as ``@daily``; with a time zone before it as ``CRON_TZ=Europe/Paris``.
        timezone: The name of a time zone; without one the project's ``TIME_ZONE``.
        overlap: What a slot does while an earlier run of the schedule has not ended: ``"allow"`` starts another one,
            ``"skip"`` leaves the slot out, ``"queue"`` lets one slot wait for the end, ``"cancel_previous"`` cancels.
        catch_up: What is made up for after an outage: the ``"last"`` slot missed, ``"none"``, or ``"all"`` (the newest
            hundred).
        jitter: By how much at most a slot is put off, the same for the same slot, and never beyond the next one.

    Raises:
        InvalidOptionError: the text is no cron or never fires, the zone is unknown, a policy does not exist.
    """

    expression: str
    timezone: str | None
    overlap: str
    catch_up: str
    jitter: timedelta

    def __init__(
        self,
        expression: str,
        timezone: str | ZoneInfo | None = None,
        *,
        overlap: str = "allow",
        catch_up: str = "last",
        jitter: Any = timedelta(0),
    ) -> None:
        expression, named = _split(expression)
        if named is not None and timezone is not None:
            raise InvalidOptionError(
                f"A schedule has one time zone; found CRON_TZ={named} and timezone={timezone!r}."
            )
        for what, value, known in (
            ("overlap", overlap, OVERLAPS),
            ("catch_up", catch_up, CATCH_UPS),
        ):
            if value not in known:
                raise InvalidOptionError(
                    f"{what} is one of {', '.join(map(repr, known))}, not {value!r}."
                )
        # The way a frozen dataclass sets its own fields while it is being made.
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "timezone", _zone_name(timezone if named is None else named))
        object.__setattr__(self, "overlap", overlap)
        object.__setattr__(self, "catch_up", catch_up)
        object.__setattr__(self, "jitter", parse_duration(jitter or 0))
        self.next_after(BEGIN)

    def in_zone(self, default: str) -> Cron:
        """Return the plan with this time zone, if it names none."""
        if self.timezone is not None:
            return self
        return Cron(
            self.expression,
            default,
            overlap=self.overlap,
            catch_up=self.catch_up,
            jitter=self.jitter,
        )

    def slots_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the slots after a moment, each later than the one before."""
        zone = ZoneInfo(self.timezone or "UTC")
        last = moment
        for found in CronSim(self.expression, moment.astimezone(zone)):
            slot = found.astimezone(UTC)
            # In the repeated hour the library begins anew from the clock's time, which has been already.
            if slot > last:
                last = slot
                yield slot

    def next_after(self, moment: datetime) -> datetime:
        """Return the first slot after a moment.

        Raises:
            InvalidOptionError: there is none in fifty years.
        """
        for slot in self.slots_after(moment):
            return slot
        raise _refusal(self.expression, "it never fires")

    def slots_between(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the newest ``most`` slots after one moment, up to and with another, the oldest first."""
        span = timedelta(hours=1)
        while True:
            # Looked for from the end on, so that a year of missed minutes costs no more than a day of them.
            begin = max(after, until - span)
            found: deque[datetime] = deque(maxlen=most)
            for slot in self.slots_after(begin):
                if slot > until:
                    break
                found.append(slot)
            if len(found) == most or begin == after:
                return list(found)
            span *= 4

    def due_at(self, slot: datetime, seed: str) -> datetime:
        """Return when a slot is fired: with jitter somewhat later, the same for the same slot and seed."""
        if not self.jitter:
            return slot
        digest = hashlib.sha256(f"{seed}\n{slot.isoformat()}".encode()).digest()
        share = int.from_bytes(digest[:6], "big") / 2**48
        room = min(self.jitter, self.next_after(slot) - slot)
        return slot + timedelta(seconds=int(room.total_seconds() * share * 1000) / 1000)

    def describe(self) -> str:
        """Return the plan in plain words, as ``every weekday at 09:00 Europe/Paris``."""
        message, words = self.said()
        return f"{message % words} {self.timezone or 'UTC'}"

    def said(self) -> tuple[str, dict[str, Any]]:
        """Return the sentence and what stands in it, without the time zone, for a page in another language.

        ``%(day)s`` is ``day``, ``weekday`` or a day's English name; ``%(plan)s`` is English prose.
        """
        return _words(self.expression)


def _split(given: Any) -> tuple[str, str | None]:
    """Return the five fields of a cron text, and the time zone before them."""
    if not isinstance(given, str):
        raise InvalidOptionError(f"A schedule is a cron text, not {given!r}. {FORMS}")
    text = " ".join(given.split())
    named = None
    for prefix in ("CRON_TZ=", "TZ="):
        if text.startswith(prefix):
            named, _, text = text.removeprefix(prefix).partition(" ")
    fields = ALIASES.get(text.lower(), text)
    if len(fields) > CRON_LENGTH or len(fields.split()) != 5:
        raise _refusal(given, f"it has {len(fields.split())} fields")
    try:
        CronSim(fields, BEGIN)
    except CronSimError as error:
        never = ", or a day that never comes" if "day" in str(error) else ""
        raise _refusal(given, f"{error}{never}") from error
    except (ValueError, TypeError, AssertionError) as error:
        raise _refusal(given, "it cannot be read") from error
    return fields, named


def _zone_name(zone: Any) -> str | None:
    if zone is None:
        return None
    name = zone.key if isinstance(zone, ZoneInfo) else zone
    try:
        if isinstance(name, str) and 0 < len(name) <= TIMEZONE_LENGTH:
            ZoneInfo(name)
            return name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidOptionError(
        f'timezone is the name of a time zone, as "Europe/Paris" or "UTC", not {zone!r}.'
    )


def _refusal(text: str, why: str) -> InvalidOptionError:
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    return InvalidOptionError(f'The cron "{shown}" cannot be used: {why}. {FORMS}')


def _words(expression: str) -> tuple[str, dict[str, Any]]:
    minute, hour, day, month, weekday = expression.upper().split()
    if minute.isdecimal() and hour.isdecimal() and (day, month) == ("*", "*"):
        which = _weekdays(weekday)
        if which is not None:
            return EVERY_DAY, {"day": which, "time": f"{int(hour):02}:{int(minute):02}"}
    if (hour, day, month, weekday) == ("*", "*", "*", "*"):
        if minute == "*":
            return EVERY_MINUTE, {}
        step = minute.removeprefix("*/")
        if step != minute and step.isdecimal() and 60 % int(step) == 0:
            return (EVERY_MINUTES, {"count": int(step)}) if int(step) > 1 else (EVERY_MINUTE, {})
    try:
        text = CronSim(expression, BEGIN).explain()
    except Exception:  # broad: another's prose; the text itself says it too
        return OTHERWISE, {"plan": f'"{expression}"'}
    return OTHERWISE, {"plan": f"{text[0].lower()}{text[1:]}"}


def _weekdays(field: str) -> str | None:
    if field == "*":
        return "day"
    if field in ("1-5", "MON-FRI"):
        return "weekday"
    if field in SHORT_DAYS:
        return DAYS[SHORT_DAYS.index(field)]
    return DAYS[int(field) % 7] if field.isdecimal() else None
