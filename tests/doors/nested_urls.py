"""A workflow as a view of its own, inside a namespace."""

from __future__ import annotations

from django.urls import include, path

from tests.doors.workflows import guarded

shop = ([path("<slug:shop>/guarded/", guarded), path("en/guarded/", guarded)], "shop")

urlpatterns = [
    path("shops/<int:number>/", include(shop, namespace="numbered")),
    path("shop/", include(shop)),
]
