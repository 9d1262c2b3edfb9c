"""Durable workflows for Django, as ordinary Python functions, with your database as the only truth."""

from __future__ import annotations

from django_workflow.core.anywhere import (
    acancel_runs,
    aget_run,
    anotify,
    cancel_runs,
    get_run,
    notify,
)
from django_workflow.core.codec import register_dataclass, register_enum, register_type
from django_workflow.core.context import CurrentStep, current_step
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
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
    SignatureError,
    StepError,
    StepTimeoutError,
    SwallowedInterruptError,
    TransactionOpenError,
    UndecodableValueError,
    WorkflowError,
    WorkflowNotFoundError,
)
from django_workflow.core.races import RaceResult
from django_workflow.core.retry import RetryPolicy
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
    "CurrentStep",
    "DeliveryFencedError",
    "EventResult",
    "Failure",
    "InvalidOptionError",
    "MisplacedStepError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotReadyError",
    "NotSerializableError",
    "PayloadTooLargeError",
    "RaceResult",
    "RetryAfterError",
    "RetryPolicy",
    "RunExistsError",
    "RunFailedError",
    "RunNotFinishedError",
    "RunNotFoundError",
    "RunStateError",
    "RunStatus",
    "RunTimeoutError",
    "SentEvent",
    "SignatureError",
    "StepError",
    "StepStatus",
    "StepTimeoutError",
    "SwallowedInterruptError",
    "TransactionOpenError",
    "UndecodableValueError",
    "Workflow",
    "WorkflowContext",
    "WorkflowError",
    "WorkflowNotFoundError",
    "acancel_runs",
    "aget_run",
    "anotify",
    "cancel_runs",
    "current_step",
    "get_run",
    "notify",
    "register_dataclass",
    "register_enum",
    "register_type",
    "workflow",
]
