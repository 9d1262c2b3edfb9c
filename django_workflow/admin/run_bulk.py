"""A verb for all runs that match: asked for after a preview, done by a run of its own, followed and stopped here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

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
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.run_list import RunListAdmin
from django_workflow.admin.verbs import (
    CANCEL,
    DELETE,
    PAUSE,
    RESTART,
    RESUME,
    ReasonForm,
    Verb,
    standing,
)
from django_workflow.admin.why import logged
from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import RunStateError
from django_workflow.core.types import StepKind
from django_workflow.models import PastStep, Run, Step
from django_workflow.models.paging import bounded_counts
from django_workflow.models.run_filters import RunFilters
from django_workflow.runtime import bulk
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.pulse import pulse
from django_workflow.runtime.visibility import visible_runs
from django_workflow.workflows import BULK, act_on_all

FOR_ALL: Final = (RESUME, PAUSE, RESTART, CANCEL, DELETE)
MOST_PREVIEWED: Final = 100_000
SAMPLE: Final = 20
OUTCOMES: Final = 100


class BulkForm(ReasonForm):
    """Why, and how fast."""

    per_minute = forms.IntegerField(
        label=gettext_lazy("At most so many a minute"),
        required=False,
        min_value=1,
        max_value=6_000,
        help_text=gettext_lazy("Empty: one after the other, as fast as it goes."),
    )
    force = forms.BooleanField(
        label=gettext_lazy("Also those whose failure handler or undo has run"),
        required=False,
        help_text=gettext_lazy("What these did (a refund, say) may contradict going on."),
    )
    field_order = ["per_minute", "force", "why"]

    def __init__(self, data: Any = None, *, verb: Verb) -> None:
        super().__init__(data)
        self.fields["why"].required = True
        if verb is not RESUME:
            del self.fields["force"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run."""

    run_id: str
    is_done: bool
    text: str
    url: str
    made: str
    made_url: str


def verbs_for_all(request: HttpRequest) -> list[Verb]:
    """Return what this user may do to all that match."""
    return [verb for verb in FOR_ALL if verb.is_allowed(request)]


def _verb_named(name: str) -> Verb:
    found = next((verb for verb in FOR_ALL if verb.name == name), None)
    if found is None:
        raise Http404
    return found


class BulkAdmin(RunListAdmin):
    """The pages of a verb for all that match."""

    def get_urls(self) -> list[URLPattern]:
        """Add them."""
        wrap = self.admin_site.admin_view
        own = [
            path("bulk/do/<slug:name>/", wrap(self.bulk_view), name="django_workflow_bulk"),
            path(
                "bulk/of/<str:run_id>/", wrap(self.bulk_run_view), name="django_workflow_bulk_run"
            ),
            path(
                "bulk/of/<str:run_id>/stop/",
                wrap(self.bulk_stop_view),
                name="django_workflow_bulk_stop",
            ),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list; who asks for all that match is led to the preview."""
        if request.method == "POST" and "everything" in request.POST:
            chosen = request.POST.get("action", "").removesuffix("_selected")
            if any(verb.name == chosen for verb in verbs_for_all(request)):
                query = RunFilters.of(request.GET).as_query()
                return HttpResponseRedirect(f"{self._bulk_url(chosen)}?{urlencode(query)}")
            text = _("Choose first what is to be done. It has to be one that is done to many.")
            return self.refuse(request, text, request.get_full_path())
        context = {"bulk_verbs": verbs_for_all(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def _bulk_url(self, name: str) -> str:
        return reverse(f"{self.admin_site.name}:django_workflow_bulk", args=[name])

    def bulk_url(self, run_id: str, page: str = "run") -> str:
        """Return where a run that does something to all that match is followed."""
        return reverse(f"{self.admin_site.name}:django_workflow_bulk_{page}", args=[run_id])

    def bulk_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show what would be done, to how many; or have it done."""
        verb = _verb_named(name)
        if not self.has_view_permission(request) or not verb.is_allowed(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        filters = RunFilters.of(request.GET)
        ids = None
        if filters.error:
            group = dead_letters(visible_runs(request)).find(filters.error)
            ids = [] if group is None else group.run_ids
        found = bulk.matching(request, filters, ids)
        count = bounded_counts({"all": found}, MOST_PREVIEWED)["all"]
        form = BulkForm(request.POST if request.method == "POST" else None, verb=verb)
        if request.method == "POST" and form.is_valid() and count:
            return self._start(request, verb, filters, ids, count, form.cleaned_data)
        large = ("payload_text", "result_text", "headers_text", "options_text", "failure_text")
        sample = list(found.order_by("-created_at", "id").defer(*large)[:SAMPLE])
        shown = f"{MOST_PREVIEWED:,}+" if count > MOST_PREVIEWED else f"{count:,}"
        context = {
            "title": _("%(verb)s all that match?") % {"verb": verb.label},
            "verb": verb,
            "count": count,
            "shown": shown,
            "filters": self.in_words(filters),
            "lines": standing(verb, sample),
            "form": form,
            "back": self.list_url(filters),
        }
        return self._bulk_page(request, "bulk.html", context)

    def _start(
        self,
        request: HttpRequest,
        verb: Verb,
        filters: RunFilters,
        ids: list[str] | None,
        count: int,
        given: dict[str, Any],
    ) -> HttpResponse:
        run_id = f"bulk-{uuid4()}"
        job = bulk.job_of(
            run_id,
            verb.name,
            filters,
            ids=ids,
            by=Actor.of(request.user, door=bulk.DOOR),
            why=given["why"],
            total=count,
            force=bool(given.get("force")),
            per_minute=given["per_minute"],
        )
        run = act_on_all.trigger(job, workflow_run_id=run_id, by=request.user)
        said = _("Asked for: %(verb)s all that match (%(filters)s): %(why)s") % {
            "verb": verb.label,
            "filters": ", ".join(self.in_words(filters)) or _("all runs"),
            "why": logged("", given["why"], ""),
        }
        self.log_change(request, run, said.rstrip(": "))
        return HttpResponseRedirect(self.bulk_url(run_id))

    def in_words(self, filters: RunFilters) -> list[str]:
        """Return what the filters say, for people."""
        return [f"{name}: {value}" for name, value in filters.as_query().items()]

    # Following it

    def _bulk_run(self, request: HttpRequest, run_id: str) -> Run:
        """Return the run; who has asked for it may follow it, whatever else they may see."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        known = Run.objects.using(settings().DATABASE).filter(pk=run_id, workflow=BULK)
        own = known.filter(triggered_by_id=str(request.user.pk)).first()
        run = own or visible_runs(request, known).first()
        if run is None or "asked" not in (run.payload or {}):
            raise Http404
        return run

    def bulk_run_view(self, request: HttpRequest, run_id: str) -> HttpResponse:
        """Show how far it is, and what became of each run."""
        run = self._bulk_run(request, run_id)
        asked = run.payload["asked"]
        verb = _verb_named(asked["verb"])
        outcomes, older = self._outcomes(run, request.GET.get("behind", ""))
        progress = run.progress
        context = {
            "title": _("%(verb)s all that match") % {"verb": verb.label},
            "subtitle": run.pk,
            "verb": verb,
            "run": run,
            "run_url": self.run_url(run.pk),  # type: ignore[attr-defined]
            "asked": asked,
            "filters": self.in_words(RunFilters.of(asked["filters"])),
            "progress": progress,
            "outcomes": outcomes,
            "older": older,
            "result": run.result if run.status == "completed" else None,
            "may_stop": not run.is_finished and self._may_stop(request, verb),
            "stop_url": self.bulk_url(run.pk, "stop"),
            "live_url": "" if run.is_finished else request.get_full_path(),
            "pulse": pulse(),
            "back": self.list_url(RunFilters.of(asked["filters"])),
        }
        name = (
            "partials/_bulk.html"
            if request.headers.get("HX-Request") == "true"
            else "bulk_run.html"
        )
        return self._bulk_page(request, name, context)

    def _may_stop(self, request: HttpRequest, verb: Verb) -> bool:
        return verb.is_allowed(request) or CANCEL.is_allowed(request)

    def bulk_stop_view(self, request: HttpRequest, run_id: str) -> HttpResponse:
        """Let it end here; what was done stays done."""
        run = self._bulk_run(request, run_id)
        if not self._may_stop(request, _verb_named(run.payload["asked"]["verb"])):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            run.cancel(actor=Actor.of(request.user, door=bulk.DOOR), why="stopped")
        except RunStateError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.log_change(request, run, _("Stopped"))
            self.message_user(request, _("It was stopped. What was done stays done."))
        return HttpResponseRedirect(self.bulk_url(run_id))

    def _outcomes(self, run: Run, behind: str) -> tuple[list[Outcome], str]:
        """Return what became of the latest ones, or of those before, and where the next ones are."""
        alias = run._state.db
        present = Step.objects.using(alias).filter(run=run, kind=StepKind.ATOMIC)
        past = PastStep.objects.using(alias).filter(generation__run=run, kind=StepKind.ATOMIC)
        found: list[tuple[int, str]] = []
        for rows in (present.filter(sequence__isnull=False), past):
            before = rows.filter(sequence__lt=int(behind)) if behind.isdecimal() else rows
            texts = before.order_by("-sequence").values_list("sequence", "result_text")
            found += [(sequence or 0, text or "{}") for sequence, text in texts[: OUTCOMES + 1]]
        found.sort(reverse=True)
        older = f"?behind={found[OUTCOMES - 1][0]}" if len(found) > OUTCOMES else ""
        return [self._outcome(json.loads(text)) for _sequence, text in found[:OUTCOMES]], older

    def _outcome(self, kept: dict[str, Any]) -> Outcome:
        run_id, made = str(kept.get("run", "")), str(kept.get("made", ""))
        return Outcome(
            run_id=run_id,
            is_done=bool(kept.get("done")),
            text=str(kept.get("text", "")),
            url=self.run_url(run_id),  # type: ignore[attr-defined]
            made=made,
            made_url=self.run_url(made) if made else "",  # type: ignore[attr-defined]
        )

    def _bulk_page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, f"django_workflow/admin/{name}", shared | context)
