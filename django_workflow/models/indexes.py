"""Indexes that lists and alerts need, and what they cost the rows' writers: next to nothing."""

from __future__ import annotations

from django.db.models import Index, Q

from django_workflow.core.types import OPEN_STEP

#: Of runs that have ended, by when: a run enters it once. What the overview counts is read from it alone.
RUN_FINISHED = Index(
    fields=["-finished_at", "workflow", "status"],
    name="dw_run_finished",
    condition=Q(finished_at__isnull=False),
)
#: Who tells of new dead letters must not look at all of them.
RUN_DEAD = Index(
    fields=["finished_at"], name="dw_run_dead", condition=Q(status__in=["failed", "blocked"])
)
#: That nobody waits for a rare state of a workflow: it is counted from the index alone.
RUN_WORKFLOW_STATUS = Index(
    fields=["workflow", "status", "-created_at"], name="dw_run_workflow_status"
)
#: Few runs have any of these, and the others are not in it.
RUN_PARENT = Index(
    fields=["parent", "parent_step"], name="dw_run_parent", condition=Q(parent__isnull=False)
)
RUN_RESTARTED = Index(
    fields=["restarted_from"], name="dw_run_restarted", condition=Q(restarted_from__isnull=False)
)
RUN_ABOUT = Index(
    fields=["about_type", "about_id"], name="dw_run_about", condition=Q(about_type__isnull=False)
)
RUN_INDEXES = (
    RUN_WORKFLOW_STATUS,
    RUN_FINISHED,
    RUN_DEAD,
    RUN_PARENT,
    RUN_RESTARTED,
    RUN_ABOUT,
)
EVENT_RUN = Index(fields=["run"], name="dw_event_run", condition=Q(run__isnull=False))
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
