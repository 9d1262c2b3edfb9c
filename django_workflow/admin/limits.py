"""Flow control keys: who stands in line, and the limits, changed while runs are alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.base import badge, run_link
from django_workflow.admin.rows import RowVerb, SteeredAdmin
from django_workflow.admin.seeing import of_visible_runs
from django_workflow.admin.why import WhyForm
from django_workflow.conf import settings
from django_workflow.core.anywhere import flow_control
from django_workflow.core.durations import format_duration, parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.singleton_lines import RUN_ITSELF, is_line
from django_workflow.models import FlowKey, FlowTicket
from django_workflow.runtime.steering import steer_key

LINE_SHOWN = 50
MOST = 2_147_483_647


class LimitsForm(WhyForm):
    """The limits of a key."""

    parallelism = forms.IntegerField(
        label=gettext_lazy("At once"),
        required=False,
        min_value=1,
        max_value=MOST,
        help_text=gettext_lazy("How many bodies run at the same time; empty for no limit."),
    )
    rate = forms.IntegerField(
        label=gettext_lazy("In a period"),
        required=False,
        min_value=1,
        max_value=MOST,
        help_text=gettext_lazy("How many bodies begin in a period; empty for no limit."),
    )
    period = forms.CharField(
        label=gettext_lazy("Period"),
        max_length=40,
        help_text=gettext_lazy('As "1s", "5m" or "2h".'),
    )
    field_order = ["parallelism", "rate", "period", "why"]

    def __init__(self, data: Any = None, *, row: Any = None, is_grave: bool = False) -> None:
        super().__init__(data, row=row, is_grave=is_grave)
        if row is not None:
            self.initial = {
                "parallelism": row.parallelism,
                "rate": row.rate,
                "period": format_duration(timedelta(milliseconds=row.period_ms)),
            }

    def clean_period(self) -> timedelta:
        """Read the duration."""
        try:
            return parse_duration(self.cleaned_data["period"])
        except InvalidOptionError as error:
            raise forms.ValidationError(str(error)) from error


def _steered(verb: str) -> Any:
    def do(row: FlowKey, by: Any, given: dict[str, Any]) -> None:
        steer_key(row.pk, verb, actor=by, why=given["why"])

    return do


def _set(row: FlowKey, by: Any, given: dict[str, Any]) -> None:
    limits = {name: given[name] for name in ("parallelism", "rate", "period")}
    steer_key(row.pk, "set", actor=by, why=given["why"], **limits)


def _unless_line(row: FlowKey) -> str:
    """Refuse what has no meaning for the line of a singleton."""
    return _("It is the line of a singleton: one run at a time.") if is_line(row.pk) else ""


PERMISSION = "change_flowkey"
VERBS = (
    RowVerb(
        name="set",
        label=gettext_lazy("Change limits"),
        question=gettext_lazy("Change the limits of this key?"),
        tells=gettext_lazy(
            "They hold at once, and are pinned: what the code says counts again when the key is unpinned."
        ),
        done=gettext_lazy("given other limits"),
        permission=PERMISSION,
        do=_set,
        form=LimitsForm,
        refusal=_unless_line,
    ),
    RowVerb(
        name="pause",
        label=gettext_lazy("Pause"),
        question=gettext_lazy("Pause this key?"),
        tells=gettext_lazy("Nothing begins under it until it is resumed. What runs goes on."),
        done=gettext_lazy("paused"),
        permission=PERMISSION,
        do=_steered("pause"),
        refusal=lambda row: _("It is paused already.") if row.paused else "",
    ),
    RowVerb(
        name="resume",
        label=gettext_lazy("Resume"),
        question=gettext_lazy("Resume this key?"),
        tells=gettext_lazy("The line moves on."),
        done=gettext_lazy("resumed"),
        permission=PERMISSION,
        do=_steered("resume"),
        refusal=lambda row: "" if row.paused else _("It is not paused."),
    ),
    RowVerb(
        name="pin",
        label=gettext_lazy("Pin"),
        question=gettext_lazy("Pin the limits of this key?"),
        tells=gettext_lazy("They stay as they are, whatever the code says."),
        done=gettext_lazy("pinned"),
        permission=PERMISSION,
        do=_steered("pin"),
        refusal=lambda row: _unless_line(row) or (_("It is pinned already.") if row.pinned else ""),
    ),
    RowVerb(
        name="unpin",
        label=gettext_lazy("Unpin"),
        question=gettext_lazy("Unpin the limits of this key?"),
        tells=gettext_lazy(
            "The limits in the code hold again, from the next time that it names them."
        ),
        done=gettext_lazy("unpinned"),
        permission=PERMISSION,
        do=_steered("unpin"),
        refusal=lambda row: _unless_line(row) or ("" if row.pinned else _("It is not pinned.")),
    ),
    RowVerb(
        name="reset",
        label=gettext_lazy("Reset"),
        question=gettext_lazy("Reset this key?"),
        tells=gettext_lazy(
            "What has begun in the period is forgotten, and the key is resumed and unpinned. Who stands in line stays there."
        ),
        done=gettext_lazy("reset"),
        permission=PERMISSION,
        do=_steered("reset"),
        is_grave=True,
        refusal=_unless_line,
    ),
)


@admin.register(FlowKey)
class FlowKeyAdmin(SteeredAdmin):
    """The limits, and the lines before them."""

    verbs = VERBS
    panel = "django_workflow/admin/partials/_limit.html"
    list_display = ("key", "state", "limits", "in_line", "holds")
    search_fields = ("key__startswith",)
    search_help_text = gettext_lazy("The beginning of a key")
    ordering = ("key",)
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = gettext_lazy(
        "No flow control yet. Give a workflow one with @workflow(flow_control=FlowControl(…)); keys are listed once they are used."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count who waits and who holds, in the same query."""
        tickets = FlowTicket.objects.using(settings().DATABASE).filter(flow_key=OuterRef("pk"))

        def count(of: Any) -> Coalesce:
            counted = of.order_by().values("flow_key").annotate(n=Count("pk")).values("n")
            return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

        found: Any = super().get_queryset(request)
        counted: QuerySet[Any] = found.annotate(
            waiting=count(tickets.waiting()),
            held=count(tickets.exclude(state=FlowTicket.State.WAITING)),
        )
        return counted

    @admin.display(description=gettext_lazy("state"), ordering="paused")
    def state(self, row: FlowKey) -> SafeString:
        """Return whether anything begins under it."""
        return badge("paused", _("paused")) if row.paused else badge("completed", _("open"))

    @admin.display(description=gettext_lazy("limits"))
    def limits(self, row: FlowKey) -> str:
        """Return the limits in words."""
        if is_line(row.pk):
            return _("singleton: one run at a time")
        parts = []
        if row.parallelism is not None:
            parts.append(_("%(count)d at once") % {"count": row.parallelism})
        if row.rate is not None:
            period = format_duration(timedelta(milliseconds=row.period_ms))
            parts.append(_("%(count)d in %(period)s") % {"count": row.rate, "period": period})
        if row.pinned:
            parts.append(_("pinned"))
        return ", ".join(parts) or _("no limit")

    @admin.display(description=gettext_lazy("in line"), ordering="waiting")
    def in_line(self, row: Any) -> int:
        """Return how many wait."""
        return int(row.waiting)

    @admin.display(description=gettext_lazy("at work"), ordering="held")
    def holds(self, row: Any) -> int:
        """Return how many hold a slot, or were given one."""
        return int(row.held)

    def describe(self, row: FlowKey) -> str:
        """Return how it stands."""
        state = _("paused") if row.paused else _("open")
        return f"{state}, {self.limits(row)}"

    def panel_of(self, request: HttpRequest, row: FlowKey) -> dict[str, Any]:
        """Return what its page shows."""
        tickets = FlowTicket.objects.using(settings().DATABASE).filter(flow_key=row.pk)
        line = of_visible_runs(request, tickets).order_by("-priority", "id")[:LINE_SHOWN]
        site = self.admin_site.name
        return {
            "standing": flow_control(row.pk).state(),
            "limits": self.limits(row),
            "is_singleton": is_line(row.pk),
            "run_itself": RUN_ITSELF,
            "line": [(ticket, run_link(ticket.run_id, site)) for ticket in line],
        }
