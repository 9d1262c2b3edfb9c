"""The facets of the list of runs: by what it can be narrowed, and how many runs that would leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.core.types import DEAD_LETTER, RunStatus, StepStatus
from django_workflow.models import Delivery, Run, Step
from django_workflow.models.paging import MOST_COUNTED, bounded_counts
from django_workflow.models.run_filters import DEAD, LATE, SPANS, WAITS, RunFilters

#: The filters that are facets.
DIMENSIONS: Final = ("status", "step", "workflow", "since", "late", "root")
#: So many workflows are counted, each up to so many runs; the others are offered without a figure.
COUNTED_WORKFLOWS: Final = 20
MOST_OF_WORKFLOW: Final = 100

SPAN_LABELS: Final[Mapping[str, Any]] = {
    "1h": gettext_lazy("last hour"),
    "24h": gettext_lazy("last 24 hours"),
    "7d": gettext_lazy("last 7 days"),
    "30d": gettext_lazy("last 30 days"),
}

Asked = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One value of a facet: where it leads, how many runs it would leave."""

    label: Any
    url: str
    is_chosen: bool
    count: str = ""
    state: str = ""


@dataclass(frozen=True, kw_only=True)
class Facet:
    """One way to narrow the list."""

    title: Any
    choices: list[Choice]


def count_in_words(count: int, most: int = MOST_COUNTED) -> str:
    """Return a count, or that it is more than was counted."""
    return f"{most:,}+" if count > most else f"{count:,}"


def most_of(asked: Asked) -> int:
    """Return how far the runs of a choice are counted."""
    name, value = asked
    return MOST_OF_WORKFLOW if name == "workflow" and value else MOST_COUNTED


def countable(runs: QuerySet[Run], filters: RunFilters, now: datetime) -> QuerySet[Run]:
    """Return the runs that filters leave, in an order that makes a database walk along an index to the first ones.

    Left to itself PostgreSQL reads the table from its beginning, and hopes to come by enough of them soon.
    """
    found = filters.apply(runs, now)
    # Of these there are few, and they are found from the other side.
    return found if filters.step or filters.late else found.order_by("-created_at")


class Counting:
    """Counts what filters leave of any number of runs, by indexes, no further than matters; one statement."""

    def __init__(self, runs: QuerySet[Run], now: datetime) -> None:
        self.runs = runs
        self.now = now

    def counts(self, filters: Mapping[Asked, RunFilters]) -> dict[Asked, int]:
        """Return how many runs each of these leaves."""
        questions = {
            (asked, status): countable(self.runs, replace(one, status=status), self.now)
            for asked, one in filters.items()
            if not is_contradictory(one)
            for status in _counted_statuses(one)
        }
        counts = bounded_counts(questions, lambda question: most_of(question[0]))
        totals = dict.fromkeys(filters, 0)
        for (asked, _status), count in counts.items():
            totals[asked] += count
        return totals


class CountingOfFew(Counting):
    """Counts a few runs, which a search has found, by looking at each of them; three queries."""

    def counts(self, filters: Mapping[Asked, RunFilters]) -> dict[Asked, int]:
        """See `Counting.counts()`."""
        fields = ("pk", "status", "workflow", "created_at", "parent")
        rows = list(self.runs.order_by().values_list(*fields))
        ids = [row[0] for row in rows]
        steps: dict[str, set[str]] = defaultdict(set)
        open_steps = Step.objects.using(self.runs.db).filter(run__in=ids, status__in=WAITS)
        for run_id, status in open_steps.values_list("run", "status"):
            steps[run_id].add(status)
        overdue = Delivery.objects.using(self.runs.db).overdue(self.now, LATE)
        late = set(overdue.filter(run__in=ids).values_list("run", flat=True))

        def leaves(one: RunFilters, row: tuple[Any, ...]) -> bool:
            run_id, status, workflow, created_at, parent = row
            return (
                (not one.status or status in _states_of(one.status))
                and (not one.workflow or workflow == one.workflow)
                and (not one.since or created_at >= self.now - SPANS[one.since])
                and not (one.root and parent)
                and not (one.late and run_id not in late)
                and (not one.step or (status == RunStatus.RUNNING and one.step in steps[run_id]))
            )

        return {asked: sum(leaves(one, row) for row in rows) for asked, one in filters.items()}


def _states_of(status: str) -> frozenset[RunStatus]:
    return DEAD_LETTER if status == DEAD else frozenset({RunStatus(status)})


def _counted_statuses(filters: RunFilters) -> Collection[str]:
    """Return the states to count one by one: only of a single one does an index hold the runs in their order."""
    if filters.step:
        # All of them are running, as is said with the step.
        return ("",)
    return sorted(DEAD_LETTER) if filters.status == DEAD else (filters.status,)


def is_contradictory(filters: RunFilters) -> bool:
    """Tell whether no run can be left: only a running one is in a step."""
    return bool(filters.step) and filters.status not in ("", RunStatus.RUNNING)


def facets_of(
    filters: RunFilters,
    workflows: Sequence[str],
    counting: Counting,
    url: Callable[[RunFilters], str],
) -> list[Facet]:
    """Return the facets, each counted under all other filters."""
    offered: dict[str, Sequence[str]] = {
        "status": ("", *RunStatus, DEAD),
        "step": WAITS,
        "workflow": ("", *workflows),
        "since": tuple(SPANS),
        "late": ("1",),
        "root": ("1",),
    }
    counts = _counts(filters, offered, counting)

    def choice(name: str, value: str, label: Any) -> Choice:
        is_chosen = getattr(filters, name) == value
        count = counts.get((name, value))
        return Choice(
            label=label,
            # A second click on what is chosen takes it back.
            url=url(replace(filters, **{name: "" if is_chosen else value})),
            is_chosen=is_chosen,
            count="" if count is None else count_in_words(count, most_of((name, value))),
            state=value if name in ("status", "step") else "",
        )

    states = [choice("status", one, _status_label(one)) for one in offered["status"]]
    steps = [choice("step", one, _(StepStatus(one).value)) for one in WAITS]
    times = [choice("since", one, SPAN_LABELS[one]) for one in SPANS]
    flows = [choice("workflow", one, one or _("All")) for one in offered["workflow"]]
    more = [
        choice("late", "1", _("due, and not begun for 30 s")),
        choice("root", "1", _("without a parent")),
    ]
    return [
        Facet(title=_("Status"), choices=states),
        Facet(title=_("Now in a step that is"), choices=steps),
        Facet(title=_("Triggered"), choices=times),
        Facet(title=_("More"), choices=more),
        Facet(title=_("Workflow"), choices=flows),
    ]


def _counts(
    filters: RunFilters, offered: Mapping[str, Sequence[str]], counting: Counting
) -> dict[Asked, int]:
    own = filters.without("q", "error")
    # Each of a search's few is looked at anyway; of many, those in a step are not counted by workflow too.
    is_cheap = isinstance(counting, CountingOfFew) or not (own.step or own.late)
    counted = dict(offered)
    counted["workflow"] = offered["workflow"][: COUNTED_WORKFLOWS + 1] if is_cheap else ("",)
    return counting.counts(
        {
            (name, value): replace(own, **{name: value})
            for name, values in counted.items()
            for value in values
        }
    )


def _status_label(status: str) -> str:
    if not status:
        return _("All")
    return _("dead letters") if status == DEAD else _(status)
