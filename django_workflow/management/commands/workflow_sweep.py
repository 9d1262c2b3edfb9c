"""``manage.py workflow_sweep``: look for what is due, once without waiting for anybody's turn, or all the time."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_workflow.dispatchers.standing import stand_watch
from django_workflow.management.base import USAGE, WorkflowCommand, add_json
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.worker import drain


class Command(WorkflowCommand):
    """Sweep once, by hand, or stand watch."""

    help = (
        "Look for due deliveries and wake workers for them; with --work, carry them out in this process; with --forever, "
        "go on about once a second, and make the calls of workflows too, until stopped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether to work, and how to print."""
        parser.add_argument(
            "--work",
            action="store_true",
            help="Carry out what is due in this process, until nothing is left; no worker is needed.",
        )
        parser.add_argument(
            "--forever",
            action="store_true",
            help="Go on until stopped, in turns with all others that sweep: for workers that do not sweep themselves, "
            'as those of WORKFLOW["DISPATCHER"] "tasks".',
        )
        add_json(parser)

    def carry_out(self, *args: Any, work: bool, forever: bool, **options: Any) -> None:
        """Sweep, work if asked to, and tell."""
        if forever and (work or self.as_json):
            other = "--work" if work else "--json"
            raise CommandError(f"--forever cannot be used with {other}.", returncode=USAGE)
        if forever:
            self.screen.lines(["Looking for due work, and making calls, until stopped."])
            stand_watch()
            return
        due = sweep(force=True)
        carried = drain() if work else 0
        if self.as_json:
            self.screen.json({"due": due, "carried_out": carried})
            return
        told = f"{carried} carried out here" if work else "workers were told"
        self.screen.lines([f"{due} due; {told}." if due or carried else "Nothing is due."])
