"""A failure handler that is run once more: a new round, from its beginning."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.models import Run
from django_workflow.store import deliveries
from django_workflow.store.repeating import repeated
from django_workflow.store.runs import lock, wake


@repeated
def run_again(run_id: str) -> bool:
    """Let the failure handler of a failed run begin anew, as it failed or never ran; False if that cannot be.

    Its rounds are branches of their own, so nothing that an earlier one recorded is met again.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        lock(run_id)
        done = (
            Run.objects.using(alias)
            .filter(pk=run_id, status=RunStatus.FAILED)
            .filter(handler_status__in=["", RunStatus.FAILED])
            .exclude(undo_status__in=AT_WORK)
            .update(
                handler_status=RunStatus.RUNNING,
                handler_round=F("handler_round") + 1,
                handler_failure_text=None,
                code_attempts=0,
                revision=F("revision") + 1,
            )
        )
        if done:
            turn = deliveries.of_run(run_id).filter(step_key="")
            turn.filter(leased_by="").update(deaths=0, tries=0, begun="", trouble="")
            wake(run_id)
    return bool(done)
