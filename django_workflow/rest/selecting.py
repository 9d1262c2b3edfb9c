"""Which runs are meant: by filters of a list, or by the selection of a verb on many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from django_workflow.conf import settings
from django_workflow.core.types import RunStatus
from django_workflow.models import Run, RunQuerySet
from django_workflow.rest.base import PageQuery
from django_workflow.rest.fields import Shape, Text, Truth
from django_workflow.rest.problems import ProblemError

STATES = [status.value for status in RunStatus]
#: How many runs one request changes at most.
MOST_AT_ONCE = 1000
ABOUT = "As `app.model:key`."


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


class RunQuery(PageQuery, RunFilter):
    """What the list of runs takes."""


class Selection(Shape):
    """Which runs: ``ids``, or ``filter``, or ``all``."""

    ids = serializers.ListField(required=False, child=Text(), min_length=1, max_length=MOST_AT_ONCE)
    filter = RunFilter(required=False)
    all = Truth(required=False)
    why = Text(required=False, allow_blank=True, help_text="Kept with each run.")


class ResumeSelection(Selection):
    """Which runs, and whether also those whose failure handler has run."""

    force = Truth(required=False)


def runs() -> RunQuerySet:
    """Return all runs, from the database that is written to."""
    return Run.objects.using(settings().DATABASE)


def run_of(run_id: str) -> Run:
    """Return the run with this id.

    Raises:
        ProblemError: there is none.
    """
    found = runs().with_reason().filter(pk=run_id).first() if run_id.isprintable() else None
    if found is None:
        raise ProblemError("not-found", f'There is no run "{run_id}".', workflow_run_id=run_id)
    return found


def fitting(found: RunQuerySet, asked: Mapping[str, Any]) -> RunQuerySet:
    """Return those of these runs that fit the filters."""
    if asked.get("status"):
        found = found.filter(status__in=asked["status"])
    if asked.get("workflow"):
        found = found.filter(workflow=asked["workflow"])
    found = found.labelled(*dict.fromkeys(asked.get("label", ())))
    if asked.get("created_after"):
        found = found.filter(created_at__gte=asked["created_after"])
    if asked.get("created_before"):
        found = found.filter(created_at__lt=asked["created_before"])
    if asked.get("parent"):
        found = found.filter(parent=asked["parent"])
    if asked.get("about"):
        label, colon, key = asked["about"].partition(":")
        if not (label and colon and key):
            raise serializers.ValidationError({"about": ABOUT})
        found = found.filter(about_type=label.lower(), about_id=key)
    return found


def selected(
    given: Mapping[str, Any], usual: RunQuerySet, known: RunQuerySet
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
    found = fitting(known if asked.get("status") else usual, asked).order_by("created_at", "id")
    ids = list(found.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    return ids[:MOST_AT_ONCE], len(ids) > MOST_AT_ONCE
