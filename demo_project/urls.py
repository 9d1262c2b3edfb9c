"""The demo's pages: runs on the home page, the admin, and the door through which workflows run over http."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from demo_project.shop.views import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
    path("workflows/", include("django_workflow.urls")),
    path("favicon.ico", RedirectView.as_view(url="/static/shop/favicon.svg")),
]
