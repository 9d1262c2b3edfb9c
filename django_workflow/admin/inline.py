"""A panel for the admin pages of a project's own models: the runs about the row, in one line of code.

class OrderAdmin(admin.ModelAdmin):
    inlines = [WorkflowRunsInline]
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.checks import InlineModelAdminChecks
from django.contrib.admin.options import InlineModelAdmin
from django.core.checks import CheckMessage
from django.forms import BaseModelFormSet, ModelForm, modelformset_factory
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.base import STYLES, may_see_payloads, run_link
from django_workflow.admin.rows import PAGES_STYLE
from django_workflow.admin.seeing import veil_over
from django_workflow.admin.story import took
from django_workflow.models import Run
from django_workflow.models.about import reference
from django_workflow.runtime.visibility import visible_runs

RUNS_SHOWN = 20


class _Checks(InlineModelAdminChecks):
    """Runs name their row by label and key: there is no foreign key to look for."""

    def _check_relation(self, obj: Any, parent_model: Any) -> list[CheckMessage]:
        return []

    def _check_exclude_of_parent_model(self, obj: Any, parent_model: Any) -> list[CheckMessage]:
        return []


class _Runs(BaseModelFormSet):  # type: ignore[type-arg]
    """No form at all: it saves nothing, and whatever was posted does not make the page's own form fail."""

    #: Those that the user may see.
    runs: Any = None
    #: Who looks.
    request: Any = None

    def __init__(
        self, data: Any = None, files: Any = None, instance: Any = None, **options: Any
    ) -> None:
        self.instance = instance
        options.pop("save_as_new", None)
        options["queryset"] = Run.objects.none()
        super().__init__(None, None, **options)

    @classmethod
    def get_default_prefix(cls) -> str:
        """Return the name under which the admin counts inlines."""
        return "workflow_runs"

    def is_valid(self) -> bool:
        """Have nothing to complain of."""
        return True

    def save(self, commit: bool = True) -> list[Any]:
        """Save nothing."""
        self.new_objects: list[Any] = []
        self.changed_objects: list[Any] = []
        self.deleted_objects: list[Any] = []
        return []

    @cached_property
    def workflow_runs(self) -> list[tuple[Run, str, str]]:
        """The latest runs about the row, each with what it waits for and how long it took."""
        found = self.about
        if found is None:
            return []
        large = ("payload_text", "result_text", "headers_text", "options_text")
        runs = found.with_reason().defer(*large).order_by("-created_at", "id")[: RUNS_SHOWN + 1]
        veil = veil_over(self.request, *runs)
        return [
            (run, veil.text(run.translated_reason), took(run.started_at, run.finished_at))
            for run in runs
        ]

    @property
    def about(self) -> Any:
        """The runs about the row; None where there is no row yet."""
        row = self.instance
        if row is None or row.pk is None or row._state.adding:
            return None
        found: Any = self.runs
        return found.about(row)


class WorkflowRunsInline(InlineModelAdmin):  # type: ignore[type-arg]
    """The runs that were triggered with ``about=`` the row of this page."""

    model = Run
    formset: Any = _Runs
    template = "django_workflow/admin/inline.html"
    checks_class = _Checks
    extra = 0
    max_num = 0
    can_delete = False
    verbose_name = _("run")
    verbose_name_plural = _("Workflow runs")

    class Media:
        """Our own style, on the variables of the admin's."""

        css = {"all": [*STYLES, PAGES_STYLE]}

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return a formset that knows who looks, through which site."""
        made = modelformset_factory(
            Run, form=ModelForm, formset=_Runs, fields=(), extra=0, max_num=0, can_delete=False
        )
        return type("Runs", (made,), {
            "request": request,
            "runs": visible_runs(request),
            "sees": may_see_payloads(request),
            "site": self.admin_site.name,
            "all_url": property(_all_url),
            "links": property(_links),
        })  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is added here: runs are triggered."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is changed here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted here."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show the panel to those who may see runs."""
        return request.user.has_perm("django_workflow.view_run")


def _links(formset: Any) -> list[tuple[Any, ...]]:
    found = []
    for run, reason, duration in formset.workflow_runs[:RUNS_SHOWN]:
        try:
            link: Any = run_link(run.pk, formset.site)
        except NoReverseMatch:
            # A site on which runs are not registered.
            link = run.pk
        found.append((run, link, reason, duration))
    return found


def _all_url(formset: Any) -> str:
    """Return where all of them are listed; empty where these are all."""
    if len(formset.workflow_runs) <= RUNS_SHOWN:
        return ""
    label, key = reference(formset.instance)
    try:
        runs = reverse(f"{formset.site}:django_workflow_run_changelist")
    except NoReverseMatch:
        return ""
    return f"{runs}?{urlencode({'about': f'{label}:{key}'})}"
