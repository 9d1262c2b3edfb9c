"""Journals of production, replayed against the code of today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django_workflow.core.exceptions import (
    ArgumentDriftError,
    InvalidOptionError,
    NonDeterminismError,
    WorkflowError,
)
from django_workflow.core.replay import (
    Cancelled,
    Completed,
    Diverged,
    Outcome,
    Raised,
    Suspended,
)
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run
from django_workflow.runtime.exporting import export_run
from django_workflow.runtime.journal_files import JournalFile, read_journal
from django_workflow.runtime.rehearsal import rehearsed


class ReplayError(AssertionError):
    """Raised when the code does not go the way of a journal; tells the first step at which it does not."""

    def __init__(
        self,
        message: str,
        *,
        step: str | None,
        recorded: str | None = None,
        asked: str | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.recorded = recorded
        self.asked = asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """How a replay ended that met every recorded step."""

    #: ``completed``, ``raised``, ``cancelled``, ``continued``, or ``waiting`` where the journal ends before the code does.
    status: str
    #: What the function returned; None unless it did.
    result: Any = None
    #: What it raised; None unless it did.
    error: BaseException | None = None
    #: The names of the steps that it asks for behind the journal's end.
    waiting_on: tuple[str, ...] = ()


def replay(
    workflow: Workflow[Any, Any],
    journal: Mapping[str, Any] | str | Path | Run,
    *,
    strict_arguments: bool = True,
) -> Replayed:
    """Replay a run's journal against the code of a workflow: no body is executed, nothing is written.

    A failure handler that has begun is replayed too. No database is needed, but for a ``Run``.

    Args:
        workflow: The workflow; it may have another name than the run's.
        journal: What ``manage.py workflow_export`` has written: the path of the file, or what it holds, as text or as a
            dict; or a run.
        strict_arguments: Whether arguments that differ from the recorded ones (a duration, an event id, a URL) count.

    Raises:
        InvalidOptionError: this is no journal, or the workflow has no such version.
        ReplayError: the code diverges from the journal.
    """
    found = _read(journal)
    version = found.run["version"]
    if version not in workflow.versions:
        raise InvalidOptionError(
            f'The journal is one of version "{version}". Workflow "{workflow.name}" has '
            f"{', '.join(workflow.versions)}."
        )
    with _registered(workflow):
        replayed = _pass(workflow, found, strict_arguments, status=RunStatus.RUNNING, handler="")
        begun = f"failure.{found.run['handler_round']}/"
        if any(row["branch"].startswith(begun) for row in found.recorded):
            _pass(workflow, found, strict_arguments, status=RunStatus.FAILED, handler="running")
    if found.run["status"] == RunStatus.COMPLETED and replayed.status == "waiting":
        step = replayed.waiting_on[0]
        raise ReplayError(
            f"Run {found.run['id']} has completed behind its last recorded step, but the code goes on with step "
            f'"{step}". Register a new version of the workflow.',
            step=step,
            asked=step,
        )
    return replayed


def _pass(
    workflow: Workflow[Any, Any], found: JournalFile, strict: bool, *, status: str, handler: str
) -> Replayed:
    claim = found.claim(workflow.name)
    claim.run = claim.run._replace(status=status, handler_status=handler, undo_status="")
    outcome = rehearsed(claim, found.records, strict=strict)
    if isinstance(outcome, Diverged):
        raise _diverged(outcome.error) from outcome.error
    return _replayed(outcome)


def _read(journal: Any) -> JournalFile:
    if isinstance(journal, Run):
        return read_journal(export_run(journal))
    if isinstance(journal, Path) or (isinstance(journal, str) and journal.lstrip()[:1] != "{"):
        try:
            journal = Path(journal).read_text()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise InvalidOptionError(f"The journal {journal} cannot be read: {error}.") from error
    if isinstance(journal, str):
        try:
            journal = json.loads(journal)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidOptionError(f"The journal is no JSON: {error}.") from error
    return read_journal(journal)


@contextmanager
def _registered(workflow: Workflow[Any, Any]) -> Iterator[None]:
    """Let this be the workflow of its name, as another one may be since a test has changed the code."""
    usual = registry.find(workflow.name)
    if usual is workflow:
        yield
        return
    registry.remove(workflow.name)
    registry.add(workflow)
    try:
        yield
    finally:
        registry.remove(workflow.name)
        if usual is not None:
            registry.add(usual)


def _diverged(error: WorkflowError) -> ReplayError:
    step = getattr(error, "step", None)
    if isinstance(error, NonDeterminismError):
        return ReplayError(str(error), step=step, recorded=error.expected, asked=error.found)
    if isinstance(error, ArgumentDriftError):
        return ReplayError(str(error), step=step, recorded=error.recorded, asked=error.asked)
    return ReplayError(str(error), step=step)


def _replayed(outcome: Outcome) -> Replayed:
    if isinstance(outcome, Completed):
        return Replayed(status="completed", result=outcome.value)
    if isinstance(outcome, Raised):
        return Replayed(status="raised", error=outcome.error)
    if isinstance(outcome, Suspended):
        names = tuple(step.name for step, _ in outcome.steps)
        return Replayed(status="waiting", waiting_on=names)
    return Replayed(status="cancelled" if isinstance(outcome, Cancelled) else "continued")
