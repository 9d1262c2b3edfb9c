"""``manage.py workflow_schedules``: what the clock starts, and when."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.anywhere import get_schedule
from django_workflow.management.base import WorkflowCommand, add_json, whole
from django_workflow.management.output import clock, moment
from django_workflow.models import Schedule

COLUMNS = ("schedule", "workflow", "when", "state", "next", "last run", "note")
#: The order in which they are done: a schedule may be named by several.
VERBS = ("pause", "resume", "run_now", "delete")


class Command(WorkflowCommand):
    """List schedules, and steer them."""

    takes_database = True
    help = "List schedules with their next fires. Pause, resume, run or delete some first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take filters, and ids for verbs."""
        parser.add_argument("--workflow", help="The workflow's name.")
        parser.add_argument(
            "--fires",
            type=whole(1, 1000),
            default=3,
            help="How many of its next fires; 3 unless given.",
        )
        for verb, means in zip(
            VERBS,
            (
                "Fire no slots of this schedule until it is resumed.",
                "Fire its slots again.",
                "Start a run of it at once.",
                "Delete it; its runs stay.",
            ),
            strict=True,
        ):
            parser.add_argument(
                f"--{verb.replace('_', '-')}",
                action="append",
                default=[],
                metavar="ID",
                help=f"{means} May be repeated.",
            )
        add_json(parser)

    def carry_out(self, *, workflow: str | None, fires: int, **options: Any) -> None:
        """Do what is asked, and print what there is then."""
        # All are looked up first: with an unknown one among them nothing is done.
        asked = [(verb, get_schedule(each)) for verb in VERBS for each in options[verb]]
        for verb, schedule in asked:
            done = getattr(schedule, verb)()
            if verb == "run_now":
                self.aside.lines([f"Schedule {schedule.id} has started run {done.id}."])
        rows = Schedule.objects.using(settings().DATABASE).order_by("id")
        found = list(rows.filter(workflow=workflow) if workflow else rows)
        if self.as_json:
            self.screen.json([schedule_as_json(one, fires) for one in found])
        else:
            self.screen.table(COLUMNS, [_row(one, fires) for one in found])


def schedule_as_json(schedule: Schedule, fires: int) -> dict[str, Any]:
    """Return a schedule in its documented form."""
    return {
        "schedule_id": schedule.id,
        "workflow": schedule.workflow,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "description": schedule.description,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "jitter_seconds": schedule.jitter.total_seconds(),
        "declared": schedule.is_declared,
        "paused": schedule.is_paused,
        "next_fires": [moment(at) for at in schedule.next_fires(fires)],
        "queued_for": moment(schedule.queued_for),
        "last_slot": moment(schedule.last_slot_at),
        "last_run": schedule.last_run_id or None,
        "skipped": schedule.skipped,
        "note": schedule.note,
    }


def _row(schedule: Schedule, fires: int) -> tuple[str, ...]:
    paused = "paused" if schedule.is_paused else "active"
    coming = ", ".join(clock(at) for at in schedule.next_fires(fires))
    return (
        schedule.id,
        schedule.workflow,
        schedule.description,
        paused,
        "" if schedule.is_paused else coming,
        schedule.last_run_id,
        schedule.note,
    )
