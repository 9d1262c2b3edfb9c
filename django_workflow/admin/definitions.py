"""Workflows: the versions that this process knows, those in use, and runs that are still on old code."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from django_workflow.admin.acting import ActingAdmin
from django_workflow.admin.base import run_link
from django_workflow.admin.rows import page_context
from django_workflow.admin.schedule_words import fires_in_words
from django_workflow.conf import settings
from django_workflow.core.types import DEAD_LETTER, FINISHED, RunStatus
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Schedule
from django_workflow.runtime.dry_retry import held_against
from django_workflow.runtime.visibility import visible_runs

#: How many living runs are held against the code while somebody waits for the page.
MOST_HELD = 500
LIVING = [status for status in RunStatus if status not in FINISHED]


@dataclass(kw_only=True)
class Version:
    """A version of a workflow, and the runs that have not ended on it."""

    name: str
    is_known: bool
    is_latest: bool
    living: int = 0
    dead: int = 0
    list_url: str = ""


@dataclass(kw_only=True)
class Definition:
    """A workflow, as this process and the runs know it."""

    name: str
    is_known: bool
    transport: str = ""
    versions: dict[str, Version] = field(default_factory=dict)

    @property
    def on_old_code(self) -> int:
        """How many runs go on under a version that new ones do not get."""
        return sum(
            one.living for one in self.versions.values() if one.is_known and not one.is_latest
        )

    @property
    def on_unknown_code(self) -> int:
        """How many runs this process could not go on with."""
        return sum(one.living for one in self.versions.values() if not one.is_known)


def definitions(runs: QuerySet[Run] | None = None) -> list[Definition]:
    """Return the workflows of this process and those of runs that have not ended, by name; one query."""
    found = {one.name: _known(one) for one in registry}
    all_of_them = Run.objects.using(settings().DATABASE) if runs is None else runs
    living = all_of_them.filter(status__in=LIVING).order_by()
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, version, status, count in living.values_list(
        "workflow", "version", "status"
    ).annotate(count=Count("pk")):
        counts[name, version][status] = count
    for (name, version), by_status in counts.items():
        definition = found.setdefault(name, Definition(name=name, is_known=False))
        one = definition.versions.setdefault(
            version, Version(name=version, is_known=False, is_latest=False)
        )
        one.dead = sum(by_status.get(status, 0) for status in DEAD_LETTER)
        one.living = sum(by_status.values()) - one.dead
    return [found[name] for name in sorted(found)]


def _known(workflow: Any) -> Definition:
    versions = {
        name: Version(name=name, is_known=True, is_latest=name == workflow.latest_version)
        for name in workflow.versions
    }
    transport = workflow.options.transport or ""
    return Definition(name=workflow.name, is_known=True, transport=transport, versions=versions)


class DefinitionsAdmin(ActingAdmin):
    """The pages of workflows, beside those of runs."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of all workflows, and that of one."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "definitions/",
                wrap(self.definitions_view),
                name="django_workflow_definitions",
            ),
            path(
                "definitions/<str:name>/",
                wrap(self.definition_view),
                name="django_workflow_definition",
            ),
            *super().get_urls(),
        ]

    def page_url(self, name: str, *args: str) -> str:
        """Return where one of the pages beside the list is."""
        return reverse(
            f"{self.admin_site.name}:django_workflow_{name}", args=[quote(one) for one in args]
        )

    def _schedule_url(self, schedule: Schedule) -> str:
        try:
            found = f"{self.admin_site.name}:django_workflow_schedule_change"
            return reverse(found, args=[quote(schedule.pk)])
        except NoReverseMatch:
            # A site of a project's own, without schedules.
            return ""

    def definitions_view(self, request: HttpRequest) -> HttpResponse:
        """Show the workflows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = definitions(visible_runs(request))
        context = page_context(
            self,
            request,
            title=_("Workflows"),
            lines=[(one, self.page_url("definition", one.name)) for one in found],
        )
        return TemplateResponse(request, "django_workflow/admin/definitions.html", context)

    def definition_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show one workflow; by POST, hold its living runs against the code of this process."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        found = next(
            (one for one in definitions(visible_runs(request)) if one.name == unquote(name)), None
        )
        if found is None:
            raise Http404
        runs = reverse(f"{self.admin_site.name}:django_workflow_run_changelist")
        for version in found.versions.values():
            wanted = urlencode({"workflow": found.name, "version": version.name})
            version.list_url = f"{runs}?{wanted}"
        schedules = Schedule.objects.using(settings().DATABASE).filter(workflow=found.name)
        site = self.admin_site.name
        context = page_context(
            self,
            request,
            title=found.name,
            found=found,
            versions=list(found.versions.values()),
            may_check=request.user.has_perm("django_workflow.resume_run"),
            schedules=[
                (one, self._schedule_url(one), fires_in_words(one))
                for one in schedules.order_by("id")[:20]
            ],
            back=self.page_url("definitions"),
        )
        if request.method == "POST":
            if not context["may_check"]:
                raise PermissionDenied
            looked_at, all_findings = held_against(found.name, MOST_HELD)
            ids = [one.run_id for one in all_findings]
            seen = set(visible_runs(request).filter(pk__in=ids).values_list("pk", flat=True))
            findings = [one for one in all_findings if one.run_id in seen]
            context |= {
                "is_checked": True,
                "looked_at": looked_at,
                "is_cut": looked_at == MOST_HELD,
                "findings": [(one, run_link(one.run_id, site)) for one in findings],
            }
        return TemplateResponse(request, "django_workflow/admin/definition.html", context)
