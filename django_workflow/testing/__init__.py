"""For your tests: workflows in-process, on a virtual clock, without a broker; and journals, replayed."""

from __future__ import annotations

from django_workflow.testing.answers import MadeCall, UnexpectedCallError
from django_workflow.testing.replays import Replayed, ReplayError, replay
from django_workflow.testing.sandbox import WorkflowSandbox

__all__ = [
    "MadeCall",
    "ReplayError",
    "Replayed",
    "UnexpectedCallError",
    "WorkflowSandbox",
    "replay",
]
