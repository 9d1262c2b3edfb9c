"""Mails that are only written down, each once, whatever happens between its sending and its record."""

from __future__ import annotations

from uuid import NAMESPACE_OID, UUID, uuid5

from demo_project.shop.models import Mail
from django_workflow import current_step
from django_workflow.models import Approval
from django_workflow.runtime.approval_mail import send_mail


def send(recipient: str, subject: str) -> str:
    """Send a mail, and return its subject."""
    Mail.objects.get_or_create(
        key=current_step().idempotency_key, defaults={"recipient": recipient, "subject": subject}
    )
    return subject


async def asend(recipient: str, subject: str) -> str:
    """See `send()`."""
    await Mail.objects.aget_or_create(
        key=current_step().idempotency_key, defaults={"recipient": recipient, "subject": subject}
    )
    return subject


def ask(approval: Approval, address: str, url: str, is_reminder: bool) -> None:
    """Write to somebody who is to decide, and keep the link, so that the demo can show it.

    Set as ``WORKFLOW["APPROVAL_MAILER"]``.
    """
    send_mail(approval, address, url, is_reminder)
    Mail.objects.update_or_create(
        key=_key(approval, address),
        defaults={"recipient": address, "subject": approval.title, "link": url},
    )


def asked_by(approval: Approval, address: str) -> Mail | None:
    """Return the mail that asked this address to decide, if it has been sent by now."""
    return Mail.objects.filter(key=_key(approval, address)).first()


def _key(approval: Approval, address: str) -> UUID:
    return uuid5(NAMESPACE_OID, f"{approval.pk} {address}")
