"""Rows that belong to runs, as far as their runs may be seen: ``WORKFLOW["VISIBLE_RUNS"]`` holds on every page."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_workflow.admin.base import run_link
from django_workflow.models import Run
from django_workflow.runtime.veils import Veil
from django_workflow.runtime.visibility import sees_all_runs, visible_runs


def of_visible_runs(request: HttpRequest, rows: Any, *, or_of_none: Any = "never") -> Any:
    """Return those of the rows whose runs the user may see; ``or_of_none`` is what stands for "no run" in them."""
    if sees_all_runs(request):
        return rows
    seen = Q(run_id__in=visible_runs(request).order_by().values("pk"))
    if or_of_none != "never":
        seen |= Q(run_id=or_of_none)
    return rows.filter(seen)


def veil_over(request: HttpRequest, *runs: Run) -> Veil:
    """Return what covers the IDs of hidden runs in what is told of these."""
    return Veil(request, runs, words=_("a run that you may not see"))


def linked(run_id: str, veil: Veil, site: str) -> SafeString | str:
    """Return a link to the page of a run, or what is said in its place."""
    return veil.words if veil.hides(run_id) else run_link(run_id, site)


class Veiled:
    """For an admin of rows in whose texts the engine may name runs: notes, reasons."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Cover the rows of the list."""
        found = super().get_changelist_instance(request)  # type: ignore[misc]
        found.result_list = veil_over(request).rows(found.result_list)
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Cover the row of a page."""
        row = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        return None if row is None else veil_over(request).row(row)


class OfVisibleRuns:
    """For an admin of rows that each belong to a run."""

    #: What stands for "no run"; such rows are for everybody who sees the list.
    of_no_run: Any = "never"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows whose runs the user may see."""
        found = super().get_queryset(request)  # type: ignore[misc]
        return of_visible_runs(request, found, or_of_none=self.of_no_run)
