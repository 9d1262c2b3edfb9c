"""Events that nobody sends with ``notify()``: those of webhooks and of approvals.

A call of the webhook's URL, and a decision, write their event themselves. Both kinds of ids are made by the engine, so
others cost no question.
"""

from __future__ import annotations

from typing import Final

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.models import Approval, Webhook

#: What the ids begin with that `runtime.webhooks` and `runtime.approvals` make.
OF_WEBHOOK: Final = "webhook:"
OF_APPROVAL: Final = "approval:"


def sender_of(event_id: str) -> str:
    """Return what alone sends this event, ``webhook`` or ``approval``; empty if it is anybody's."""
    alias = settings().DATABASE
    if event_id.startswith(OF_WEBHOOK):
        is_one = Webhook.objects.using(alias).filter(event_id=event_id).exists()
        return "webhook" if is_one else ""
    if event_id.startswith(OF_APPROVAL):
        is_one = Approval.objects.using(alias).filter(event_id=event_id).exists()
        return "approval" if is_one else ""
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
