"""``manage.py workflow_show ID``: one run with its steps, attempts and errors."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.core.anywhere import get_run
from django_workflow.management.base import WorkflowCommand, add_json
from django_workflow.management.following import follow, seconds_of
from django_workflow.management.output import run_as_json


class Command(WorkflowCommand):
    """Show a run."""

    help = (
        "Show a run with its steps, their attempts and errors. With --follow, as it happens, until it has ended: exit "
        "status 0 when it completed, 1 when it failed, is blocked or was cancelled, 3 when it is unfinished."
    )
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an id, and how long to look."""
        parser.add_argument("run_id", metavar="ID", help="The ID of the run.")
        parser.add_argument(
            "--follow",
            "-f",
            action="store_true",
            help="Show what happens until the run has ended: live on a terminal, line by line in a pipe.",
        )
        parser.add_argument("--timeout", help="With --follow: at most for so long, as 30s.")
        add_json(parser)

    def carry_out(self, *, run_id: str, **options: Any) -> None:
        """Print the run."""
        limit = seconds_of(options["timeout"], options["follow"], "--follow")
        run = get_run(run_id)
        if options["follow"]:
            follow(self, run, limit)
        elif self.as_json:
            self.screen.json(run_as_json(run, with_steps=True))
        else:
            self.screen.run(run)
