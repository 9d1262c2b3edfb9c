"""What the page of a run tells: its steps with their attempts, a page of them at a time, in five queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.db.models.functions import Left, Length
from django.utils import timezone
from django.utils.translation import gettext as _

from django_workflow.admin.timeline import Timeline, drawn, zoomed
from django_workflow.admin.timeline_rows import rows_of
from django_workflow.admin.tracebacks import Part, parts_of
from django_workflow.core.at_rest import is_kept
from django_workflow.core.durations import format_duration
from django_workflow.core.plain import plain
from django_workflow.core.redaction import Mask
from django_workflow.core.telling import Progress
from django_workflow.core.types import Failure
from django_workflow.models import Action, Attempt, Run, RunLog, Step
from django_workflow.models.around import around
from django_workflow.models.shown import shown_line, shown_progress, shown_state
from django_workflow.runtime.veils import Veil

STEPS_PER_PAGE = 200
MOST_ACTIONS = 200
LINES_SHOWN = 200
#: A longer value is shown by its beginning: nobody reads it here, and the page has to open.
LONGEST_SHOWN = 20_000
# What is encrypted can only be opened whole: up to here that is done for a page that shows its beginning.
LONGEST_OPENED = 200_000
SHORT = 48
SHORT_DETAIL = 400


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A stored value as a page shows it."""

    text: str
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether this is only the beginning."""
        return self.length > LONGEST_SHOWN

    @property
    def is_short(self) -> bool:
        """Whether it fits beside other things on one line."""
        return len(self.text) <= SHORT and "\n" not in self.text

    @property
    def beginning(self) -> str:
        """As much of it as fits beside other things on one line."""
        line = " ".join(self.text[: 4 * SHORT].split())
        return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def shown(text: str | None, length: int | None = None) -> Shown | None:
    """Return a stored value to be shown, laid out where it is whole."""
    if text is None:
        return None
    length = len(text) if length is None else length
    if length > LONGEST_SHOWN and is_kept(text):
        return Shown(
            text=_("(%(count)s bytes, encrypted)") % {"count": f"{length:,}"}, length=length
        )
    if length > LONGEST_SHOWN:
        return Shown(text=text[:LONGEST_SHOWN], length=length)
    return Shown(text=_laid_out(plain(text)), length=length)


def shown_value(value: Any) -> Shown | None:
    """Return a plain value to be shown, which nothing is left to hide of."""
    if value is None:
        return None
    text = _laid_out(value)
    return Shown(text=text[:LONGEST_SHOWN], length=len(text))


def _laid_out(value: Any) -> str:
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= SHORT else json.dumps(value, indent=2, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class AttemptLine:
    """A try that did not become the step's result."""

    attempt: Attempt
    failure: Failure | None
    late_result: Shown | None
    took: str

    @property
    def traceback(self) -> list[Part]:
        """The traceback, the frames of libraries folded."""
        return parts_of(self.failure.traceback) if self.failure is not None else []


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """A step as a page shows it."""

    step: Step
    result: Shown | None
    failure: Failure | None
    took: str
    attempts: list[AttemptLine]

    @property
    def traceback(self) -> list[Part]:
        """The traceback of its error, the frames of libraries folded."""
        return parts_of(self.failure.traceback) if self.failure is not None else []

    @property
    def has_more(self) -> bool:
        """Whether there is something to open."""
        return bool(self.attempts or self.failure or (self.result and not self.result.is_short))


@dataclass(frozen=True, kw_only=True)
class ActionLine:
    """What somebody did, with what was changed."""

    action: Action
    #: By name, for those who may see payloads.
    details: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that the run told, as a page shows it."""

    line: RunLog
    message: str
    fields: str


@dataclass(frozen=True, kw_only=True)
class Story:
    """A run as its page shows it."""

    run: Run
    payload: Shown | None
    headers: Shown | None
    result: Shown | None
    took: str
    page: Page[Step]
    steps: list[StepLine]
    #: Attempts of the code between steps.
    others: list[AttemptLine]
    restarts: list[str]
    actions: list[ActionLine] = field(default_factory=list)
    progress: Progress | None
    state: Shown | None
    #: The latest lines that the run told, the oldest of them first.
    lines: list[Line]
    children: list[Run]
    #: Why the run is not going on.
    reason: str = ""
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    timeline: Timeline | None = None

    @property
    def traceback(self) -> list[Part]:
        """The traceback of the run's failure, the frames of libraries folded."""
        failure = self.run.failure
        return parts_of(failure.traceback) if failure is not None else []


def story_of(
    run: Run,
    page_number: str | None,
    *,
    run_url: Callable[[str], str],
    veil: Veil,
    zoom: str | None = None,
    fold: bool = True,
) -> Story:
    """Return what the page of this run tells; ``veil`` covers other runs that the user may not see."""
    alias = run._state.db
    page = Paginator(_steps(run, alias), STEPS_PER_PAGE).get_page(page_number)
    steps = veil.rows(page.object_list)
    mask = run.mask
    whole = _whole_results(steps, mask, alias)
    names = {step.key: step.name for step in steps}
    kept = Attempt.objects.using(alias).filter(
        run_id=run.id, generation=None, step_key__in=["", *(step.key for step in steps)]
    )
    attempts: dict[str, list[AttemptLine]] = {}
    children = _children(run, alias, veil.seen)
    for attempt in veil.rows(kept.order_by("id")):
        attempts.setdefault(attempt.step_key, []).append(
            _attempt_line(attempt, names.get(attempt.step_key, ""), mask)
        )
    return Story(
        run=run,
        payload=shown_value(run.shown_payload),
        headers=shown_value(run.shown_headers or None),
        result=shown_value(run.shown_result),
        took=took(run.started_at, run.finished_at),
        page=page,
        steps=[_step_line(step, attempts.get(step.key, []), whole) for step in steps],
        others=attempts.get("", []),
        progress=shown_progress(run),
        state=shown_value(shown_state(run)),
        lines=_lines(run, mask, alias),
        restarts=list(
            veil.seen(run.restarts.using(alias)).order_by("created_at").values_list("pk", flat=True)
        ),
        actions=[_action_line(one, mask) for one in veil.rows(run.actions[:MOST_ACTIONS])],
        children=children,
        reason=veil.text(run.translated_reason),
        timeline=_timeline(run, steps, attempts, children, run_url, zoom=zoom, fold=fold),
    )


def _children(run: Run, alias: str | None, seen: Callable[[Any], Any]) -> list[Run]:
    """Return what the run has invoked, with what a line about each tells."""
    fields = ("id", "workflow", "status", "parent_step", "created_at", "started_at", "finished_at")
    found = seen(Run.objects.using(alias).filter(parent=run.pk)).order_by("created_at", "id")
    return list(found.only(*fields)[:STEPS_PER_PAGE])


def _timeline(
    run: Run,
    steps: list[Step],
    attempts: dict[str, list[AttemptLine]],
    children: list[Run],
    run_url: Callable[[str], str],
    *,
    zoom: str | None,
    fold: bool,
) -> Timeline | None:
    """Draw the steps of this page, from where the first begins to where the last ends."""
    if not steps:
        return None
    of_step: dict[str, list[Run]] = {}
    for child in children:
        of_step.setdefault(child.parent_step, []).append(child)
    held = {
        one.step_key: one.due_at
        for one in around(run, "deliveries")
        if one.leased_by and one.due_at
    }
    rows = rows_of(
        steps,
        {key: [line.attempt for line in lines] for key, lines in attempts.items()},
        of_step,
        held,
        {step.key: took(step.started_at or step.created_at, step.finished_at) for step in steps},
        run_url,
    )
    ends = [span.end for row in rows for span in row.spans if span.end is not None]
    is_open = any(span.end is None for row in rows for span in row.spans)
    now = timezone.now()
    last = max([*ends, now]) if is_open else max(ends, default=now)
    first = min(span.start for row in rows for span in row.spans)
    return drawn(rows, start=first, end=last, fold=fold, zoom=zoomed(zoom))


def _action_line(action: Action, mask: Mask) -> ActionLine:
    details = action.details
    name = str(details.pop("name", ""))
    lines = []
    for what, value in details.items():
        if what in ("before", "after") and action.verb == "edit" and isinstance(value, str):
            value = mask.step(name, plain(value))
        if what == "failure" and isinstance(value, str):
            value = (plain(value) or {}).get("message")  # type: ignore[union-attr]
        if value not in (None, []):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append((what.replace("_", " "), text[:SHORT_DETAIL]))
    return ActionLine(action=action, details=lines)


def _lines(run: Run, mask: Mask, alias: str | None) -> list[Line]:
    found = RunLog.objects.using(alias).filter(run_id=run.id)
    told = []
    for line in reversed(found.order_by("-created_at", "-id")[:LINES_SHOWN]):
        message, fields = shown_line(line, mask)
        told.append(Line(line=line, message=message, fields=json.dumps(fields) if fields else ""))
    return told


def _steps(run: Run, alias: str | None) -> QuerySet[Step]:
    return (
        Step.objects.using(alias)
        .filter(run_id=run.id)
        .defer("result_text")
        .annotate(
            result_head=Left("result_text", LONGEST_SHOWN + 1), result_length=Length("result_text")
        )
        .order_by("id")
    )


def _whole_results(steps: Iterable[Any], mask: Mask, alias: str | None) -> dict[int, Shown | None]:
    """Return the results of which something is hidden: they must be read whole, in one query."""
    names = {
        step.pk: step.name
        for step in steps
        if step.result_head is not None
        and (mask.hides_of(step.name) or _is_sealed(step.result_head, step.result_length))
    }
    if not names:
        return {}
    texts = Step.objects.using(alias).filter(pk__in=names).values_list("pk", "result_text")
    return {pk: shown_value(mask.step(names[pk], plain(text))) for pk, text in texts}


def _is_sealed(head: str, length: int) -> bool:
    return is_kept(head) and length <= LONGEST_OPENED


def _step_line(
    step: Any, attempts: Iterable[AttemptLine], whole: dict[int, Shown | None]
) -> StepLine:
    return StepLine(
        step=step,
        result=whole[step.pk] if step.pk in whole else shown(step.result_head, step.result_length),
        failure=step.failure,
        took=took(step.started_at or step.created_at, step.finished_at),
        attempts=list(attempts),
    )


def _attempt_line(attempt: Attempt, step: str, mask: Mask) -> AttemptLine:
    return AttemptLine(
        attempt=attempt,
        failure=attempt.failure,
        late_result=shown_value(mask.step(step, plain(attempt.result_text))),
        took=took(attempt.started_at, attempt.finished_at),
    )


def attempts_of(run: Run, step: Step, veil: Veil) -> list[AttemptLine]:
    """Return the attempts of one step that did not become its result."""
    kept = Attempt.objects.using(run._state.db).filter(
        run_id=run.pk, generation=None, step_key=step.key
    )
    return [_attempt_line(one, step.name, run.mask) for one in veil.rows(kept.order_by("id"))]


def line_of(step: Step, attempts: list[AttemptLine], mask: Mask) -> StepLine:
    """Return one step as a page shows it, with as much of its result as a page can."""
    text = step.result_text
    whole = None if text is None else shown_value(mask.step(step.name, plain(text)))
    return StepLine(
        step=step,
        result=whole,
        failure=step.failure,
        took=took(step.started_at or step.created_at, step.finished_at),
        attempts=attempts,
    )


def took(begun: datetime | None, ended: datetime | None) -> str:
    """Return the time between two moments in its short form, to the millisecond."""
    if begun is None or ended is None:
        return ""
    rounded = timedelta(milliseconds=round((ended - begun).total_seconds() * 1000))
    return format_duration(rounded, parts=2)
