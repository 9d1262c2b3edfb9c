"""What a project hooks into every run and step: ``WORKFLOW["MIDDLEWARE"] = ["shop.hooks.Timing"]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from django_workflow.core.types import Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """The run that a hook is called for."""

    workflow_run_id: str
    workflow: str
    version: str
    created_at: datetime | None = None
    #: What `Middleware.carry()` gave when the run was triggered.
    carried: Mapping[str, str] = field(default_factory=dict)


#: The run whose function this thread passes, for log lines.
passing: ContextVar[RunInfo | None] = ContextVar("django_workflow_passing", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepInfo:
    """The step that a hook is called for, and the how manieth attempt it is."""

    name: str
    key: str
    kind: str
    attempt: int


@dataclass(kw_only=True, slots=True)
class OutgoingCall:
    """A request that ``ctx.call`` is about to make; its secrets are masked."""

    method: str
    url: str
    #: Put headers here that the request is to have; one that the workflow gave stays as it is.
    headers: dict[str, str] = field(default_factory=dict)
    #: What the other server answered; None until then, and where there was no answer.
    status: int | None = None


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

    @contextmanager
    def around_call(self, run: RunInfo, step: StepInfo, call: OutgoingCall) -> Iterator[None]:
        """Surround one request of ``ctx.call``, on the event loop that makes it: it must not block."""
        yield

    def carry(self, run: RunInfo) -> Mapping[str, str]:
        """Return what to keep with a run that is being triggered here; later hooks get it as ``run.carried``."""
        return {}

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
