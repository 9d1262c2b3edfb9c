"""What commands print: a run as JSON, as lines, as a row of a table; with rich where a person looks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from django_workflow.conf import settings
from django_workflow.core.durations import format_duration
from django_workflow.core.plain import plain
from django_workflow.core.redaction import Mask
from django_workflow.core.types import Failure
from django_workflow.models import Action, Attempt, Run, RunLog, Step
from django_workflow.models.around import around
from django_workflow.models.shown import shown_line, shown_progress, shown_state

COLOURS = {
    "pending": "dim",
    "running": "cyan",
    "executing": "cyan",
    "retrying": "yellow",
    "sleeping": "blue",
    "waiting": "blue",
    "paused": "yellow",
    "cancelling": "yellow",
    "completed": "green",
    "failed": "bold red",
    "blocked": "bold red",
}
RUN_COLUMNS = ("run", "workflow", "version", "status", "created", "took", "reason")
STEP_COLUMNS = ("step", "kind", "status", "attempts", "took", "what")
LONGEST_CELL = 120

# As JSON: the form that every window keeps to.


def run_as_json(run: Run, *, with_steps: bool) -> dict[str, Any]:
    """Return the run in the documented form; with its steps, which costs two queries."""
    found: dict[str, Any] = {
        "workflow_run_id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": str(run.status),
        "reason": run.reason,
        "labels": run.labels,
        "about": about_as_json(run),
        "triggered_by": run.triggered_by or None,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "payload": run.shown_payload,
        "headers": run.shown_headers,
        "result": run.shown_result,
        "failure": failure_as_json(run.failure),
        "parent": run.parent_id,
        "children": [child.id for child in around(run, "children")],
    }
    if run.schedule_id:
        found |= {"schedule_id": run.schedule_id, "scheduled_for": moment(run.scheduled_for)}
    progress = shown_progress(run)
    found["progress"] = None if progress is None else progress.to_json()
    found["state"] = shown_state(run)
    found["generation"] = run.generation
    if with_steps:
        mask = run.mask
        found["logs"] = [_line_as_json(line, mask) for line in logs_of(run)]
        found["steps"] = [_step_as_json(step, attempts, mask) for step, attempts in steps_of(run)]
        found["actions"] = [_action_as_json(action) for action in run.actions]
    return found


def about_as_json(run: Run) -> dict[str, str | None] | None:
    """Return what the run is about, without fetching it."""
    return None if run.about_type is None else {"type": run.about_type, "id": run.about_id}


def _action_as_json(action: Action) -> dict[str, Any]:
    return {
        "verb": action.verb,
        "actor": action.actor or None,
        "user_id": action.user_id or None,
        "door": action.door,
        "why": action.why,
        "before": action.before,
        "after": action.after,
        "at": moment(action.at),
    }


def steps_of(run: Run) -> list[tuple[Step, list[Attempt]]]:
    """Return all steps of a run in the order in which they were met, each with its kept attempts."""
    alias = run._state.db
    attempts: dict[str, list[Attempt]] = {}
    present = Attempt.objects.using(alias).filter(run_id=run.id, generation=None)
    for attempt in present.order_by("id"):
        attempts.setdefault(attempt.step_key, []).append(attempt)
    steps = Step.objects.using(alias).filter(run_id=run.id).order_by("id")
    return [(step, attempts.get(step.key, [])) for step in steps]


def logs_of(run: Run) -> list[RunLog]:
    """Return what a run has told, of all its generations, in the order in which it was said."""
    return list(RunLog.objects.using(run._state.db).filter(run_id=run.id))


def _line_as_json(line: RunLog, mask: Mask) -> dict[str, Any]:
    message, fields = shown_line(line, mask)
    return {
        "generation": line.generation,
        "step": line.step,
        "after": line.after or None,
        "attempt": line.attempt,
        "level": line.level,
        "message": message,
        "fields": fields,
        "created_at": moment(line.created_at),
    }


def _step_as_json(step: Step, attempts: Sequence[Attempt], mask: Mask) -> dict[str, Any]:
    return {
        "name": step.name,
        "key": step.key,
        "kind": step.kind,
        "status": step.status,
        "result": mask.step(step.name, plain(step.result_text)),
        "attempts": [_attempt_as_json(attempt, step.name, mask) for attempt in attempts],
    }


def _attempt_as_json(attempt: Attempt, step: str, mask: Mask) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "failure": failure_as_json(attempt.failure),
        "result": mask.step(step, plain(attempt.result_text)),
        "started_at": moment(attempt.started_at),
        "finished_at": moment(attempt.finished_at),
        "worker": attempt.worker,
    }


def failure_as_json(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure as its fields."""
    return None if failure is None else dict(failure.to_json())


def moment(value: datetime | None) -> str | None:
    """Return a time as ISO text."""
    return None if value is None else value.isoformat()


# For people: on a terminal with colours and boxes, in a pipe as plain lines.


def clean(value: object) -> str:
    """Return a text whose control characters cannot steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))


def took(duration: timedelta | None) -> str:
    """Return a duration in its short form, to the millisecond."""
    if duration is None:
        return ""
    rounded = timedelta(milliseconds=round(duration.total_seconds() * 1000))
    return format_duration(rounded, parts=2)


def clock(value: datetime | None) -> str:
    """Return a time as people read it."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def run_row(run: Run) -> tuple[str, ...]:
    """Return the run's cells under ``RUN_COLUMNS``."""
    return (
        run.id,
        run.workflow,
        run.version,
        str(run.status),
        clock(run.created_at),
        took(run.duration),
        run.reason,
    )


def step_row(step: Step, attempts: Sequence[Attempt], mask: Mask) -> tuple[str, ...]:
    """Return the step's cells under ``STEP_COLUMNS``."""
    begun = step.started_at or step.created_at
    duration = step.finished_at - begun if step.finished_at else None
    tries = step.attempts or len(attempts)
    return (step.key, step.kind, step.status, str(tries or ""), took(duration), _what(step, mask))


def _what(step: Step, mask: Mask) -> str:
    failure = step.failure
    if step.status == "completed":
        return _one_line(mask.step(step.name, plain(step.result_text)))
    if step.wake_at is not None and step.is_open:
        return step.reason
    return f"{failure.error_class}: {failure.message}" if failure is not None else ""


def header_lines(run: Run) -> list[str]:
    """Return what is known of a run besides its steps."""
    lines = [
        f"Run {run.id} of {run.workflow}, version {run.version}: {run.status}",
        f"created {clock(run.created_at)} UTC"
        + (f", started {clock(run.started_at)}" if run.started_at else "")
        + (
            f", ended {clock(run.finished_at)} after {took(run.duration)}"
            if run.duration is not None
            else ""
        ),
    ]
    if run.reason:
        lines.append(f"reason: {run.reason}")
    if run.labels:
        lines.append(f"labels: {', '.join(run.labels)}")
    lines += _origin_lines(run)
    lines.append(f"payload: {_one_line(run.shown_payload)}")
    headers = run.shown_headers
    if headers:
        lines.append(f"headers: {_one_line(headers)}")
    if run.status == "completed":
        lines.append(f"result: {_one_line(run.shown_result)}")
    lines += _failure_lines("failure", run.failure)
    if run.undo_status:
        lines.append(f"undo: {run.undo_status}")
    lines += _failure_lines("failure of the undo", run.undo_failure)
    if run.handler_status:
        lines.append(f"failure handler: {run.handler_status}")
    return lines + _failure_lines("failure of the handler", run.handler_failure)


def _origin_lines(run: Run) -> list[str]:
    """Return where a run comes from, and what it has told of itself."""
    found = [
        ("restarted from", run.restarted_from_id),
        ("invoked by", run.parent_id and f"{run.parent_id}, step {run.parent_step}"),
        *(("invoked", f"{c.id} of {c.workflow}: {c.status}") for c in around(run, "children")),
        ("generation", run.generation and f"{run.generation}, since {clock(run.continued_at)} UTC"),
        ("progress", shown_progress(run)),
        ("state", run.state_text and _one_line(shown_state(run))),
        ("schedule", run.schedule_id and f"{run.schedule_id}, for {clock(run.scheduled_for)} UTC"),
        ("about", run.about_type and f"{run.about_type} {run.about_id}"),
        ("triggered by", run.triggered_by),
    ]
    return [f"{what}: {text}" for what, text in found if text]


def _failure_lines(what: str, failure: Failure | None) -> list[str]:
    if failure is None:
        return []
    place = f' in step "{failure.step}"' if failure.step else ""
    return [f"{what}: {failure.error_class}: {failure.message}{place}"]


def attempt_lines(attempt: Attempt) -> list[str]:
    """Return one failed, late or dead try, with its traceback."""
    failure = attempt.failure
    place = attempt.step_key or "code between steps"
    outcome = f"{attempt.get_outcome_display()} at {clock(attempt.finished_at)} UTC"
    lines = [f"{place}, attempt {attempt.number}: {outcome}"]
    if failure is not None:
        text = failure.traceback.rstrip() or f"{failure.error_class}: {failure.message}"
        lines += [f"    {line}" for line in text.splitlines()]
    return lines


def action_line(action: Action) -> str:
    """Return who did what, when and why, on one line."""
    by = f" by {action.actor}" if action.actor else ""
    why = f": {action.why}" if action.why else ""
    change = f"{action.before} -> {action.after}" if action.before else action.after
    return f"{clock(action.at)} UTC {action.verb}{by} ({action.door}), {change}{why}"


def _log_line(line: RunLog, mask: Mask) -> str:
    message, found = shown_line(line, mask)
    place = f" [{line.step}]" if line.step else ""
    fields = f" {_one_line(found)}" if found else ""
    return f"{clock(line.created_at)} {line.level}{place} {message}{fields}"


def _one_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class Screen:
    """Where a command prints: knows whether a person looks, and puts things accordingly."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.is_terminal = bool(getattr(stream, "isatty", lambda: False)())
        self.console = Console(file=stream, highlight=False, soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        self.stream.write(json.dumps(value, indent=2) + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines as they are."""
        for line in lines:
            self.stream.write(clean(line) + "\n")

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print what is what, one thing a line."""
        rows = [(clean(name), clean(value)) for name, value in pairs]
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.console.print(Text.assemble((name.ljust(width), "bold"), "  ", value))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows under columns: a table on a terminal, fields apart by tabs in a pipe."""
        if self.is_terminal:
            self.console.print(table(columns, rows), soft_wrap=False)
            return
        for row in (columns, *rows):
            self.stream.write("\t".join(" ".join(clean(cell).split()) for cell in row) + "\n")

    def run(self, run: Run) -> None:
        """Print a run with its steps and what went wrong in them."""
        steps = steps_of(run)
        self.lines(header_lines(run))
        if steps:
            self.lines([""])
            mask = run.mask
            self.table(STEP_COLUMNS, [step_row(step, attempts, mask) for step, attempts in steps])
        limit = settings().STEPS_WARNING
        if limit is not None and len(steps) >= limit:
            self.lines([f"{len(steps)} steps: end a generation with ctx.continue_as_new()."])
        logs = logs_of(run)
        if logs:
            self.lines(["", *(_log_line(line, run.mask) for line in logs)])
        known = {step.key for step, _ in steps}
        others = (
            Attempt.objects.using(run._state.db)
            .filter(run_id=run.id, generation=None)
            .exclude(step_key__in=known)
        )
        kept = [one for _, attempts in steps for one in attempts] + list(others.order_by("id"))
        for attempt in kept:
            self.lines(["", *attempt_lines(attempt)])
        done = [action_line(action) for action in run.actions]
        if done:
            self.lines(["", *done])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return rows as a table whose states have colours; texts are never taken for markup."""
    made = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def _cell(value: str) -> Text:
    text = " ".join(clean(value).split())
    if len(text) > LONGEST_CELL:
        text = text[: LONGEST_CELL - 1] + "…"
    return Text(text, style=COLOURS.get(text, ""), overflow="fold")


def progress(run: Run) -> Group:
    """Return a run as it stands, to be shown live."""
    mask = run.mask
    rows = [step_row(step, attempts, mask) for step, attempts in steps_of(run)]
    title = Text.assemble(
        (clean(run.id), "bold"), f" {clean(run.workflow)} ", _cell(str(run.status))
    )
    reason = Text(clean(run.reason), style="dim")
    return (
        Group(title, reason, table(STEP_COLUMNS, rows))
        if run.reason
        else Group(title, table(STEP_COLUMNS, rows))
    )
