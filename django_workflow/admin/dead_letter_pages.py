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
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.dead_letter_care import DRY_PERMISSION, NOTE_PERMISSION, CareAdmin
from django_workflow.admin.dead_letter_verbs import LETTER_VERBS
from django_workflow.admin.dead_letters import sparkline
from django_workflow.admin.rows import page_context
from django_workflow.admin.seeing import veil_over
from django_workflow.admin.verbs import DELETE, MOST_AT_ONCE
from django_workflow.runtime.dead_letters import Group, dead_letters
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


class DeadLetterAdmin(CareAdmin):
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

    def dead_letters_view(self, request: HttpRequest) -> HttpResponse:
        """Show the groups: those to be looked at, those that kill their processes, those that are ignored."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found, notes, now = dead_letters(visible_runs(request)), self.notes(), timezone.now()
        veil_over(request).groups(found.groups)
        lines = [self._letter_line(request, group, notes, now) for group in found.groups]
        parts: list[tuple[str, str, str, list[Any]]] = [
            ("open", _("Dead letters"), "", []),
            (
                "quarantine",
                _("In quarantine"),
                _(
                    "These killed their processes again and again, and are blocked. Find out why, and resume them one by "
                    "one, each on its own page: it may take its worker with it, and all that runs there."
                ),
                [],
            ),
            ("ignored", _("Ignored"), "", []),
        ]
        by_name = {part[0]: part[3] for part in parts}
        for line in lines:
            by_name[line["part"]].append(line)
        context = page_context(
            self,
            request,
            title=_("Dead letters"),
            found=found,
            parts=[part for part in parts if part[3]],
            redrives=self.redrives(request),
        )
        return TemplateResponse(request, "django_workflow/admin/dead_letters.html", context)

    def _letter_line(
        self, request: HttpRequest, group: Group, notes: dict[str, Any], now: Any
    ) -> dict[str, Any]:
        runs = reverse(f"{self.admin_site.name}:django_workflow_run_changelist")
        # What has killed its processes is gone on with run by run, on the page of each, by somebody who looks.
        offered = (DELETE,) if group.is_quarantined else LETTER_VERBS
        verbs = [verb for verb in offered if verb.is_allowed(request)]
        note = notes.get(group.fingerprint)
        part = "quarantine" if group.is_quarantined else "open"
        user: Any = request.user
        return {
            "group": group,
            "part": "ignored" if note is not None and note.is_ignored else part,
            "note": note,
            "spark": sparkline(group, now),
            "list_url": f"{runs}?{urlencode({'error': group.fingerprint})}",
            "states": sorted((_(state), count) for state, count in group.states.items()),
            "workflows": group.workflows.most_common(),
            "verbs": [(verb, self.group_page_url("group", group, verb.name)) for verb in verbs],
            "rates": []
            if group.is_quarantined
            else [(verb, self.group_page_url("rate", group, verb.name)) for verb in verbs],
            "note_url": self.group_page_url("note", group)
            if user.has_perm(NOTE_PERMISSION)
            else "",
            "dry_url": self.group_page_url("dry_retry", group)
            if user.has_perm(DRY_PERMISSION)
            else "",
        }

    def group_view(self, request: HttpRequest, mark: str, name: str) -> HttpResponse:
        """Ask about a group, or do a verb to those of it that were shown."""
        verb = next((verb for verb in LETTER_VERBS if verb.name == name), None)
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
            if group is not None and group.is_quarantined and verb is not DELETE:
                return self.refuse_quarantined(request)
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
