"""The rows: a run, its steps and attempts, what is due, and the events that were sent, and who waits for them.

Texts named ``payload_text``, ``result_text``, ``arguments_text``, ``failure_text`` hold what ``core.codec`` wrote: ASCII
JSON, kept as text because a jsonb column would refuse NUL, reorder keys and cost a parse on the hot path. Nothing
here writes: ``store`` is the only writer, and every verb of a handle goes through the runtime.
"""

from __future__ import annotations

from django_workflow.models.deliveries import Delivery, DeliveryQuerySet, Sweep
from django_workflow.models.events import Event, EventQuerySet, Waiter, WaiterQuerySet
from django_workflow.models.flow import (
    FlowKey,
    FlowStart,
    FlowTicket,
    FlowTicketQuerySet,
    TriggerKey,
)
from django_workflow.models.runs import Run, RunLabel, RunQuerySet
from django_workflow.models.steps import Attempt, Step

__all__ = [
    "Attempt",
    "Delivery",
    "DeliveryQuerySet",
    "Event",
    "EventQuerySet",
    "FlowKey",
    "FlowStart",
    "FlowTicket",
    "FlowTicketQuerySet",
    "Run",
    "RunLabel",
    "RunQuerySet",
    "Step",
    "Sweep",
    "TriggerKey",
    "Waiter",
    "WaiterQuerySet",
]
