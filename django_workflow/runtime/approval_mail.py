"""Mails about approvals: to assignees when they are asked, and reminders. Sent at least once each.

A row says when its next mail is due, and the sweep looks. Who sends takes the row first; if it dies, the mail is sent
again after a while by another process.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta
from threading import Lock, Thread
from typing import Any, Final

from django.core import signing
from django.core.mail import EmailMessage
from django.db import connections
from django.template.loader import render_to_string

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import load
from django_workflow.core.types import FINISHED, RunStatus
from django_workflow.models import Approval
from django_workflow.runtime.approvals import decider, recipients
from django_workflow.runtime.urls import APPROVAL, door_url
from django_workflow.runtime.workers import worker_name
from django_workflow.store import approvals as store
from django_workflow.store.approvals import NOBODY

logger = logging.getLogger(__name__)

SALT: Final = "django_workflow.approval"
AGAIN: Final = timedelta(minutes=5)
#: When a run that rests is looked at again.
RESTING: Final = timedelta(hours=1)
#: How many one sweep sends; the next one goes on.
SWEPT: Final = 20


def link_for(approval: Approval, recipient: str) -> str:
    """Return the URL under which this recipient decides; whoever has it may. Empty where no URL is known."""
    token = signing.dumps([approval.pk, approval.event_id[-8:], recipient], salt=SALT)
    try:
        return door_url(APPROVAL, token)
    except InvalidOptionError as error:
        logger.warning("A mail about an approval goes without its link: %s", error)
        return ""


def read_link(token: str) -> tuple[Approval, Any] | None:
    """Return the approval of a link and who decides by it; None if the link is not one of ours."""
    try:
        pk, mark, recipient = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    approval = Approval.objects.using(settings().DATABASE).filter(pk=pk).first()
    by = decider(recipient)
    if approval is None or by is None or not approval.event_id.endswith(mark):
        return None
    return approval, by


def send_mail(approval: Approval, address: str, url: str, is_reminder: bool) -> None:
    """Write to one assignee; the default of ``WORKFLOW["APPROVAL_MAILER"]``."""
    context = {"approval": approval, "url": url, "is_reminder": is_reminder}
    subject = render_to_string("django_workflow/approval_mail_subject.txt", context)
    body = render_to_string("django_workflow/approval_mail.txt", context)
    EmailMessage(subject=" ".join(subject.split()), body=body, to=[address]).send()


def send_due(only: Collection[str] | None = None) -> int:
    """Send the mails that are due; return for how many approvals."""
    found = store.mails_due(SWEPT, only)
    return sum(_send(approval) for approval in found)


def _send(approval: Approval) -> bool:
    path = settings().APPROVAL_MAILER
    if path is None or approval.run.status in FINISHED:
        store.mailed(approval, is_sent=False)
        return False
    rests = approval.run.status in (RunStatus.PAUSED, RunStatus.FAILED, RunStatus.BLOCKED)
    if rests:
        store.take_mail(approval, RESTING, by=NOBODY)
        return False
    if not store.take_mail(approval, AGAIN, by=worker_name()):
        return False
    extra = {"run_id": approval.run_id, "step": approval.step_key}
    try:
        mailer = load(path, 'WORKFLOW["APPROVAL_MAILER"]')
        for key, address in recipients(approval).items():
            mailer(approval, address, link_for(approval, key), approval.mails > 0)
    except Exception:  # the door of user code, and of the mail server
        logger.warning(
            'A mail about "%s" could not be sent; it is tried again in %s.',
            approval.title,
            AGAIN,
            exc_info=True,
            extra=extra,
        )
        return False
    store.mailed(approval)
    return True


_sending = Lock()


def send_due_apart() -> Thread | None:
    """Send what is due on a thread of its own: a slow mail server must not hold up the sweep."""
    if not store.is_mail_due() or not _sending.acquire(blocking=False):
        return None
    thread = Thread(target=_send_and_close, name="django_workflow-mail", daemon=True)
    thread.start()
    return thread


def _send_and_close() -> None:
    try:
        send_due()
    except Exception:
        logger.warning("Mails about approvals could not be sent.", exc_info=True)
    finally:
        connections.close_all()
        _sending.release()
