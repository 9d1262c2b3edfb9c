"""Approvals: asked of people, decided once by one who may, and told to the run as an event."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldError, ValidationError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.approvals import VALUE_LENGTH
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import (
    ApprovalClosedError,
    DecisionRefusedError,
    InvalidDecisionError,
    InvalidOptionError,
    NotSerializableError,
)
from django_workflow.core.importable import load
from django_workflow.core.journal import Record
from django_workflow.core.steps import WaitForApprovalStep
from django_workflow.core.types import StepStatus
from django_workflow.models import Approval
from django_workflow.runtime.reserved import OF_APPROVAL
from django_workflow.runtime.step_rows import elapsed_row, row_of
from django_workflow.runtime.waiting import match_event, match_waiting
from django_workflow.store import approvals as store
from django_workflow.store import claims
from django_workflow.store.rows import Awaited, Claim, NewApproval, StepRow

logger = logging.getLogger(__name__)

COMMENT_LENGTH = 20_000


def open_approval(step: WaitForApprovalStep) -> StepRow:
    """Return the row of a wait for a decision, with its approval and its waiter."""
    request = step.request
    return row_of(
        step,
        StepStatus.WAITING,
        wakes_in=request.timeout,
        awaits=Awaited((f"{OF_APPROVAL}{secrets.token_hex(16)}",), 1),
        asks=NewApproval(
            title=request.title,
            description=request.description,
            form=request.form,
            permission=request.permission,
            assignees=request.assignees,
            reminders_text=codec.dumps(request.reminder_plan(), what="reminders"),
        ),
    )


def elapse_approval(claim: Claim, timer: Record) -> Record | None:
    """Record that nobody has decided in time, unless somebody has; None then."""
    done = store.time_out(claim, elapsed_row(timer))
    if done is None:
        match_waiting(claim.run_id, timer.key)
        return None
    recorded, text = done
    return timer._replace(
        status=StepStatus.COMPLETED,
        sequence=recorded.sequence,
        finished_at=recorded.finished_at,
        result_text=text,
    )


def decide(
    approval: Approval | int, *, approve: bool, by: Any, comment: str, data: Any
) -> Approval:
    """See `core.anywhere.decide_approval()`."""
    alias = settings().DATABASE
    found = _found(approval)
    if not isinstance(approve, bool):
        raise InvalidOptionError(f"approve is True or False, not {approve!r}.")
    if not isinstance(comment, str) or len(comment) > COMMENT_LENGTH:
        raise InvalidOptionError(f"comment is a text of {COMMENT_LENGTH:,} characters at most.")
    refuse_closed(found)
    if not may_decide(found, by):
        raise DecisionRefusedError(f'{_name_of(by) or "Nobody"} may not decide "{found.title}".')
    said = comment.replace("\x00", "").strip()
    data_text = _data_text(found, data) if approve and found.form else None
    decision = Approval.Decision.APPROVED if approve else Approval.Decision.REJECTED

    def event_text(moment: datetime) -> str:
        told = {
            "decision": str(decision),
            "decided_by": _name_of(by),
            "comment": said,
            "decided_at": moment,
        }
        text = codec.dumps(told, what="decision")
        return f'{text[:-1]},"data":{data_text or "null"}}}'

    try:
        event = store.decide(
            found,
            event_text,
            decision=decision,
            decided_by=_name_of(by),
            decider_pk="" if isinstance(by, str) else str(by.pk),
            comment=said,
            data_text=data_text,
        )
    except store.ClosedError:
        found.refresh_from_db(using=alias)
        refuse_closed(found)
        raise _closed(found, "its run waits for it no more") from None
    transaction.on_commit(partial(match_event, event), using=alias, robust=True)
    extra = {"run_id": found.run_id, "step": found.step_key, "actor": _name_of(by)}
    logger.info('Approval "%s" of run %s was %s', found.title, found.run_id, decision, extra=extra)
    found.refresh_from_db(using=alias)
    return found


def _found(approval: Approval | int) -> Approval:
    pk = approval.pk if isinstance(approval, Approval) else approval
    try:
        return Approval.objects.using(settings().DATABASE).get(pk=pk)
    except (Approval.DoesNotExist, ValueError, TypeError):
        raise InvalidOptionError(f"There is no approval {pk!r}.") from None


def refuse_closed(approval: Approval) -> None:
    """Refuse an approval that can no longer be decided.

    Raises:
        ApprovalClosedError: it cannot; the text tells why.
    """
    if approval.decision == Approval.Decision.TIMED_OUT or (
        not approval.decision and approval.due_at <= claims.now()
    ):
        raise _closed(approval, f"its time was over at {approval.due_at:%Y-%m-%d %H:%M:%S} UTC")
    if approval.decision:
        raise _closed(approval, f"it was {approval.decision} by {approval.decided_by}")
    if not Approval.objects.using(settings().DATABASE).open().filter(pk=approval.pk).exists():
        raise _closed(approval, "its run waits for it no more")


def _closed(approval: Approval, why: str) -> ApprovalClosedError:
    return ApprovalClosedError(
        f'"{approval.title}" can no longer be decided: {why}.', decision=approval.decision
    )


# Who may decide


def may_decide(approval: Approval, by: Any) -> bool:
    """Tell whether this user, or whoever reads the mail of this address, may decide."""
    if isinstance(by, str):
        return approval.assignees.filter(kind="email", value=by.strip().lower()).exists()
    if not getattr(by, "is_active", False) or getattr(by, "pk", None) is None:
        return False
    if approval.permission and by.has_perm(approval.permission):
        return True
    mine = Approval.objects.using(settings().DATABASE).assigned_to(by)
    return mine.filter(pk=approval.pk).exists()


def _name_of(by: Any) -> str:
    name = by.strip().lower() if isinstance(by, str) else str(getattr(by, "get_username", str)())
    return name[:VALUE_LENGTH]


def recipients(approval: Approval) -> dict[str, str]:
    """Return the mail addresses of the assignees, by what `decider()` makes them of again."""
    found: dict[str, str] = {}
    for one in approval.assignees.all():
        if one.kind == "email":
            found[f"email:{one.value}"] = one.value
            continue
        for user in _users(one.kind, one.value):
            address = getattr(user, user.get_email_field_name(), "")
            if address:
                found[f"user:{user.pk}"] = address
    return found


def _users(kind: str, value: str) -> Iterator[Any]:
    model = get_user_model()
    field = {"user": "pk", "username": model.USERNAME_FIELD, "group": "groups__name"}[kind]
    try:
        found = model._default_manager.filter(**{field: value}).distinct()
        # Asked of each: a user model of the project's need not have a column for it, nor groups.
        yield from [user for user in found if user.is_active]
    except (FieldError, ValidationError, ValueError, TypeError):
        return


def decider(key: str) -> Any:
    """Return who is meant by a key of `recipients()`: a user, or a mail address; None for nobody."""
    kind, _, value = key.partition(":")
    return value if kind == "email" else next(_users("user", value), None)


# The form


def form_of(approval: Approval, data: Any = None) -> Any:
    """Return the approval's form, bound if there are data; None where there is none.

    Raises:
        InvalidDecisionError: it cannot be found in this process, or raised.
    """
    if not approval.form:
        return None
    try:
        make = load(approval.form, "form")
        return make() if data is None else make(data=data)
    except Exception as error:  # the door of user code
        raise _failed(approval, error) from error


def _failed(approval: Approval, error: Exception) -> InvalidDecisionError:
    logger.warning(
        'The form of approval "%s" failed',
        approval.title,
        exc_info=error,
        extra={"run_id": approval.run_id, "step": approval.step_key},
    )
    return InvalidDecisionError(
        f'The form {approval.form} of "{approval.title}" failed with {type(error).__name__}: {error} The approval stays open.'
    )


def _data_text(approval: Approval, data: Any) -> str:
    form = form_of(approval, {} if data is None else data)
    try:
        if not form.is_valid():
            errors = {field: [str(one) for one in found] for field, found in form.errors.items()}
            listed = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in errors.items())
            raise InvalidDecisionError(
                f'What was given does not fit "{approval.title}": {listed}', errors=errors
            )
        cleaned = form.cleaned_data
    except InvalidDecisionError:
        raise
    except Exception as error:  # the door of user code
        raise _failed(approval, error) from error
    try:
        return codec.dumps(dict(cleaned), what="data", max_bytes=settings().MAX_PAYLOAD_BYTES)
    except NotSerializableError as error:
        raise InvalidDecisionError(
            f"The cleaned data of {approval.form} cannot be stored: {error} The approval stays open."
        ) from error
