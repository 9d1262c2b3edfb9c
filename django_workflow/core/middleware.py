"""What a project hooks into every run and step: ``WORKFLOW["MIDDLEWARE"] = ["shop.hooks.Timing"]``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django_workflow.core.types import Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """The run that a hook is called for."""

    workflow_run_id: str
    workflow: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StepInfo:
    """The step that a hook is called for, and the how manieth attempt it is."""

    name: str
    key: str
    kind: str
    attempt: int


class Middleware:
    """Base of hooks: override what you need. One instance serves all threads of a process.

    What a hook raises is logged, and changes nothing. The ``around`` hooks are context managers, the first of the setting
    outermost; the others are called in the order of the setting, after the commit.
    """

    @contextmanager
    def around_pass(self, run: RunInfo) -> Iterator[None]:
        """Surround one pass of the workflow function, in the process and thread in which it runs."""
        yield

    @contextmanager
    def around_step(self, run: RunInfo, step: StepInfo) -> Iterator[None]:
        """Surround one attempt of a step's body; what the body raises comes out of the ``yield``.

        An atomic step's transaction begins and ends within.
        """
        yield

    def run_started(self, run: RunInfo) -> None:
        """Hear that a run was claimed for the first time."""

    def run_completed(self, run: RunInfo) -> None:
        """Hear that a run has completed."""

    def run_failed(self, run: RunInfo, failure: Failure) -> None:
        """Hear that a run has failed or is blocked."""

    def run_cancelled(self, run: RunInfo) -> None:
        """Hear that a run was cancelled."""

    def step_completed(self, run: RunInfo, step: StepInfo) -> None:
        """Hear that a step's result was recorded."""

    def step_retried(self, run: RunInfo, step: StepInfo, failure: Failure) -> None:
        """Hear that an attempt failed and another one will be made."""

    def step_failed(self, run: RunInfo, step: StepInfo, failure: Failure) -> None:
        """Hear that a step gave up."""
