from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("workflows/", include("django_workflow.urls")),
    path("api/", include("django_workflow.rest.urls")),
]
