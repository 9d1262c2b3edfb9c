"""Every registered workflow by its name, webhooks, approvals by mail, and runs that are followed live: ``path("workflows/", include("django_workflow.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_workflow.approvals import approval
from django_workflow.live import live
from django_workflow.views import by_name
from django_workflow.webhooks import webhook

app_name = "django_workflow"

urlpatterns = [
    path("approvals/<str:token>/", approval, name="approval"),
    path("live/<path:run_id>/", live, name="live"),
    path("webhooks/<str:token>/", webhook, name="webhook"),
    path("<str:name>/", by_name, name="workflow"),
]
