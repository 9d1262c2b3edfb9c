"""Schedules: when they fire next, what they left out, and what can be done about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.base import badge, run_link
from django_workflow.admin.rows import RowVerb, SteeredAdmin
from django_workflow.admin.schedule_words import fires_in_words
from django_workflow.admin.seeing import Veiled
from django_workflow.conf import settings
from django_workflow.core.workflow import registry
from django_workflow.models import Schedule, ScheduledRun
from django_workflow.runtime.steering import steer_schedule
from django_workflow.runtime.visibility import sees_all_runs, visible_runs

FIRES_SHOWN = 10
RUNS_SHOWN = 20
#: More missed slots are not counted one by one.
MOST_MISSED = 100


def _steered(verb: str) -> Any:
    def do(row: Schedule, by: Any, given: dict[str, Any]) -> Any:
        run = steer_schedule(row.pk, verb, actor=by, why=given["why"])
        return None if run is None else run.pk

    return do


def _refuse_run(row: Schedule) -> str:
    if registry.find(row.workflow) is None:
        return _("This process knows no workflow named %(name)s.") % {"name": row.workflow}
    return ""


PERMISSION = "change_schedules"
VERBS = (
    RowVerb(
        name="run_now",
        label=gettext_lazy("Run now"),
        question=gettext_lazy("Run this schedule now?"),
        tells=gettext_lazy(
            "A run begins at once, besides the slots and whatever overlaps. The next slot stays as it is."
        ),
        done=gettext_lazy("run now"),
        permission=PERMISSION,
        do=_steered("run_now"),
        refusal=_refuse_run,
    ),
    RowVerb(
        name="pause",
        label=gettext_lazy("Pause"),
        question=gettext_lazy("Pause this schedule?"),
        tells=gettext_lazy(
            "No slot is fired until it is resumed, and those of the pause are not made up for. Runs that were started go on."
        ),
        done=gettext_lazy("paused"),
        permission=PERMISSION,
        do=_steered("pause"),
        refusal=lambda row: _("It is paused already.") if row.is_paused else "",
    ),
    RowVerb(
        name="resume",
        label=gettext_lazy("Resume"),
        question=gettext_lazy("Resume this schedule?"),
        tells=gettext_lazy(
            "It fires again, from the next slot on. Those of the pause are not made up for."
        ),
        done=gettext_lazy("resumed"),
        permission=PERMISSION,
        do=_steered("resume"),
        refusal=lambda row: "" if row.is_paused else _("It is not paused."),
    ),
    RowVerb(
        name="remove",
        label=gettext_lazy("Delete"),
        question=gettext_lazy("Delete this schedule?"),
        tells=gettext_lazy("It fires no more. Runs that it started stay and go on."),
        done=gettext_lazy("deleted"),
        permission=PERMISSION,
        do=_steered("delete"),
        refusal=lambda row: (
            _("It is declared in code, and is taken out there.") if row.is_declared else ""
        ),
        is_grave=True,
    ),
)


class PausedFilter(admin.SimpleListFilter):
    """Those that fire, and those that are held."""

    title = gettext_lazy("state")
    parameter_name = "paused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer both."""
        return [("no", _("fires")), ("yes", _("paused"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the chosen ones."""
        wanted = self.value()
        return queryset.filter(is_paused=wanted == "yes") if wanted else queryset


@admin.register(Schedule)
class ScheduleAdmin(Veiled, SteeredAdmin):
    """What the clock starts."""

    verbs = VERBS
    panel = "django_workflow/admin/partials/_schedule.html"
    list_display = ("id", "state", "workflow", "in_words", "next_fire", "last", "skipped")
    list_filter = (PausedFilter,)
    search_fields = ("id__startswith", "workflow__startswith")
    search_help_text = gettext_lazy("The beginning of a schedule's ID or of a workflow's name")
    ordering = ("id",)
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = gettext_lazy(
        'No schedules yet. Declare one with @workflow(schedule="0 9 * * *"), or make one with workflow.schedule().'
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Tell of each, where runs are hidden, whether its last run is one that the user may see."""
        found: QuerySet[Any] = super().get_queryset(request)
        if sees_all_runs(request):
            return found
        seen = visible_runs(request).filter(pk=OuterRef("last_run_id"))
        marked: QuerySet[Any] = found.annotate(is_last_seen=Exists(seen))
        return marked

    @admin.display(description=gettext_lazy("state"), ordering="is_paused")
    def state(self, row: Schedule) -> SafeString:
        """Return whether it fires, and what stands in its way."""
        mark = badge("paused", _("paused")) if row.is_paused else badge("completed", _("fires"))
        return format_html('{}<span class="dw-why">{}</span>', mark, row.note) if row.note else mark

    @admin.display(description=gettext_lazy("fires"))
    def in_words(self, row: Schedule) -> str:
        """Return when it fires, in plain words."""
        return fires_in_words(row)

    @admin.display(description=gettext_lazy("next"), ordering="slot_at")
    def next_fire(self, row: Schedule) -> str:
        """Return the next slot, in the reader's time."""
        return "-" if row.is_paused else _time(row.slot_at)

    @admin.display(description=gettext_lazy("last run"))
    def last(self, row: Schedule) -> SafeString | str:
        """Return a link to the run of the last slot."""
        is_there = row.last_run_id and getattr(row, "is_last_seen", True)
        return run_link(row.last_run_id, self.admin_site.name) if is_there else "-"

    def describe(self, row: Schedule) -> str:
        """Return how it stands."""
        return _("paused") if row.is_paused else _("fires")

    def panel_of(self, request: HttpRequest, row: Schedule) -> dict[str, Any]:
        """Return what its page shows."""
        now = timezone.now()
        ids = _run_ids(row)
        runs = visible_runs(request).filter(pk__in=ids)
        found = runs.only("id", "workflow", "status", "created_at", "started_at", "finished_at")
        return {
            "description": fires_in_words(row),
            "fires": row.next_fires(FIRES_SHOWN),
            "missed": missed(row, now),
            "runs": [
                (run, run_link(run.pk, self.admin_site.name))
                for run in found.order_by("-created_at", "id")
            ],
        }


def _run_ids(row: Schedule) -> list[str]:
    started = ScheduledRun._default_manager.using(settings().DATABASE)
    found = started.filter(schedule_id=row.pk).order_by("-slot_at")
    return list(found.values_list("run_id", flat=True)[:RUNS_SHOWN])


def missed(row: Schedule, now: datetime) -> str:
    """Return how many slots have come and were not fired, in words; empty for none."""
    if row.is_paused or row.due_at is None or row.due_at > now:
        return ""
    come = 1 + len(row.plan.slots_between(row.slot_at, now, MOST_MISSED))
    if come > MOST_MISSED:
        return _("More than %(count)d slots have come and were not fired.") % {"count": MOST_MISSED}
    return ngettext(
        "%(count)d slot has come and was not fired yet.",
        "%(count)d slots have come and were not fired yet.",
        come,
    ) % {"count": come}


def _time(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
