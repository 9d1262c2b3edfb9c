"""Which runs are there for whoever asks: those that the project's callable leaves."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import load
from django_workflow.models import Run, RunQuerySet


def visible_runs(request: Any, found: RunQuerySet | None = None) -> RunQuerySet:
    """Return those of the runs that are there for this request; all of them where the project says nothing.

    Raises:
        ImproperlyConfigured: ``WORKFLOW["VISIBLE_RUNS"]`` cannot be imported, or returned something else than runs.
    """
    rows = Run.objects.using(settings().DATABASE) if found is None else found
    path = settings().VISIBLE_RUNS
    if path is None:
        return rows
    try:
        leave = load(path, 'WORKFLOW["VISIBLE_RUNS"]')
    except InvalidOptionError as error:
        raise ImproperlyConfigured(str(error)) from error
    left = leave(request, rows)
    # None, or a list, would fail later and say nothing of the reason.
    if not isinstance(left, RunQuerySet):
        raise ImproperlyConfigured(
            f'WORKFLOW["VISIBLE_RUNS"], {path}, must return the queryset that it was given, filtered, not {left!r}.'
        )
    return left


def sees_all_runs(request: Any) -> bool:
    """Tell whether nothing is hidden from this request: the callable has returned the very queryset it was given."""
    rows: RunQuerySet = Run.objects.using(settings().DATABASE)
    return visible_runs(request, rows) is rows


def request_of(user_id: str) -> HttpRequest | None:
    """Return a request that holds nothing but a user, for work that goes on without them; None if they may not act any more."""
    model: Any = get_user_model()
    user = model._default_manager.filter(pk=user_id).first()
    if user is None or not user.is_active:
        return None
    request = HttpRequest()
    request.user = user
    return request
