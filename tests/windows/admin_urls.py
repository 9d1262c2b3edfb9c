"""An admin beside the doors of workflows, and a second one of a project's own."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from django_workflow import admin as pages
from django_workflow.models import (
    Action,
    Approval,
    Delivery,
    Event,
    FlowKey,
    Run,
    Schedule,
    Waiter,
    Webhook,
)
from tests.app.models import Note


class NoteAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """In one line: the runs about a note, on its page."""

    inlines = [pages.WorkflowRunsInline]


office = admin.AdminSite(name="office")
office.register(Run, pages.RunAdmin)
office.register(Delivery, pages.DeliveryAdmin)
office.register(Event, pages.EventAdmin)
office.register(Action, pages.ActionAdmin)
office.register(Waiter, pages.WaiterAdmin)
office.register(Webhook, pages.WebhookAdmin)
office.register(Approval, pages.ApprovalAdmin)
office.register(Schedule, pages.ScheduleAdmin)
office.register(FlowKey, pages.FlowKeyAdmin)
office.register(Note, NoteAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("back/office/", office.urls),
    path("workflows/", include("django_workflow.urls")),
]
