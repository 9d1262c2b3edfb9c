"""Dead letters that are gone on with so many a minute, and the button that stops it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.base import run_link
from django_workflow.admin.dead_letter_verbs import LETTER_VERBS
from django_workflow.admin.definitions import DefinitionsAdmin
from django_workflow.admin.rows import page_context
from django_workflow.admin.verbs import Verb
from django_workflow.admin.why import WhyForm, logged
from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.plain import plain
from django_workflow.core.types import FINISHED
from django_workflow.models import Run, RunQuerySet
from django_workflow.runtime.dead_letters import Group, dead_letters
from django_workflow.runtime.redriving import MOST_A_MINUTE, NAME, start_redrive
from django_workflow.runtime.visibility import sees_all_runs, visible_runs

DEFAULT_A_MINUTE = 30
ENDED_SHOWN = 3


class RateForm(WhyForm):
    """How fast, and why."""

    per_minute = forms.IntegerField(
        label=gettext_lazy("A minute"),
        min_value=1,
        max_value=MOST_A_MINUTE,
        initial=DEFAULT_A_MINUTE,
        help_text=gettext_lazy("How many are done a minute. It can be stopped at any time."),
    )
    force = forms.BooleanField(
        label=gettext_lazy("Go on although the failure handler has run"),
        required=False,
        help_text=gettext_lazy("What it did (a refund, say) may contradict going on."),
    )
    field_order = ["per_minute", "force", "why"]

    def __init__(self, data: Any = None, *, row: Any = None, is_grave: bool = False) -> None:
        super().__init__(data, row=row, is_grave=is_grave)
        if row is None or row.name != "resume":
            del self.fields["force"]


class RateAdmin(DefinitionsAdmin):
    """The pages on which a rate is asked for, and stopped."""

    def get_urls(self) -> list[URLPattern]:
        """Add both pages."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "dead-letters/rate/<slug:mark>/<slug:name>/",
                wrap(self.rate_view),
                name="django_workflow_dead_letters_rate",
            ),
            path(
                "dead-letters/stop/<path:run_id>/",
                wrap(self.stop_view),
                name="django_workflow_dead_letters_stop",
            ),
            *super().get_urls(),
        ]

    def dead_letters_url(self) -> str:
        """Return where the page is."""
        return reverse(f"{self.admin_site.name}:django_workflow_dead_letters")

    def group_page_url(self, page: str, group: Group, *more: str) -> str:
        """Return where something is done about a group."""
        found = f"{self.admin_site.name}:django_workflow_dead_letters_{page}"
        return reverse(found, args=[group.fingerprint, *more])

    def refuse_quarantined(self, request: HttpRequest) -> HttpResponse:
        """Send back who would go on with crash loops all at once."""
        text = _(
            "These killed their processes again and again: resume them one by one, each on its own page."
        )
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(self.dead_letters_url())

    def rate_view(self, request: HttpRequest, mark: str, name: str) -> HttpResponse:
        """Ask how fast it is to be done to a group, and begin."""
        verb = next((verb for verb in LETTER_VERBS if verb.name == name), None)
        if verb is None:
            raise Http404
        if not self.has_view_permission(request) or not verb.is_allowed(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        is_sent = request.method == "POST"
        # What is done is done to those that were there when it was asked, whatever has joined the group since.
        seen = _moment(request.POST.get("seen", "")) if is_sent else timezone.now()
        group = dead_letters(visible_runs(request)).find(mark)
        ids = group.until(seen) if group is not None and seen is not None else []
        if group is None or not ids:
            text = _("There is nothing left in this group that this could be done to.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self.dead_letters_url())
        if group.is_quarantined:
            return self.refuse_quarantined(request)
        form = RateForm(request.POST if is_sent else None, row=verb, is_grave=name == "delete")
        if is_sent and form.is_valid():
            try:
                return self._begin_rate(request, verb, group, ids, form.cleaned_data)
            except WorkflowError as error:
                form.add_error(None, str(error))
        title = ngettext(
            "%(verb)s %(count)d run, so many a minute?",
            "%(verb)s %(count)d runs, so many a minute?",
            len(ids),
        )
        context = page_context(
            self,
            request,
            title=title % {"verb": verb.label, "count": len(ids)},
            tells=verb.tells,
            action=verb.label,
            is_grave=name == "delete",
            seen=seen.isoformat() if seen else "",
            form=form,
            back=self.dead_letters_url(),
            is_group=True,
        )
        return TemplateResponse(request, "django_workflow/admin/ask.html", context)

    def _begin_rate(
        self, request: HttpRequest, verb: Verb, group: Group, ids: list[str], given: dict[str, Any]
    ) -> HttpResponse:
        made = start_redrive(
            verb.name,
            ids,
            per_minute=given["per_minute"],
            actor=Actor.of(request.user, door="admin"),
            why=given["why"],
            force=bool(given.get("force")),
            fingerprint=group.fingerprint,
        )
        told = _("%(verb)s: begun for %(count)d runs, %(rate)d a minute.") % {
            "verb": verb.label,
            "count": len(ids),
            "rate": given["per_minute"],
        }
        self.log_change(request, made, logged(told, given["why"], " "))
        self.message_user(request, told, messages.SUCCESS)
        return HttpResponseRedirect(self.dead_letters_url())

    def stop_view(self, request: HttpRequest, run_id: str) -> HttpResponse:
        """Ask whether to stop, and stop: what was done stays done."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        run = self._started(request).filter(pk=unquote(run_id)).first()
        if run is None:
            raise Http404
        asked = _asked(run)
        verb = next((verb for verb in LETTER_VERBS if verb.name == asked.get("verb")), None)
        if verb is None or not verb.is_allowed(request):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = WhyForm(request.POST if is_sent else None)
        if is_sent and form.is_valid():
            why = form.cleaned_data["why"]
            try:
                run.cancel(actor=Actor.of(request.user, door="admin"), why=why)
            except WorkflowError as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                told = _("Stopped: %(progress)s.") % {"progress": run.progress or "0"}
                self.log_change(request, run, logged(told, why, " "))
                self.message_user(request, told, messages.SUCCESS)
            return HttpResponseRedirect(self.dead_letters_url())
        context = page_context(
            self,
            request,
            title=_("Stop it?"),
            tells=_("What was done stays done; the others stay dead letters."),
            action=_("Stop"),
            is_grave=True,
            form=form,
            back=self.dead_letters_url(),
            is_group=True,
        )
        return TemplateResponse(request, "django_workflow/admin/ask.html", context)

    def _started(self, request: HttpRequest) -> RunQuerySet:
        """Return the runs that go through dead letters at a rate: the user's own, and those that they may see."""
        runs = Run.objects.using(settings().DATABASE).filter(workflow=NAME)
        if sees_all_runs(request):
            return runs
        seen = visible_runs(request).order_by().values("pk")
        return runs.filter(Q(triggered_by_id=str(request.user.pk)) | Q(pk__in=seen))

    def redrives(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return what is being done at a rate, and the last ones that were."""
        runs = self._started(request)
        going = list(runs.unfinished_or_paused().order_by("-created_at", "id")[:20])
        ended = list(runs.filter(status__in=FINISHED).order_by("-created_at", "id")[:ENDED_SHOWN])
        stop = f"{self.admin_site.name}:django_workflow_dead_letters_stop"
        allowed = {verb.name for verb in LETTER_VERBS if verb.is_allowed(request)}
        lines = []
        for run in [*going, *ended]:
            asked, result = _asked(run), _mapping(plain(run.result_text))
            is_going = not run.is_finished
            verb = next((one.label for one in LETTER_VERBS if one.name == asked.get("verb")), "")
            lines.append(
                {
                    "run": run,
                    "link": run_link(run.pk, self.admin_site.name),
                    "verb": verb,
                    "count": len(asked.get("ids", [])),
                    "rate": asked.get("per_minute"),
                    "by": run.triggered_by,
                    "refused": len(result.get("refused", {})),
                    "stop_url": reverse(stop, args=[quote(run.pk)])
                    if is_going and asked.get("verb") in allowed
                    else "",
                }
            )
        return lines


def _asked(run: Run) -> dict[str, Any]:
    return _mapping(plain(run.payload_text))


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None
