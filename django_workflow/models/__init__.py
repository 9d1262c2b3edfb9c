"""The rows: a run, its steps and attempts, what is due, events and who waits for them, webhooks, approvals, schedules,
and who did what.

Texts named ``payload_text``, ``result_text``, ``arguments_text``, ``failure_text`` hold what ``core.codec`` wrote: ASCII
JSON, kept as text because a jsonb column would refuse NUL, reorder keys and cost a parse on the hot path. Nothing
here writes: ``store`` is the only writer, and every verb of a handle goes through the runtime.
"""

from __future__ import annotations

from django_workflow.models.actions import Action
from django_workflow.models.alerts import AlertState
from django_workflow.models.approvals import Approval, ApprovalAssignee, ApprovalQuerySet
from django_workflow.models.calls import Call
from django_workflow.models.deliveries import Delivery, DeliveryQuerySet, Sweep
from django_workflow.models.events import Event, EventQuerySet, Waiter, WaiterQuerySet
from django_workflow.models.flow import (
    FlowKey,
    FlowStart,
    FlowTicket,
    FlowTicketQuerySet,
    TriggerKey,
)
from django_workflow.models.history import Generation, PastStep, RunLog
from django_workflow.models.letters import DeadLetterNote
from django_workflow.models.maps import MapItem
from django_workflow.models.runs import Run, RunLabel, RunQuerySet
from django_workflow.models.schedules import Schedule, ScheduledRun, ScheduleQuerySet
from django_workflow.models.steps import Attempt, Step, StepFields
from django_workflow.models.undos import Undo
from django_workflow.models.webhooks import Webhook

__all__ = [
    "Action",
    "AlertState",
    "Approval",
    "ApprovalAssignee",
    "ApprovalQuerySet",
    "Attempt",
    "Call",
    "DeadLetterNote",
    "Delivery",
    "DeliveryQuerySet",
    "Event",
    "EventQuerySet",
    "FlowKey",
    "FlowStart",
    "FlowTicket",
    "FlowTicketQuerySet",
    "Generation",
    "MapItem",
    "PastStep",
    "Run",
    "RunLabel",
    "RunLog",
    "RunQuerySet",
    "Schedule",
    "ScheduleQuerySet",
    "ScheduledRun",
    "Step",
    "StepFields",
    "Sweep",
    "TriggerKey",
    "Undo",
    "Waiter",
    "WaiterQuerySet",
    "Webhook",
]
