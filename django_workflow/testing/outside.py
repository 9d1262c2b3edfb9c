"""What comes to a sandbox's runs from outside: decisions of people, calls of webhooks."""

from __future__ import annotations

from json import dumps
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpResponseBase
from django.test import Client

from django_workflow.conf import settings
from django_workflow.core.anywhere import notify
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.ports import get_runtime
from django_workflow.core.types import StepKind
from django_workflow.core.webhooks import Webhook
from django_workflow.models import Approval, Event, Run, Step


class FromOutside:
    """The verbs of a sandbox that stand for other people and systems."""

    def notify(
        self,
        event_id: str,
        event_data: Any = None,
        *,
        workflow_run_id: str | None = None,
        keep: bool = True,
    ) -> Event:
        """Send an event, as `django_workflow.notify()` does, and drive the runs that it wakes; return it."""
        sent: Event = notify(event_id, event_data, workflow_run_id=workflow_run_id, keep=keep)
        return sent

    def approve(
        self, run: Run, name: str, *, by: Any, data: Any = None, comment: str = ""
    ) -> Approval:
        """Approve what the run waits for under this name, as ``by`` (a user, or an assignee's mail address).

        Raises:
            InvalidOptionError: it waits for no approval of this name.
        """
        return self._decide(run, name, approve=True, by=by, data=data, comment=comment)

    def reject(self, run: Run, name: str, *, by: Any, comment: str = "") -> Approval:
        """Reject it; see `approve()`."""
        return self._decide(run, name, approve=False, by=by, data=None, comment=comment)

    def _decide(self, run: Run, name: str, **decision: Any) -> Approval:
        alias = settings().DATABASE
        keys = Step.objects.using(alias).filter(run_id=run.id, name=name).values("key")
        found = Approval.objects.using(alias).open().filter(run_id=run.id, step_key__in=keys)
        approval = found.order_by("pk").first()
        if approval is None:
            raise InvalidOptionError(
                f'Run "{run.id}" waits for no approval "{name}". {run.reason}'.strip()
            )
        done: Approval = get_runtime().decide_approval(approval, **decision)
        run.refresh()
        return done

    def webhook(self, run: Run, name: str) -> Webhook:
        """Return the webhook that the run has created under this step's name.

        Raises:
            InvalidOptionError: it has created none.
        """
        step = (
            Step.objects.using(settings().DATABASE)
            .filter(run_id=run.id, name=name, kind=StepKind.CREATE_WEBHOOK, status="completed")
            .order_by("id")
            .first()
        )
        if step is None:
            raise InvalidOptionError(f'Run "{run.id}" has created no webhook "{name}".')
        return Webhook.from_record(step.result)

    def call_webhook(
        self,
        webhook: Webhook,
        *,
        method: str = "POST",
        json: Any = None,
        body: str | bytes = b"",
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> HttpResponseBase:
        """Call a webhook through the project's middlewares, without a socket; return the answer."""
        client = Client(raise_request_exception=False)
        data = dumps(json) if json is not None else body
        address = urlsplit(webhook.webhook_url)
        path = f"{address.path}?{address.query}" if address.query else address.path
        # The host of BASE_URL is one of ALLOWED_HOSTS in production; what a test's settings say of it is no matter here.
        answer: HttpResponseBase = client.generic(
            method, path, data, content_type, secure=address.scheme == "https", headers=headers
        )
        return answer
