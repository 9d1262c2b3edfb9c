from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("workflows/", include("django_workflow.urls"))]
