"""Events: sent, kept in the mailbox, and waited for."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.anywhere import get_waiters, notify
from django_workflow.core.events import EVENT_ID_LENGTH
from django_workflow.models import Event
from django_workflow.models.shown import shown_event
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, PageQuery, documented, respond
from django_workflow.rest.fields import Shape, Text, Truth
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import run_of, runs
from django_workflow.rest.shown import at
from django_workflow.runtime.visibility import sees_all_runs


class EventQuery(PageQuery):
    """What the mailbox takes."""

    event_id = Text(required=False)
    workflow_run_id = Text(required=False)
    kept = serializers.BooleanField(
        required=False, help_text="True for those alone that nobody has taken yet."
    )


class NotifyBody(Shape):
    """An event to be sent."""

    event_id = Text(max_length=EVENT_ID_LENGTH)
    event_data = serializers.JSONField(required=False, allow_null=True)
    workflow_run_id = Text(required=False, help_text="The only run that may receive it.")
    keep = Truth(required=False)


class WaiterQuery(Shape):
    """Whose waiters are asked for."""

    event_id = Text(max_length=EVENT_ID_LENGTH)


def _shown(event: Event, *, sees: bool) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "workflow_run_id": event.run_id,
        "event_data": shown_event(event) if sees else None,
        "kept": event.matched_at is None,
        "reached": event.reached,
        "created_at": at(event.created_at),
        "expires_at": at(event.expires_at),
    }


class Events(ApiView):
    """The mailbox."""

    permissions = {"GET": "view_event", "POST": "notify_run"}

    @documented("list_events", query=EventQuery, gives={200: shapes.EventPage}, tag="events")
    def get(self, request: Request) -> Response:
        """List events, the newest first."""
        asked, sees = self.asked(EventQuery), self.sees
        rows = Event.objects.using(settings().DATABASE).select_related("run")
        if not sees_all_runs(request):
            # Whose an event is that names no run, nobody can tell.
            rows = rows.filter(run__in=runs(request))
        if asked.get("event_id"):
            rows = rows.filter(event_id=asked["event_id"])
        if asked.get("workflow_run_id"):
            rows = rows.filter(run_id=asked["workflow_run_id"])
        if "kept" in asked:
            rows = rows.filter(matched_at__isnull=asked["kept"])
        return respond(
            page(
                request, rows, ("-id",),
                lambda found: [_shown(event, sees=sees) for event in found], asked,
            )
        )  # fmt: skip

    @documented("notify", takes=NotifyBody, gives={201: shapes.EventShape}, tag="events")
    def post(self, request: Request) -> Response:
        """Send an event to all who wait for it; if none does, it is kept for the first who asks."""
        given = self.body(NotifyBody)
        if not sees_all_runs(request):
            self._check_receiver(given.get("workflow_run_id"))
        event = notify(given.pop("event_id"), given.pop("event_data", None), **given)
        return respond(_shown(event, sees=self.sees), 201)

    def _check_receiver(self, run_id: str | None) -> None:
        if run_id is None:
            detail = "Name workflow_run_id: an event without it may reach runs that are not yours."
            raise ProblemError("forbidden", detail, path="workflow_run_id")
        run_of(self.request, run_id)


class Waiters(ApiView):
    """Who waits for an event."""

    permissions = {"GET": "view_waiter"}

    @documented("list_waiters", query=WaiterQuery, gives={200: shapes.WaiterList}, tag="events")
    def get(self, request: Request) -> Response:
        """List the steps that wait for an event, the longest first."""
        waiters = get_waiters(self.asked(WaiterQuery)["event_id"])
        ids = {waiter.run.id for waiter in waiters}
        there = set(runs(request).filter(pk__in=ids).values_list("pk", flat=True))
        found = [
            {
                "workflow_run_id": waiter.run.id,
                "workflow": waiter.run.workflow,
                "step": waiter.step,
                "step_key": waiter.step_key,
                "since": at(waiter.since),
                "until": at(waiter.until),
            }
            for waiter in waiters
            if waiter.run.id in there
        ]
        return respond({"results": found})
