"""Runs: the list, and the page on which a run is followed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from django_workflow.admin.dead_letter_pages import DeadLetterAdmin
from django_workflow.admin.overview import OverviewAdmin
from django_workflow.admin.run_bulk import BulkAdmin
from django_workflow.admin.run_export import ExportAdmin
from django_workflow.admin.run_page import page_context
from django_workflow.core.actors import Actor
from django_workflow.models import Run
from django_workflow.runtime.deletion import delete_runs


@admin.register(Run)
class RunAdmin(OverviewAdmin, BulkAdmin, ExportAdmin, DeadLetterAdmin):
    """Runs and their steps."""

    change_form_template = "django_workflow/admin/run.html"
    fields = ()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, with the way to the pages beside it."""
        query = request.META.get("QUERY_STRING", "")
        context = {
            "dead_letters_url": self.dead_letters_url(),
            "overview_url": self.overview_url(),
            "columns_url": reverse(f"{self.admin_site.name}:django_workflow_run_columns"),
            "export_csv_url": self.export_url("csv", query),
            "export_json_url": self.export_url("json", query),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a run with its steps."""
        context = dict(extra_context or {})
        run = self.get_object(request, unquote(object_id))
        if run is not None and self.has_view_permission(request, run):
            context |= self._story_context(request, run)
        return super().change_view(request, object_id, form_url, context)

    def get_urls(self) -> list[URLPattern]:
        """Add what the page of a run fetches while it is open."""
        own = path(
            "<path:object_id>/story/",
            self.admin_site.admin_view(self.story_view),
            name="django_workflow_run_story",
        )
        return [own, *super().get_urls()]

    def story_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what changes on the page of a run, and nothing around it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.get_object(request, unquote(object_id))
        if run is None:
            raise Http404
        context = self._story_context(request, run)
        return TemplateResponse(request, "django_workflow/admin/partials/_story.html", context)

    def _story_context(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        return page_context(self, request, run)

    # An ended run may be deleted, with all that belongs to it; by the runtime, as everything.

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Tell whether the user may delete runs, and this one has ended."""
        is_allowed = request.user.has_perm("django_workflow.delete_run")
        return is_allowed and (not isinstance(obj, Run) or obj.is_finished)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Say what would go; a run that has not ended protects itself."""
        runs = list(objs)
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        unfinished = [f"{run} ({run.get_status_display()})" for run in runs if not run.is_finished]
        return (
            [str(run) for run in runs],
            {str(self.opts.verbose_name_plural): len(runs)},
            lacking,
            unfinished,
        )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one run."""
        delete_runs([obj.pk], actor=Actor.of(request.user, door="admin"))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete runs."""
        delete_runs(
            queryset.values_list("pk", flat=True), actor=Actor.of(request.user, door="admin")
        )
