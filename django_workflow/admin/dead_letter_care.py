"""What people note about an error, and what its runs would meet if they were gone on with."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.base import run_link
from django_workflow.admin.dead_letter_rates import RateAdmin
from django_workflow.admin.rows import page_context
from django_workflow.admin.why import WhyForm, logged
from django_workflow.conf import settings
from django_workflow.core.actors import NAME_LENGTH, Actor
from django_workflow.models import DeadLetterNote
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.dry_retry import DryRetry, dry_retry
from django_workflow.runtime.steering import NOTE_LENGTH, note_error
from django_workflow.runtime.visibility import visible_runs

NOTE_PERMISSION = "django_workflow.change_deadletternote"
DRY_PERMISSION = "django_workflow.resume_run"
#: How many of a group are tried while somebody waits for the page, the newest ones.
MOST_TRIED = 25
VERDICTS = {
    "fits": gettext_lazy("The code fits: it would go on."),
    "drifts": gettext_lazy("It would go on, though arguments differ: the recorded ones win."),
    "raises": gettext_lazy("The code between the steps would raise again."),
    "diverges": gettext_lazy("The code does not fit what was recorded: it would be blocked."),
    "unknown": gettext_lazy("This process does not know its workflow or version."),
    "gone": gettext_lazy("It is gone."),
}


class NoteForm(WhyForm):
    """What is noted."""

    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=NOTE_LENGTH,
        widget=forms.Textarea(attrs={"rows": 5, "class": "vLargeTextField"}),
        help_text=gettext_lazy(
            "What it is, and what to do about it; seen by all who see dead letters."
        ),
    )
    assignee = forms.CharField(
        label=gettext_lazy("Looked after by"),
        required=False,
        max_length=NAME_LENGTH,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    is_ignored = forms.BooleanField(
        label=gettext_lazy("Ignore it"),
        required=False,
        help_text=gettext_lazy("It is listed apart, and stays so when it happens again."),
    )
    field_order = ["note", "assignee", "is_ignored", "why"]


class CareAdmin(RateAdmin):
    """The pages of one error."""

    def get_urls(self) -> list[URLPattern]:
        """Add both pages."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "dead-letters/note/<slug:mark>/",
                wrap(self.note_view),
                name="django_workflow_dead_letters_note",
            ),
            path(
                "dead-letters/dry-retry/<slug:mark>/",
                wrap(self.dry_retry_view),
                name="django_workflow_dead_letters_dry_retry",
            ),
            *super().get_urls(),
        ]

    def notes(self) -> dict[str, DeadLetterNote]:
        """Return what is noted, by error."""
        found = DeadLetterNote.objects.using(settings().DATABASE)
        return {one.pk: one for one in found.order_by("-changed_at")[:1_000]}

    def note_view(self, request: HttpRequest, mark: str) -> HttpResponse:
        """Ask what is to be noted, and note it."""
        if not self.has_view_permission(request) or not request.user.has_perm(NOTE_PERMISSION):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        note = DeadLetterNote.objects.using(settings().DATABASE).filter(pk=mark).first()
        if note is None and dead_letters(visible_runs(request)).find(mark) is None:
            raise Http404
        is_sent = request.method == "POST"
        form = NoteForm(request.POST if is_sent else None, row=note)
        if note is not None:
            names = ("note", "assignee", "is_ignored")
            form.initial = {name: getattr(note, name) for name in names}
        if is_sent and form.is_valid():
            given = form.cleaned_data
            kept = note_error(mark, actor=Actor.of(request.user, door="admin"), **given)
            self.log_change(request, kept, logged(_("noted"), given["why"]))
            self.message_user(request, _("It is noted."), messages.SUCCESS)
            return HttpResponseRedirect(self.dead_letters_url())
        context = page_context(
            self,
            request,
            title=_("Note about error %(mark)s") % {"mark": mark[:6]},
            tells=_("The note belongs to the error, and is there again when it happens again."),
            action=_("Keep"),
            form=form,
            back=self.dead_letters_url(),
            is_group=True,
        )
        return TemplateResponse(request, "django_workflow/admin/ask.html", context)

    def dry_retry_view(self, request: HttpRequest, mark: str) -> HttpResponse:
        """By POST, replay what runs of a group have recorded, and tell what they would meet; nothing is executed."""
        if not self.has_view_permission(request) or not request.user.has_perm(DRY_PERMISSION):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        group = dead_letters(visible_runs(request)).find(mark)
        if group is None:
            raise Http404
        found: list[DryRetry] = []
        if request.method == "POST":
            found = [dry_retry(run_id) for run_id in group.run_ids[:MOST_TRIED]]
        site = self.admin_site.name
        lines: list[Any] = [
            (one, VERDICTS[one.verdict], run_link(one.run_id, site)) for one in found
        ]
        context = page_context(
            self,
            request,
            title=_("Dry retry"),
            group=group,
            lines=lines,
            fitting=sum(one.would_go_on for one in found),
            is_tried=bool(found),
            most=min(group.count, MOST_TRIED),
            back=self.dead_letters_url(),
            is_group=True,
        )
        return TemplateResponse(request, "django_workflow/admin/dry_retry.html", context)
