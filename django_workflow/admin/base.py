"""What our pages of the admin share: nothing is added or changed, and payloads need a permission of their own."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_workflow.conf import settings

#: On the variables of Django's admin; where the admin is django-unfold's, a second file gives it these.
STYLES = [
    "django_workflow/admin.css",
    *["django_workflow/unfold.css"] * apps.is_installed("unfold"),
]


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that people look at."""

    actions_on_top = True
    show_full_result_count = False
    list_per_page = 50

    class Media:
        """Our own style, on the variables of the admin's."""

        css = {"all": STYLES}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read the database that keeps runs."""
        return super().get_queryset(request).using(settings().DATABASE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nothing is added here: runs are triggered, events are sent."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is changed here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is deleted here."""
        return False

    @admin.display(description=_("run"), ordering="run_id")
    def run_link(self, obj: Any) -> SafeString | str:
        """Return a link to the row's run."""
        if obj.run_id is None:
            return "-"
        return run_link(obj.run_id, self.admin_site.name)


def may_see_payloads(request: HttpRequest) -> bool:
    """Tell whether this user may see payloads, results and errors."""
    return request.user.has_perm("django_workflow.view_payload")


def run_link(run_id: str, site: str) -> SafeString:
    """Return a link to the page of a run."""
    url = reverse(f"{site}:django_workflow_run_change", args=[quote(run_id)])
    return format_html('<a href="{}">{}</a>', url, run_id)


def object_link(label: str, key: str, site: str) -> SafeString | str:
    """Return a link to the page of any model's row, or its name where this admin has no such page."""
    text = f"{label} {key}"
    try:
        url = reverse(f"{site}:{label.replace('.', '_')}_change", args=[quote(key)])
    except NoReverseMatch:
        return text
    return format_html('<a href="{}">{}</a>', url, text)


def badge(status: str, label: str) -> SafeString:
    """Return a state as a mark and a word; the mark alone carries the colour."""
    return format_html('<span class="dw-status dw-{}">{}</span>', status, label)
