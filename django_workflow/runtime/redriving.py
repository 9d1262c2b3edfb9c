"""Dead letters that are gone on with at a rate: a workflow of its own, so that it survives restarts, is seen, and can be
stopped as any run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, TypedDict

from django.contrib.auth import get_user_model
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.exceptions import InvalidOptionError, RunStateError, WorkflowError
from django_workflow.core.ports import get_runtime
from django_workflow.core.workflow import workflow
from django_workflow.models import Run
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.handler_again import rerun_handler

NAME = "django_workflow.redrive"
#: Each with the permission that it needs.
VERBS = {
    "resume": "resume_run",
    "restart": "restart_run",
    "rerun_handler": "resume_run",
    "delete": "delete_run",
}
MOST_A_MINUTE = 6_000
#: Each takes two steps of the journal.
MOST_AT_ONCE = 2_000


class Redrive(TypedDict):
    """What is to be done, to which runs, how fast, by whom and why."""

    verb: str
    ids: list[str]
    per_minute: int
    by: list[str]
    why: str
    force: bool
    fingerprint: str


def pace(per_minute: int) -> tuple[int, float]:
    """Return how many are done at once, and after how many seconds the next ones."""
    size = ceil(per_minute / 60)
    return size, 60 * size / per_minute


def act_on(
    verb: str, ids: Sequence[str], by: Sequence[str], why: str, force: bool
) -> list[list[str]]:
    """Do it to some runs, each for itself; return per run its id, what was made of it, and why nothing was done."""
    name, user_id = by
    actor = Actor(name, user_id, "redrive")
    if user_id and not _may_still(verb, user_id):
        told = f"{name} may do this no more."
        return [[run_id, "", told] for run_id in ids]
    return [[run_id, *_act(verb, run_id, actor, why, force)] for run_id in ids]


def _may_still(verb: str, user_id: str) -> bool:
    """Tell whether who has begun this is still active, and has the permission: it may go on for days."""
    model: Any = get_user_model()
    user = model._default_manager.filter(pk=user_id).first()
    return user is not None and bool(user.has_perm(f"django_workflow.{VERBS[verb]}"))


def _act(verb: str, run_id: str, actor: Actor, why: str, force: bool) -> tuple[str, str]:
    runtime = get_runtime()
    try:
        # A savepoint: what is refused leaves nothing of itself, and the others go on.
        with transaction.atomic(using=settings().DATABASE):
            if verb == "resume":
                runtime.resume(run_id, force=force, actor=actor, why=why)
            elif verb == "restart":
                return runtime.restart(run_id, actor=actor, why=why).pk, ""
            elif verb == "rerun_handler":
                rerun_handler(run_id, actor=actor, why=why)
            elif not delete_runs([run_id], actor=actor, why=why):
                raise RunStateError(
                    "It is gone, has not ended, or its end is awaited.", run_id=run_id, state=""
                )
    except WorkflowError as error:
        return "", str(error)
    return "", ""


@workflow(name=NAME, transport="inline")
def redrive(ctx: WorkflowContext[Redrive]) -> dict[str, Any]:
    """Go through the runs slice by slice, with a rest after each; what is refused is told at the end."""
    asked = ctx.request_payload
    refused: dict[str, str] = {}
    ids, done = asked["ids"], 0
    size, rest = pace(asked["per_minute"])
    for start in range(0, len(ids), size):
        if start:
            ctx.sleep("rest", rest)
        # Transactional: a restart and the record that it was made commit together, so nothing is restarted twice.
        told = ctx.atomic(
            asked["verb"],
            act_on,
            asked["verb"],
            ids[start : start + size],
            asked["by"],
            asked["why"],
            asked["force"],
        )
        refused |= {run_id: why for run_id, _made, why in told if why}
        done = min(start + size, len(ids))
        ctx.set_progress(done=done, total=len(ids), message=f"{len(refused)} refused")
    return {"done": done - len(refused), "refused": refused}


def start_redrive(
    verb: str,
    ids: Sequence[str],
    *,
    per_minute: int,
    actor: Any,
    why: str = "",
    force: bool = False,
    fingerprint: str = "",
) -> Run:
    """Begin to resume, restart or delete these dead letters, so many a minute; return the run that does it.

    Raises:
        InvalidOptionError: an argument cannot work.
    """
    if verb not in VERBS:
        raise InvalidOptionError(f"This can be done at a rate: {', '.join(VERBS)}; not {verb!r}.")
    if isinstance(per_minute, bool) or not 1 <= per_minute <= MOST_A_MINUTE:
        raise InvalidOptionError(f"A rate is 1 to {MOST_A_MINUTE:,} a minute, not {per_minute!r}.")
    if not 0 < len(ids) <= MOST_AT_ONCE:
        raise InvalidOptionError(f"Name 1 to {MOST_AT_ONCE:,} runs, not {len(ids):,}.")
    by = Actor.of(actor)
    asked = Redrive(
        verb=verb,
        ids=list(ids),
        per_minute=per_minute,
        by=[by.name, by.user_id],
        why=why,
        force=force,
        fingerprint=fingerprint,
    )
    made: Run = redrive.trigger(asked, by=by)
    return made
