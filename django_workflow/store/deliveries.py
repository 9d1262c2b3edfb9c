"""What is due of one run, for who has locked it and changes several of these rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_workflow.conf import settings
from django_workflow.models import Delivery
from django_workflow.store.sql import connection


def of_run(run_id: str) -> Any:
    """Return the deliveries of a run, whose lock the caller holds."""
    found = Delivery.objects.using(settings().DATABASE).filter(run_id=run_id)
    if connection().vendor != "mysql":
        return found
    # By their own keys: InnoDB finds the steps of a run by a range of an index, and locks the next run's row after it.
    return Delivery.objects.using(settings().DATABASE).filter(
        pk__in=list(found.values_list("pk", flat=True))
    )


def lock_of_runs(run_ids: Sequence[str]) -> None:
    """Lock what is due of several runs, as everybody does: steps first, then turns by their ids."""
    alias = settings().DATABASE
    found = Delivery.objects.using(alias).filter(run_id__in=run_ids).order_by("-step_key", "pk")
    if connection().vendor != "mysql":
        list(found.select_for_update().values_list("pk"))
        return
    for pk in list(found.values_list("pk", flat=True)):
        list(Delivery.objects.using(alias).filter(pk=pk).select_for_update().values_list("pk"))
