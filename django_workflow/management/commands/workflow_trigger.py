"""``manage.py workflow_trigger NAME``: start a run, and follow it to its end."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from django_workflow.core.workflow import registry
from django_workflow.management.base import (
    USAGE,
    WorkflowCommand,
    add_json,
    operator,
)
from django_workflow.management.following import follow, seconds_of
from django_workflow.management.output import run_as_json


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
        limit = seconds_of(options["timeout"], wait, "--wait")
        run = registry.get(name).trigger(
            read_payload(data),
            workflow_run_id=options["run_id"],
            label=options["label"],
            delay=options["delay"],
            by=operator(),
        )
        if run is None:
            self._tell_skipped(name)
        elif wait:
            follow(self, run, limit, tells=False)
        elif self.as_json:
            self.screen.json(run_as_json(run, with_steps=True))
        else:
            known = "Triggered" if run.created else "Found, triggered before:"
            self.screen.lines(
                [f"{known} run {run.id} of {name}.", f"Follow it: manage.py workflow_show {run.id}"]
            )

    def _tell_skipped(self, name: str) -> None:
        if self.as_json:
            self.screen.json({"workflow_run_id": None, "created": False})
        else:
            self.screen.lines(
                [f"Triggered nothing: a run of {name} under the same singleton key has not ended."]
            )


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
