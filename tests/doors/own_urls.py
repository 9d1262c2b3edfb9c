"""A workflow as a view of its own, and no door for all."""

from __future__ import annotations

from django.urls import path

from tests.doors.workflows import guarded

urlpatterns = [
    path("own/<int:number>/guarded/", guarded),
    path("own/guarded/", guarded),
]
