"""Who waits for which event, and the page on which one is sent by hand."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.base import run_link
from django_workflow.admin.event_form import EventFields
from django_workflow.admin.rows import LONGEST_LOGGED, SteeredAdmin
from django_workflow.admin.seeing import OfVisibleRuns
from django_workflow.admin.why import WhyForm, logged
from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.anywhere import get_waiters
from django_workflow.core.events import EventWaiter
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.importable import load
from django_workflow.core.types import StepKind
from django_workflow.models import Step, Waiter
from django_workflow.runtime.steering import Sent, send_to_all
from django_workflow.runtime.visibility import visible_runs

PERMISSION = "django_workflow.notify_run"
MOST_SHOWN = 100
#: Before the names of the fields of the wait's own form.
PREFIX = "data"


class NotifyForm(EventFields, WhyForm):
    """Which event, with what, and why."""

    keep = forms.BooleanField(
        label=gettext_lazy("Keep it if nobody waits for it yet"),
        required=False,
        initial=True,
    )


def own_form(event_id: str, data: Any = None) -> forms.BaseForm | None:
    """Return the form that all who wait for an event have asked for; None where there is not exactly one."""
    waiting = Waiter.objects.using(settings().DATABASE).present_for(event_id, None)
    schemas = list(waiting.order_by().values_list("schema", flat=True).distinct()[:2])
    if len(schemas) != 1 or not schemas[0]:
        return None
    try:
        made: Any = load(schemas[0], "schema")
        if not (isinstance(made, type) and issubclass(made, forms.BaseForm)):
            return None
        return made(data, prefix=PREFIX)
    except Exception:  # the door of user code: JSON does as well
        return None


def raw_of(form: forms.BaseForm) -> dict[str, Any]:
    """Return what was filled in, as texts: the run's own form cleans it again when the event is matched."""
    found = {}
    for name, field in form.fields.items():
        value = field.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
        found[name] = value
    return found


@admin.register(Waiter)
class WaiterAdmin(OfVisibleRuns, SteeredAdmin):
    """Steps that wait for events; those of approvals and webhooks have lists of their own."""

    panel = "django_workflow/admin/partials/_waiter.html"
    list_display = ("event", "run_link", "step", "since", "until")
    list_display_links = None
    search_fields = ("event_id__startswith", "run_id__startswith")
    search_help_text = gettext_lazy("The beginning of an event's or a run's ID")
    ordering = ("created_at", "id")
    change_list_template = "django_workflow/admin/waiters.html"
    empty_text = gettext_lazy(
        "Nobody waits for an event. Runs do with ctx.wait_for_event(); one that is sent now is kept for them."
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the page on which an event is sent."""
        own = path(
            "notify/",
            self.admin_site.admin_view(self.notify_view),
            name="django_workflow_waiter_notify",
        )
        return [own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return those whose event has not come, with what their steps tell."""
        found: Any = super().get_queryset(request)
        steps = Step.objects.using(settings().DATABASE).filter(
            run_id=OuterRef("run_id"), key=OuterRef("step_key")
        )
        waiting: QuerySet[Any] = found.open().annotate(
            step_name=Subquery(steps.values("name")),
            step_kind=Subquery(steps.values("kind")),
            wake_at=Subquery(steps.values("wake_at")),
        )
        return waiting.filter(step_kind=StepKind.WAIT_FOR_EVENT)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, with a way to send an event for those who may."""
        context = dict(extra_context or {})
        if request.user.has_perm(PERMISSION):
            context["notify_url"] = self.url_of("notify")
        return super().changelist_view(request, context)

    @admin.display(description=gettext_lazy("event"), ordering="event_id")
    def event(self, row: Waiter) -> SafeString | str:
        """Return the event, as a link to what is known of the wait."""
        url = self.url_of("change", row.pk)
        return format_html('<a href="{}">{}</a>', url, row.event_id)

    @admin.display(description=gettext_lazy("step"))
    def step(self, row: Any) -> str:
        """Return the step's name."""
        return str(row.step_name)

    @admin.display(description=gettext_lazy("since"), ordering="created_at")
    def since(self, row: Waiter) -> str:
        """Return since when it waits."""
        return _time(row.created_at)

    @admin.display(description=gettext_lazy("until"), ordering="wake_at")
    def until(self, row: Any) -> str:
        """Return until when it waits."""
        return _time(row.wake_at) if row.wake_at else "-"

    def panel_of(self, request: HttpRequest, row: Waiter) -> dict[str, Any]:
        """Return what the page of one shows."""
        may_notify = request.user.has_perm(PERMISSION)
        return {
            "run": run_link(row.run_id, self.admin_site.name),
            "title": row.event_id,
            "notify_url": f"{self.url_of('notify')}?{urlencode({'event_id': row.event_id})}"
            if may_notify
            else "",
        }

    # Sending

    def notify_view(self, request: HttpRequest) -> HttpResponse:
        """Ask which event is sent, show whom it would reach, and send it once that was seen."""
        if not self.has_view_permission(request) or not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        asked = request.GET.get("event_id", "")
        if request.method != "POST":
            form = NotifyForm(None)
            form.initial["event_id"] = asked
            return self._ask(request, form, asked, own_form(asked) if asked else None)
        form = NotifyForm(request.POST)
        event_id = request.POST.get("event_id", "")
        own = own_form(event_id, request.POST) if "own" in request.POST else None
        if not form.is_valid() or (own is not None and not own.is_valid()):
            return self._ask(request, form, event_id, own)
        # Whom it reaches is shown first, and again where the id is another one by now.
        if request.POST.get("seen") != event_id:
            if own is None and "own" not in request.POST:
                own = own_form(event_id)
            return self._ask(request, form, event_id, own)
        data = form.cleaned_data["event_data"] if own is None else raw_of(own)
        try:
            sent = send_to_all(
                event_id,
                data,
                keep=form.cleaned_data["keep"],
                actor=Actor.of(request.user, door="admin"),
                why=form.cleaned_data["why"],
            )
        except WorkflowError as error:
            form.add_error(None, str(error))
            return self._ask(request, form, event_id, own)
        self._keep(request, sent, form.cleaned_data["why"])
        return HttpResponseRedirect(self.url_of("changelist"))

    def _ask(self, request: HttpRequest, form: NotifyForm, event_id: str, own: Any) -> HttpResponse:
        site = self.admin_site.name
        reached, others = [], 0
        if event_id and "event_id" not in form.errors:
            waiting = get_waiters(event_id)
            shown = self._seen(request, waiting[:MOST_SHOWN])
            reached = [
                (run_link(one.run.pk, site), one.run.workflow, one.step, one.since, one.until)
                for one in shown
            ]
            others = len(waiting) - len(shown)
        if own is not None:
            del form.fields["event_data"]
        context = self.page_context(
            request,
            title=_("Send an event"),
            form=form,
            own=own,
            fields=None if own is None else own.as_div(),
            event_id=event_id,
            reached=reached,
            others=others,
            count=len(reached) + others,
            is_seen=bool(event_id) and "event_id" not in form.errors,
            back=self.url_of("changelist"),
        )
        status = 422 if form.errors or (own is not None and own.errors) else 200
        return TemplateResponse(
            request, "django_workflow/admin/notify.html", context, status=status
        )

    def _seen(self, request: HttpRequest, waiting: list[EventWaiter]) -> list[EventWaiter]:
        ids = [one.run.pk for one in waiting]
        seen = set(visible_runs(request).filter(pk__in=ids).values_list("pk", flat=True))
        return [one for one in waiting if one.run.pk in seen]

    def _keep(self, request: HttpRequest, sent: Sent, why: str) -> None:
        event, reached = sent.event, sent.event.reached or 0
        told = ngettext(
            "Event “%(event)s” was sent and reached %(count)d run.",
            "Event “%(event)s” was sent and reached %(count)d runs.",
            reached,
        ) % {"event": event.event_id, "count": reached}
        if not reached:
            told = _("Event “%(event)s” was sent; nobody took it yet.") % {"event": event.event_id}
        self.message_user(request, told, messages.SUCCESS)
        self.log_change(request, event, logged(told, why, " ")[:LONGEST_LOGGED])


def _time(moment: Any) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
