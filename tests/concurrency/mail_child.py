"""A process that sends the mails that are due, and is killed in the middle of one: ``python -m tests.concurrency.mail_child``."""

from __future__ import annotations

import os
import signal
from typing import Any

import django
from django.test import override_settings


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    django.setup()
    from django.conf import settings

    from django_workflow.runtime.approval_mail import send_due

    mailer = f"{die.__module__}.{die.__name__}"
    with override_settings(WORKFLOW={**settings.WORKFLOW, "APPROVAL_MAILER": mailer}):
        send_due()
