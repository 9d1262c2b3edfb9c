"""Steps, their attempts and the runs they have started, as rows of a timeline: parallel lanes together, children below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _

from django_workflow.admin.timeline import Row, Span
from django_workflow.core.types import StepKind, StepStatus
from django_workflow.models import Attempt, Run, Step

#: Kinds whose time is spent in a body; all others wait for something.
BODIES = frozenset(
    {StepKind.RUN, StepKind.ATOMIC, StepKind.NOTIFY, StepKind.CREATE_WEBHOOK, StepKind.MAP}
)
MOST_CHILDREN = 100


def rows_of(
    steps: Sequence[Step],
    attempts: Mapping[str, Iterable[Attempt]],
    children: Mapping[str, Sequence[Run]],
    held: Mapping[str, datetime],
    took: Mapping[str, str],
    run_url: Callable[[str], str],
) -> list[Row]:
    """Return the rows of these steps; ``held`` tells which of them a worker has in hand at this moment."""
    rows: list[Row] = []
    for step, depth in lanes(list(steps)):
        rows.append(
            Row(
                label=step.key,
                key=step.key,
                status=step.status,
                took=took.get(step.key, ""),
                depth=depth,
                spans=_spans(step, list(attempts.get(step.key, ())), step.key in held),
            )
        )
        for child in list(children.get(step.key, ()))[:MOST_CHILDREN]:
            rows.append(_child(child, depth + 1, run_url(child.pk)))  # noqa: PERF401  children stand between the rows of steps
    return rows


def _child(child: Run, depth: int, url: str) -> Row:
    spans = []
    if child.started_at is None or child.started_at > child.created_at:
        spans.append(
            Span(kind="queue", start=child.created_at, end=child.started_at, title=_("queued"))
        )
    if child.started_at is not None:
        spans.append(
            Span(kind="child", start=child.started_at, end=child.finished_at, title=_(child.status))
        )
    return Row(
        label=child.workflow,
        key="",
        run_id=child.pk,
        url=url,
        status=child.status,
        took="",
        depth=depth,
        spans=spans,
    )


def _spans(step: Step, attempts: list[Attempt], is_held: bool) -> list[Span]:
    if step.kind not in BODIES:
        kind = "wait" if step.kind not in (StepKind.VALUE, StepKind.PATCH) else "run"
        end = step.finished_at if not step.is_open else None
        title = _("waits") if end is None else _("waited")
        return [Span(kind=kind, start=step.created_at, end=end, title=title)]
    tries = [
        Span(
            kind="failed",
            start=one.started_at or one.finished_at,
            end=one.finished_at,
            title=_("attempt %(number)d: %(outcome)s")
            % {"number": one.number, "outcome": one.get_outcome_display()},
        )
        for one in attempts
        if one.outcome not in (Attempt.Outcome.HOOK_FAILED, Attempt.Outcome.PUT_ASIDE)
    ]
    own = _own(step, is_held)
    begun = [*tries, *own]
    spans = []
    first = min((span.start for span in begun), default=None)
    if first is None or first > step.created_at:
        end = first if first is not None or step.is_open else step.finished_at
        spans.append(Span(kind="queue", start=step.created_at, end=end, title=_("queued")))
    spans += _delays(begun, step)
    return [*spans, *begun]


def _own(step: Step, is_held: bool) -> list[Span]:
    """Return the attempt that has become the result, or that is under way."""
    if step.status == StepStatus.COMPLETED and step.finished_at is not None:
        start = step.started_at or step.created_at
        return [Span(kind="run", start=start, end=step.finished_at, title=_("ran"))]
    if is_held and step.status in (StepStatus.PENDING, StepStatus.EXECUTING):
        # Nothing is written when a first attempt begins: what is known is that a worker has it.
        begun = step.started_at or step.created_at
        return [Span(kind="run", start=begun, end=None, title=_("in the hands of a worker"))]
    return []


def _delays(begun: Sequence[Span], step: Step) -> list[Span]:
    """Return the times between attempts, and after the last where another is to come."""
    ordered = sorted(begun, key=lambda span: span.start)
    found = [
        Span(kind="wait", start=one.end, end=two.start, title=_("waited for the next attempt"))
        for one, two in pairwise(ordered)
        if one.end is not None and two.start > one.end
    ]
    last = ordered[-1].end if ordered else None
    if step.status == StepStatus.RETRYING and last is not None:
        found.append(Span(kind="wait", start=last, end=None, title=_("waits for the next attempt")))
    return found


def lanes(steps: Sequence[Any], depth: int = 0) -> list[tuple[Any, int]]:
    """Return steps with how deep they stand; those of one branch of a parallel stand together.

    Steps come in the order in which they were met, so branches that ran side by side are mixed.
    """
    found: list[tuple[Any, int]] = []
    place = 0
    while place < len(steps):
        segment = _segment(steps[place].branch, depth)
        if segment is None:
            found.append((steps[place], depth))
            place += 1
            continue
        stem = _stem(segment)
        block: dict[str, list[Any]] = {}
        while place < len(steps):
            own = _segment(steps[place].branch, depth)
            if own is None or _stem(own) != stem:
                break
            block.setdefault(own, []).append(steps[place])
            place += 1
        for lane in block.values():
            found += lanes(lane, depth + 1)
    return found


def _segment(branch: str, depth: int) -> str | None:
    parts = branch.split("/")[:-1]
    return parts[depth] if depth < len(parts) else None


def _stem(segment: str) -> str:
    """Return what the branches of one parallel have in common: tasks of an async function stand together, too."""
    return "t" if segment[:1] == "t" and segment[1:].isdigit() else segment.partition(".")[0]
