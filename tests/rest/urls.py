"""The API as a project mounts it, with its OpenAPI document."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

urlpatterns = [
    path("api/workflows/", include("django_workflow.rest.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
]
