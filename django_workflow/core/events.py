"""What is asked of an event, and what a workflow is told of one. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import dotted_path

EVENT_ID_LENGTH: Final = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrivedEvent:
    """One event that reached a wait."""

    event_id: str
    event_data: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class EventResult:
    """How a wait for events ended."""

    timed_out: bool
    #: What arrived, in the order of arrival; after a timeout those that came before it.
    events: tuple[ArrivedEvent, ...] = ()

    @property
    def timeout(self) -> bool:
        """The same as ``timed_out``, under the seeds' name."""
        return self.timed_out

    @property
    def event_data(self) -> Any:
        """The data of the event, of several the first; None without one, or when it was sent without data."""
        return self.events[0].event_data if self.events else None

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> EventResult:
        """Build a result from its stored form."""
        return cls(
            timed_out=stored["timed_out"],
            events=tuple(
                ArrivedEvent(event_id=one["event_id"], event_data=one["event_data"])
                for one in stored["events"]
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SentEvent:
    """What ``ctx.notify()`` returns."""

    event_id: str
    event_data: Any
    #: How many runs the event reached when it was sent; 0 when it was kept for a later wait, or dropped.
    reached: int

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> SentEvent:
        """Build it from its stored form."""
        return cls(
            event_id=stored["event_id"],
            event_data=stored["event_data"],
            reached=stored["reached"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EventWaiter:
    """One step that waits for an event."""

    run: Any
    #: The step's name, and its place in the run.
    step: str
    step_key: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a wait asks for: ``count`` of these events, each once."""

    event_ids: tuple[str, ...]
    count: int
    timeout: timedelta
    lookback: timedelta | None = None
    #: The dotted path of what the data have to fit, or empty.
    schema: str = ""

    @classmethod
    def of(
        cls,
        event_id: str | Iterable[str],
        timeout: Any,
        count: int | None,
        lookback: Any,
        schema: Any = None,
    ) -> Wanted:
        """Check what a user asked for.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        given = [event_id] if isinstance(event_id, str) else event_id
        if not isinstance(given, Iterable):
            raise InvalidOptionError(f"An event ID is a text, not {event_id!r}.")
        ids = tuple(check_event_id(one) for one in given)
        if not ids:
            raise InvalidOptionError("wait_for_event needs the ID of one event at least.")
        twice = [one for one in ids if ids.count(one) > 1]
        if twice:
            raise InvalidOptionError(f'Event ID "{twice[0]}" is given twice in one wait.')
        wanted = len(ids) if count is None else count
        if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= len(ids):
            raise InvalidOptionError(
                f"count must be a whole number from 1 to {len(ids)}, the number of event IDs, not {count!r}."
            )
        limit = parse_duration(timeout)
        if not limit:
            raise InvalidOptionError("The timeout of a wait must be longer than zero.")
        age = None if lookback is None else parse_duration(lookback)
        return cls(
            event_ids=ids,
            count=wanted,
            timeout=limit,
            lookback=age,
            schema="" if schema is None else dotted_path(schema, "schema"),
        )


def check_event_id(event_id: Any) -> str:
    """Return the id, or refuse what cannot be one.

    Raises:
        InvalidOptionError: it is no text, empty, too long, or holds a character that databases refuse.
    """
    if not isinstance(event_id, str) or not event_id:
        raise InvalidOptionError(
            f"An event ID is a text of one character or more, not {event_id!r}."
        )
    if len(event_id) > EVENT_ID_LENGTH:
        raise InvalidOptionError(
            f'The event ID "{event_id[:40]}…" has {len(event_id)} characters; at most {EVENT_ID_LENGTH} are kept.'
        )
    if "\x00" in event_id or any("\ud800" <= character <= "\udfff" for character in event_id):
        raise InvalidOptionError(
            f"The event ID {event_id!r} holds a character that no database keeps."
        )
    return str.__str__(event_id)
