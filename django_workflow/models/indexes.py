"""Indexes that lists and alerts need, and what they cost the rows' writers: next to nothing."""

from __future__ import annotations

from django.db.models import Index, Q

from django_workflow.core.types import OPEN_STEP

#: Of runs that have ended, by when: a run enters it once.
RUN_FINISHED = Index(
    fields=["-finished_at"], name="dw_run_finished", condition=Q(finished_at__isnull=False)
)
#: Who tells of new dead letters must not look at all of them.
RUN_DEAD = Index(
    fields=["finished_at"], name="dw_run_dead", condition=Q(status__in=["failed", "blocked"])
)
#: As PostgreSQL needs it for the beginning of a label, whatever the database's collation.
LABEL_BEGIN = Index(
    fields=["label", "run"],
    name="dw_label_begin",
    opclasses=["varchar_pattern_ops", "varchar_ops"],
)
#: Of the live steps alone: one that is inserted with its result is not in it.
STEP_OPEN = Index(
    fields=["status", "run"],
    name="dw_step_open",
    condition=Q(status__in=sorted(map(str, OPEN_STEP))),
)
