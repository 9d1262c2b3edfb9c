"""What stands around a run and tells why it is not going on: its deliveries, labels, open steps, children and tickets.

`Run.objects.with_reason()` fetches it for any number of runs at once; of any other run it is asked for when it is needed.
Kept in plain lists: the query set in which Django keeps prefetched rows costs more than the rows, for each run of a list and
each kind of row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db.models import Prefetch, QuerySet

from django_workflow.core.types import OPEN_STEP

#: What is looked at, by the name of the relation.
AROUND: Final[Mapping[str, Callable[[Any], QuerySet[Any]]]] = {
    "deliveries": lambda rows: rows.all(),
    "labels_of_run": lambda rows: rows.all(),
    "steps": lambda rows: rows.filter(status__in=OPEN_STEP).order_by("id"),
    "children": lambda rows: rows.told_of().order_by("created_at", "id"),
    "flow_tickets": lambda rows: rows.placed(),
}
_PREFIX: Final = "fetched_"


def fetching(model: Any) -> list[Prefetch[Any]]:
    """Return what fetches all of it for runs, in as many queries as there are kinds."""
    return [
        Prefetch(
            name,
            narrow(model._meta.get_field(name).related_model._default_manager.all()),
            to_attr=_PREFIX + name,
        )
        for name, narrow in AROUND.items()
    ]


def fetched(run: Any, name: str) -> list[Any] | None:
    """Return the rows of one kind if they were fetched with the run."""
    found: list[Any] | None = vars(run).get(_PREFIX + name)
    return found


def around(run: Any, name: str) -> list[Any]:
    """Return the rows of one kind."""
    found = fetched(run, name)
    return list(AROUND[name](getattr(run, name))) if found is None else found


def forget(run: Any) -> None:
    """Have all of it asked for anew, as the run itself is."""
    for name in AROUND:
        vars(run).pop(_PREFIX + name, None)
