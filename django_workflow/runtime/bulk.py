"""A verb for all runs that match: which ones, one page after the other, and what is done to each.

What is asked for is sealed with the id of the run that does it: nobody triggers, restarts or edits such a run to act in
another user's name. Whoever asked must still be allowed to when each run's turn comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import NonRetryableError, WorkflowError
from django_workflow.models import Run
from django_workflow.models.paging import Place, page_of
from django_workflow.models.run_filters import RunFilters
from django_workflow.models.run_search import search
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.visibility import request_of, visible_runs

PAGE: Final = 100
DOOR: Final = "admin"

Job = Mapping[str, Any]


def _delete(run: Run, given: dict[str, Any]) -> int:
    if not delete_runs([run.pk], **given):
        raise WorkflowError(f"It was not deleted: it is {run.status}, or its parent waits for it.")
    return 1


VERBS: Final[Mapping[str, Callable[[Run, dict[str, Any], bool], Any]]] = {
    "cancel": lambda run, given, force: run.cancel(**given),
    "pause": lambda run, given, force: run.pause(**given),
    "resume": lambda run, given, force: run.resume(force=force, **given),
    "restart": lambda run, given, force: run.restart(**given),
    "delete": lambda run, given, force: _delete(run, given),
}


def job_of(
    run_id: str,
    verb: str,
    filters: RunFilters,
    *,
    by: Actor,
    why: str,
    total: int,
    ids: list[str] | None = None,
    force: bool = False,
    per_minute: int | None = None,
) -> dict[str, Any]:
    """Return what the run of this id has to do, sealed; ``ids`` are those that the error of the filters means."""
    now = timezone.now()
    asked = {
        "verb": verb,
        "filters": filters.without("error").at(now).as_query(),
        "ids": ids,
        "until": now.isoformat(),
        "user": by.user_id,
        "name": by.name,
        "why": why,
        "force": force,
        "per_minute": per_minute,
        "total": total,
    }
    return {"asked": asked, "seal": _signer().signature(_text(run_id, asked))}


def _signer() -> Signer:
    return Signer(salt="django_workflow.bulk")


def _text(run_id: str, asked: Job) -> str:
    return json.dumps([run_id, asked], sort_keys=True)


def _request(run_id: str, job: Job) -> HttpRequest:
    """Return a request of whoever asked; an error if it was somebody else, or they may not any more."""
    asked = job["asked"]
    try:
        _signer().unsign(f"{_text(run_id, asked)}:{job['seal']}")
    except BadSignature as error:
        raise NonRetryableError(
            "This was not asked for under this run's ID. Ask for it anew, in the admin's list of runs."
        ) from error
    request = request_of(asked["user"])
    needed = ("django_workflow.view_run", f"django_workflow.{asked['verb']}_run")
    if request is None or not request.user.has_perms(needed):
        raise NonRetryableError(f"{asked['name']} may not {asked['verb']} runs any more.")
    return request


def matching(request: HttpRequest, filters: RunFilters, ids: list[str] | None) -> QuerySet[Run]:
    """Return the runs that match, of those that this user may see."""
    found = filters.apply(visible_runs(request), timezone.now())
    if ids is not None:
        found = found.filter(pk__in=ids)
    if filters.q:
        may_see = request.user.has_perm("django_workflow.view_payload")
        found = search(found, filters.q, with_payloads=may_see).runs
    return found


def choose(run_id: str, job: Job, place: str) -> dict[str, Any]:
    """Return the next ones of those that match and were there when it was asked for, and the place behind them."""
    asked = job["asked"]
    found = matching(_request(run_id, job), RunFilters.of(asked["filters"]), asked["ids"])
    known = found.filter(created_at__lte=asked["until"]).exclude(pk=run_id)
    page = page_of(known.only("id", "created_at"), Place.parse(place), PAGE)
    return {"ids": [run.pk for run in page.runs], "place": str(page.older or "")}


def act(run_id: str, job: Job, target: str) -> dict[str, Any]:
    """Do it to one run, in the transaction in which that is recorded; return what became of it."""
    _request(run_id, job)
    asked = job["asked"]
    run = Run.objects.using(settings().DATABASE).filter(pk=target).first()
    if run is None:
        return {"run": target, "done": False, "text": "It is gone."}
    given = {
        "actor": Actor(asked["name"], asked["user"], DOOR),
        "why": asked["why"],
    }
    try:
        with transaction.atomic(using=settings().DATABASE):
            made = VERBS[asked["verb"]](run, given, asked["force"])
    except WorkflowError as error:
        return {"run": target, "done": False, "text": str(error)}
    outcome = {"run": target, "done": True, "text": ""}
    return outcome | {"made": made.pk} if asked["verb"] == "restart" else outcome
