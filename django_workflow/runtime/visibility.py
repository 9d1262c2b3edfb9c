"""Which runs a user of the admin may see: all, unless the project says otherwise."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest

from django_workflow.conf import settings
from django_workflow.core.importable import load
from django_workflow.models import Run


def visible_runs(request: HttpRequest, runs: QuerySet[Run] | None = None) -> QuerySet[Run]:
    """Return those of the runs that ``WORKFLOW["RUN_FILTER"]`` leaves this request's user."""
    found = Run.objects.using(settings().DATABASE) if runs is None else runs
    path = settings().RUN_FILTER
    if path is None:
        return found
    left: QuerySet[Run] = load(path, 'WORKFLOW["RUN_FILTER"]')(request, found)
    return left


def request_of(user_id: str) -> HttpRequest | None:
    """Return a request that holds nothing but a user, for work that goes on without them; None if they may not act any more."""
    model: Any = get_user_model()
    user = model._default_manager.filter(pk=user_id).first()
    if user is None or not user.is_active:
        return None
    request = HttpRequest()
    request.user = user
    return request
