"""``manage.py workflow_notify EVENT_ID``: send an event."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.anywhere import notify
from django_workflow.core.events import check_event_id
from django_workflow.management.base import WorkflowCommand, add_json
from django_workflow.management.commands.workflow_trigger import read_payload
from django_workflow.management.waiters import print_waiters, waiters_of
from django_workflow.models import Waiter


class Command(WorkflowCommand):
    """Send an event to the runs that wait for it."""

    help = "Send an event to every run that waits for it; if none does, it is kept for the first one that asks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an event id and the arguments of notify()."""
        parser.add_argument("event_id", help="What runs wait for.")
        parser.add_argument(
            "--data", metavar="JSON", help="The data: JSON, @file, or - for standard input."
        )
        parser.add_argument("--run", dest="run_id", help="The only run that may receive it.")
        parser.add_argument(
            "--no-keep", action="store_true", help="Drop the event if nobody waits for it."
        )
        parser.add_argument(
            "--waiters", action="store_true", help="Send nothing: list who waits for it."
        )
        add_json(parser)

    def carry_out(self, *, event_id: str, data: str | None, **options: Any) -> None:
        """Send the event and tell whom it reached."""
        if options["waiters"]:
            alias, only = settings().DATABASE, options["run_id"]
            rows = Waiter.objects.using(alias).present_for(check_event_id(event_id), only)
            print_waiters(self, waiters_of(rows.order_by("created_at", "id")))
            return
        event = notify(
            event_id,
            read_payload(data),
            workflow_run_id=options["run_id"],
            keep=not options["no_keep"],
        )
        if self.as_json:
            told = {
                "event_id": event.event_id,
                "event_data": event.event_data,
                "workflow_run_id": event.run_id,
                "reached": event.reached,
            }
            self.screen.json(told)
            return
        if event.reached:
            outcome = f"it reached {event.reached} run{'' if event.reached == 1 else 's'}"
        else:
            outcome = "nobody waits for it" + (", so it is kept" if event.keep else "")
        self.screen.lines([f'Sent event "{event.event_id}"; {outcome}.'])
