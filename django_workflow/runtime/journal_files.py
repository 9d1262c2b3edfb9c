"""What a journal that was written to a file looks like: which columns of which rows, and how a file is checked.

Stored values stand in it in the codec's form, so that a journal is replayed elsewhere with the types that it has here.
Earlier generations, children, webhooks and what open steps wait for belong to the place where the run lives, and stay
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from django.db import models

from django_workflow.core.durations import parse_moment
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.journal import Record
from django_workflow.models import Attempt, Run, RunLog, Step, Undo
from django_workflow.models.lengths import LABEL_LENGTH
from django_workflow.store.rows import RUN_COLUMNS, Claim, RunRow

FORMAT: Final = "django_workflow.journal"
FORMAT_VERSION: Final = 1

TEXT, WHOLE, TRUTH, MOMENT, VALUE = "a text", "a whole number", "true or false", "a time", "a value"
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CharField": TEXT,
        "TextField": TEXT,
        "BooleanField": TRUTH,
        "DateTimeField": MOMENT,
        "PositiveIntegerField": WHOLE,
        "BigIntegerField": WHOLE,
    }
)
_LARGEST: Final = {"PositiveIntegerField": 2**31 - 1, "BigIntegerField": 2**63 - 1}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a row, as it stands in a file."""

    name: str
    kind: str
    #: Whether it may be missing; it has its default then.
    optional: bool
    default: Any
    choices: tuple[str, ...]
    #: The most characters of a text, the largest number.
    most: int | None

    @property
    def key(self) -> str:
        """The column's name in a file."""
        return self.name.removesuffix("_text") if self.kind == VALUE else self.name


def _columns(model: type[models.Model], names: str, *, values: str) -> tuple[Column, ...]:
    found = []
    for name in [*names.split(), *(f"{value}_text" for value in values.split())]:
        field: Any = model._meta.get_field(name)
        inner = field.get_internal_type()
        found.append(
            Column(
                name=name,
                kind=VALUE if name.endswith("_text") else _KINDS[inner],
                optional=field.null or field.has_default(),
                default=field.default if field.has_default() else None,
                choices=tuple(str(value) for value, _ in field.choices or ()),
                most=_LARGEST.get(inner, field.max_length),
            )
        )
    return tuple(found)


RUN: Final = _columns(
    Run,
    "id workflow version status failed_step code_attempts code_failed_at paused_from handler_status handler_round "
    "undo_status undo_round about_type about_id triggered_by triggered_by_id created_at started_at finished_at "
    "deadline generation continued_at progress_after state_after",
    values="payload headers options result failure handler_failure undo_failure progress state",
)
STEP: Final = _columns(
    Step,
    "key branch name kind status sequence attempts delivered wake_at created_at started_at finished_at worker",
    values="arguments result failure",
)
ATTEMPT: Final = _columns(
    Attempt, "step_key number outcome started_at finished_at worker", values="failure result"
)
UNDO: Final = _columns(
    Undo, "step_key name atomic path round place outcome undone", values="arguments"
)
LINE: Final = _columns(RunLog, "after number attempt level message created_at", values="fields")

RECORDED: Final = ("completed", "failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalFile:
    """A file that was read and checked: its rows, by their columns."""

    run: dict[str, Any]
    labels: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    attempts: tuple[dict[str, Any], ...]
    undos: tuple[dict[str, Any], ...]
    logs: tuple[dict[str, Any], ...]
    #: Where marks stand for values; empty where the journal is whole.
    hidden: tuple[str, ...]

    @property
    def recorded(self) -> list[dict[str, Any]]:
        """The steps that have their place in the journal, in its order."""
        found = [row for row in self.steps if row["sequence"] is not None]
        return sorted(found, key=lambda row: int(row["sequence"]))

    @property
    def records(self) -> list[Record]:
        """The journal as a pass is held against it: what is recorded, then what is open."""
        rows = [*self.recorded, *(row for row in self.steps if row["sequence"] is None)]
        return [Record(**{name: row[name] for name in Record._fields}) for row in rows]

    def claim(self, workflow: str) -> Claim:
        """Return the run, as one of this workflow, in the form of a claim that nobody holds."""
        known = {name: self.run[name] for name in RUN_COLUMNS if name in self.run}
        run = RunRow(**known | {"workflow": workflow, "revision": 0})
        return Claim(
            delivery_id=0, run_id=run.id, step_key="", token=-1, entry=0, wakes=0, tries=1, begun="", deaths=0,
            now=self.last_moment, run=run,
        )  # fmt: skip

    @property
    def last_moment(self) -> datetime:
        """The latest moment that the journal knows of."""
        known: list[datetime | None] = [row["finished_at"] for row in self.steps]
        known.append(self.run["created_at"])
        return max(moment for moment in known if moment is not None)


def read_journal(document: Any) -> JournalFile:
    """Check a document, as `exporting.export_run()` returns it, and return what stands in it.

    Raises:
        InvalidOptionError: it is no journal; the message names the place.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise InvalidOptionError(
            f'This is no journal of a run: there is no "format": "{FORMAT}". Write one with manage.py workflow_export.'
        )
    if document.get("format_version") != FORMAT_VERSION:
        raise InvalidOptionError(
            f"The journal has the format {document.get('format_version')!r}; this release reads {FORMAT_VERSION}."
        )
    steps = _rows(document, "steps", STEP)
    _check_steps(steps)
    return JournalFile(
        run=_row(document.get("run"), "run", RUN),
        labels=_texts(document, "labels", LABEL_LENGTH),
        steps=steps,
        attempts=_rows(document, "attempts", ATTEMPT),
        undos=_rows(document, "undos", UNDO),
        logs=_rows(document, "logs", LINE),
        hidden=_texts(document, "hidden", None),
    )


def _wrong(place: str, found: Any, wanted: str) -> InvalidOptionError:
    shown = json.dumps(found, default=str)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    return InvalidOptionError(f"The journal's {place} is {shown}; it must be {wanted}.")


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name, [])
    if not isinstance(found, list):
        raise _wrong(name, found, "a list")
    return found


def _texts(document: Mapping[str, Any], name: str, most: int | None) -> tuple[str, ...]:
    found = _list(document, name)
    for place, text in enumerate(found):
        if not isinstance(text, str) or not text or (most is not None and len(text) > most):
            raise _wrong(f"{name}[{place}]", text, "a text")
    return tuple(dict.fromkeys(found))


def _rows(
    document: Mapping[str, Any], name: str, columns: Iterable[Column]
) -> tuple[dict[str, Any], ...]:
    found = _list(document, name)
    return tuple(_row(row, f"{name}[{place}]", columns) for place, row in enumerate(found))


def _row(found: Any, place: str, columns: Iterable[Column]) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise _wrong(place, found, "an object")
    return {column.name: _value(found, column, f"{place}.{column.key}") for column in columns}


def _value(row: Mapping[str, Any], column: Column, place: str) -> Any:
    if column.key not in row:
        if not column.optional:
            raise InvalidOptionError(f"The journal's {place} is missing.")
        return column.default
    value = row[column.key]
    if column.kind == VALUE:
        # Compact ASCII, as the codec writes it.
        return json.dumps(value, separators=(",", ":"))
    if value is None and column.optional and column.default is None:
        return None
    if column.kind == MOMENT:
        return _moment(value, place)
    if column.kind == TRUTH:
        if not isinstance(value, bool):
            raise _wrong(place, value, TRUTH)
        return value
    return _whole(value, column, place) if column.kind == WHOLE else _text(value, column, place)


def _moment(value: Any, place: str) -> datetime:
    if not isinstance(value, str):
        raise _wrong(place, value, "a time as ISO text")
    try:
        return parse_moment(value)
    except InvalidOptionError as error:
        raise _wrong(place, value, "a time as ISO text") from error


def _whole(value: Any, column: Column, place: str) -> int:
    most = column.most or 0
    least = 0 if most < 2**31 else -1
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(place, value, f"a whole number from {least} to {most}")
    return value


def _text(value: Any, column: Column, place: str) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise _wrong(place, value, TEXT)
    if column.choices and value not in column.choices:
        raise _wrong(place, value, f"one of {', '.join(column.choices)}")
    if column.most is not None and len(value) > column.most:
        raise _wrong(place, value, f"a text of at most {column.most} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _wrong(place, value, TEXT) from error
    return value


def _check_steps(steps: Iterable[Mapping[str, Any]]) -> None:
    keys: set[str] = set()
    sequences: set[int] = set()
    for place, step in enumerate(steps):
        key, sequence = step["key"], step["sequence"]
        if not key or key in keys:
            raise _wrong(f"steps[{place}].key", key, "the key of one step alone")
        if (sequence is not None) != (step["status"] in RECORDED):
            raise _wrong(
                f"steps[{place}].sequence", sequence, "a number where the step is completed or failed, else null"
            )  # fmt: skip
        if sequence is not None and (sequence < 1 or sequence in sequences):
            raise _wrong(f"steps[{place}].sequence", sequence, "the number of one step alone")
        keys.add(key)
        sequences.add(sequence if sequence is not None else -len(keys))
