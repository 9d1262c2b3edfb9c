"""Rows that belong to runs, as far as their runs may be seen: ``WORKFLOW["VISIBLE_RUNS"]`` holds on every page."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from django_workflow.runtime.visibility import sees_all_runs, visible_runs


def of_visible_runs(request: HttpRequest, rows: Any, *, or_of_none: Any = "never") -> Any:
    """Return those of the rows whose runs the user may see; ``or_of_none`` is what stands for "no run" in them."""
    if sees_all_runs(request):
        return rows
    seen = Q(run_id__in=visible_runs(request).order_by().values("pk"))
    if or_of_none != "never":
        seen |= Q(run_id=or_of_none)
    return rows.filter(seen)


class OfVisibleRuns:
    """For an admin of rows that each belong to a run."""

    #: What stands for "no run"; such rows are for everybody who sees the list.
    of_no_run: Any = "never"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows whose runs the user may see."""
        found = super().get_queryset(request)  # type: ignore[misc]
        return of_visible_runs(request, found, or_of_none=self.of_no_run)
