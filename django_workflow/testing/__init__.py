"""For your tests: workflows in-process, on a virtual clock, without a broker; journals, replayed; crashes."""

from __future__ import annotations

from django_workflow.testing.answers import MadeCall, UnexpectedCallError
from django_workflow.testing.crashes import CrashDifferenceError, CrashReport, crash_everywhere
from django_workflow.testing.faults import UnmetOrderError
from django_workflow.testing.replays import Replayed, ReplayError, replay
from django_workflow.testing.sandbox import WorkflowSandbox

__all__ = [
    "CrashDifferenceError",
    "CrashReport",
    "MadeCall",
    "ReplayError",
    "Replayed",
    "UnexpectedCallError",
    "UnmetOrderError",
    "WorkflowSandbox",
    "crash_everywhere",
    "replay",
]
