"""A partner far away, who is slow and often busy; played by this very site."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse, JsonResponse

from django_workflow.conf import settings

SECONDS = 2.0
IN_STOCK = 7

#: The requests that have been sent away once, by their idempotency keys.
_sent_away: set[str] = set()


def url_for(sku: str) -> str:
    """Return where the partner is asked for this article."""
    return f"{settings().BASE_URL}/partner/{sku}/"


def stock_at_the_partner(request: HttpRequest, sku: str) -> HttpResponse:
    """Answer "busy, come back in a second" first, and after two seconds of thought when asked again."""
    key = request.headers.get("Idempotency-Key", "")
    if key not in _sent_away:
        _sent_away.add(key)
        return HttpResponse("Busy.", status=503, headers={"Retry-After": "1"})
    time.sleep(SECONDS)
    return JsonResponse({"sku": sku, "in_stock": IN_STOCK})
