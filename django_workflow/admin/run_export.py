"""The runs that match, streamed as CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from django_workflow.admin.base import may_see_payloads
from django_workflow.admin.run_list import LARGE, RunListAdmin, narrowed
from django_workflow.admin.seeing import veil_over
from django_workflow.models import Run
from django_workflow.models.paging import Place, page_of
from django_workflow.models.run_filters import RunFilters

CHUNK: Final = 500
#: With these a spreadsheet begins a formula.
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

Value = Callable[[Run], Any]
Cover = Callable[[Sequence[Run]], Sequence[Run]]
FIELDS: Final[dict[str, Value]] = {
    "workflow_run_id": lambda run: run.pk,
    "workflow": lambda run: run.workflow,
    "version": lambda run: run.version,
    "status": lambda run: run.status,
    "labels": lambda run: run.labels,
    "about": lambda run: f"{run.about_type}:{run.about_id}" if run.about_type else None,
    "parent": lambda run: run.parent_id,
    "triggered_by": lambda run: run.triggered_by,
    "created_at": lambda run: run.created_at,
    "started_at": lambda run: run.started_at,
    "finished_at": lambda run: run.finished_at,
}
#: For those who may see errors.
GUARDED: Final[dict[str, Value]] = {
    "error_class": lambda run: run.failure.error_class if run.failure else None,
    "error": lambda run: run.failure.message if run.failure else None,
    "failed_step": lambda run: run.failed_step or None,
}


class _Echo:
    """What a CSV writer writes into, to have each line handed back."""

    def write(self, line: str) -> str:
        return line


def safe(value: Any) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = ", ".join(value) if isinstance(value, list) else _plain(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULAS) else text


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def covered(request: HttpRequest, runs: Sequence[Run]) -> list[Run]:
    """Cover in these runs, which are not to be saved, the IDs of others that the user may not see."""
    veil = veil_over(request, *runs)
    for run in veil.rows(runs):
        run.parent_id = veil.id(run.parent_id)
    return list(runs)


def _runs(found: QuerySet[Run], cover: Cover) -> Iterator[Run]:
    """Fetch page by page: no cursor stays open while somebody's line is slow."""
    place: Place | None = None
    rows = found.defer(*LARGE).prefetch_related("labels_of_run")
    while True:
        page = page_of(rows, place, CHUNK)
        yield from cover(page.runs)
        place = page.older
        if place is None:
            return


def csv_lines(found: QuerySet[Run], fields: dict[str, Value], cover: Cover) -> Iterator[str]:
    """Return the lines of a CSV file."""
    writer = csv.writer(_Echo())
    yield writer.writerow(fields)
    for run in _runs(found, cover):
        yield writer.writerow([safe(value(run)) for value in fields.values()])


def json_lines(found: QuerySet[Run], fields: dict[str, Value], cover: Cover) -> Iterator[str]:
    """Return a JSON array in pieces."""
    before = "[\n"
    for run in _runs(found, cover):
        yield before + json.dumps({name: _plain(value(run)) for name, value in fields.items()})
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


class ExportAdmin(RunListAdmin):
    """The list as a file."""

    def get_urls(self) -> list[URLPattern]:
        """Add the files."""
        wrap = self.admin_site.admin_view
        return [
            path("export.<slug:kind>", wrap(self.export_view), name="django_workflow_run_export"),
            *super().get_urls(),
        ]

    def export_url(self, kind: str, query: str) -> str:
        """Return where the file of these filters is."""
        url = reverse(f"{self.admin_site.name}:django_workflow_run_export", args=[kind])
        return f"{url}?{query}" if query else url

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Stream all that match, the newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        may_see = may_see_payloads(request)
        fields = FIELDS | (GUARDED if may_see else {})
        filters = RunFilters.of(request.GET)
        found = narrowed(self.get_queryset(request), filters, with_payloads=may_see).runs
        is_csv = kind == "csv"
        lines = (csv_lines if is_csv else json_lines)(found, fields, partial(covered, request))
        kind, media = ("csv", "text/csv; charset=utf-8") if is_csv else ("json", "application/json")
        name = f"runs-{timezone.localtime():%Y%m%d-%H%M%S}.{kind}"
        return StreamingHttpResponse(
            lines,
            content_type=media,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
