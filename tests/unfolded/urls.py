"""The admin that unfold puts in the place of Django's, with a page of the project's own."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from django_workflow.admin import WorkflowRunsInline
from tests.app.models import Note


@admin.register(Note)
class NoteAdmin(ModelAdmin):
    """As the projects of unfold's users have them."""

    inlines = [WorkflowRunsInline]


office = UnfoldAdminSite(name="office")


def as_strict_as_unfold(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow what unfold itself needs, which evaluates texts and has styles inline, and nothing from elsewhere."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = (
            "default-src 'self'; script-src 'self' 'unsafe-eval' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
        )
        return response

    return answer


# By now every app's models are registered on the site that unfold has put there.
for model, registered in admin.site._registry.items():
    if model._meta.app_label == "django_workflow":
        office.register(model, type(registered))

urlpatterns = [
    path("admin/", admin.site.urls),
    path("back/office/", office.urls),
    path("workflows/", include("django_workflow.urls")),
]
