"""Undoing: the steps of a run that has failed or is cancelled are taken back, each by a step of its own.

The round is a pass over a plain function in the branch ``undo.<round>/``: it asks for one step after the other, in
the order that was planned, so retries, deaths and records are those of any step.
"""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from typing import Any

from django_workflow.core.codec import codec
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.exceptions import (
    AtRestError,
    AtRestInterrupt,
    CrashLoopError,
    StepError,
    WorkflowError,
)
from django_workflow.core.importable import load
from django_workflow.core.steps import NAME_LENGTH
from django_workflow.core.types import Failure, RunStatus, StepKind, StepStatus
from django_workflow.core.undo import AT_WORK, WHAT, Undone
from django_workflow.models import Undo
from django_workflow.runtime.announcing import run_cancelled
from django_workflow.runtime.bodies import idempotency_key
from django_workflow.runtime.endings import Ending
from django_workflow.runtime.failure import failure_of, text_of
from django_workflow.store import children, claims, records, undos
from django_workflow.store.rows import Claim, StepRow

logger = logging.getLogger(__name__)


def has_undo(claim: Claim) -> bool:
    """Whether this claim is there to undo steps: of a failed run, or of one that is cancelling, after its children."""
    run = claim.run
    if not claim.is_turn or run.undo_status not in AT_WORK:
        return False
    if run.status == RunStatus.CANCELLING:
        return not children.are_left(claim.run_id)
    return run.status == RunStatus.FAILED


def prefix_of(claim: Claim) -> str:
    """Return the branch of this round."""
    return f"undo.{claim.run.undo_round}/"


def undo_steps(context: WorkflowContext[Any], claim: Claim) -> list[int]:
    """Undo one step after the other; return the ids of what is undone. What fails is recorded, and the others go on."""
    done = []
    for undo in undos.of_round(claim.run_id, claim.run.undo_round):
        try:
            context.run(f"undo {undo.name}"[:NAME_LENGTH], _undo, claim, undo)
        except StepError:
            continue
        done.append(undo.pk)
    return done


def _undo(claim: Claim, undo: Undo) -> Any:
    """Call what undoes one step. What it returns is not kept: it might not be storable."""
    result = None
    try:
        args, kwargs = undo.arguments
        if undo.outcome == "done":
            steps = {record.key: record for record in records.load(claim.run_id)}
            text = steps[undo.step_key].result_text
            result = None if text is None else codec.loads(text, what="result")
    except AtRestError as error:
        raise AtRestInterrupt(error=error, step=undo.name) from error
    value = load(undo.path, WHAT)(
        Undone(
            step=undo.name,
            outcome=undo.outcome,
            result=result,
            args=tuple(args),
            kwargs=kwargs,
            idempotency_key=idempotency_key(claim.run_id, claim.run.generation, 0, undo.step_key),
            workflow_run_id=claim.run_id,
        )
    )
    return _forgotten(value) if inspect.isawaitable(value) else None


async def _forgotten(value: Any) -> None:
    await value


class UndoEnding(Ending):
    """What may become of a round."""

    def completed(self, value: Any, *, leaves_open: bool) -> None:
        """Every step was undone, or its undo has failed."""
        asked = undos.of_round(self.claim.run_id, self.claim.run.undo_round)
        self._end(value, is_failed=len(value) < len(asked), failure_text=None)

    def raised(self, error: BaseException) -> None:
        """The round itself cannot go on, as when a name is too long."""
        self._end([], is_failed=True, failure_text=text_of(failure_of(error, attempts=1)))

    def block(self, error: WorkflowError) -> None:
        """The engine's verdict ends the round; an undo in which processes die has failed, and the others go on."""
        failure = Failure.from_exception(error, step=getattr(error, "step", None), attempts=0)
        logger.error("Undoing steps of run %s: %s", self.claim.run_id, error)
        if isinstance(error, CrashLoopError) and failure.step:
            prefix = prefix_of(self.claim)
            name = failure.step.removeprefix(prefix).rpartition("#")
            row = StepRow(
                key=failure.step,
                name=name[0] or name[2],
                branch=prefix,
                kind=StepKind.RUN,
                status=StepStatus.FAILED,
                failure_text=text_of(failure),
                attempts=1,
            )
            records.record(self.claim, row)
            claims.give_back(self.claim, due_in=timedelta(0))
            return
        self._end([], is_failed=True, failure_text=text_of(failure))

    def _end(self, done: list[int], *, is_failed: bool, failure_text: str | None) -> None:
        if undos.end(self.claim, done, is_failed=is_failed, failure_text=failure_text):
            logger.info("Steps of run %s were undone", self.claim.run_id)
            if self.claim.run.status == RunStatus.CANCELLING:
                run_cancelled(self.claim.run_id)
            self._tell()
