"""A run, followed to its end: live on a terminal, line by line where nobody looks."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from django.core.management.base import CommandError
from rich.live import Live

from django_workflow.core.durations import parse_duration
from django_workflow.core.types import RunStatus
from django_workflow.management.base import FAILED, UNFINISHED, USAGE, WorkflowCommand
from django_workflow.management.output import (
    Screen,
    clock,
    logs_of,
    progress,
    run_as_json,
    step_row,
    steps_of,
)
from django_workflow.models import Run
from django_workflow.models.around import around

#: How often a run is looked at.
LOOK_SECONDS = 0.1
SLOWEST_SECONDS = 1.0
#: After how long without a worker we say so.
PATIENCE_SECONDS = 3.0
NO_WORKER = (
    "No worker has taken the run yet. It is kept, and starts as soon as there is one: "
    "manage.py workflow_dev in development, celery worker in production."
)


def seconds_of(timeout: str | None, wanted: bool, option: str) -> float | None:
    """Return for how many seconds ``--timeout`` lets a command wait; None for ever.

    Raises:
        CommandError: it is given without the option that waits.
    """
    if timeout is None:
        return None
    if not wanted:
        raise CommandError(
            f"--timeout says how long {option} waits; give {option} too.", returncode=USAGE
        )
    return parse_duration(timeout).total_seconds()


def follow(command: WorkflowCommand, run: Run, limit: float | None, *, tells: bool = True) -> None:
    """Show what happens to a run until it has ended, then the run; in a pipe the run alone, unless it ``tells``.

    Raises:
        CommandError: it did not complete, or not in time; the status tells.
    """
    aside = command.aside if command.as_json else command.screen
    try:
        is_over = _watch(run, limit, aside, command.aside, tells=tells)
    except KeyboardInterrupt:
        is_over = False
    run.refresh()
    if command.as_json:
        command.screen.json(run_as_json(run, with_steps=True))
    else:
        command.screen.run(run)
    if not is_over:
        left = f"Run {run.id} goes on without this command; it is {run.status}. {run.reason}"
        raise CommandError(left.rstrip(), returncode=UNFINISHED)
    if run.status != RunStatus.COMPLETED:
        raise CommandError(f"Run {run.id} is {run.status}.", returncode=FAILED)


def _watch(run: Run, limit: float | None, screen: Screen, aside: Screen, *, tells: bool) -> bool:
    hint = _Hint(aside)
    if not screen.is_terminal:
        tale = Tale()

        def tell() -> None:
            hint.give(run)
            if not tells:
                return
            screen.lines(tale.news(run))
            # A pipe is buffered, and who reads follows too.
            screen.stream.flush()

        return _until_over(run, limit, tell)
    with Live(progress(run), console=screen.console, transient=True, auto_refresh=False) as live:

        def show() -> None:
            hint.give(run)
            live.update(progress(run), refresh=True)

        return _until_over(run, limit, show)


class _Hint:
    """Says once that nobody works, after a while."""

    def __init__(self, aside: Screen) -> None:
        self._aside = aside
        self._begun = monotonic()
        self._was_given = False

    def give(self, run: Run) -> None:
        if self._was_given or monotonic() - self._begun <= PATIENCE_SECONDS:
            return
        if is_left_alone(run):
            self._was_given = True
            self._aside.lines([NO_WORKER])


def is_left_alone(run: Run) -> bool:
    """Tell whether the run could have begun long ago, and nobody took it."""
    if run.status != RunStatus.PENDING:
        return False
    return not any(one.leased_by for one in around(run, "deliveries")) and "due at" in run.reason


def _until_over(run: Run, limit: float | None, tell: Callable[[], Any]) -> bool:
    begun, pause = monotonic(), LOOK_SECONDS
    while True:
        before = (run.status, run.reason)
        is_over = run.refresh().is_finished
        tell()
        if is_over:
            return True
        passed = monotonic() - begun
        if limit is not None and passed >= limit:
            return False
        # A run that sleeps for days need not be asked ten times a second.
        moved = (run.status, run.reason) != before
        pause = LOOK_SECONDS if moved else min(pause * 1.2, SLOWEST_SECONDS)
        sleep(pause if limit is None else min(pause, limit - passed))


class Tale:
    """Tells of a run what was not told yet, a line for each change."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, int]] = {}
        self._status = ""
        self._lines: set[int] = set()
        self._generation = 0

    def news(self, run: Run) -> list[str]:
        """Return the lines of what has changed."""
        if run.generation != self._generation:
            self._generation = run.generation
            self._steps.clear()
        mask, lines = run.mask, []
        for step, attempts in steps_of(run):
            # With its tries: a step that is retried is told again.
            seen = (str(step.status), max(step.attempts, len(attempts)))
            if self._steps.get(step.key) != seen:
                self._steps[step.key] = seen
                key, _, status, _, took, what = step_row(step, attempts, mask)
                moment = step.finished_at or step.started_at or step.created_at
                told = " ".join(part for part in (took and f"in {took}", what) if part)
                lines.append(f"{clock(moment)} {key}: {status}{f' {told}' if told else ''}")
        for said in logs_of(run):
            if said.pk not in self._lines:
                self._lines.add(said.pk)
                lines.append(f"{clock(said.created_at)} {said.level}: {said.message}")
        if run.status != self._status:
            self._status = str(run.status)
            moment = run.finished_at or run.started_at or run.created_at
            lines.append(f"{clock(moment)} run {run.id}: {run.status}")
        return lines
