"""Approvals are handed on to somebody else."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import (
    ApprovalClosedError,
    DecisionRefusedError,
    InvalidOptionError,
)
from django_workflow.models import Approval
from django_workflow.runtime.approvals import may_decide, refuse_closed
from django_workflow.store import actions, delegations
from django_workflow.store.actions import Change
from django_workflow.store.approvals import ClosedError
from django_workflow.store.repeating import repeated

logger = logging.getLogger(__name__)


@repeated
def delegate(approval: Approval, *, to: Any, by: Any, actor: Any = None, why: str = "") -> Approval:
    """Let another user decide an approval, in place of the one who hands it on where that one was named.

    A mail goes to all who are asked, where mails are sent. Groups and permissions stay as they are.

    Raises:
        ApprovalClosedError: it can no longer be decided.
        DecisionRefusedError: ``by`` may not decide it, and so may not hand it on.
        InvalidOptionError: ``to`` is nobody, inactive, or ``by`` itself.
    """
    alias, acting = settings().DATABASE, Actor.of(by if actor is None else actor)
    refuse_closed(approval)
    if not may_decide(approval, by):
        raise DecisionRefusedError(
            f'{acting.name or "Nobody"} may not hand "{approval.title}" on, as they may not decide it.'
        )
    if getattr(to, "pk", None) is None or not getattr(to, "is_active", False):
        raise InvalidOptionError(f"{to} is no active user: nobody would decide.")
    if to.pk == by.pk:
        raise InvalidOptionError("It is yours already: name somebody else.")
    mine = [("user", str(by.pk)), ("username", by.get_username())]
    with transaction.atomic(using=alias):
        try:
            delegations.hand_on(
                approval, ("user", str(to.pk)), mine, is_told=settings().APPROVAL_MAILER is not None
            )
        except ClosedError:
            approval.refresh_from_db(using=alias)
            refuse_closed(approval)
            raise ApprovalClosedError(
                f'"{approval.title}" can no longer be decided: its run waits for it no more.'
            ) from None
        state = approval.run.status
        told = f"to {to.get_username()}. {why}".strip()
        actions.keep(
            "delegate",
            [Change(approval.run_id, state, state)],
            by=acting,
            why=told,
            subject=f"approval {approval.title}",
        )
    extra = {"run_id": approval.run_id, "step": approval.step_key, "actor": acting.name}
    logger.info('Approval "%s" was handed on %s', approval.title, told, extra=extra)
    approval.refresh_from_db(using=alias)
    return approval
