"""Which runs are meant: by filters of a list, or by the selection of a verb on many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Exists, OuterRef, Q
from rest_framework import serializers

from django_workflow.core.types import RunStatus
from django_workflow.models import Run, RunLabel, RunQuerySet
from django_workflow.rest.base import PageQuery
from django_workflow.rest.fields import Shape, Text, Truth
from django_workflow.rest.problems import ProblemError
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.veils import Veil
from django_workflow.runtime.visibility import visible_runs

STATES = [status.value for status in RunStatus]
#: How many runs one request changes at most.
MOST_AT_ONCE = 1000
ABOUT = "As `app.model:key`."
#: Filters that name another run.
OTHERS = ("parent", "restarted_from")
EXACT = ("workflow", "parent", "restarted_from", "failed_step")


class RunFilter(Shape):
    """Filters of runs; all of them must fit."""

    status = serializers.ListField(
        required=False,
        child=serializers.ChoiceField(choices=STATES),
        max_length=len(STATES),
        help_text=f"Any of these: {', '.join(STATES)}.",
    )
    workflow = Text(required=False)
    label = serializers.ListField(  # type: ignore[assignment]
        required=False, child=Text(), max_length=10, help_text="Every one of these."
    )
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)
    about = Text(required=False, help_text=ABOUT)
    parent = Text(  # type: ignore[assignment]
        required=False, help_text="Runs that this run has invoked."
    )
    restarted_from = Text(required=False, help_text="Restarts of this run.")
    failed_step = Text(required=False, help_text="The key of the step whose error ended it.")
    error_class = Text(
        required=False, help_text="The class of the error, with its path; it takes view_payload."
    )
    fingerprint = Text(
        required=False, help_text="Dead letters of this group of errors, as `groups` tells it."
    )
    search = Text(required=False, help_text="The beginning of an ID or of a label.")


class RunQuery(PageQuery, RunFilter):
    """What the list of runs takes."""


class Selection(Shape):
    """Which runs: ``ids``, or ``filter``, or ``all``."""

    ids = serializers.ListField(required=False, child=Text(), min_length=1, max_length=MOST_AT_ONCE)
    filter = RunFilter(required=False)
    all = Truth(required=False)
    why = Text(required=False, allow_blank=True, help_text="Kept with each run.")
    dry_run = Truth(required=False, help_text="Tell which runs are meant, and do nothing.")


class ResumeSelection(Selection):
    """Which runs, and whether also those whose failure handler has run."""

    force = Truth(required=False)


def runs(request: Any) -> RunQuerySet:
    """Return all runs that are there for who asks, from the database that is written to."""
    return visible_runs(request)


def run_of(request: Any, run_id: str) -> Run:
    """Return the run with this id.

    Raises:
        ProblemError: there is none, or none for who asks.
    """
    found = runs(request).with_reason().filter(pk=run_id).first() if run_id.isprintable() else None
    if found is None:
        raise ProblemError("not-found", f'There is no run "{run_id}".', workflow_run_id=run_id)
    return found


def fitting(
    request: Any, found: RunQuerySet, asked: Mapping[str, Any], *, sees: bool
) -> RunQuerySet:
    """Return those of these runs that fit the filters.

    Raises:
        ProblemError: errors are asked for by one who may not see them.
    """
    found = _exactly(request, found, asked)
    if asked.get("status"):
        found = found.filter(status__in=asked["status"])
    found = found.labelled(*dict.fromkeys(asked.get("label", ())))
    if asked.get("created_after"):
        found = found.filter(created_at__gte=asked["created_after"])
    if asked.get("created_before"):
        found = found.filter(created_at__lt=asked["created_before"])
    if asked.get("error_class"):
        if not sees:
            raise ProblemError("forbidden", "error_class takes the permission view_payload.")
        # Of a failure's text; what is stored has this order and these signs.
        fragment = json.dumps(asked["error_class"])
        found = found.filter(failure_text__contains=f'"error_class":{fragment}')
    if asked.get("search"):
        begins = RunLabel.objects.filter(run=OuterRef("pk"), label__startswith=asked["search"])
        found = found.filter(Q(pk__startswith=asked["search"]) | Exists(begins))
    if asked.get("about"):
        label, colon, key = asked["about"].partition(":")
        if not (label and colon and key):
            raise serializers.ValidationError({"about": ABOUT})
        found = found.filter(about_type=label.lower(), about_id=key)
    if asked.get("fingerprint"):
        group = dead_letters(found).find(asked["fingerprint"])
        found = found.filter(pk__in=[] if group is None else group.run_ids)
    return found


def _exactly(request: Any, found: RunQuerySet, asked: Mapping[str, Any]) -> RunQuerySet:
    veil = Veil(request)
    if any(veil.hides(asked.get(name)) for name in OTHERS):
        # That a run which is not there has children is not told.
        return found.none()
    return found.filter(**{name: asked[name] for name in EXACT if asked.get(name)})


def selected(
    request: Any, given: Mapping[str, Any], usual: RunQuerySet, known: RunQuerySet, *, sees: bool
) -> tuple[list[str], bool]:
    """Return the ids that are meant, the oldest run first, and whether there are more of them.

    ``usual`` are the runs that a verb is for: those that ``all`` means, and a filter that names no state. ``known`` are
    those that a filter may name.

    Raises:
        ValidationError: nothing was named, or more than one way.
    """
    ways = [name for name in ("ids", "filter", "all") if given.get(name)]
    if len(ways) != 1:
        detail = "Give exactly one of ids, filter (not an empty one) and all (true)."
        raise serializers.ValidationError({"ids": detail})
    if ways == ["ids"]:
        return list(dict.fromkeys(given["ids"])), False
    asked = given.get("filter") or {}
    among = known if asked.get("status") else usual
    found = fitting(request, among, asked, sees=sees).order_by("created_at", "id")
    ids = list(found.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    return ids[:MOST_AT_ONCE], len(ids) > MOST_AT_ONCE
