"""Rehearsals: what the code of this process makes of a stored journal, with nothing executed and nothing written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections

from django_workflow.core.exceptions import (
    ArgumentDrift,
    ArgumentDriftError,
    InvalidOptionError,
    NonDeterminismError,
)
from django_workflow.core.journal import Journal, Record
from django_workflow.core.replay import Diverged, Outcome
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import registry
from django_workflow.runtime.announcing import untold
from django_workflow.runtime.executor import pass_over
from django_workflow.runtime.performer import Allowance, Performer
from django_workflow.store import records
from django_workflow.store.living import living, look
from django_workflow.store.rows import Claim

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Why a living run would not go on under the code of this process."""

    run_id: str
    workflow: str
    version: str
    #: ``diverges``, ``drifts`` (the recorded arguments win) or ``unknown`` (no such workflow or version here).
    what: str
    step: str | None
    recorded: str | None
    asked: str | None
    message: str


class _Onlooker(Performer):
    """The host of a rehearsal: executes nothing, so that every open step is waited for."""

    def execute(self, step: Any, record: Any, markers: Any) -> Record | None:
        """See `Performer.execute()`."""
        return None


class _StrictOnlooker(_Onlooker):
    strict_arguments = True


def rehearse_all(workflows: Sequence[str] | None = None, *, batch: int = 200) -> Iterator[Finding]:
    """Yield what is wrong with the living runs, of these workflows or of all."""
    names = None if workflows is None else list(workflows)
    for claim in living(names, dead_letters=False, batch=batch):
        found = rehearse(claim)
        if found is None:
            continue
        # It may have moved on between its row and its journal: once more, as it stands now.
        again = look(claim.run_id)
        if again is None or again.run.status not in (*_GOING, RunStatus.FAILED):
            continue
        found = rehearse(again)
        if found is not None:
            yield found


_GOING = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELLING)


def rehearse(claim: Claim, recorded: Sequence[Record] | None = None) -> Finding | None:
    """Return why a run would not go on under this code, from its journal or from these records; None if it would."""
    run = claim.run
    workflow = registry.find(run.workflow)
    if workflow is None or run.version not in workflow.versions:
        known = "workflow" if workflow is None else "version"
        return _finding(claim, "unknown", f"This process knows no such {known}.")
    if recorded is None:
        recorded = records.load(run.id)
    if not recorded:
        return None
    for onlooker in (_Onlooker, _StrictOnlooker):
        outcome = _pass(claim, recorded, onlooker)
        if isinstance(outcome, Diverged):
            return _verdict(claim, outcome, recorded)
    return None


def rehearsed(claim: Claim, recorded: Sequence[Record], *, strict: bool = True) -> Outcome:
    """Return how a pass over these records ends; ``strict`` minds arguments that differ from the recorded ones."""
    return _pass(claim, recorded, _StrictOnlooker if strict else _Onlooker)


def _pass(claim: Claim, recorded: Sequence[Record], onlooker: type[Performer]) -> Outcome:
    run = claim.run
    started = run.continued_at or run.started_at or claim.now
    journal = Journal(run.id, revision=run.revision, started_at=started)
    journal.extend(recorded)
    with _nothing_written(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ArgumentDrift)
        with untold():
            return pass_over(claim, journal, Allowance(budget=None, steps=None), onlooker)


def _verdict(claim: Claim, outcome: Diverged, recorded: Sequence[Record]) -> Finding:
    error = outcome.error
    step = getattr(error, "step", None)
    if isinstance(error, NonDeterminismError):
        return _finding(claim, "diverges", str(error), step, error.expected, error.found)
    if isinstance(error, ArgumentDriftError):
        return _finding(claim, "drifts", str(error), step, error.recorded, error.asked)
    return _finding(claim, "diverges", str(error), step)


def _finding(
    claim: Claim,
    what: str,
    message: str,
    step: str | None = None,
    recorded: str | None = None,
    asked: str | None = None,
) -> Finding:
    run = claim.run
    return Finding(
        run_id=run.id, workflow=run.workflow, version=run.version, what=what, step=step, recorded=recorded,
        asked=asked, message=message,
    )  # fmt: skip


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Let every database refuse what is not a query: the code between steps is the project's own."""

    def refuse(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        text = str(sql).lstrip(" (\n").upper()
        if text.startswith(("SELECT", "EXPLAIN", "SHOW", "PRAGMA", "SAVEPOINT", "RELEASE", "SET")):
            return execute(sql, params, many, context)
        raise InvalidOptionError(
            "The code between steps tried to write to the database during a rehearsal. Write in a step."
        )

    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(connections[alias].execute_wrapper(refuse))
        yield
