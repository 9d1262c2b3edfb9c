"""Schedules: made, changed, held, and run at once."""

from __future__ import annotations

import logging
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.anywhere import get_schedule
from django_workflow.core.crons import CATCH_UPS, OVERLAPS
from django_workflow.core.exceptions import WorkflowNotFoundError
from django_workflow.models import Schedule
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, PageQuery, documented, respond
from django_workflow.rest.fields import Shape, Text, Texts, Whole
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.runs import workflow_of
from django_workflow.rest.shown import at
from django_workflow.runtime.veils import Veil

logger = logging.getLogger(__name__)

#: How many of its next fires are told of a schedule, and at most.
FIRES, MOST_FIRES = 3, 100


class ScheduleQuery(PageQuery):
    """What the list of schedules takes."""

    workflow = Text(required=False)


class FiresQuery(Shape):
    """How many fires are asked for."""

    count = serializers.IntegerField(
        required=False, min_value=1, help_text="5 unless given, and never more than 100."
    )


class ScheduleBody(Shape):
    """A schedule to be made, or what one is to become."""

    workflow = Text(max_length=200)
    cron = Text()
    payload = serializers.JSONField(required=False, allow_null=True)
    timezone = Text(required=False)
    overlap = serializers.ChoiceField(required=False, choices=list(OVERLAPS))
    catch_up = serializers.ChoiceField(required=False, choices=list(CATCH_UPS))
    jitter = Text(required=False, help_text="As `30s`.")
    label = serializers.ListField(  # type: ignore[assignment]
        required=False, child=Text(max_length=100), max_length=50
    )
    headers = Texts(required=False)
    retries = Whole(required=False)
    timeout = Text(required=False)
    priority = Whole(required=False)


def _shown(request: Any, schedule: Schedule) -> dict[str, Any]:
    veil = Veil(request)
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
        "next_fires": [at(one) for one in schedule.next_fires(FIRES)],
        "last_slot": at(schedule.last_slot_at),
        "last_run": veil.id(schedule.last_run_id) or None,
        "skipped": schedule.skipped,
        "note": veil.text(schedule.note),
    }


def _schedule_of(schedule_id: str) -> Schedule:
    if not schedule_id.isprintable():
        raise ProblemError("not-found", "There is no such schedule.")
    found: Schedule = get_schedule(schedule_id)
    return found


class _Schedules(ApiView):
    def tell(self, schedule_id: str, verb: str) -> None:
        """Say in the log who has done what."""
        by = self.actor
        logger.info(
            "Schedule %s: %s by %s", schedule_id, verb, by.name,
            extra={"actor": by.name, "door": by.door},
        )  # fmt: skip


class Schedules(_Schedules):
    """Schedules, by ID."""

    permissions = {"GET": "view_schedule"}

    @documented(
        "list_schedules", query=ScheduleQuery, gives={200: shapes.SchedulePage}, tag="schedules"
    )
    def get(self, request: Request) -> Response:
        """List them."""
        asked = self.asked(ScheduleQuery)
        rows = Schedule.objects.using(settings().DATABASE).all()
        if asked.get("workflow"):
            rows = rows.filter(workflow=asked["workflow"])
        return respond(
            page(
                request, rows, ("id",), lambda found: [_shown(request, one) for one in found], asked
            )
        )


class OneSchedule(_Schedules):
    """A schedule."""

    permissions = {
        "GET": "view_schedule",
        "PUT": "change_schedules trigger_run",
        "DELETE": "change_schedules",
    }

    @documented("get_schedule", gives={200: shapes.ScheduleShape}, tag="schedules")
    def get(self, request: Request, schedule_id: str) -> Response:
        """Return it."""
        return respond(_shown(request, _schedule_of(schedule_id)))

    @documented(
        "put_schedule", takes=ScheduleBody, gives={200: shapes.ScheduleShape}, tag="schedules"
    )
    def put(self, request: Request, schedule_id: str) -> Response:
        """Make it, or give it this plan, payload and options."""
        given = self.body(ScheduleBody)
        workflow = workflow_of(given.pop("workflow"))
        cron, payload = given.pop("cron"), given.pop("payload", None)
        found = workflow.schedule(
            cron, schedule_id=schedule_id, payload=payload, by=self.actor, **given
        )
        self.tell(schedule_id, "put")
        return respond(_shown(request, found))

    @documented("delete_schedule", gives={204: None}, tag="schedules")
    def delete(self, request: Request, schedule_id: str) -> Response:
        """Delete it; runs that it started go on. One that is declared in code is deleted there."""
        found = _schedule_of(schedule_id)
        if found.is_declared:
            detail = f'Schedule "{schedule_id}" is declared in code, and is taken out there.'
            raise ProblemError("wrong-state", detail, state="declared")
        found.delete()
        self.tell(schedule_id, "delete")
        return Response(status=204)


class Fires(ApiView):
    """When a schedule fires."""

    permissions = {"GET": "view_schedule"}

    @documented("get_fires", query=FiresQuery, gives={200: shapes.FiresShape}, tag="schedules")
    def get(self, request: Request, schedule_id: str) -> Response:
        """Return its next slots, as if it were not paused."""
        count = min(self.asked(FiresQuery).get("count", 5), MOST_FIRES)
        found = _schedule_of(schedule_id)
        fires = [at(one) for one in found.next_fires(count)]
        told = {"schedule_id": found.id, "paused": found.is_paused, "next_fires": fires}
        return respond(told)


class _Steer(_Schedules):
    permissions = {"POST": "change_schedules"}


class PauseSchedule(_Steer):
    """A schedule is held."""

    @documented("pause_schedule", gives={200: shapes.ScheduleShape}, tag="schedules")
    def post(self, request: Request, schedule_id: str) -> Response:
        """Fire no slot until it is resumed."""
        found = _schedule_of(schedule_id).pause()
        self.tell(schedule_id, "pause")
        return respond(_shown(request, found))


class ResumeSchedule(_Steer):
    """A schedule fires again."""

    @documented("resume_schedule", gives={200: shapes.ScheduleShape}, tag="schedules")
    def post(self, request: Request, schedule_id: str) -> Response:
        """Fire again, from the next slot on."""
        found = _schedule_of(schedule_id).resume()
        self.tell(schedule_id, "resume")
        return respond(_shown(request, found))


class RunSchedule(_Steer):
    """A schedule is run at once."""

    scopes = {"POST": "workflow_trigger"}

    @documented("run_schedule", gives={201: shapes.TriggeredShape}, tag="schedules")
    def post(self, request: Request, schedule_id: str) -> Response:
        """Start a run at once, besides the slots."""
        try:
            run = _schedule_of(schedule_id).run_now()
        except WorkflowNotFoundError as error:
            raise ProblemError("not-here", str(error)) from error
        self.tell(schedule_id, f"run now, as {run.id}")
        return respond({"workflow_run_id": run.id, "created": True}, 201)
