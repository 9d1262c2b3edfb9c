"""Pages on which verbs are asked for, confirmed and done: for one run, for those selected, for a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_workflow.admin.base import ReadOnlyAdmin, may_see_payloads
from django_workflow.admin.run_page import RunPages
from django_workflow.admin.run_verbs import MORE_ON_PAGE, ON_PAGE, START
from django_workflow.admin.seeing import veil_over
from django_workflow.admin.verbs import (
    MOST_AT_ONCE,
    ON_LIST,
    Outcome,
    Verb,
    perform,
    restarts_of,
    standing,
)
from django_workflow.admin.why import logged
from django_workflow.conf import settings
from django_workflow.core.types import OPEN_STEP, StepKind
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Waiter
from django_workflow.views import resolved

MOST_EVENTS_OFFERED = 50


class ActingAdmin(RunPages, ReadOnlyAdmin):
    """An admin of runs with verbs: each by POST, with its own permission, after a page that asks."""

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each verb."""
        own = [
            path(
                f"<path:object_id>/{verb.name}/",
                self.admin_site.admin_view(self._page_of(verb)),
                name=f"django_workflow_run_{verb.name}",
            )
            for verb in ON_PAGE
        ]
        return [*own, *self.run_page_urls(), *super().get_urls()]

    def run_url(self, run_id: str, verb: str = "change") -> str:
        """Return where a run's page is, or that of a verb."""
        return reverse(f"{self.admin_site.name}:django_workflow_run_{verb}", args=[quote(run_id)])

    def verbs_of(self, request: HttpRequest, run: Run) -> list[dict[str, Any]]:
        """Return what this user may do to a run, and why it cannot be done now."""
        return [
            {
                "verb": verb,
                "url": self.run_url(run.pk, verb.name),
                "refusal": verb.refusal(run),
                "is_more": verb in MORE_ON_PAGE,
            }
            for verb in ON_PAGE
            if verb.is_allowed(request)
        ]

    # One run

    def _page_of(self, verb: Verb) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            return self._verb_view(request, verb, unquote(object_id))

        return view

    def _verb_view(self, request: HttpRequest, verb: Verb, run_id: str) -> HttpResponse:
        if not self.has_view_permission(request) or not verb.is_allowed(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        run = self.get_object(request, run_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, run_id)  # type: ignore[attr-defined, no-any-return]
        if verb is START and not _may_trigger(request, run):
            raise PermissionDenied
        url = self.run_url(run.pk)
        form = verb.form(
            request.POST if request.method == "POST" else None,
            runs=[run],
            asked=request.GET,
            sees=may_see_payloads(request),
        )
        if request.method == "POST":
            if refusal := verb.refusal(run) or self._repeated(request, verb, [run]):
                self.message_user(request, self._not_done(verb, refusal), messages.ERROR)
                return HttpResponseRedirect(url)
            if form.is_valid():
                outcome = perform(verb, run, request.user, form.cleaned_data)
                if outcome.is_done:
                    self._keep(request, verb, run, form.cleaned_data["why"])
                    self._tell(request, verb, run)
                    return HttpResponseRedirect(self.run_url(outcome.made) if outcome.made else url)
                text = veil_over(request, run).text(outcome.text)
                form.add_error(None, text)
                # Somebody was quicker, or it can no longer be done: the form is of no use then.
                run.refresh_from_db()
                if verb.refusal(run):
                    self.message_user(request, text, messages.ERROR)
                    return HttpResponseRedirect(url)
        return self.ask(
            request,
            verb,
            [run],
            form,
            title=verb.question,
            back=url,
            extra={"run": run, "run_url": url, "offered": self._events_offered(request, verb, run)},
        )

    def _not_done(self, verb: Verb, why: str) -> str:
        return _("%(verb)s: nothing was done. %(why)s") % {"verb": verb.label, "why": why}

    def _tell(self, request: HttpRequest, verb: Verb, run: Run) -> None:
        told = _("Run %(id)s was %(done)s.") % {"id": run.pk, "done": verb.done}
        self.message_user(request, told, messages.SUCCESS)

    def _events_offered(self, request: HttpRequest, verb: Verb, run: Run) -> list[str]:
        """Return the events that the run waits for; not those of approvals and webhooks, which only these may send."""
        if verb.name != "notify":
            return []
        keys = run.steps.filter(kind=StepKind.WAIT_FOR_EVENT, status__in=OPEN_STEP).values_list(
            "key", flat=True
        )
        waiters = Waiter.objects.using(settings().DATABASE).open()
        found = waiters.filter(run_id=run.pk, step_key__in=list(keys)).order_by("id")
        return list(found.values_list("event_id", flat=True)[:MOST_EVENTS_OFFERED])

    def _repeated(self, request: HttpRequest, verb: Verb, runs: Sequence[Run]) -> str:
        """Return why not, where the page was sent twice or somebody was quicker."""
        if not verb.repeats:
            return ""
        seen = request.POST.get("seen", "")
        if seen == str(restarts_of(runs, settings().DATABASE)):
            return ""
        return _("It was restarted meanwhile. Look again, and confirm again if you still want it.")

    def _keep(self, request: HttpRequest, verb: Verb, run: Run, why: str) -> None:
        """Write it into the admin's own log too."""
        if verb.name == "delete":
            self.log_deletions(request, [run])  # type: ignore[arg-type]
            return
        self.log_change(request, run, logged(str(verb.done), why))

    # Many

    def ask(
        self,
        request: HttpRequest,
        verb: Verb,
        runs: Sequence[Run],
        form: Any,
        *,
        title: str,
        back: str,
        extra: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page that asks before anything is done."""
        lines = standing(verb, runs)
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "verb": verb,
            "lines": lines,
            "possible": sum(not refusal for _run, refusal in lines),
            "seen": restarts_of(runs, settings().DATABASE) if verb.repeats else None,
            "form": form,
            "back": back,
            "opts": self.opts,
            "media": self.media,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "may_see_payloads": may_see_payloads(request),
            **(extra or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "django_workflow/admin/confirm.html", context)

    def act_on(
        self,
        request: HttpRequest,
        verb: Verb,
        runs: Sequence[Run],
        *,
        title: str,
        back: str,
        extra: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Ask about many runs, or, once that is confirmed, do it to each and list what became of it."""
        is_confirmed = request.method == "POST" and "post" in request.POST
        form = verb.form(request.POST if is_confirmed else None, runs=runs)
        if not is_confirmed or not form.is_valid():
            return self.ask(request, verb, runs, form, title=title, back=back, extra=extra)
        if refusal := self._repeated(request, verb, runs):
            self.message_user(request, self._not_done(verb, refusal), messages.ERROR)
            return HttpResponseRedirect(back)
        outcomes = []
        for run in runs:
            outcome = perform(verb, run, request.user, form.cleaned_data)
            if outcome.is_done:
                self._keep(request, verb, run, form.cleaned_data["why"])
            outcomes.append(outcome)
        return self._told(request, verb, outcomes, back)

    def _told(
        self, request: HttpRequest, verb: Verb, outcomes: list[Outcome], back: str
    ) -> HttpResponse:
        done = sum(outcome.is_done for outcome in outcomes)
        count = {"count": len(outcomes), "done": done, "verb": verb.done}
        context = {
            **self.admin_site.each_context(request),
            "title": ngettext(
                "%(done)d of %(count)d run was %(verb)s",
                "%(done)d of %(count)d runs were %(verb)s",
                len(outcomes),
            )
            % count,
            "outcomes": [
                (
                    outcome,
                    self.run_url(outcome.run_id)
                    if verb.name != "delete" or not outcome.is_done
                    else "",
                    self.run_url(outcome.made) if outcome.made else "",
                )
                for outcome in outcomes
            ],
            "back": back,
            "opts": self.opts,
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "django_workflow/admin/outcome.html", context)

    # The actions of the list

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Add the verbs that the user may use to the actions of the list.

        From Django 6.1 on it is asked for those of a run's page too, where the verbs have buttons of their own.
        """
        place = {} if action_location is None else {"action_location": action_location}
        found: dict[str, Any] = super().get_actions(request, **place)
        if getattr(action_location, "name", "CHANGE_LIST") != "CHANGE_LIST":
            return found
        own = {
            f"{verb.name}_selected": (
                _action_of(verb),
                f"{verb.name}_selected",
                _("%(verb)s selected runs") % {"verb": verb.label},
            )
            for verb in ON_LIST
            if verb.is_allowed(request)
        }
        return {**own, **found}

    def act_on_selected(
        self, request: HttpRequest, verb: Verb, queryset: Any
    ) -> HttpResponse | None:
        """Ask about the selected runs, or do it to them."""
        if not verb.is_allowed(request):
            raise PermissionDenied
        runs = list(queryset[: MOST_AT_ONCE + 1])
        if len(runs) > MOST_AT_ONCE:
            text = _("Select %(most)d runs at most: more are not done while you wait.")
            self.message_user(request, text % {"most": MOST_AT_ONCE}, messages.ERROR)
            return None
        title = ngettext("%(verb)s %(count)d run?", "%(verb)s %(count)d runs?", len(runs))
        return self.act_on(
            request,
            verb,
            runs,
            title=title % {"verb": verb.label, "count": len(runs)},
            back=request.get_full_path(),
            extra={"action": f"{verb.name}_selected", "is_selection": True},
        )


def _may_trigger(request: HttpRequest, run: Run) -> bool:
    """Tell whether the workflow too lets this request trigger it."""
    found = registry.find(run.workflow)
    own = None if found is None else found.options.trigger_permission
    return own is None or bool(resolved(own(request)))


def _action_of(verb: Verb) -> Callable[..., HttpResponse | None]:
    @admin.action(description=verb.label)
    def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        found: HttpResponse | None = model_admin.act_on_selected(request, verb, queryset)
        return found

    return act
