"""Runs: moved from state to state; each move is one conditional UPDATE that names its origin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Value, When

from django_workflow.at_rest import vault
from django_workflow.conf import settings
from django_workflow.core.singleton_lines import RUN_ITSELF
from django_workflow.core.types import RunStatus, StepStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.models import FlowTicket, Run, Step, Undo
from django_workflow.store import deliveries, requests, waiters
from django_workflow.store.claims import now as database_now
from django_workflow.store.records import OPEN, AttemptRow, keep_attempt
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, STEP, Claim
from django_workflow.store.sql import connection, dialect


def close_steps(run_id: str, status: StepStatus, *, but: Sequence[str] = ()) -> None:
    """Close the open steps of a run, those of its undo aside, and end what they wait for."""
    found = Step.objects.using(settings().DATABASE).filter(run_id=run_id, status__in=OPEN)
    if but:
        found = found.exclude(key__in=but)
    found.exclude(branch__startswith="undo.").update(status=status, finished_at=database_now())
    waiters.delete_of_run(run_id)
    requests.delete_open(run_id)
    # That of a run in its singleton's line which has begun goes when the next one is let in: the line moves on from it.
    _tickets(run_id).exclude(step_key=RUN_ITSELF, state=FlowTicket.State.HOLDING).delete()


def _tickets(run_id: str) -> Any:
    return FlowTicket.objects.using(settings().DATABASE).filter(run_id=run_id)


def _leave_lines(run_id: str) -> None:
    """Take the run's steps out of every line; bodies that run keep their slots, and a run that has not begun its place."""
    of_steps = _tickets(run_id).exclude(step_key__in=("", RUN_ITSELF))
    of_steps.exclude(state=FlowTicket.State.HOLDING).delete()
    _tickets(run_id).filter(state=FlowTicket.State.GRANTED).update(
        state=FlowTicket.State.WAITING, expires_at=None
    )


def _runs(run_id: str) -> Any:
    return Run.objects.using(settings().DATABASE).filter(pk=run_id)


def lock(run_id: str) -> None:
    """Lock what is due of a run, and thereby the run.

    Everybody takes the step deliveries first, then the turn, the run and its steps: a record does, by what it
    writes; whoever changes a run's state does it here. In that order nobody waits for one who waits for him.
    SQLite has one writer at a time anyway.
    """
    with connection().cursor() as cursor:
        dialect().lock_deliveries(cursor, run_id)


def _still_held(claim: Claim) -> bool:
    lock(claim.run_id)
    return bool(
        deliveries.of_run(claim.run_id)
        .filter(pk=claim.delivery_id, token=claim.token)
        .update(
            leased_by="", token=F("token") + 1, due_at=None, begun="", tries=0, deaths=0, trouble=""
        )
    )


@repeated
def end_badly(
    claim: Claim,
    status: RunStatus,
    failure_text: str,
    *,
    failed_step: str = "",
    with_handler: bool = False,
    attempt: AttemptRow | None = None,
) -> bool:
    """Make the run a dead letter: failed or blocked. Its open steps stay as they are; nothing of it is due any more.

    With steps to undo, or a failure handler, the turn is due at once for that. Returns False if the claim is stale.
    """
    with transaction.atomic(using=settings().DATABASE):
        if not _still_held(claim):
            return False
        changes: dict[str, Any] = {
            "status": status,
            "failure_text": vault.sealed(failure_text),
            "failed_step": failed_step,
        }
        with_undo = status == RunStatus.FAILED and _undos_left(claim.run_id).exists()
        if with_undo:
            changes |= {"undo_status": "pending", "code_attempts": 0}
        if with_handler:
            changes |= {
                "handler_status": RunStatus.RUNNING,
                "handler_round": F("handler_round") + 1,
                "code_attempts": 0,
            }
        if (
            not _runs(claim.run_id)
            .filter(status=RunStatus.RUNNING)
            .update(**changes, finished_at=database_now())
        ):
            _wake(claim.run_id)
            return False
        if attempt is not None:
            keep_attempt(claim, attempt)
        deliveries.of_run(claim.run_id).exclude(step_key="").filter(leased_by="").update(
            due_at=None
        )
        _leave_lines(claim.run_id)
        if with_handler or with_undo or (status == RunStatus.FAILED and claim.run.parent_waits):
            _wake(claim.run_id)
    return True


@repeated
def end_handler(claim: Claim, failure_text: str | None) -> bool:
    """End the failure handler, well (None) or badly. Returns False if the claim is stale."""
    with transaction.atomic(using=settings().DATABASE):
        if not _still_held(claim):
            return False
        status = RunStatus.COMPLETED if failure_text is None else RunStatus.FAILED
        _runs(claim.run_id).filter(handler_status=RunStatus.RUNNING).update(
            handler_status=status, handler_failure_text=vault.sealed(failure_text)
        )
        if claim.run.parent_waits:
            _wake(claim.run_id)
    return True


@repeated
def retry_code(claim: Claim, *, attempts: int, delay: timedelta, attempt: AttemptRow) -> bool:
    """Keep a failed attempt of the code between steps and put the turn off. Returns False if the claim is stale.

    The run's own deadline comes first, and whatever the pass did not know of is a reason to try at once.
    """
    with transaction.atomic(using=settings().DATABASE):
        moment = database_now()
        due = moment + delay
        if claim.run.deadline is not None and claim.run.handler_status != RunStatus.RUNNING:
            due = min(due, claim.run.deadline)
        held = (
            deliveries.of_run(claim.run_id)
            .filter(pk=claim.delivery_id, token=claim.token)
            .update(
                leased_by="",
                token=F("token") + 1,
                due_at=Case(When(wakes=claim.wakes, then=Value(due)), default=Value(moment)),
                begun="",
                tries=0,
                deaths=0,
                trouble=f"The code between steps is tried again after an error (attempt {attempts}).",
            )
        )
        if not held:
            return False
        _runs(claim.run_id).update(code_attempts=attempts, code_failed_at=claim.wakes)
        keep_attempt(claim, attempt)
    return True


def _wake(run_id: str) -> None:
    with connection().cursor() as cursor:
        dialect().raise_wakes(cursor, run_id)


@repeated
def wake(run_id: str) -> None:
    """Raise the run's wake counter and make its turn due unless it is held."""
    with transaction.atomic(using=settings().DATABASE):
        _wake(run_id)


@repeated
def end_step_delivery(claim: Claim) -> bool:
    """End a step delivery whose step the code no longer reaches, and wake the turn to find out why."""
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {DELIVERY} WHERE id = %s AND token = %s AND step_key <> ''",
            (claim.delivery_id, claim.token),
        )
        if not cursor.rowcount:
            return False
        # The turn before the step: see lock().
        _wake(claim.run_id)
        cursor.execute(
            f"UPDATE {STEP} SET delivered = %s WHERE run_id = %s AND {dialect().name('key')} = %s AND sequence IS NULL",
            (False, claim.run_id, claim.step_key),
        )
    return True


@repeated
def cancel(
    run_id: str, *, why: str = "", by_parent: bool = False, failure_text: str | None = None
) -> RunStatus | None:
    """Cancel an unfinished run or a dead letter: fence its deliveries, close its open steps.

    A run with children that go with it is cancelling until they are cancelled, which its turn sees to. Returns None
    when done, else the state found. The same holds while there are steps to undo, after the children; what is in
    flight of those keeps its lease, and may record. A parent that is being cancelled itself need not be told of what is done at once.
    ``failure_text`` tells why where no person did.
    """
    states = [
        RunStatus.PENDING,
        RunStatus.RUNNING,
        RunStatus.PAUSED,
        RunStatus.CANCELLING,
        RunStatus.FAILED,
        RunStatus.BLOCKED,
    ]
    with transaction.atomic(using=settings().DATABASE):
        # From here on nothing of the run can record, and a fan-out that was being written is there to be seen.
        lock(run_id)
        is_undoing = _runs(run_id).filter(undo_status__in=AT_WORK).exists()
        with_undo = is_undoing or _undos_left(run_id).exists()
        is_alone = not (
            with_undo or Run.objects.using(settings().DATABASE).to_cancel_with(run_id).exists()
        )
        changes: dict[str, Any] = {"status": RunStatus.CANCELLING, "handler_status": ""}
        if is_alone:
            changes |= {"status": RunStatus.CANCELLED, "finished_at": database_now()}
        if with_undo and not is_undoing:
            changes |= {"undo_status": "pending", "code_attempts": 0}
        if failure_text is not None:
            changes["failure_text"] = vault.sealed(failure_text)
        if by_parent:
            changes["parent_waits"] = not is_alone
        if _runs(run_id).filter(status__in=states).update(**changes):
            in_flight: list[str] = []
            if with_undo:
                in_flight = _end_but_in_flight(run_id, is_undoing=is_undoing)
            else:
                _end_deliveries(run_id, keeps_turn=not is_alone)
            close_steps(run_id, StepStatus.CANCELLED, but=in_flight)
            return None
    return state_of(run_id)


def _undos_left(run_id: str) -> Any:
    return Undo.objects.using(settings().DATABASE).filter(run_id=run_id, undone=False)


def _end_but_in_flight(run_id: str, *, is_undoing: bool) -> list[str]:
    """End what is due of a run, but for the turn and for bodies in flight that can be undone; return these steps."""
    recorded = Step.objects.using(settings().DATABASE).filter(run_id=run_id, sequence__isnull=False)
    keys = _undos_left(run_id).exclude(step_key__in=recorded.values("key"))
    begun = list(keys.values_list("step_key", flat=True))
    steps = deliveries.of_run(run_id).exclude(step_key="")
    held = steps.filter(step_key__in=begun).exclude(leased_by="")
    own = list(held.values_list("step_key", flat=True))
    steps.exclude(step_key__in=own).delete()
    if is_undoing or set(begun) - set(own):
        # Its holder may be in such a body; it stops after it, as the counter tells, and so does who undoes steps.
        _wake(run_id)
    else:
        deliveries.of_run(run_id).filter(step_key="").update(
            leased_by="", token=F("token") + 1, entries=0, wakes=F("wakes") + 1,
            due_at=database_now(), begun="", tries=0, deaths=0, trouble="",
        )  # fmt: skip
    return begun


def _end_deliveries(run_id: str, *, keeps_turn: bool = False) -> None:
    """End what is due of a run, but for a turn that is still needed, to cancel children or to tell a parent."""
    if not keeps_turn and not _runs(run_id).filter(parent_waits=True).exists():
        deliveries.of_run(run_id).delete()
        return
    deliveries.of_run(run_id).exclude(step_key="").delete()
    deliveries.of_run(run_id).update(
        leased_by="",
        token=F("token") + 1,
        entries=0,
        wakes=F("wakes") + 1,
        due_at=database_now(),
        begun="",
        tries=0,
        deaths=0,
        trouble="",
    )


@repeated
def finish_cancelling(claim: Claim) -> bool:
    """End a run whose children are cancelled. Returns False if the claim is stale, or children are left."""
    with transaction.atomic(using=settings().DATABASE):
        if not _still_held(claim):
            return False
        if Run.objects.using(settings().DATABASE).to_cancel_with(claim.run_id).exists():
            _wake(claim.run_id)
            return False
        if _runs(claim.run_id).filter(undo_status__in=AT_WORK).exists():
            _wake(claim.run_id)
            return False
        return finish_cancelled(claim.run_id)


def finish_cancelled(run_id: str) -> bool:
    """End a run that is cancelling, in the caller's transaction, which has ended the claim of its turn."""
    done = (
        _runs(run_id)
        .filter(status=RunStatus.CANCELLING)
        .update(status=RunStatus.CANCELLED, finished_at=database_now())
    )
    if done:
        close_steps(run_id, StepStatus.CANCELLED)
        _end_deliveries(run_id)
    return bool(done)


@repeated
def cancel_from_inside(claim: Claim, failure_text: str | None = None) -> bool:
    """Cancel the run at ``ctx.cancel()``, or because it begins too late. Returns False if the claim is stale."""
    with transaction.atomic(using=settings().DATABASE):
        if not _still_held(claim):
            return False
        return cancel(claim.run_id, failure_text=failure_text) is None


@repeated
def pause(run_id: str) -> RunStatus | None:
    """Hold a pending or running run where it is. Returns None when done, else the state found.

    A pass under way sees the counter and stops after its current step.
    """
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        # Named as it is: MariaDB may look for a state that the run is not in among the runs of others, and wait for those.
        state = state_of(run_id)
        if state not in {RunStatus.PENDING, RunStatus.RUNNING}:
            return state
        if _runs(run_id).filter(status=state).update(status=RunStatus.PAUSED, paused_from=state):
            deliveries.of_run(run_id).filter(step_key="").update(wakes=F("wakes") + 1)
            _leave_lines(run_id)
            return None
    return state_of(run_id)


@repeated
def unpause(run_id: str) -> bool:
    """Let a paused run go on as what it was. Returns False if it was not paused."""
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        for state in (RunStatus.PENDING, RunStatus.RUNNING):
            if (
                _runs(run_id)
                .filter(status=RunStatus.PAUSED, paused_from=state)
                .update(status=state, paused_from="")
            ):
                turn = deliveries.of_run(run_id).filter(step_key="")
                in_line = _tickets(run_id).filter(step_key=RUN_ITSELF, state="waiting")
                if state == RunStatus.PENDING and in_line.exists():
                    # Who lets it begin wakes it.
                    turn.update(wakes=F("wakes") + 1)
                elif state == RunStatus.RUNNING or turn.filter(due_at=None).exists():
                    _open_deliveries(run_id)
                else:
                    # A run that has not begun keeps its time, if that is still to come.
                    turn.update(wakes=F("wakes") + 1)
                return True
    return False


def _open_deliveries(run_id: str) -> None:
    """Make due again what a pause or a failure had held: retries at their own time, the rest at once.

    Each one's counter is raised, also a step delivery's: who holds it now may have seen the run stand still, and
    gives it back as due.
    """
    moment = database_now()
    waits = dict(
        Step.objects.using(settings().DATABASE)
        .filter(run_id=run_id, status=StepStatus.RETRYING, delivered=True)
        .values_list("key", "wake_at")
    )
    steps = deliveries.of_run(run_id).exclude(step_key="")
    steps.update(wakes=F("wakes") + 1)
    free = steps.filter(leased_by="")
    free.exclude(step_key__in=waits).update(due_at=moment)
    for key, wake_at in waits.items():
        free.filter(step_key=key).update(due_at=wake_at or moment)
    _wake(run_id)


@repeated
def resume(run_id: str, *, force: bool) -> bool:
    """Open a dead letter again: the step whose error ended it gets a new round of attempts, all else is kept.

    A timeout of the run that is over no longer counts: a person has decided. Returns False if the run is no dead
    letter any more, or needs ``force``.
    """
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        run = _runs(run_id).first()
        if run is None or ((run.handler_status or run.undo_status) and not force):
            return False
        is_over = run.deadline is not None and run.deadline <= database_now()
        done = (
            _runs(run_id)
            .filter(status__in=[RunStatus.FAILED, RunStatus.BLOCKED])
            .exclude(handler_status=RunStatus.RUNNING)
            .exclude(undo_status__in=AT_WORK)
            .update(
                status=RunStatus.RUNNING,
                failure_text=None,
                failed_step="",
                finished_at=None,
                handler_status="",
                undo_status="",
                code_attempts=0,
                deadline=None if is_over else run.deadline,
                revision=F("revision") + 1,
            )
        )
        if not done:
            return False
        if run.failed_step:
            Step.objects.using(settings().DATABASE).filter(
                run_id=run_id, key=run.failed_step, status=StepStatus.FAILED
            ).update(
                status=StepStatus.PENDING,
                sequence=None,
                attempts=0,
                delivered=False,
                wake_at=None,
                finished_at=None,
            )
        deliveries.of_run(run_id).filter(leased_by="").update(
            deaths=0, tries=0, begun="", trouble=""
        )
        _open_deliveries(run_id)
    return True


def locked_state(run_id: str) -> RunStatus | None:
    """Return the state of a run, which nobody else changes until the caller's transaction has ended."""
    lock(run_id)
    return state_of(run_id)


def state_of(run_id: str) -> RunStatus | None:
    """Return the state of a run, or None if there is no such run."""
    found = _runs(run_id).values_list("status", flat=True).first()
    return None if found is None else RunStatus(found)


def end_claim(claim: Claim) -> bool:
    """Lock what is due of the claimed run, for more in the same transaction, and end the claim; False if it is stale."""
    return _still_held(claim)
