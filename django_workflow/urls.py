"""Every registered workflow by its name: ``path("workflows/", include("django_workflow.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_workflow.views import by_name

app_name = "django_workflow"

urlpatterns = [
    path("<str:name>/", by_name, name="workflow"),
]
