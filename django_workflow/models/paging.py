"""Pages of runs that cost the same wherever they are, and counts that stop counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Q, QuerySet, Value

from django_workflow.models.runs import Run

#: Beyond this, a count is told as "more than".
MOST_COUNTED = 500
MOST_NAMES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A place in the list, the newest runs first: behind this run, or before it."""

    created_at: datetime
    run_id: str
    is_before: bool = False

    @classmethod
    def parse(cls, text: str, *, is_before: bool = False) -> Self | None:
        """Read a place from a URL; None where it is none."""
        moment, separator, run_id = text.partition("~")
        try:
            created_at = datetime.fromisoformat(moment)
        except ValueError:
            return None
        if not separator or created_at.tzinfo is None or "\x00" in run_id:
            return None
        return cls(created_at=created_at, run_id=run_id, is_before=is_before)

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}~{self.run_id}"

    def beyond(self) -> Q:
        """Return the condition of the runs behind this place, or before it."""
        at, run_id = self.created_at, self.run_id
        # The bound that both halves share is said by itself: an index is entered there.
        if self.is_before:
            return Q(created_at__gte=at) & (Q(created_at__gt=at) | Q(id__lt=run_id))
        return Q(created_at__lte=at) & (Q(created_at__lt=at) | Q(id__gt=run_id))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """Some runs of a list, and where the next ones are."""

    runs: list[Run]
    newer: Place | None
    older: Place | None


def page_of(found: QuerySet[Run], place: Place | None, size: int) -> RunPage:
    """Return the runs at a place of the list, the newest first."""
    is_before = place is not None and place.is_before
    order = ("created_at", "-id") if is_before else ("-created_at", "id")
    if place is not None:
        found = found.filter(place.beyond())
    runs = list(found.order_by(*order)[: size + 1])
    has_more = len(runs) > size
    runs = runs[:size]
    if is_before:
        runs.reverse()
    has_newer = has_more if is_before else place is not None
    has_older = is_before or has_more
    return RunPage(
        runs=runs,
        newer=_place(runs[0], is_before=True) if runs and has_newer else None,
        older=_place(runs[-1]) if runs and has_older else None,
    )


def _place(run: Run, *, is_before: bool = False) -> Place:
    return Place(created_at=run.created_at, run_id=run.pk, is_before=is_before)


def bounded_counts(
    questions: Mapping[Any, QuerySet[Any]],
    most: int | Callable[[Any], int] = MOST_COUNTED,
) -> dict[Any, int]:
    """Count the rows of several questions in one statement, each up to one more than ``most``, which may depend on its name."""
    counted: dict[Any, tuple[str, tuple[Any, ...]]] = {}
    alias = ""
    for name, rows in questions.items():
        alias = rows.db
        limit = most if isinstance(most, int) else most(name)
        # No column: an index may be all that is read.
        bounded = rows.annotate(one=Value(1)).values("one")[: limit + 1]
        with suppress(EmptyResultSet):
            counted[name] = bounded.query.get_compiler(using=alias).as_sql()
    # Many a question is another's in other words, and is asked once.
    parts = list(dict.fromkeys(counted.values()))
    if not parts:
        return dict.fromkeys(questions, 0)
    with connections[alias].cursor() as cursor:
        # What stands in them was written by Django, with all values as parameters.
        selected = ", ".join(f"(SELECT COUNT(*) FROM ({sql}) c)" for sql, _ in parts)  # noqa: S608
        cursor.execute(f"SELECT {selected}", [value for _, given in parts for value in given])
        counts = dict(zip(parts, cursor.fetchone(), strict=True))
    return dict.fromkeys(questions, 0) | {name: counts[part] for name, part in counted.items()}


def workflow_names(alias: str) -> list[str]:
    """Return the names of the workflows that have runs, by as many looks into the index as there are names."""
    table = connections[alias].ops.quote_name(Run._meta.db_table)
    least = f"SELECT MIN(workflow) FROM {table}"  # noqa: S608  the table's name is ours
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE names(name) AS ({least} UNION ALL SELECT ({least} WHERE workflow > name) "  # noqa: S608
            f"FROM names WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL LIMIT {MOST_NAMES}"
        )
        return [name for (name,) in cursor.fetchall()]
