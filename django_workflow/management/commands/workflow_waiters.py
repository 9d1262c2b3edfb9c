"""``manage.py workflow_waiters``: which runs wait for which events."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.events import check_event_id
from django_workflow.management.base import WorkflowCommand, add_json, whole
from django_workflow.management.waiters import print_waiters, waiters_of
from django_workflow.models import Waiter


class Command(WorkflowCommand):
    """List waiters."""

    help = "List the steps that wait for events, the longest first: of one event, or of all."
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take filters."""
        parser.add_argument("event_id", nargs="?", help="The event; all unless given.")
        parser.add_argument("--workflow", help="The workflow's name.")
        parser.add_argument(
            "--limit",
            type=whole(1, 100_000),
            default=100,
            help="At most so many; 100 unless given.",
        )
        add_json(parser)

    def carry_out(self, *, event_id: str | None, limit: int, **options: Any) -> None:
        """Print them."""
        found = Waiter.objects.using(settings().DATABASE).open()
        if event_id is not None:
            found = found.filter(event_id=check_event_id(event_id))
        if options["workflow"]:
            found = found.filter(run__workflow=options["workflow"])
        print_waiters(self, waiters_of(found.order_by("created_at", "id")[:limit]))
