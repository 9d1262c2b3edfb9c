"""The Django admin as a window on runs: it reads, and what it does it has the runtime do."""

from __future__ import annotations

from django_workflow.admin.alerts import AlertStateAdmin
from django_workflow.admin.approvals import ApprovalAdmin
from django_workflow.admin.inline import WorkflowRunsInline
from django_workflow.admin.limits import FlowKeyAdmin
from django_workflow.admin.others import ActionAdmin, DeliveryAdmin, EventAdmin
from django_workflow.admin.runs import RunAdmin
from django_workflow.admin.schedules import ScheduleAdmin
from django_workflow.admin.waiters import WaiterAdmin
from django_workflow.admin.webhook_calls import WebhookAdmin

__all__ = [
    "ActionAdmin",
    "AlertStateAdmin",
    "ApprovalAdmin",
    "DeliveryAdmin",
    "EventAdmin",
    "FlowKeyAdmin",
    "RunAdmin",
    "ScheduleAdmin",
    "WaiterAdmin",
    "WebhookAdmin",
    "WorkflowRunsInline",
]
