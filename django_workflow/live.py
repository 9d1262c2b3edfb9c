"""How far a run is, on the project's own pages: what the tag ``workflow_live`` shows, and fetches until the run has ended.

Nothing internal is told: no payload, step, reason or error. Who may follow a run says ``WORKFLOW["MAY_FOLLOW"]``; without
it, nobody may.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import load
from django_workflow.core.plain import plain
from django_workflow.models import Run

TEMPLATE = "django_workflow/live.html"
#: htmx asks no more when it reads this status.
STOP_ASKING = 286


@login_not_required
@require_safe
def live(request: HttpRequest, run_id: str) -> HttpResponse:
    """Show how far a run is, to whom the project lets follow it.

    Answers 304 to who has it, and 204 to htmx where nothing has changed since: what is on the page stays.
    """
    run = find(run_id)
    if run is None or not may_follow(request, run):
        if request.headers.get("HX-Request"):
            # The run is gone, or the session is over: what the page shows stays, and is not asked for again.
            return HttpResponse(status=STOP_ASKING, headers={"HX-Reswap": "none"})
        raise Http404
    mark = _mark(run)
    response = HttpResponse(status=204)
    if request.GET.get("seen") != mark:
        response = HttpResponse(shown(request, run))
    etag = f'"{mark}"'
    response.headers["ETag"] = etag
    patch_cache_control(response, private=True, no_cache=True)
    patch_vary_headers(response, ["Accept-Language", "Cookie"])
    found: Any = get_conditional_response(request, etag=etag, response=response)
    return found  # type: ignore[no-any-return]


def find(run_id: str) -> Run | None:
    """Return the run with this ID."""
    if not run_id.isprintable():
        return None
    return Run.objects.using(settings().DATABASE).filter(pk=run_id).first()


def may_follow(request: Any, run: Run) -> bool:
    """Tell whether the project lets whoever asks follow this run.

    Raises:
        ImproperlyConfigured: ``WORKFLOW["MAY_FOLLOW"]`` cannot be imported.
    """
    path = settings().MAY_FOLLOW
    if path is None:
        return False
    try:
        allows = load(path, 'WORKFLOW["MAY_FOLLOW"]')
    except InvalidOptionError as error:
        raise ImproperlyConfigured(str(error)) from error
    # Exactly True: a coroutine or an object is no permission.
    return allows(request, run) is True


def shown(request: Any, run: Run) -> str:
    """Return the fragment of a run.

    Raises:
        ImproperlyConfigured: no URL leads to what it fetches.
    """
    progress = run.progress
    context = {
        "run_id": run.id,
        "status": str(run.status),
        "status_label": run.get_status_display(),
        "is_finished": run.is_finished,
        "progress": None if progress is None else progress.to_json(),
        "state": plain(run.state_text),
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "live_url": None if run.is_finished else _url(run),
    }
    return render_to_string(TEMPLATE, context, request=request)


def _url(run: Run) -> str:
    try:
        url = reverse("django_workflow:live", args=[run.id])
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            'No URL leads to the live view of runs: path("workflows/", include("django_workflow.urls")).'
        ) from error
    return f"{url}?{urlencode({'seen': _mark(run)})}"


def _mark(run: Run) -> str:
    facts = [run.id, run.status, run.is_finished, run.progress_text, run.state_text, get_language()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
