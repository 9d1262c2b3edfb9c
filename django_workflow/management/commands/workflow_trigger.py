"""``manage.py workflow_trigger NAME``: start a run, and follow it to its end."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.management.base import CommandError
from rich.live import Live

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import RunNotFinishedError
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import registry
from django_workflow.management.base import (
    FAILED,
    UNFINISHED,
    USAGE,
    WorkflowCommand,
    add_json,
    operator,
)
from django_workflow.management.output import Screen, progress, run_as_json
from django_workflow.models import Run

#: How often a run is looked at, and after how long without a worker we say so.
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 3.0
NO_WORKER = (
    "No worker has taken the run yet. It is kept, and starts as soon as there is one: "
    "manage.py workflow_dev in development, celery worker in production."
)


class Command(WorkflowCommand):
    """Start a run of a workflow."""

    help = (
        "Start a run of a workflow. With --wait: exit status 0 when it completed, 1 when it failed, is blocked or was "
        "cancelled, 3 when it is unfinished at --timeout."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a workflow, a payload and the options of trigger()."""
        parser.add_argument("name", help="The workflow's name.")
        parser.add_argument(
            "--data", metavar="JSON", help="The payload: JSON, @file, or - for standard input."
        )
        parser.add_argument(
            "--id", dest="run_id", help="The ID of the run; a used one returns its run."
        )
        parser.add_argument(
            "--label", action="append", default=[], help="A label; may be repeated."
        )
        parser.add_argument("--delay", help="Begin after this long, as 10s or 2h.")
        parser.add_argument(
            "--wait", action="store_true", help="Follow the run until it has ended."
        )
        parser.add_argument("--timeout", help="With --wait: give up after this long, as 30s.")
        add_json(parser)

    def carry_out(self, *, name: str, data: str | None, wait: bool, **options: Any) -> None:
        """Trigger the run and print it."""
        timeout = options["timeout"]
        if timeout is not None and not wait:
            raise CommandError(
                "--timeout says how long --wait waits; give --wait too.", returncode=USAGE
            )
        limit = None if timeout is None else parse_duration(timeout).total_seconds()
        run = registry.get(name).trigger(
            read_payload(data),
            workflow_run_id=options["run_id"],
            label=options["label"],
            delay=options["delay"],
            by=operator(),
        )
        if wait:
            self._follow(run, limit)
        elif self.as_json:
            self.screen.json(run_as_json(run, with_steps=True))
        else:
            known = "Triggered" if run.created else "Found, triggered before:"
            self.screen.lines(
                [f"{known} run {run.id} of {name}.", f"Follow it: manage.py workflow_show {run.id}"]
            )

    def _follow(self, run: Run, limit: float | None) -> None:
        try:
            ended = self._watch(run, limit)
        except KeyboardInterrupt:
            ended = False
        run.refresh()
        if self.as_json:
            self.screen.json(run_as_json(run, with_steps=True))
        else:
            self.screen.run(run)
        if not ended:
            left = f"Run {run.id} goes on without this command; it is {run.status}. {run.reason}".rstrip()
            raise CommandError(left, returncode=UNFINISHED)
        if run.status != RunStatus.COMPLETED:
            raise CommandError(f"Run {run.id} is {run.status}.", returncode=FAILED)

    def _watch(self, run: Run, limit: float | None) -> bool:
        screen = self.aside if self.as_json else self.screen
        if not screen.is_terminal:
            return _wait(run, limit, self.aside, None)
        with Live(
            progress(run), console=screen.console, transient=True, auto_refresh=False
        ) as live:
            return _wait(run, limit, self.aside, live)


def _wait(run: Run, limit: float | None, aside: Screen, live: Live | None) -> bool:
    """Wait until the run has ended and return True, or False when the time is over."""
    begun, was_told = monotonic(), False
    while True:
        passed = monotonic() - begun
        left = LOOK_SECONDS if limit is None else min(LOOK_SECONDS, limit - passed)
        try:
            run.wait(max(left, 0))
        except RunNotFinishedError:
            if limit is not None and passed >= limit:
                return False
        else:
            return True
        if live is not None:
            live.update(progress(run), refresh=True)
        if not was_told and passed > PATIENCE_SECONDS and is_left_alone(run):
            was_told = True
            aside.lines([NO_WORKER])


def is_left_alone(run: Run) -> bool:
    """Tell whether the run could have begun long ago, and nobody took it."""
    if run.status != RunStatus.PENDING:
        return False
    return not any(one.leased_by for one in run.deliveries.all()) and "due at" in run.reason


def read_payload(data: str | None) -> Any:
    """Return the payload that ``--data`` means.

    Raises:
        CommandError: the file cannot be read, or the text is no JSON.
    """
    if data is None:
        return None
    text, origin = data, "--data"
    try:
        if data == "-":
            text, origin = sys.stdin.read(), "standard input"
        elif data.startswith("@"):
            text, origin = Path(data[1:]).read_text(), data[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{data} cannot be read: {error}.", returncode=USAGE) from error
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CommandError(f"{origin} is no JSON: {error}.", returncode=USAGE) from error
