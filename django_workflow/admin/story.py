"""What the page of a run tells: its steps with their attempts, a page of them at a time, in five queries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.db.models.functions import Left, Length

from django_workflow.core.durations import format_duration
from django_workflow.core.plain import plain
from django_workflow.core.redaction import Mask
from django_workflow.core.telling import Progress
from django_workflow.core.types import Failure
from django_workflow.models import Action, Attempt, Run, RunLog, Step
from django_workflow.models.shown import shown_line, shown_progress, shown_state

STEPS_PER_PAGE = 200
MOST_ACTIONS = 200
LINES_SHOWN = 200
#: A longer value is shown by its beginning: nobody reads it here, and the page has to open.
LONGEST_SHOWN = 20_000
SHORT = 48


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


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """A step as a page shows it."""

    step: Step
    result: Shown | None
    failure: Failure | None
    took: str
    attempts: list[AttemptLine]

    @property
    def has_more(self) -> bool:
        """Whether there is something to open."""
        return bool(self.attempts or self.failure or (self.result and not self.result.is_short))


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
    actions: list[Action] = field(default_factory=list)
    progress: Progress | None
    state: Shown | None
    #: The latest lines that the run told, the oldest of them first.
    lines: list[Line]
    children: list[str]
    failures: list[tuple[str, Failure]] = field(default_factory=list)


def story_of(run: Run, page_number: str | None) -> Story:
    """Return what the page of this run tells."""
    alias = run._state.db
    page = Paginator(_steps(run, alias), STEPS_PER_PAGE).get_page(page_number)
    steps = list(page.object_list)
    mask = run.mask
    whole = _whole_results(steps, mask, alias)
    names = {step.key: step.name for step in steps}
    kept = Attempt.objects.using(alias).filter(
        run_id=run.id, generation=None, step_key__in=["", *(step.key for step in steps)]
    )
    attempts: dict[str, list[AttemptLine]] = {}
    for attempt in kept.order_by("id"):
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
            run.restarts.using(alias).order_by("created_at").values_list("pk", flat=True)
        ),
        actions=list(run.actions[:MOST_ACTIONS]),
        children=list(
            run.children.using(alias)
            .order_by("created_at", "id")
            .values_list("pk", flat=True)[:STEPS_PER_PAGE]
        ),
    )


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
        if step.result_head is not None and mask.hides_of(step.name)
    }
    if not names:
        return {}
    texts = Step.objects.using(alias).filter(pk__in=names).values_list("pk", "result_text")
    return {pk: shown_value(mask.step(names[pk], plain(text))) for pk, text in texts}


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


def took(begun: datetime | None, ended: datetime | None) -> str:
    """Return the time between two moments in its short form, to the millisecond."""
    if begun is None or ended is None:
        return ""
    rounded = timedelta(milliseconds=round((ended - begun).total_seconds() * 1000))
    return format_duration(rounded, parts=2)
