"""Durable workflows for Django, as ordinary Python functions, with your database as the only truth."""

from __future__ import annotations

from django_workflow.core.anywhere import (
    acancel_runs,
    aget_run,
    aget_schedule,
    anotify,
    cancel_runs,
    get_run,
    get_schedule,
    notify,
)
from django_workflow.core.codec import register_dataclass, register_enum, register_type
from django_workflow.core.context import CurrentStep, current_step
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.crons import Cron
from django_workflow.core.events import ArrivedEvent, EventResult, SentEvent
from django_workflow.core.exceptions import (
    ArgumentDrift,
    ArgumentDriftError,
    CallError,
    ChildRunError,
    CrashLoopError,
    DeliveryFencedError,
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    NonRetryableError,
    NotReadyError,
    NotSerializableError,
    PayloadTooLargeError,
    RetryAfterError,
    RunExistsError,
    RunFailedError,
    RunNotFinishedError,
    RunNotFoundError,
    RunStateError,
    RunTimeoutError,
    ScheduleNotFoundError,
    SignatureError,
    StepError,
    StepTimeoutError,
    SwallowedInterruptError,
    TooManyStepsError,
    TransactionOpenError,
    UndecodableValueError,
    WorkflowError,
    WorkflowNotFoundError,
)
from django_workflow.core.middleware import Middleware, RunInfo, StepInfo
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.telling import Progress
from django_workflow.core.types import Failure, RunStatus, StepStatus
from django_workflow.core.workflow import Workflow, workflow

__version__ = "0.1.0"

__all__ = [
    "ArgumentDrift",
    "ArgumentDriftError",
    "ArrivedEvent",
    "AsyncWorkflowContext",
    "CallError",
    "ChildRunError",
    "CrashLoopError",
    "Cron",
    "CurrentStep",
    "DeliveryFencedError",
    "EventResult",
    "Failure",
    "InvalidOptionError",
    "Middleware",
    "MisplacedStepError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotReadyError",
    "NotSerializableError",
    "PayloadTooLargeError",
    "Progress",
    "RetryAfterError",
    "RetryPolicy",
    "RunExistsError",
    "RunFailedError",
    "RunInfo",
    "RunNotFinishedError",
    "RunNotFoundError",
    "RunStateError",
    "RunStatus",
    "RunTimeoutError",
    "ScheduleNotFoundError",
    "SentEvent",
    "SignatureError",
    "StepError",
    "StepInfo",
    "StepStatus",
    "StepTimeoutError",
    "SwallowedInterruptError",
    "TooManyStepsError",
    "TransactionOpenError",
    "UndecodableValueError",
    "Workflow",
    "WorkflowContext",
    "WorkflowError",
    "WorkflowNotFoundError",
    "acancel_runs",
    "aget_run",
    "aget_schedule",
    "anotify",
    "cancel_runs",
    "current_step",
    "get_run",
    "get_schedule",
    "notify",
    "register_dataclass",
    "register_enum",
    "register_type",
    "workflow",
]
