"""Webhooks: made with the record of their step, called as events of their own id.

What is kept here: (1) a webhook is written in the transaction that records its step, after the record, so that locks are
taken in the order of all records; (2) a call is an event and one conditional UPDATE of the webhook, both or neither: of
two calls at once of a webhook for one call, one is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.types import FINISHED
from django_workflow.models import Event, Run, Webhook
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection, dialect

MINUTE: Final = timedelta(minutes=1)
#: How long a call is kept for a wait, unless events are kept longer. It goes with its run in any case.
KEPT: Final = timedelta(days=366)


class CallRefusedError(Exception):
    """Ends the transaction of a call that the webhook no longer takes."""


def create(record: Callable[[], Any], *, expires_in: timedelta | None, **fields: Any) -> Any:
    """Write a webhook with the record of its step; return what ``record`` returned.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        done = record()
        moment = database_now()
        if expires_in is not None:
            fields["expires_at"] = moment + expires_in
        for name in ("verifier_text", "answer_text"):
            fields[name] = sealed(fields[name])
        Webhook.objects.using(alias).create(created_at=moment, **fields)
    return done


def find(digest: str) -> tuple[Webhook, str] | None:
    """Return the webhook with this digest of its token, and the status of its run."""
    found = Webhook.objects.using(settings().DATABASE).filter(digest=digest)
    webhook = found.annotate(run_status=F("run__status")).first()
    return None if webhook is None else (webhook, webhook.run_status)


@repeated
def keep_call(webhook: Webhook, data_text: str, limit: int) -> Event:
    """Keep a call as an event for the webhook's run, in the order of calls.

    Raises:
        CallRefusedError: it takes no call any more, or none at this moment; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        # The run first, then the webhook: so does who deletes a run.
        with connection().cursor() as cursor:
            if not dialect().keep_run(cursor, str(webhook.run_id)):
                raise CallRefusedError
        moment = database_now()
        event = Event.objects.using(alias).create(
            event_id=webhook.event_id,
            data_text=kept(data_text),
            run_id=webhook.run_id,
            created_at=moment,
            expires_at=moment + max(KEPT, settings().EVENT_RETENTION),
        )
        is_new_minute = Q(minute_began_at=None) | Q(minute_began_at__lte=moment - MINUTE)
        counted = (
            Webhook.objects.using(alias)
            .filter(is_new_minute | Q(minute_calls__lt=limit), pk=webhook.pk)
            .filter(Q(single_use=False) | Q(calls=0))
            .filter(Q(expires_at=None) | Q(expires_at__gt=moment))
            .exclude(run__in=Run.objects.using(alias).filter(status__in=FINISHED))
            .update(
                calls=F("calls") + 1,
                called_at=moment,
                minute_calls=Case(
                    When(is_new_minute, then=Value(1)), default=F("minute_calls") + 1
                ),
                minute_began_at=Case(
                    When(is_new_minute, then=Value(moment)), default=F("minute_began_at")
                ),
            )
        )
        if not counted:
            raise CallRefusedError
    return event
