"""The page of a run, and what it leads to: a step, its values, the run's history, and the code against the journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from django_workflow.admin.base import may_see_payloads, object_link, run_link
from django_workflow.admin.history import history_of
from django_workflow.admin.seeing import linked, veil_over
from django_workflow.admin.step_page import step_of, stored_value
from django_workflow.admin.story import story_of
from django_workflow.admin.timeline import closer, zoomed
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.types import RunStatus
from django_workflow.models import Generation, Run, Sweep
from django_workflow.models.around import around
from django_workflow.runtime.comparing import compare
from django_workflow.runtime.sweeper import SILENCE
from django_workflow.runtime.veils import Veil

EVENTS_PER_PAGE = 500
VALUES = ("payload", "headers", "result", "state", "step")
#: What of the address belongs to what is shown, and goes along while the page follows the run.
KEPT = ("steps", "zoom", "fold")


def page_context(model_admin: Any, request: HttpRequest, run: Run) -> dict[str, Any]:
    """Return what the page of a run shows."""
    site, asked = model_admin.admin_site.name, request.GET
    is_folded = asked.get("fold") != "0"
    # Once more, with what its reason and its verbs look at.
    found = Run.objects.using(run._state.db).with_reason().filter(pk=run.pk)
    run = found.first() or run
    veil = veil_over(request, run)
    story = story_of(
        veil.row(run),
        asked.get("steps"),
        run_url=model_admin.run_url,
        veil=veil,
        zoom=asked.get("zoom"),
        fold=is_folded,
    )
    sees = may_see_payloads(request)
    context = {
        "story": story,
        "children": [run_link(child.pk, site) for child in story.children],
        "restarts": [run_link(run_id, site) for run_id in story.restarts],
        "verbs": model_admin.verbs_of(request, run),
        "may_see_payloads": sees,
        "title": _("Run of %(workflow)s") % {"workflow": run.workflow},
        "subtitle": run.id,
        "urls": {name: model_admin.run_url(run.pk, name) for name in ("step", "value", "happened")},
        "views": _views(asked, is_folded),
        "is_folded": is_folded,
        "nobody_looks": _nobody_looks(run),
    }
    if run.status == RunStatus.BLOCKED and sees:
        context["compare_url"] = model_admin.run_url(run.pk, "compare")
    if not run.is_finished:
        query = urlencode({name: asked[name] for name in KEPT if asked.get(name)})
        context["live_url"] = (
            f"{model_admin.run_url(run.pk, 'story')}{f'?{query}' if query else ''}"
        )
    return context | _relations(run, veil, site)


def _relations(run: Run, veil: Veil, site: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if run.about_type is not None and run.about_id is not None:
        found["about"] = object_link(run.about_type, run.about_id, site)
    if run.parent_id:
        found["parent"] = linked(run.parent_id, veil, site)
    if run.restarted_from_id:
        found["restarted_from"] = linked(run.restarted_from_id, veil, site)
    if run.schedule_id:
        found["schedule"] = _schedule_link(run.schedule_id, site)
    if run.generation:
        past = Generation.objects.using(run._state.db).filter(run_id=run.pk)
        found["generations"] = list(past.defer("payload_text").order_by("-number")[:20])
    return found


def _schedule_link(schedule_id: str, site: str) -> Any:
    try:
        url = reverse(f"{site}:django_workflow_schedule_change", args=[quote(schedule_id)])
    except NoReverseMatch:
        return schedule_id
    return format_html('<a href="{}">{}</a>', url, schedule_id)


def _nobody_looks(run: Run) -> bool:
    """Tell whether something of the run is due, and no worker has looked for due work for long."""
    now = timezone.now()
    late = (one.due_at for one in around(run, "deliveries") if one.due_at and not one.leased_by)
    if run.is_finished or all(now - due_at < SILENCE for due_at in late):
        return False
    return not Sweep.objects.using(run._state.db).filter(swept_at__gt=now - SILENCE).exists()


def _views(asked: Any, is_folded: bool) -> dict[str, str]:
    """Return where the controls of the timeline lead, by name."""
    base = {name: asked[name] for name in KEPT if asked.get(name)}
    moves = {
        name: _query({**base, "zoom": zoom})
        for name, zoom in closer(zoomed(asked.get("zoom"))).items()
    }
    if asked.get("zoom"):
        moves["all"] = _query({**base, "zoom": ""})
    moves["fold"] = _query({**base, "fold": "0" if is_folded else ""})
    return moves


def _query(values: dict[str, str]) -> str:
    return "?" + urlencode({name: value for name, value in values.items() if value})


class RunPages:
    """The addresses below the page of a run, for an admin of runs."""

    admin_site: Any
    get_object: Any
    has_view_permission: Any
    run_url: Any
    verbs_of: Any
    opts: Any
    media: Any

    def run_page_urls(self) -> list[URLPattern]:
        """Return them."""
        views: dict[str, Callable[..., HttpResponse]] = {
            "step": self.step_view,
            "value": self.value_view,
            "happened": self.happened_view,
            "compare": self.compare_view,
        }
        return [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"django_workflow_run_{name}",
            )
            for name, view in views.items()
        ]

    def _run(self, request: HttpRequest, object_id: str, *, needs_payloads: bool = False) -> Run:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if needs_payloads and not may_see_payloads(request):
            raise PermissionDenied
        run: Run | None = self.get_object(request, unquote(object_id))
        if run is None:
            raise Http404
        return run

    def _page(
        self, request: HttpRequest, run: Run, template: str, title: str, context: dict[str, Any]
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {
            **self.admin_site.each_context(request),
            "run": run,
            "run_url": self.run_url(run.pk),
            "title": title,
            "crumb": title,
            "opts": self.opts,
            "media": self.media,
            "may_see_payloads": may_see_payloads(request),
            "urls": {name: self.run_url(run.pk, name) for name in ("step", "value", "happened")},
        }
        return TemplateResponse(
            request, f"django_workflow/admin/{template}.html", {**shared, **context}
        )

    def step_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a step: alone, or, where a script asks, beside the timeline."""
        run = self._run(request, object_id)
        found = step_of(
            run,
            request.GET.get("key", ""),
            sees=may_see_payloads(request),
            veil=veil_over(request, run),
        )
        if found is None:
            raise Http404
        key = urlencode({"step": found.line.step.key})
        allowed = {one["verb"].name: one for one in self.verbs_of(request, run)}
        verbs = [
            {**allowed[name], "url": f"{allowed[name]['url']}?{key}"}
            for name in found.verbs
            if name in allowed
        ]
        template = "partials/_step" if request.headers.get("HX-Request") == "true" else "step"
        context = {"found": found, "line": found.line, "step_verbs": verbs}
        return self._page(request, run, template, found.line.step.key, context)

    def value_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send a value whole, as JSON and with its secrets hidden, to be kept."""
        run = self._run(request, object_id, needs_payloads=True)
        what, key = request.GET.get("of", ""), request.GET.get("key", "")
        if what not in VALUES:
            raise Http404
        found = stored_value(run, what, key)
        if found is None:
            raise Http404
        text = json.dumps(found.value, indent=2, ensure_ascii=False)
        response = HttpResponse(text, content_type="application/json; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{what}.json"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def happened_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show everything that has happened to a run in the order of time, or send it as JSON."""
        run = self._run(request, object_id)
        sees = may_see_payloads(request)
        happened = history_of(run, sees=sees, veil=veil_over(request, run))
        if request.GET.get("format") == "json":
            text = json.dumps([one.to_json() for one in happened], indent=2, ensure_ascii=False)
            response = HttpResponse(text, content_type="application/json; charset=utf-8")
            response["Content-Disposition"] = 'attachment; filename="history.json"'
            response["X-Content-Type-Options"] = "nosniff"
            return response
        page = Paginator(happened, EVENTS_PER_PAGE).get_page(request.GET.get("p"))
        return self._page(request, run, "happened", _("History"), {"page": page})

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the code of this process asks for, against what was recorded. Nothing is executed or written."""
        run = self._run(request, object_id, needs_payloads=True)
        try:
            found, trouble = compare(run.pk), ""
        except WorkflowError as error:
            found, trouble = None, str(error)
        context = {"comparison": found, "trouble": trouble}
        return self._page(request, run, "compare", _("Code against journal"), context)
