"""The overview: in ten seconds, what is wrong; and a link to the runs behind each figure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.base import may_see_payloads
from django_workflow.admin.overview_charts import UNITS, Flow, Scale, chart_of, flows_of
from django_workflow.admin.run_facets import SPAN_LABELS, Choice, count_in_words, countable
from django_workflow.admin.run_list import RunListAdmin
from django_workflow.admin.seeing import veil_over
from django_workflow.conf import settings
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run
from django_workflow.models.paging import bounded_counts
from django_workflow.models.run_filters import SPANS, RunFilters
from django_workflow.models.run_rates import ended_runs, processes_at_work, steps_lately
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.pulse import Pulse, pulse
from django_workflow.runtime.sweeper import health

MOST_LINES: Final = 20
MOST_GROUPS: Final = 10
USUAL_SPAN: Final = "24h"

#: The tiles: which filter, what it is called, and how it looks.
TILES: Final = (
    (RunFilters(status="running"), gettext_lazy("running"), "running"),
    (RunFilters(status="pending"), gettext_lazy("pending"), "pending"),
    (RunFilters(step="waiting"), gettext_lazy("waiting"), "waiting"),
    (RunFilters(step="sleeping"), gettext_lazy("sleeping"), "sleeping"),
    (RunFilters(step="retrying"), gettext_lazy("retrying"), "retrying"),
    (RunFilters(status="paused"), gettext_lazy("paused"), "paused"),
    (RunFilters(status="failed"), gettext_lazy("failed"), "failed"),
    (RunFilters(status="blocked"), gettext_lazy("blocked"), "blocked"),
    (RunFilters(late="1"), gettext_lazy("due, not begun"), "late"),
)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure, and the list behind it."""

    label: Any
    state: str
    count: str
    url: str
    is_bad: bool


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that was seen at work."""

    name: str
    seen_at: datetime | None


def start_commands() -> list[str]:
    """Return what to type for somebody to look for due work."""
    if settings().DISPATCHER == "embedded":
        return ["python manage.py workflow_dev"]
    if settings().DISPATCHER == "tasks":
        return ["python manage.py workflow_sweep --forever"]
    project = str(getattr(django_settings, "ROOT_URLCONF", None) or "project").partition(".")[0]
    queue = f" -Q {settings().QUEUE}" if settings().QUEUE else ""
    worker = f"celery -A {project} worker -l INFO{queue}"
    return [worker, f"celery -A {project} beat"] if settings().BEAT else [worker]


class OverviewAdmin(RunListAdmin):
    """The page, and its two parts that refresh."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        own = path(
            "overview/",
            self.admin_site.admin_view(self.overview_view),
            name="django_workflow_overview",
        )
        return [own, *super().get_urls()]

    def overview_url(self) -> str:
        """Return where the page is."""
        return reverse(f"{self.admin_site.name}:django_workflow_overview")

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Show the page, or the part of it that is asked for again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        runs = self.get_queryset(request)
        span = request.GET.get("span", "")
        span = span if span in SPANS else USUAL_SPAN
        part = request.GET.get("part", "")
        url = f"{self.overview_url()}?span={span}"
        context: dict[str, Any] = {
            "now_url": f"{url}&part=now",
            "lately_url": f"{url}&part=lately",
            "sound_url": f"{url}&part=sound",
            "may_see_payloads": may_see_payloads(request),
            "list_url": self.list_url(),
            "dead_letters_url": self.dead_letters_url(),  # type: ignore[attr-defined]
        }
        parts = {
            "now": lambda: self._now(runs),
            "lately": lambda: self._lately(request, runs, span),
            "sound": lambda: self._sound(runs),
        }
        # Whether all is sound is a long question with many runs: the page does not wait for its answer.
        for name in [part] if part in parts else ["now", "lately"]:
            context |= parts[name]()
        name = f"partials/_overview_{part}.html" if part in parts else "overview.html"
        if name == "overview.html":
            context |= {
                **self.admin_site.each_context(request),
                "title": _("Overview"),
                "opts": self.opts,
                "media": self.media,
            }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"django_workflow/admin/{name}", context)

    # Now

    def _now(self, runs: QuerySet[Run]) -> dict[str, Any]:
        now = timezone.now()
        asked: dict[Any, QuerySet[Any]] = {
            filters: countable(runs, filters, now) for filters, _label, _state in TILES
        }
        counts = bounded_counts(asked | {"any": runs})
        beat = pulse()
        return {
            "tiles": [
                self._tile(filters, label, state, counts[filters])
                for filters, label, state in TILES
            ],
            "is_empty": not counts["any"],
            "workflows": sorted(workflow.name for workflow in registry)[:5],
            "pulse": beat,
            "due": count_in_words(beat.due),
            "late_url": self.list_url(RunFilters(late="1")),
            "oldest": self._oldest(runs, beat),
            "commands": start_commands() if beat.is_unseen else [],
            "at": timezone.localtime(),
        }

    def _tile(self, filters: RunFilters, label: Any, state: str, count: int) -> Tile:
        return Tile(
            label=label,
            state=state,
            count=count_in_words(count),
            url=self.list_url(filters),
            is_bad=bool(count) and state in ("failed", "blocked", "late"),
        )

    def _oldest(self, runs: QuerySet[Run], beat: Pulse) -> tuple[str, str] | None:
        """Return the run that has been due for longest, as far as this user may see it, and its page."""
        if beat.oldest_due is None:
            return None
        due = Delivery.objects.using(runs.db).due(beat.now)
        if settings().VISIBLE_RUNS is not None:
            due = due.filter(Exists(runs.filter(pk=OuterRef("run"))))
        run_id = due.order_by("due_at").values_list("run_id", flat=True).first()
        return None if run_id is None else (run_id, self.run_url(run_id))  # type: ignore[attr-defined]

    def _sound(self, runs: QuerySet[Run]) -> dict[str, Any]:
        stuck = health().stuck
        seen = runs.filter(pk__in=stuck).values_list("pk", flat=True) if stuck else []
        return {"stuck": [(run_id, self.run_url(run_id)) for run_id in seen], "is_told": True}  # type: ignore[attr-defined]

    # Lately

    def _lately(self, request: HttpRequest, runs: QuerySet[Run], span: str) -> dict[str, Any]:
        now = timezone.now()
        scale = Scale.of(span, SPANS[span], now)
        everything, flows = flows_of(ended_runs(runs, scale.begin, UNITS[span][0]), scale)
        everything.chart = chart_of(everything, scale, width=720, height=110)
        lately = steps_lately(runs)
        at_work = processes_at_work(runs.db, now)
        seen = {name: lately.workers.get(name) for name in {*lately.workers, *at_work}}
        found = dead_letters(runs)
        veil_over(request).groups(found.groups[:MOST_GROUPS])
        return {
            "span": span,
            "span_label": SPAN_LABELS[span],
            "spans": [
                Choice(label=SPAN_LABELS[one], url=f"?span={one}", is_chosen=one == span)
                for one in SPANS
            ],
            "everything": everything,
            "begin": scale.begin,
            "flows": [self._flow_line(flow, scale, span) for flow in flows[:MOST_LINES]],
            "more_flows": max(len(flows) - MOST_LINES, 0),
            "looked_at": lately.runs,
            "times": lately.times[:MOST_LINES],
            "workers": [
                Worker(name=name, seen_at=None if name in at_work else seen[name])
                for name in sorted(seen)
            ],
            "dead": found,
            "groups": [
                (group, self.list_url(RunFilters(error=group.fingerprint)))
                for group in found.groups[:MOST_GROUPS]
            ],
        }

    def _flow_line(self, flow: Flow, scale: Scale, span: str) -> dict[str, Any]:
        flow.chart = chart_of(flow, scale, width=180, height=26)
        ended = RunFilters(workflow=flow.workflow, ended=span)
        return {
            "flow": flow,
            "url": self.list_url(ended),
            "failed_url": self.list_url(
                RunFilters(workflow=flow.workflow, ended=span, status="dead")
            ),
        }
