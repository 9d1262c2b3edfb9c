"""Ended runs that have been kept long enough: deleted in short transactions, the oldest first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.db.models import Q

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.models import Run, RunQuerySet
from django_workflow.runtime.workers import worker_name
from django_workflow.store import actions, claims, deletion, unused_keys

logger = logging.getLogger(__name__)

BATCH = 500
#: What the sweep does at most, in how many transactions, how often in the whole system.
SWEEP_BATCH, SWEEP_BATCHES = 100, 5
SWEEP_INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which runs go: those that ended in these states so long ago."""

    ages: Mapping[str, timedelta]
    workflow: str | None = None

    def counts(self) -> dict[str, int]:
        """Return how many runs there are to go, by state."""
        now = claims.now()
        return {state: self._runs(state, now - age).count() for state, age in self.ages.items()}

    def prune(self, *, batch: int = BATCH, by: Actor | None = None) -> Iterator[tuple[str, int]]:
        """Delete the runs; after each transaction tell how many went, and as what they had ended."""
        now = claims.now()
        for state, age in self.ages.items():
            for deleted in self._batches(state, now - age, batch, by):
                yield state, deleted

    def _runs(self, state: str, before: datetime) -> RunQuerySet:
        found = Run.objects.using(settings().DATABASE).prunable(state, before)
        return found if self.workflow is None else found.filter(workflow=self.workflow)

    def _batches(self, state: str, before: datetime, batch: int, by: Actor | None) -> Iterator[int]:
        only = Q(status=state, finished_at__lt=before)
        why = f"{state}, ended before {before:%Y-%m-%d %H:%M:%S} UTC"
        if self.workflow is not None:
            why = f"{why}, of {self.workflow}"
        found = self._runs(state, before).order_by("created_at", "pk")
        page = list(found.values_list("created_at", "pk")[:batch])
        while page:
            yield deletion.prune([pk for _, pk in page], only, by=by, why=why)
            if len(page) < batch:
                return
            # Beyond what was looked at: what could not be deleted is not looked at for ever.
            moment, last = page[-1]
            beyond = found.filter(Q(created_at__gt=moment) | Q(pk__gt=last), created_at__gte=moment)
            page = list(beyond.values_list("created_at", "pk")[:batch])


def prune_keys() -> int:
    """Delete all keys of flow control and of triggers that nobody needs any more, in batches; return how many."""
    deleted = 0
    while (count := unused_keys.delete_unused(SWEEP_BATCH)) > 0:
        deleted += count
    return deleted


def prune_by_retention() -> int:
    """Delete a few runs that ``WORKFLOW["RETENTION"]`` keeps no longer, if it is time to; return how many.

    A few of the keys go with them that nobody needs any more.
    """
    ages = settings().RETENTION
    if not claims.take_sweep(worker_name(), SWEEP_INTERVAL, claims.PRUNING):
        return 0
    unused_keys.delete_unused(SWEEP_BATCH)
    if not ages:
        return 0
    pruning = Selection(ages=ages).prune(batch=SWEEP_BATCH)
    deleted = sum(count for _, count in islice(pruning, SWEEP_BATCHES))
    if deleted:
        logger.info("%d runs were pruned, as RETENTION says", deleted)
    # What was done to runs that a person deleted, as long as anything is kept.
    actions.delete_orphans(claims.now() - max(ages.values()), SWEEP_BATCH)
    return deleted
