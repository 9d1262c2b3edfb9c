"""The columns that hold what users store: all of them, for whoever encrypts anew or looks for files in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from django.db.models import ExpressionWrapper, F, Q, TextField, Value
from django.db.models.functions import Left

from django_workflow.at_rest.vault import TRIVIAL, kept, sealed
from django_workflow.conf import settings
from django_workflow.core.at_rest import IS_SPILLED, MARK, SEALED, SPILLED, mark_of
from django_workflow.core.types import FINISHED
from django_workflow.models import (
    Action,
    Approval,
    Attempt,
    Call,
    DeadLetterNote,
    Event,
    Generation,
    MapItem,
    PastStep,
    Run,
    RunLog,
    Schedule,
    Step,
    Undo,
    Waiter,
    Webhook,
)

#: As many characters as the mark of a file has, or more.
LONGEST_MARK: Final = 200


class Column(NamedTuple):
    """A column of texts; what ``spills`` may stand in a file, ``words`` are those of people and no JSON."""

    model: Any
    name: str
    spills: bool = False
    words: bool = False

    def __str__(self) -> str:
        return f"{self.model._meta.db_table}.{self.name}"

    @property
    def rows(self) -> Any:
        """All rows of its table."""
        return self.model.objects.using(settings().DATABASE)

    @property
    def raw(self) -> Any:
        """The text as it stands in the row."""
        return ExpressionWrapper(F(self.name), output_field=TextField())


COLUMNS: Final = (
    Column(Run, "payload_text", spills=True),
    Column(Run, "headers_text"),
    Column(Run, "result_text", spills=True),
    Column(Run, "failure_text"),
    Column(Run, "handler_failure_text"),
    Column(Run, "undo_failure_text"),
    Column(Run, "progress_text"),
    Column(Run, "state_text"),
    Column(Generation, "payload_text", spills=True),
    *(
        Column(model, f"{name}_text", spills=name == "result")
        for model in (Step, PastStep)
        for name in ("arguments", "result", "failure")
    ),
    Column(Attempt, "failure_text"),
    Column(Attempt, "result_text", spills=True),
    Column(MapItem, "item_text", spills=True),
    Column(MapItem, "result_text", spills=True),
    Column(MapItem, "failure_text"),
    Column(Call, "request_text", spills=True),
    Column(Event, "data_text", spills=True),
    Column(Waiter, "data_text", spills=True),
    Column(Webhook, "verifier_text"),
    Column(Webhook, "answer_text"),
    Column(Approval, "data_text"),
    Column(RunLog, "fields_text"),
    Column(Schedule, "template_text"),
    Column(Undo, "arguments_text"),
    Column(Action, "details_text"),
    Column(Action, "why", words=True),
    Column(Approval, "description", words=True),
    Column(Approval, "comment", words=True),
    Column(DeadLetterNote, "note", words=True),
    Column(RunLog, "message", words=True),
)


def as_kept(model: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a row with its texts as they are kept; words are sealed by their field."""
    keep = {
        column.name: kept if column.spills else sealed
        for column in COLUMNS
        if column.model is model and not column.words
    }
    return {name: keep[name](value) if name in keep else value for name, value in row.items()}


def under_other_keys(column: Column, key: str, after: Any, limit: int) -> list[tuple[Any, str]]:
    """Return rows of a column, in their order, that may hold something not encrypted with the key of this name."""
    name = column.name
    has_it = Q(**{f"{name}__startswith": mark_of(SEALED, f"{key}.")[:-2]})
    has_it |= Q(
        **{f"{name}__startswith": mark_of(SPILLED, "")[:-2], f"{name}__contains": f".{key}:"}
    )
    found = column.rows.exclude(Q(**{name: None}) | Q(**{f"{name}__in": TRIVIAL}) | has_it)
    if after is not None:
        found = found.filter(pk__gt=after)
    return list(found.order_by("pk").values_list("pk", column.raw)[:limit])


def replace_text(column: Column, pk: Any, old: str, new: str) -> bool:
    """Put the same text, kept otherwise, in the place of this one; False if it has changed meanwhile."""
    # A row at a time, and by itself: whoever holds several locks them in an order.
    found = column.rows.filter(**{"pk": pk, column.name: old})
    return bool(found.update(**{column.name: Value(new, output_field=TextField())}))


def latest_texts(limit: int) -> list[str]:
    """Return how payloads of the oldest unfinished and the latest runs begin, and the latest results of steps."""
    alias = settings().DATABASE
    runs = Run.objects.using(alias).exclude(payload_text=None)
    oldest = runs.exclude(status__in=FINISHED).order_by("created_at")
    steps = Step.objects.using(alias).exclude(result_text=None).order_by("-pk")
    found = [runs.order_by("-created_at"), oldest]
    payload, result = Left("payload_text", LONGEST_MARK), Left("result_text", LONGEST_MARK)
    texts = [text for rows in found for text in rows.values_list(payload, flat=True)[:limit]]
    texts += steps.values_list(result, flat=True)[:limit]
    return [text for text in texts if text]


def files_in_use() -> Iterator[str]:
    """Return the names of the files to which any row refers; it reads every text that is kept in rows."""
    for column in COLUMNS:
        if not column.spills:
            continue
        found = column.rows.filter(**{f"{column.name}__contains": IS_SPILLED})
        for text in found.values_list(column.name, flat=True).iterator():
            for mark in MARK.finditer(text):
                if mark[1] == SPILLED:
                    yield mark[2].rpartition(":")[0]
