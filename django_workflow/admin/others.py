"""Deliveries, events and actions, as lists."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.base import ReadOnlyAdmin, may_see_payloads, run_link
from django_workflow.admin.seeing import OfVisibleRuns, Veiled
from django_workflow.models import Action, Delivery, Event
from django_workflow.models.shown import shown_event

MOST_SAID = 200


@admin.register(Delivery)
class DeliveryAdmin(Veiled, OfVisibleRuns, ReadOnlyAdmin):
    """What is due."""

    search_fields = ("run_id__startswith",)
    search_help_text = _("The beginning of a run's ID")
    ordering = ("due_at", "id")
    list_display_links = None

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave the trouble out for those who may not see errors."""
        columns = ("run_link", "what", "due_at", "leased_by", "tries", "deaths")
        return (*columns, "trouble") if may_see_payloads(request) else columns

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show what the list shows, and the token."""
        return (*self.get_list_display(request), "token")

    @admin.display(description=_("delivers"), ordering="step_key")
    def what(self, obj: Delivery) -> str:
        """Return the step, or that it is the turn."""
        return obj.step_key or str(_("the turn"))


class MailboxFilter(admin.SimpleListFilter):
    """What nobody took, and what became of the others."""

    title = _("mailbox")
    parameter_name = "mailbox"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Offer what can become of an event."""
        return [
            ("kept", _("nobody took it yet")),
            ("taken", _("reached somebody")),
            ("lost", _("reached nobody")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the chosen ones."""
        wanted, now = self.value(), timezone.now()
        if wanted == "kept":
            return queryset.kept(now)
        if wanted == "taken":
            return queryset.filter(reached__gt=0)
        if wanted == "lost":
            spent = Q(matched_at__isnull=False) | Q(expires_at__lte=now)
            return queryset.filter(spent).exclude(reached__gt=0)
        return queryset


@admin.register(Event)
class EventAdmin(OfVisibleRuns, ReadOnlyAdmin):
    """What was sent; whose an event is that names no run, nobody can tell, so it is for those who see all runs."""

    list_display = ("event_id", "run_link", "created_at", "became", "expires_at")
    list_filter = (MailboxFilter,)
    search_fields = ("event_id__startswith", "run_id__startswith")
    search_help_text = _("The beginning of an event's or a run's ID")
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = _(
        "No event. They are sent by notify() in your code, and by hand from the list of waiters."
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Leave the data out for those who may not see payloads."""
        columns = ("event_id", "run_link", "created_at", "matched_at", "became", "expires_at")
        return (*columns, "sent") if may_see_payloads(request) else columns

    @admin.display(description=_("became"), ordering="reached")
    def became(self, obj: Event) -> str:
        """Return what became of it."""
        if obj.matched_at is None:
            return gettext("nobody took it yet")
        reached = obj.reached or 0
        if not reached:
            return gettext("reached nobody")
        return ngettext("reached %(count)d run", "reached %(count)d runs", reached) % {
            "count": reached
        }

    @admin.display(description=_("data"))
    def sent(self, obj: Event) -> str:
        """Return what was sent with the event."""
        return json.dumps(shown_event(obj), indent=2, ensure_ascii=False)


@admin.register(Action)
class ActionAdmin(Veiled, OfVisibleRuns, ReadOnlyAdmin):
    """Who did what, when, why, and through which door."""

    of_no_run = ""

    list_display = ("at", "what", "run_link", "subject", "actor", "through", "change", "reason")
    list_display_links = None
    list_filter = ("door",)
    search_fields = ("run_id__startswith", "subject__startswith", "actor__startswith")
    search_help_text = _("The beginning of a run's ID, of a subject or of a name")
    date_hierarchy = "at"
    ordering = ("-at", "-id")
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = _(
        "Nobody has done anything yet. What people do to runs and the rest is listed here."
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show words, not what the row keeps; what was changed only to those who may see payloads."""
        fields = ("at", "what", "run_link", "subject", "actor", "user_id", "through", "change")
        told = ("why", "details_text") if may_see_payloads(request) else ("why",)
        return (*fields, *told)

    @admin.display(description=_("run"), ordering="run_id")
    def run_link(self, obj: Any) -> Any:
        """Return a link to the run, whether or not it is still there."""
        return run_link(obj.run_id, self.admin_site.name) if obj.run_id else "-"

    @admin.display(description=_("state"))
    def change(self, obj: Action) -> str:
        """Return the state before and after."""
        before, after = (gettext(one) if one else "" for one in (obj.before, obj.after))
        return f"{before} → {after}" if before and before != after else after or "-"

    @admin.display(description=_("verb"), ordering="verb")
    def what(self, obj: Action) -> str:
        """Return what was done."""
        return pgettext("action", obj.verb)

    @admin.display(description=_("through"), ordering="door")
    def through(self, obj: Action) -> str:
        """Return by which way."""
        return pgettext("door", obj.door)

    @admin.display(description=_("why"))
    def reason(self, obj: Action) -> str:
        """Return the beginning of the reason."""
        return obj.why if len(obj.why) <= MOST_SAID else f"{obj.why[:MOST_SAID]}…"
