"""Every window at once: the admin, the doors and the API."""

from __future__ import annotations

from django.urls import include, path

from tests.urls import urlpatterns as usual

urlpatterns = [
    *usual,
    path("workflows/", include("django_workflow.urls")),
    path("api/workflows/", include("django_workflow.rest.urls")),
]
