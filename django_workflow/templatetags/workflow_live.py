"""``{% load workflow_live %}{% workflow_live run %}``: how far a run is, on a page of the project's own."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from django_workflow.live import find, may_follow, shown
from django_workflow.models import Run

register = template.Library()

#: It pauses in a hidden tab; without it, the page asks on.
SCRIPT = "django_workflow/follow.js"


@register.simple_tag(takes_context=True)
def workflow_live(context: Any, run: Any) -> SafeString | str:
    """Show a run, or the one of this ID, and follow it with htmx until it has ended; nothing where that is not allowed."""
    found = run if isinstance(run, Run) else find(str(run))
    request = context.get("request")
    if found is None or request is None or not may_follow(request, found):
        return ""
    fragment = mark_safe(shown(request, found))  # noqa: S308  a template has made it
    if found.is_finished:
        return fragment
    return format_html('<script src="{}" defer></script>{}', static(SCRIPT), fragment)
