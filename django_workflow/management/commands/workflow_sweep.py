"""``manage.py workflow_sweep``: look once for what is due, without waiting for anybody's turn to do so."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import WorkflowCommand, add_json
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.worker import drain


class Command(WorkflowCommand):
    """Sweep once, by hand."""

    help = "Look for due deliveries and wake workers for them; with --work, carry them out in this process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether to work, and how to print."""
        parser.add_argument(
            "--work",
            action="store_true",
            help="Carry out what is due in this process, until nothing is left; no worker is needed.",
        )
        add_json(parser)

    def carry_out(self, *args: Any, work: bool, **options: Any) -> None:
        """Sweep, work if asked to, and tell."""
        due = sweep(force=True)
        carried = drain() if work else 0
        if self.as_json:
            self.screen.json({"due": due, "carried_out": carried})
            return
        told = f"{carried} carried out here" if work else "workers were told"
        self.screen.lines([f"{due} due; {told}." if due or carried else "Nothing is due."])
