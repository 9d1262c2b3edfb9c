"""The demo's pages: runs on the home page, the admin, the door through which workflows run over http, the REST API, and a slow partner."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from demo_project.shop.partner import stock_at_the_partner
from demo_project.shop.views import home, order

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
    path("workflows/", include("django_workflow.urls")),
    path("api/workflows/", include("django_workflow.rest.urls")),
    path("partner/<slug:sku>/", stock_at_the_partner, name="partner"),
    path("orders/<str:number>/", order, name="order"),
    path("favicon.ico", RedirectView.as_view(url="/static/shop/favicon.svg")),
]
