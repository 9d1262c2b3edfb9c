"""Events that people may not send by hand: those of webhooks and of approvals."""

from __future__ import annotations

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.models import Approval, Webhook


def sender_of(event_id: str) -> str:
    """Return what alone sends this event, ``webhook`` or ``approval``; empty if it is anybody's."""
    alias = settings().DATABASE
    if Webhook.objects.using(alias).filter(event_id=event_id).exists():
        return "webhook"
    if Approval.objects.using(alias).filter(event_id=event_id).exists():
        return "approval"
    return ""


def refuse_reserved(event_id: str) -> None:
    """Raise where an event is that of a webhook or an approval.

    Raises:
        InvalidOptionError: only a call of its webhook, or a decision, sends it.
    """
    sender = sender_of(event_id)
    if sender == "webhook":
        raise InvalidOptionError(
            f'Event "{event_id}" is that of a webhook: only a call of its URL sends it.'
        )
    if sender == "approval":
        raise InvalidOptionError(
            f'Event "{event_id}" is that of an approval: only a decision sends it.'
        )
