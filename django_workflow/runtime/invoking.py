"""Children: invoked by a step of their parent, which ends when they do; cancelled with it.

Who ends a child tells its parent right after the commit. The child's turn stays due until that is done, so a worker
tells for a process that has died in between. A run that is cancelling is carried by its turn as well.
"""

from __future__ import annotations

import logging
import string
from dataclasses import replace
from hashlib import sha256
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.at_rest import opened
from django_workflow.core.exceptions import InvalidOptionError, WorkflowError
from django_workflow.core.journal import Journal, Record
from django_workflow.core.steps import InvokeStep
from django_workflow.core.types import Failure, RunStatus, StepStatus
from django_workflow.models import Run
from django_workflow.runtime.announcing import child_step_ended, run_cancelled, step_ended
from django_workflow.runtime.failure import text_of
from django_workflow.runtime.flow_control import after_commit, keys_of, settle_keys
from django_workflow.runtime.step_rows import elapsed_row, row_of
from django_workflow.runtime.waiting import wake_workers
from django_workflow.store import children, claims, runs
from django_workflow.store.rows import Claim, StepRow

logger = logging.getLogger(__name__)

ALPHABET = string.ascii_letters + string.digits
#: What an id begins with behind its underscore: in a URL, Django's admin would read "_3E" as a quoted character.
FIRST_LETTERS = string.ascii_letters
ID_LENGTH = 21
#: How many children one entry cancels.
CANCELLED_AT_ONCE = 100


class RefusedStepError(WorkflowError):
    """Raised when a step cannot be begun; the step fails by its ``__cause__``."""

    def __init__(self, step: InvokeStep) -> None:
        super().__init__(f'Step "{step.name}" cannot be begun.')
        self.step = step


def derived_run_id(*seed: object) -> str:
    """Return the id that follows from this seed, of the same form as a fresh one."""
    number = int.from_bytes(sha256("\n".join(map(str, seed)).encode()).digest())
    found = []
    for position in range(ID_LENGTH):
        among = ALPHABET if position else FIRST_LETTERS
        number, place = divmod(number, len(among))
        found.append(among[place])
    return "wfr_" + "".join(found)


# What is done with the step.


def open_invoke(step: InvokeStep) -> StepRow:
    """Return the row of a step that waits for its child; `with_child()` says which."""
    return row_of(step, StepStatus.WAITING, wakes_in=step.options.timeout)


def with_child(claim: Claim, step: InvokeStep, row: StepRow) -> StepRow:
    """Return the row with the child that is inserted with it.

    Raises:
        RefusedStepError: there can be no such child.
    """
    return replace(row, child=_child(claim, step))


def _child(claim: Claim, step: InvokeStep) -> Any:
    run = claim.run
    limit = settings().MAX_INVOKE_DEPTH
    # With the run's age: after a run is deleted its id may be used again, and its children are kept.
    seed = (run.id, run.created_at.isoformat(), run.revision, step.key)
    try:
        if run.depth >= limit:
            raise InvalidOptionError(
                f'Run {run.id} stands {run.depth} levels below the run that began it all, and WORKFLOW["MAX_INVOKE_DEPTH"] '
                f'is {limit}: it cannot invoke "{step.workflow}". Do workflows invoke each other in a circle?'
            )
        new = step.plan(step.workflow_run_id or derived_run_id(*seed))
    except WorkflowError as error:
        raise RefusedStepError(step) from error
    return new._replace(
        parent=run.id, parent_step=step.key, cascade=step.cascade, depth=run.depth + 1
    )


def refused_row(step: InvokeStep, error: BaseException, *, registered: bool) -> StepRow:
    """Return the row of a step that fails because there can be no such child."""
    failure = Failure.from_exception(error, step=step.name, attempts=1)
    return row_of(
        step,
        StepStatus.FAILED,
        failure_text=text_of(failure),
        attempts=1,
        registered=registered,
    )


def wait_again(claim: Claim, step: InvokeStep) -> None:
    """Let a step that a resume has opened wait for its child, which may have gone on meanwhile, or for a new one.

    Raises:
        RefusedStepError: a new child is needed, and there can be none.
    """
    child = children.latest(claim.run_id, step.key)
    if child is not None and children.await_again(child.id):
        children.wait_again(claim, step.key, None, step.options.timeout)
        tell_parent(child.id)
        return
    new = _child(claim, step)
    if not children.wait_again(claim, step.key, new, step.options.timeout):
        raise RefusedStepError(step) from InvalidOptionError(
            f'The run ID "{new.id}" is taken, so nothing can be invoked under it anew. Restart run {claim.run_id} instead.'
        )
    wake_workers({new.id})
    settle_keys([new.flow_key] if new.flow_key else [])


def elapse_invoke(claim: Claim, timer: Record) -> Record | None:
    """Record that a child took too long to be waited for; None if it has ended first."""
    child = children.latest(claim.run_id, timer.key)
    if child is not None:
        # What has ended in time counts, also where nobody was alive to tell.
        tell_parent(child.id)
    failure = Failure(
        message=f"Run {child.id if child else '?'} had not ended by {timer.wake_at:%Y-%m-%d %H:%M:%S} UTC, the timeout of "
        f'step "{timer.name}". It goes on, but nobody waits for it.',
        error_class="django_workflow.core.exceptions.StepTimeoutError",
        traceback="",
        step=timer.name,
        attempts=1,
    )
    row = replace(
        elapsed_row(timer), status=StepStatus.FAILED, failure_text=text_of(failure), attempts=1
    )
    done = children.time_out(claim, row)
    if done is None:
        return None
    record = timer._replace(
        status=StepStatus.FAILED,
        sequence=done.sequence,
        finished_at=done.finished_at,
        failure_text=row.failure_text,
        attempts=1,
    )
    step_ended(claim, record)
    return record


# What is done when a child has ended.


def tell_parent(run_id: str) -> None:
    """Tell the parent of a run that has ended, if there is one to be told. May be repeated at any time."""
    child = children.to_tell(run_id)
    if child is None:
        return
    is_woken, is_recorded = children.record_end(child, _failure_text(child))
    children.end_telling(run_id)
    if is_recorded:
        child_step_ended(child.parent_id, child.parent_step)
    if is_woken and child.parent_id is not None:
        wake_workers({child.parent_id})


def _failure_text(child: Run) -> str | None:
    if child.status == RunStatus.COMPLETED:
        return None
    # Told later, rather than wrongly, if it cannot be read at this moment.
    opened(child.failure_text or "")
    failure = child.failure
    if child.status == RunStatus.CANCELLED or failure is None:
        failure = Failure(
            message=f"The run was {child.status}.",
            error_class=str(child.status),
            traceback="",
            step=None,
            attempts=1,
        )
    step = child.parent_step.rpartition("/")[2]
    return text_of(replace(failure, step=step, attempts=1, run_id=child.id))


# What is done when the parent is cancelled.


def carry_cancelling(claim: Claim) -> bool:
    """Cancel the children of a run that is cancelling; it is cancelled with the last. False if there are more to do.

    Children with children of their own take their time, and tell when it is done.
    """
    found = children.to_cancel(claim.run_id, CANCELLED_AT_ONCE)
    _cancel_children(found)
    if len(found) == CANCELLED_AT_ONCE:
        return False
    if children.are_left(claim.run_id):
        claims.give_back(claim)
        return True
    if runs.finish_cancelling(claim):
        logger.info("Run %s is cancelled", claim.run_id, extra={"run_id": claim.run_id})
        run_cancelled(claim.run_id)
        if claim.run.parent_waits:
            tell_parent(claim.run_id)
    return True


def cancel_orphans(claim: Claim, journal: Journal) -> None:
    """Cancel the children of steps that a race has left; repeated by the next pass if this process dies meanwhile."""
    keys = sorted(journal.orphans)
    _cancel_children(children.of_abandoned(claim.run_id, keys))
    children.no_orphans(claim.run_id, keys)
    journal.orphans.clear()


def _cancel_children(run_ids: list[str]) -> None:
    for run_id in run_ids:
        keys = keys_of(run_id)
        if runs.cancel(run_id, by_parent=True) is None:
            run_cancelled(run_id)
        after_commit(keys)
    if run_ids:
        wake_workers(set(run_ids))
