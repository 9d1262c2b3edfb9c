"""What people change of a run that has not ended: when it goes on, and how soon it comes to its turn.

What is kept here: (1) everything is done under the locks of the run's deliveries, as any other change of its state is;
(2) a moment is only moved while it is to come, so that who has found it over by then goes on as it did; (3) whatever
moved a moment raises the counters, so that a holder who has read the old one gives its delivery back as due.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.maps import slice_of
from django_workflow.core.types import RunStatus, StepKind, StepStatus
from django_workflow.models import Approval, FlowTicket, MapItem, Run, Step
from django_workflow.models.runs import STILL_AT_WORK
from django_workflow.store import deliveries
from django_workflow.store.approvals import lock_by_key
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.runs import lock, wake
from django_workflow.store.sql import connection

GOES_ON = Q(status__in=[RunStatus.RUNNING, RunStatus.CANCELLING]) | (
    Q(status=RunStatus.FAILED) & STILL_AT_WORK
)
HAS_NOT_ENDED = GOES_ON | Q(status__in=[RunStatus.PENDING, RunStatus.PAUSED])
SLEEPS = (StepKind.SLEEP, StepKind.SLEEP_UNTIL)


def _run(run_id: str) -> Any:
    return Run.objects.using(settings().DATABASE).filter(pk=run_id)


def _open_steps(run_id: str, key: str | None) -> Any:
    found = Step.objects.using(settings().DATABASE).filter(run_id=run_id, sequence=None)
    return found if key is None else found.filter(key=key)


@repeated
def retry_now(run_id: str, key: str | None) -> list[str]:
    """End the retry delays of a run, or of one step; return the keys of the steps, "" for the code between them.

    With a delay the trouble of deliveries counts, too, unless a step is named.
    """
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        if not _run(run_id).filter(GOES_ON).exists():
            return []
        moment = database_now()
        keys = [*_end_delays(run_id, key, moment)]
        free = deliveries.of_run(run_id).filter(leased_by="", due_at__gt=moment)
        steps = [
            one
            for one in free.exclude(step_key="")
            if _step_of(one.step_key) in keys or (key is None and one.trouble)
        ]
        turn = free.filter(step_key="").exclude(trouble="") if key is None else []
        found = dict.fromkeys([*keys, *(_step_of(one.step_key) for one in [*steps, *turn])])
        if not found:
            return []
        deliveries.of_run(run_id).exclude(step_key="").update(wakes=F("wakes") + 1)
        free.filter(pk__in=[one.pk for one in steps]).update(due_at=moment)
        wake(run_id)
    return list(found)


def _step_of(delivery_key: str) -> str:
    of_map = slice_of(delivery_key)
    return delivery_key if of_map is None else of_map[0]


def _end_delays(run_id: str, key: str | None, moment: datetime) -> Iterable[str]:
    steps = _open_steps(run_id, key).filter(status=StepStatus.RETRYING, wake_at__gt=moment)
    keys = dict.fromkeys(steps.order_by("id").values_list("key", flat=True))
    steps.update(wake_at=moment)
    items = MapItem.objects.using(settings().DATABASE).filter(
        run_id=run_id, finished_at=None, wake_at__gt=moment
    )
    if key is not None:
        items = items.filter(step_key=key)
    keys.update(dict.fromkeys(items.order_by("step_key").values_list("step_key", flat=True)))
    items.update(wake_at=moment)
    return keys


@repeated
def skip_sleep(run_id: str, key: str | None) -> list[str]:
    """End the sleeps of a run, or one of them, now; return their keys. The turn records them, also of a paused run."""
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        if not _run(run_id).filter(GOES_ON | Q(status=RunStatus.PAUSED)).exists():
            return []
        moment = database_now()
        sleeps = _open_steps(run_id, key).filter(
            kind__in=SLEEPS, status=StepStatus.SLEEPING, wake_at__gt=moment
        )
        keys = list(sleeps.order_by("id").values_list("key", flat=True))
        if keys:
            sleeps.update(wake_at=moment)
            wake(run_id)
    return keys


def lock_approval(run_id: str, key: str) -> None:
    """Lock the approval of a step, where it has one: before the run, as who decides it and who ends its time do."""
    rows = Approval.objects.using(settings().DATABASE).filter(run_id=run_id, step_key=key)
    if connection().vendor == "mysql":
        lock_by_key(rows)
    else:
        list(rows.select_for_update().values_list("pk"))


def extend_wait(run_id: str, key: str, by: timedelta) -> tuple[datetime, datetime] | None:
    """Let a step wait longer, in the caller's transaction; return its end before and after, or None if it has none left."""
    lock(run_id)
    if not _run(run_id).filter(GOES_ON | Q(status=RunStatus.PAUSED)).exists():
        return None
    moment = database_now()
    waits = _open_steps(run_id, key).filter(status=StepStatus.WAITING, wake_at__gt=moment)
    before = waits.values_list("wake_at", flat=True).first()
    if before is None:
        return None
    waits.update(wake_at=before + by)
    approvals = Approval.objects.using(settings().DATABASE).filter(run_id=run_id, step_key=key)
    approvals.filter(decision="").update(due_at=before + by)
    wake(run_id)
    return before, before + by


def extend_run(run_id: str, by: timedelta) -> tuple[datetime, datetime] | None:
    """Let a run take longer, in the caller's transaction; return its deadline before and after, or None if it has none left."""
    lock(run_id)
    live = _run(run_id).filter(
        status__in=[RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED],
        deadline__gt=database_now(),
    )
    found = live.values_list("deadline", "status").first()
    if found is None:
        return None
    before, status = found
    live.update(deadline=before + by)
    if status == RunStatus.RUNNING:
        wake(run_id)
    else:
        # Its time to begin stays; who holds the turn all the same reads the run again.
        deliveries.of_run(run_id).filter(step_key="").update(wakes=F("wakes") + 1)
    return before, before + by


@repeated
def prioritise(run_id: str, priority: int) -> int | None:
    """Give a run another priority where it stands in line, and wherever it will; return the one it had, or None.

    Nobody is woken: an order in a line changes who comes next, not whether somebody does.
    """
    with transaction.atomic(using=settings().DATABASE):
        lock(run_id)
        live = _run(run_id).filter(HAS_NOT_ENDED)
        text = live.values_list("options_text", flat=True).first()
        if text is None:
            return None
        options: dict[str, Any] = codec.loads(text)
        before = options.get("priority", 0)
        live.update(options_text=codec.dumps(options | {"priority": priority}, what="options"))
        FlowTicket.objects.using(settings().DATABASE).filter(run_id=run_id).update(
            priority=priority
        )
        deliveries.of_run(run_id).filter(step_key="").update(wakes=F("wakes") + 1)
    return int(before)
