"""``manage.py workflow_runs``: the newest runs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.management.base import WorkflowCommand, add_json, print_runs, whole
from django_workflow.models import Run

#: More runs than this are for queries.
MOST = 100_000


class Command(WorkflowCommand):
    """List runs."""

    help = "List runs, the newest first."
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take filters."""
        states = [status.value for status in RunStatus]
        parser.add_argument(
            "--status", action="append", choices=states, help="May be repeated: any of them."
        )
        parser.add_argument("--workflow", help="The workflow's name.")
        parser.add_argument(
            "--label", action="append", default=[], help="May be repeated: all of them."
        )
        parser.add_argument(
            "--limit", type=whole(1, MOST), default=20, help="At most so many; 20 unless given."
        )
        add_json(parser)

    def carry_out(self, *, limit: int, label: list[str], **options: Any) -> None:
        """Print the runs."""
        found = Run.objects.using(settings().DATABASE).labelled(*label)
        if options["status"]:
            found = found.filter(status__in=options["status"])
        if options["workflow"]:
            found = found.filter(workflow=options["workflow"])
        print_runs(self, list(found.with_reason().order_by("-created_at", "id")[:limit]))
