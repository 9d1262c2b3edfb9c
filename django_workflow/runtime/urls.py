"""Where a workflow answers: its path in the project's urlconf, behind ``BASE_URL``."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.urls import (
    NoReverseMatch,
    URLPattern,
    URLResolver,
    get_resolver,
    get_script_prefix,
    reverse,
    set_script_prefix,
)
from django.urls.exceptions import Resolver404

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.workflow import Workflow

DOOR = "django_workflow:workflow"
WEBHOOK = "django_workflow:webhook"
APPROVAL = "django_workflow:approval"


def url_of(workflow: Workflow[Any, Any]) -> str:
    """Return the URL to which deliveries of this workflow go, or "" where none is known."""
    if workflow.options.url:
        return workflow.options.url
    base = settings().BASE_URL
    path = path_of(workflow) if base else None
    return f"{_without_script_name(base)}{path}" if base and path else ""


def _without_script_name(base: str) -> str:
    """Return BASE_URL without the prefix that paths carry already, where it was given in both places."""
    name = (django_settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    return base.removesuffix(name) if urlsplit(base).path.endswith(name) else base


def required_url_of(workflow: Workflow[Any, Any]) -> str:
    """Return the workflow's URL.

    Raises:
        InvalidOptionError: there is none; the text says what to add.
    """
    url = url_of(workflow)
    if url:
        return url
    if not settings().BASE_URL:
        raise InvalidOptionError(
            f'Workflow "{workflow.name}" runs over http, but WORKFLOW["BASE_URL"] is not set. Set it to the address of '
            'your web servers, or run it inline: @workflow(transport="inline").'
        )
    raise InvalidOptionError(
        f'Workflow "{workflow.name}" runs over http, but no URL leads to it. Add '
        'path("workflows/", include("django_workflow.urls")) to your urlconf, or a path() to the workflow itself.'
    )


def door_url(name: str, token: str) -> str:
    """Return the URL of one of our own views with a token in it.

    Raises:
        InvalidOptionError: there is none; the text says what to add.
    """
    base = settings().BASE_URL
    if not base:
        raise InvalidOptionError(
            'No URL is known for callers from outside: WORKFLOW["BASE_URL"] is not set. Set it to the address of your '
            "web servers."
        )
    previous = get_script_prefix()
    set_script_prefix(django_settings.FORCE_SCRIPT_NAME or "/")
    try:
        path = reverse(name, django_settings.ROOT_URLCONF, args=[token])
    except (NoReverseMatch, Resolver404):
        raise InvalidOptionError(
            'No URL leads to django_workflow\'s own views. Add path("workflows/", include("django_workflow.urls")) to '
            "your urlconf."
        ) from None
    finally:
        set_script_prefix(previous)
    return f"{_without_script_name(base)}{path}"


@cache
def path_of(workflow: Workflow[Any, Any]) -> str | None:
    """Return the workflow's path: the door's, where it is mounted, else that of its own view."""
    # The prefix is the request's or the thread's, and a worker has neither: the setting alone holds everywhere.
    previous = get_script_prefix()
    set_script_prefix(django_settings.FORCE_SCRIPT_NAME or "/")
    try:
        return reverse(DOOR, django_settings.ROOT_URLCONF, args=[workflow.name])
    except (NoReverseMatch, Resolver404):
        return _own_path(get_resolver(django_settings.ROOT_URLCONF), workflow)
    finally:
        set_script_prefix(previous)


def _own_path(resolver: URLResolver, workflow: Workflow[Any, Any]) -> str | None:
    try:
        return reverse(workflow, django_settings.ROOT_URLCONF)
    except NoReverseMatch:
        return _search(resolver, workflow, get_script_prefix())


def _search(resolver: URLResolver, workflow: Workflow[Any, Any], prefix: str) -> str | None:
    for entry in resolver.url_patterns:
        route = str(entry.pattern)
        if "<" in route:
            continue
        if isinstance(entry, URLPattern) and entry.callback is workflow:
            return prefix + route
        if isinstance(entry, URLResolver):
            found = _search(entry, workflow, prefix + route)
            if found is not None:
                return found
    return None


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {"ROOT_URLCONF", "FORCE_SCRIPT_NAME", "WORKFLOW"}:
        path_of.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workflow.urls")
