"""Keys that nobody needs any more: those of flow control, and those that triggers are held against.

What is kept here: (1) a key is deleted under the lock of its row, after another look at what needs it; whoever comes
meanwhile waits for that lock, finds no row, and makes one; (2) a key in somebody's hands is left for the next time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.models import FlowKey, FlowStart, FlowTicket, Run, TriggerKey
from django_workflow.store.claims import now as database_now
from django_workflow.store.flow import find_key
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection

Kind = TriggerKey.Kind


def delete_unused(limit: int) -> int:
    """Delete up to ``limit`` keys of each sort that nobody needs; return how many."""
    return _delete_flow_keys(limit) + _delete_trigger_keys(limit)


def _delete_flow_keys(limit: int) -> int:
    deleted = 0
    periods = _flow_keys().order_by("period_ms").values_list("period_ms", flat=True).distinct()
    for period_ms in list(periods):
        since = database_now() - timedelta(milliseconds=period_ms)
        begun = _starts().filter(flow_key=OuterRef("pk"), begun_at__gt=since)
        free = _flow_keys().filter(~Exists(begun), period_ms=period_ms).order_by("pk")
        keys = list(free.values_list("pk", flat=True)[: limit - deleted])
        deleted += sum(_delete_flow_key(key) for key in keys)
    return deleted


def _flow_keys() -> Any:
    """Return keys of which nothing is left but their limits, which whoever names them next says again.

    What an operator has set or paused is kept.
    """
    alias = settings().DATABASE
    line = FlowTicket.objects.using(alias).filter(flow_key=OuterRef("pk"))
    return FlowKey.objects.using(alias).filter(~Exists(line), paused=False, pinned=False)


def _starts() -> Any:
    return FlowStart.objects.using(settings().DATABASE)


@repeated
def _delete_flow_key(key: str) -> int:
    with transaction.atomic(using=settings().DATABASE), connection().cursor() as cursor:
        row = find_key(cursor, key)
        if row is None:
            return 0
        begun = _starts().filter(flow_key=key)
        # Under the lock: what stands in line or is counted by the rate may have come meanwhile.
        if begun.filter(begun_at__gt=database_now() - row.period).exists():
            return 0
        deleted, _ = _flow_keys().filter(pk=key).delete()
        if deleted:
            begun.delete()
    return int(deleted)


@repeated
def _delete_trigger_keys(limit: int) -> int:
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        found = _unneeded().order_by("pk")
        skips = connection().features.has_select_for_update_skip_locked
        locked = found.select_for_update(skip_locked=skips)
        ids = list(locked.values_list("pk", flat=True)[:limit])
        # Under the lock: a trigger that held it may have made a run meanwhile.
        deleted, _ = _unneeded().filter(pk__in=ids).delete() if ids else (0, None)
    return deleted


def _unneeded() -> Any:
    """Return keys that hold no trigger back: as they are, the next one finds them as if they were not there."""
    runs = Run.objects.using(settings().DATABASE).filter(pk=OuterRef("run_id"))
    return TriggerKey.objects.using(settings().DATABASE).filter(
        # How long a throttle holds is known to triggers alone, so it is kept as long as its run.
        Q(kind=Kind.THROTTLE) & ~Exists(runs)
        | Q(kind=Kind.SINGLETON) & ~Exists(runs.unfinished_or_paused())
        | Q(kind=Kind.DEBOUNCE) & ~Exists(runs.filter(status=RunStatus.PENDING))
    )
