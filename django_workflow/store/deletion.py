"""Ended runs, deleted with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.models import Delivery, Event, Run

CHUNK = 100


def delete_ended(run_ids: Sequence[str]) -> int:
    """Delete those of these runs that have ended; return how many. One transaction per hundred.

    A child for whose end its parent waits (a blocked one, most often) is kept: cancel it first.
    """
    alias = settings().DATABASE
    deleted = 0
    for start in range(0, len(run_ids), CHUNK):
        chunk = run_ids[start : start + CHUNK]
        with transaction.atomic(using=alias):
            # Their events, as who matches one does; then what is due, then the runs: the order of `store.runs`, so that a
            # resume waits or is waited for.
            sent = Event.objects.using(alias).filter(run_id__in=chunk).order_by("pk")
            list(sent.select_for_update().values_list("pk"))
            due = Delivery.objects.using(alias).filter(run_id__in=chunk)
            list(due.order_by("run_id", "-step_key").select_for_update().values_list("pk"))
            ended = Run.objects.using(alias).filter(pk__in=chunk).ended().select_for_update()
            ids = set(ended.values_list("pk", flat=True))
            # Whoever waits for one of them would wait for ever.
            awaited = Run.objects.using(alias).filter(pk__in=ids).awaited()
            ids -= set(awaited.values_list("pk", flat=True))
            Run.objects.using(alias).filter(pk__in=ids).delete()
            deleted += len(ids)
    return deleted
