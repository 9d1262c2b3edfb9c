"""Runs: the list, and the page on which a run is followed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.base import (
    badge,
    may_see_payloads,
)
from django_workflow.admin.dead_letter_pages import DeadLetterAdmin, ErrorFilter
from django_workflow.admin.run_page import page_context
from django_workflow.admin.story import took
from django_workflow.core.actors import Actor
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.sweeper import health

LONGEST_REASON = 200


class WorkflowFilter(admin.SimpleListFilter):
    """By workflow: those of this process, without a query."""

    title = _("workflow")
    parameter_name = "workflow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the registered names, and the one that is asked for."""
        names = {workflow.name for workflow in registry} | {
            request.GET.get(self.parameter_name, "")
        }
        return [(name, name) for name in sorted(names - {""})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the runs of the chosen workflow."""
        return queryset.filter(workflow=self.value()) if self.value() else queryset


class RunList(ChangeList):
    """The rows of one page of the list, with what their reasons need and without what may be large."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that the filters leave."""
        found: Any = super().get_queryset(request, exclude_parameters)
        large = ("payload_text", "result_text", "headers_text", "options_text")
        return found.with_reason().defer(*large)  # type: ignore[no-any-return]


def _state(run: Run, reason: str) -> SafeString:
    mark = badge(run.status, run.get_status_display())
    if not reason:
        return mark
    shown = reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"
    return format_html('{}<span class="dw-why">{}</span>', mark, shown)


@admin.register(Run)
class RunAdmin(DeadLetterAdmin):
    """Runs and their steps."""

    change_form_template = "django_workflow/admin/run.html"
    change_list_template = "django_workflow/admin/runs.html"
    fields = ()
    list_filter = ("status", WorkflowFilter, "created_at", ErrorFilter)
    search_fields = ("id__startswith", "labels_of_run__label__startswith")
    search_help_text = _("The beginning of a run's ID or of a label")
    date_hierarchy = "created_at"
    ordering = ("-created_at", "id")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return our list."""
        return RunList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave error messages out for those who may not see them."""
        state = "state" if may_see_payloads(request) else "guarded_state"
        return ("id", state, "workflow", "version", "created", "took")

    @admin.display(description=_("status"), ordering="status")
    def state(self, run: Run) -> SafeString:
        """Return the state, and why the run is not going on."""
        reason = run.reason if run.reason != run.status else ""
        return _state(run, reason)

    @admin.display(description=_("status"), ordering="status")
    def guarded_state(self, run: Run) -> SafeString:
        """Return the state and the open steps, without what errors say."""
        steps = (f"{step.name}: {step.get_status_display()}" for step in run.waiting_for)
        return _state(run, "; ".join(steps))

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, run: Run) -> str:
        """Return when the run was triggered, to the second."""
        return f"{timezone.localtime(run.created_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """Return how long the run took."""
        return took(run.started_at, run.finished_at)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, and above it whether anybody looks for due work."""
        context = {
            "health": health(),
            "dead_letters_url": self.dead_letters_url(),
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
