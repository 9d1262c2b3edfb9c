"""One box for what people know of a run: its id, a label, an event, the row it is about, what its error said.

Each way looks a bounded number of rows up by an index; what was found by any of them is the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.db import connections
from django.db.models import QuerySet
from django.db.models.functions import Lower

from django_workflow.core.types import DEAD_LETTER
from django_workflow.models.events import Event, Waiter
from django_workflow.models.runs import Run

#: Of what is found by the beginning of an id or label, so many are looked at.
MOST_FOUND: Final = 500
#: Texts without an index are looked for in so many runs, the latest ones.
LOOKED_THROUGH: Final = 2_000

_ABOUT = re.compile(r"(?:(?P<model>[\w.]*[A-Za-z_]\w*)[\s:#]+)?(?P<key>\S+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The runs that a search leaves, and whether there may be more."""

    runs: QuerySet[Run]
    is_cut: bool = False


def search(runs: QuerySet[Run], text: str, *, with_payloads: bool) -> Found:
    """Return those of the runs that the text means; ``id:``, ``label:``, ``event:``, ``about:``, ``error:`` or ``payload:``
    before it says what it is. What errors and payloads say is looked through only with the permission for it.
    """
    text = text.replace("\x00", "")
    kind, separator, rest = text.partition(":")
    ways = WAYS | (GUARDED if with_payloads else {})
    if separator and kind in ways and rest.strip():
        chosen, text = {kind: ways[kind]}, rest.strip()
    else:
        chosen = {name: way for name, way in ways.items() if name != "payload"}
    ids: set[str] = set()
    is_cut = False
    for way in chosen.values():
        some = list(way(runs, text))
        is_cut = is_cut or len(some) > MOST_FOUND
        ids.update(some[:MOST_FOUND])
    return Found(runs=runs.filter(pk__in=sorted(ids)), is_cut=is_cut)


def _some(rows: QuerySet[Any], field: str = "pk") -> Iterable[str]:
    return rows.order_by().values_list(field, flat=True)[: MOST_FOUND + 1]


def _by_id(runs: QuerySet[Run], text: str) -> Iterable[str]:
    return _some(runs.filter(pk__startswith=text))


def _by_label(runs: QuerySet[Run], text: str) -> Iterable[str]:
    return _some(runs.filter(labels_of_run__label__startswith=text))


def _by_event(runs: QuerySet[Run], text: str) -> Iterable[str]:
    """Runs that wait for an event of that beginning, and those to which one of just that id was sent alone."""
    waiting = Waiter.objects.using(runs.db).open().filter(event_id__startswith=text)
    sent = Event.objects.using(runs.db).filter(event_id=text, run__isnull=False)
    ids = {*_some(waiting, "run_id"), *_some(sent, "run_id")}
    return _some(runs.filter(pk__in=sorted(ids)))


def _by_about(runs: QuerySet[Run], text: str) -> Iterable[str]:
    parts = _ABOUT.fullmatch(text)
    if parts is None:
        return []
    asked = (parts["model"] or "").lower()
    labels = [
        model._meta.label_lower
        for model in apps.get_models()
        if asked in ("", model._meta.label_lower, model._meta.model_name)
    ]
    return _some(runs.filter(about_type__in=labels, about_id=parts["key"]))


def _by_error(runs: QuerySet[Run], text: str) -> Iterable[str]:
    dead = _latest(runs.filter(status__in=sorted(DEAD_LETTER)))
    return _some(_saying(dead, "failure_text", text))


def _by_payload(runs: QuerySet[Run], text: str) -> Iterable[str]:
    """Runs whose payload says so, as it is shown: what is redacted cannot be found out by asking."""
    shown = _saying(_latest(runs), "payload_text", text).only(
        "id", "workflow", "payload_text", "options_text"
    )
    wanted = text.casefold()
    return [
        run.pk
        for run in shown.order_by("-created_at", "id")[: MOST_FOUND + 1]
        if wanted in json.dumps(run.shown_payload, ensure_ascii=False).casefold()
    ]


def _saying(runs: QuerySet[Run], column: str, text: str) -> QuerySet[Run]:
    """Return those with a text in a column, be its letters large or small."""
    stored = json.dumps(text)[1:-1]
    if connections[runs.db].vendor != "mysql":
        return runs.filter(**{f"{column}__icontains": stored})
    # There it goes by the collation, which tells cases apart.
    return runs.alias(said=Lower(column)).filter(said__contains=stored.lower())


def _latest(runs: QuerySet[Run]) -> QuerySet[Run]:
    newest = runs.order_by("-created_at").values_list("created_at", flat=True)
    edge = list(newest[LOOKED_THROUGH - 1 : LOOKED_THROUGH])
    return runs.filter(created_at__gte=edge[0]) if edge else runs


Way = Callable[[QuerySet[Run], str], Iterable[str]]
WAYS: Final[dict[str, Way]] = {
    "id": _by_id,
    "label": _by_label,
    "event": _by_event,
    "about": _by_about,
}
GUARDED: Final[dict[str, Way]] = {"error": _by_error, "payload": _by_payload}
