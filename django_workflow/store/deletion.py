"""Ended runs, deleted with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.models import Action, Event, Run
from django_workflow.store import actions, deliveries
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection

CHUNK = 100
ALL = Q()


def delete_ended(run_ids: Sequence[str], *, by: Actor, why: str = "") -> int:
    """Delete those of these runs that have ended, and keep who did it; return how many. One transaction per hundred.

    A child for whose end its parent waits (a blocked one, most often) is kept: cancel it first.
    """
    deleted = 0
    for start in range(0, len(run_ids), CHUNK):
        deleted += _delete_ended(run_ids[start : start + CHUNK], by, why)
    return deleted


@repeated
def _delete_ended(run_ids: Sequence[str], by: Actor, why: str) -> int:
    with transaction.atomic(using=settings().DATABASE):
        found = _delete(run_ids, ALL)
        actions.keep("delete", [Change(pk, state, "") for pk, state in found], by=by, why=why)
    return len(found)


@repeated
def prune(run_ids: Sequence[str], only: Q, *, by: Actor | None, why: str = "") -> int:
    """Delete those of these runs that have ended and are still such; return how many.

    One transaction: after a crash a run is there with all that belongs to it, or gone. What was done to the runs goes
    with them; that they were pruned is kept where somebody did it.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        found = _delete(run_ids, only, keep_families=True)
        Action.objects.using(alias).filter(run_id__in=[pk for pk, _ in found]).delete()
        if by is not None and found:
            actions.keep("prune", [Change("", "", "")], by=by, why=f"{len(found)} runs: {why}")
    return len(found)


def _delete(
    run_ids: Sequence[str], only: Q, *, keep_families: bool = False
) -> list[tuple[str, str]]:
    """Delete runs as far as they have ended; return their ids and what they had ended as.

    With ``keep_families`` the children of parents that have not ended, or that somebody is changing now, are kept.
    """
    alias = settings().DATABASE
    # Their events, as who matches one does; then what is due, then the runs: the order of `store.runs`, so that a
    # resume waits or is waited for. Deliveries as everybody locks those of several runs: steps first, then turns by id.
    sent = Event.objects.using(alias).filter(run_id__in=run_ids).order_by("pk")
    list(sent.select_for_update().values_list("pk"))
    deliveries.lock_of_runs(run_ids)
    # Under the lock: a dead letter may have been resumed since it was chosen.
    ended = Run.objects.using(alias).filter(only, pk__in=run_ids).ended().order_by("pk")
    found = list(ended.select_for_update().values_list("pk", "status"))
    # Whoever waits for one of them would wait for ever.
    awaited = Run.objects.using(alias).filter(pk__in=[pk for pk, _ in found]).awaited()
    kept = set(awaited.values_list("pk", flat=True))
    if keep_families:
        kept |= _of_living_parents([pk for pk, _ in found])
    found = [(pk, status) for pk, status in found if pk not in kept]
    Run.objects.using(alias).filter(pk__in=[pk for pk, _ in found]).delete()
    return found


def _of_living_parents(run_ids: Sequence[str]) -> set[str]:
    """Return those of these runs whose parent lives, or may come to life at this moment."""
    runs = Run.objects.using(settings().DATABASE)
    children = dict(
        runs.filter(pk__in=run_ids, parent__isnull=False).values_list("pk", "parent_id")
    )
    if not children:
        return set()
    features = connection().features
    # Locked, so that who resumes one waits until its children are gone. Not waited for: who holds a parent may want its
    # children next, and they are locked here.
    ended = runs.filter(pk__in=set(children.values())).ended().order_by("pk")
    locked = ended.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        no_key=features.has_select_for_no_key_update,
    )
    free = set(locked.values_list("pk", flat=True))
    return {pk for pk, parent in children.items() if parent not in free}
