"""The page of dead letters, what is done to a group of them, and the list's filter by error."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.acting import ActingAdmin
from django_workflow.admin.base import may_see_payloads
from django_workflow.admin.dead_letters import Group, dead_letters
from django_workflow.admin.verbs import MOST_AT_ONCE, ON_GROUP, Verb
from django_workflow.runtime.visibility import visible_runs


class ErrorFilter(admin.SimpleListFilter):
    """By error: the group that a link of the page of dead letters names."""

    title = gettext_lazy("error")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the one that is asked for: all of them are on the page of dead letters."""
        asked = request.GET.get(self.parameter_name, "")
        return [(asked, asked[:6])] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the dead letters of the group."""
        mark = self.value()
        if not mark:
            return queryset
        group = dead_letters(queryset).find(mark)
        return queryset.filter(pk__in=group.run_ids) if group is not None else queryset.none()


class DeadLetterAdmin(ActingAdmin):
    """The pages of dead letters, beside those of runs."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page and what is done to a group."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "dead-letters/",
                wrap(self.dead_letters_view),
                name="django_workflow_dead_letters",
            ),
            path(
                "dead-letters/group/<slug:mark>/<slug:name>/",
                wrap(self.group_view),
                name="django_workflow_dead_letters_group",
            ),
            *super().get_urls(),
        ]

    def dead_letters_url(self) -> str:
        """Return where the page is."""
        return reverse(f"{self.admin_site.name}:django_workflow_dead_letters")

    def _group_url(self, group: Group, verb: Verb) -> str:
        return reverse(
            f"{self.admin_site.name}:django_workflow_dead_letters_group",
            args=[group.fingerprint, verb.name],
        )

    def dead_letters_view(self, request: HttpRequest) -> HttpResponse:
        """Show the groups."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = dead_letters(visible_runs(request))
        verbs = [verb for verb in ON_GROUP if verb.is_allowed(request)]
        runs = reverse(f"{self.admin_site.name}:django_workflow_run_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Dead letters"),
            "found": found,
            "lines": [
                {
                    "group": group,
                    "list_url": f"{runs}?{urlencode({'error': group.fingerprint})}",
                    "states": sorted(group.states.items()),
                    "workflows": group.workflows.most_common(),
                    "verbs": [(verb, self._group_url(group, verb)) for verb in verbs],
                }
                for group in found.groups
            ],
            "opts": self.opts,
            "media": self.media,
            "may_see_payloads": may_see_payloads(request),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "django_workflow/admin/dead_letters.html", context)

    def group_view(self, request: HttpRequest, mark: str, name: str) -> HttpResponse:
        """Ask about a group, or do a verb to those of it that were shown."""
        verb = next((verb for verb in ON_GROUP if verb.name == name), None)
        if verb is None:
            raise Http404
        if not self.has_view_permission(request) or not verb.is_allowed(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        # What is done is done to those that were shown, whatever has joined the group since.
        ids, count = request.POST.getlist("run"), 0
        if request.method != "POST":
            group = dead_letters(visible_runs(request)).find(mark)
            ids = [] if group is None else group.run_ids
            count = len(ids)
        large = ("payload_text", "result_text", "headers_text", "options_text", "failure_text")
        found = visible_runs(request).filter(pk__in=ids[:MOST_AT_ONCE])
        runs = list(found.defer(*large).order_by("-created_at", "id"))
        title = ngettext("%(verb)s %(count)d run?", "%(verb)s %(count)d runs?", len(runs))
        extra: dict[str, Any] = {"is_group": True}
        if count > len(runs):
            extra["note"] = _(
                "These are %(shown)d of %(count)d. Come back afterwards for the others."
            ) % {"shown": len(runs), "count": count}
        return self.act_on(
            request,
            verb,
            runs,
            title=title % {"verb": verb.label, "count": len(runs)},
            back=self.dead_letters_url(),
            extra=extra,
        )
