"""Mails that are only written down, each once, whatever happens between its sending and its record."""

from __future__ import annotations

from demo_project.shop.models import Mail
from django_workflow import current_step


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
