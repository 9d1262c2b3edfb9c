"""``manage.py workflow_show ID``: one run with its steps, attempts and errors."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.core.anywhere import get_run
from django_workflow.management.base import WorkflowCommand, add_json
from django_workflow.management.output import run_as_json


class Command(WorkflowCommand):
    """Show a run."""

    help = "Show a run with its steps, their attempts and errors."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an id."""
        parser.add_argument("run_id", metavar="ID", help="The ID of the run.")
        add_json(parser)

    def carry_out(self, *, run_id: str, **options: Any) -> None:
        """Print the run."""
        run = get_run(run_id)
        if self.as_json:
            self.screen.json(run_as_json(run, with_steps=True))
        else:
            self.screen.run(run)
