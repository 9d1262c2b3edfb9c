"""The doors of all workflows, as a project mounts them, and workflows as views of their own."""

from __future__ import annotations

from django.urls import include, path

from tests.doors.workflows import async_guarded, guarded

urlpatterns = [
    path("workflows/", include("django_workflow.urls")),
    path("own/guarded/", guarded),
    path("own/async-guarded/", async_guarded),
]
