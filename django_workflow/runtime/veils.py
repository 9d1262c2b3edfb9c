"""What stands between who asks and the runs that are not there for them: their IDs do not show beside other runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from django_workflow.conf import settings
from django_workflow.core.at_rest import opened
from django_workflow.core.exceptions import AtRestError
from django_workflow.core.types import Failure
from django_workflow.models import Run
from django_workflow.models.around import fetched
from django_workflow.runtime.dead_letters import Group
from django_workflow.runtime.visibility import sees_all_runs, visible_runs

RowT = TypeVar("RowT")

#: What is said in the place of an ID.
HIDDEN: Final = "a run that you may not see"
#: How many children and restarts of the runs in question are looked at.
MOST_RELATED: Final = 1_000
CHUNK: Final = 500
#: How texts of the engine name runs.
NAMED: Final = re.compile(
    r'\b(wfr_\w+)|\brun "([^"\s]{1,128})"|\brun ([^\s"]{1,128})', re.IGNORECASE
)
#: Columns of rows in which the engine names runs; the values that workflows handle are the project's.
IN_JSON: Final = ("failure_text", "handler_failure_text", "undo_failure_text", "details_text")
#: Of a step, what it was asked with may name a run, too; so may the end of a child.
OF_STEPS: Final = ("arguments_text",)
SAID: Final = ("why", "note", "trouble")
IDS: Final = frozenset({"run_id", "workflow_run_id", "new_run", "restarted_from", "parent"})


class Veil:
    """Covers the IDs of hidden runs in what is told of others; it does nothing where nothing is hidden.

    Rows are covered where they are, so they are not to be saved.
    """

    def __init__(self, request: Any, runs: Iterable[Run] = (), *, words: str = HIDDEN) -> None:
        self._request = request
        self.words = words
        self._is_hidden: dict[str, bool] = {}
        self.is_on = not sees_all_runs(request)
        if self.is_on:
            self._look(_related(list(runs)))

    def seen(self, rows: Any) -> Any:
        """Return those of these runs that may be seen."""
        return visible_runs(self._request, rows) if self.is_on else rows

    def hides(self, run_id: str | None) -> bool:
        """Tell whether there is such a run, and who asks may not see it."""
        if not self.is_on or not run_id:
            return False
        self._look([run_id])
        return self._is_hidden[run_id]

    def id(self, run_id: str | None) -> str | None:
        """Return the ID of a run, or what is said in its place."""
        return self.words if self.hides(run_id) else run_id

    def text(self, text: str) -> str:
        """Return a text of the engine's without the IDs of hidden runs."""
        if not self.is_on or not text:
            return text
        self._look(_named(text))
        for run_id in sorted(self._hidden, key=len, reverse=True):
            if run_id in text:
                place = rf'(?:\brun )?"?(?<![\w-]){re.escape(run_id)}(?![\w-])"?'
                text = re.sub(place, lambda _: self.words, text, flags=re.IGNORECASE)
        return text

    def value(self, value: Any) -> Any:
        """Return plain JSON of the engine's without the IDs of hidden runs."""
        if not self.is_on:
            return value
        if isinstance(value, dict):
            self._look(one for key, one in value.items() if key in IDS and isinstance(one, str))
            return {key: self.value(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one) for one in value]
        return self.text(value) if isinstance(value, str) else value

    def failure(self, failure: Failure | None) -> Failure | None:
        """Return an error without the IDs of hidden runs."""
        if failure is None or not self.is_on:
            return failure
        return Failure.from_json(self.value(failure.to_json()))

    def groups(self, groups: Iterable[Group]) -> None:
        """Cover the errors of groups of dead letters."""
        for group in groups:
            group.failure = self.failure(group.failure)

    def row(self, row: RowT) -> RowT:
        """Cover what the engine has written into a run, step, attempt or action; return it."""
        if not self.is_on:
            return row
        held = vars(row)
        for name in (*IN_JSON, *OF_STEPS):
            if held.get(name):
                held[name] = self._json(held[name])
        for name in SAID:
            if held.get(name):
                held[name] = self.text(held[name])
        return row

    def rows(self, rows: Iterable[RowT]) -> list[RowT]:
        """Cover each of these rows; return them."""
        return [self.row(row) for row in rows]

    @property
    def _hidden(self) -> list[str]:
        return [run_id for run_id, is_hidden in self._is_hidden.items() if is_hidden]

    def _json(self, text: str) -> str:
        try:
            return json.dumps(self.value(json.loads(opened(text))), separators=(",", ":"))
        except (AtRestError, ValueError):
            # Windows say that it cannot be read.
            return text

    def _look(self, ids: Iterable[str]) -> None:
        asked = [run_id for run_id in dict.fromkeys(ids) if run_id not in self._is_hidden]
        alias = settings().DATABASE
        for start in range(0, len(asked), CHUNK):
            part = [one for one in asked[start : start + CHUNK] if "\x00" not in one]
            there = set(Run.objects.using(alias).filter(pk__in=part).values_list("pk", flat=True))
            seen = self.seen(Run.objects.using(alias)).filter(pk__in=there)
            there -= set(seen.values_list("pk", flat=True))
            self._is_hidden |= {one: one in there for one in asked[start : start + CHUNK]}


def _named(text: str) -> Iterator[str]:
    for found in NAMED.finditer(text):
        name = found[1] or found[2] or found[3]
        yield name
        yield name.rstrip(".,;:)")


def _related(runs: Sequence[Run]) -> Iterator[str]:
    """Return the IDs of parents, children, origins, restarts, and of those in whose line these runs stand."""
    alias, ids = settings().DATABASE, [run.pk for run in runs]
    for run in runs:
        yield from filter(None, (run.parent_id, run.restarted_from_id))
        tickets = fetched(run, "flow_tickets") or ()
        yield from filter(None, (getattr(one, "holder", None) for one in tickets))
    others = Run.objects.using(alias).order_by().values_list("pk", flat=True)
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        yield from others.filter(parent__in=part)[:MOST_RELATED]
        yield from others.filter(restarted_from__in=part)[:MOST_RELATED]
