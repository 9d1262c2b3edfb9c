"""The list of runs: filters with counts, one search box, pages that cost the same, columns to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from django_workflow.admin.base import ReadOnlyAdmin, may_see_payloads
from django_workflow.admin.run_columns import (
    Look,
    chosen_columns,
    keep_columns,
    offered_columns,
    row_of,
)
from django_workflow.admin.run_facets import (
    DIMENSIONS,
    SPAN_LABELS,
    Choice,
    Counting,
    CountingOfFew,
    Facet,
    facets_of,
)
from django_workflow.admin.seeing import veil_over
from django_workflow.conf import settings
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.models.paging import Place, page_of, workflow_names
from django_workflow.models.run_filters import RunFilters
from django_workflow.models.run_search import search
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.pulse import pulse
from django_workflow.runtime.visibility import visible_runs

PAGE_SIZES: Final = (50, 100, 200)
#: What a row does not need, and may be large.
LARGE: Final = ("payload_text", "result_text", "headers_text", "options_text", "state_text")


def narrowed(runs: QuerySet[Run], filters: RunFilters, *, with_payloads: bool) -> Narrowed:
    """Return the runs that match filters, error and search included."""
    found = filters.apply(runs, timezone.now())
    if filters.error:
        group = dead_letters(runs).find(filters.error)
        found = found.filter(pk__in=[] if group is None else group.run_ids)
    if not filters.q:
        return Narrowed(runs=found)
    result = search(found, filters.q, with_payloads=with_payloads)
    return Narrowed(runs=result.runs, is_cut=result.is_cut)


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """What filters leave, and whether the search has stopped before the end."""

    runs: QuerySet[Run]
    is_cut: bool = False


class RunList(ChangeList):
    """One page of the list."""

    filters: RunFilters
    found: Narrowed

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that the filters leave; for those that are selected by hand, all that may be seen."""
        self.filters = RunFilters.of(request.GET)
        self.has_filters, self.filter_specs = True, []
        self.has_active_filters = bool(self.filters.as_query())
        self.may_see_payloads = may_see_payloads(request)
        self.found = narrowed(self.root_queryset, self.filters, with_payloads=self.may_see_payloads)
        is_selection = request.method == "POST"
        found: Any = self.root_queryset if is_selection else self.found.runs
        return found.with_reason().defer(*LARGE).order_by("-created_at", "id")  # type: ignore[no-any-return]

    def get_results(self, request: HttpRequest) -> None:
        """Fetch the page."""
        given = request.GET.get("per", "")
        self.size = int(given) if given in map(str, PAGE_SIZES) else PAGE_SIZES[0]
        behind, before = request.GET.get("behind", ""), request.GET.get("ahead", "")
        place = Place.parse(before, is_before=True) or Place.parse(behind)
        if request.method == "POST":
            self.result_list: Any = []
            self.newer = self.older = ""
        else:
            page = page_of(self.queryset, place, self.size)
            self.result_list = page.runs
            self.newer = self._url(ahead=page.newer) if page.newer else ""
            self.older = self._url(behind=page.older) if page.older else ""
        self.newest = self._url() if place is not None else ""
        self.result_count = len(self.result_list)
        self.full_result_count, self.show_full_result_count = None, False
        self.show_admin_actions = bool(self.result_list)
        self.can_show_all, self.multi_page = False, bool(self.newer or self.older)

    def _url(self, filters: RunFilters | None = None, **more: Any) -> str:
        query = (self.filters if filters is None else filters).as_query()
        if self.size != PAGE_SIZES[0]:
            query["per"] = str(self.size)
        return f"?{urlencode(query | {name: str(value) for name, value in more.items()})}"

    @property
    def sizes(self) -> list[Choice]:
        """How many rows a page may have."""
        query = self.filters.as_query()
        return [
            Choice(
                label=size,
                url=f"?{urlencode(query | {'per': str(size)})}",
                is_chosen=size == self.size,
            )
            for size in PAGE_SIZES
        ]

    @property
    def kept(self) -> dict[str, str]:
        """What the search box keeps of the filters."""
        return self.filters.without("q").as_query()

    @property
    def narrowings(self) -> list[Choice]:
        """The filters that are no facets, each with the way to be without it."""
        labels = {
            "version": _("version %s"),
            "label": _("label %s"),
            "parent": _("children of %s"),
            "about": _("about %s"),
            "error": _("error %s"),
            "ended": _("ended in the %s"),
            "after": _("triggered from %s on"),
            "before": _("triggered before %s"),
        }
        given = self.filters.as_query()
        return [
            Choice(
                label=text % (given[name][:6] if name == "error" else _shown(name, given[name])),
                url=self._url(self.filters.without(name)),
                is_chosen=True,
            )
            for name, text in labels.items()
            if name in given
        ]

    def facets(self) -> list[Facet]:
        """Return the facets, each counted under all other filters."""
        base = self.root_queryset
        if self.filters.q or self.filters.error:
            # What a search finds is looked up once, under the filters that are no facets.
            fixed = self.filters.without(*DIMENSIONS)
            found = self.found
            if fixed != self.filters:
                found = narrowed(base, fixed, with_payloads=self.may_see_payloads)
            counting: Counting = CountingOfFew(found.runs, timezone.now())
        else:
            counting = Counting(base, timezone.now())
        return facets_of(self.filters, self._workflows(), counting, self._url)

    def _workflows(self) -> list[str]:
        known = {workflow.name for workflow in registry}
        # Where a project shows a part of the runs, names of others are none of the user's business.
        sees_all = settings().VISIBLE_RUNS is None
        found = set(workflow_names(self.root_queryset.db)) if sees_all else set()
        return sorted((known | found | {self.filters.workflow}) - {""})


def _shown(name: str, value: str) -> Any:
    return SPAN_LABELS[value] if name == "ended" else value


class RunListAdmin(ReadOnlyAdmin):
    """The list, and the choice of its columns."""

    change_list_template = "django_workflow/admin/runs.html"
    list_display = ("id",)
    ordering = ("-created_at", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out what the project does not show this user."""
        runs: Any = super().get_queryset(request)
        found = visible_runs(request, runs)
        # That a run which is not there has children is not told.
        is_told = not veil_over(request).hides(request.GET.get("parent"))
        return found if is_told else found.none()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return our list."""
        return RunList

    def get_urls(self) -> list[URLPattern]:
        """Add where the choice of columns is kept."""
        own = path(
            "columns/",
            self.admin_site.admin_view(self.columns_view),
            name="django_workflow_run_columns",
        )
        return [own, *super().get_urls()]

    def columns_view(self, request: HttpRequest) -> HttpResponse:
        """Keep which columns the user wants."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        keep_columns(request, request.POST.getlist("column"))
        back = request.POST.get("back", "")
        if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
            back = self.list_url()
        return HttpResponseRedirect(back)

    def list_url(self, filters: RunFilters | None = None) -> str:
        """Return where the list is, with these filters."""
        url = reverse(f"{self.admin_site.name}:django_workflow_run_changelist")
        query = filters.as_query() if filters is not None else {}
        return f"{url}?{urlencode(query)}" if query else url

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, and above it whether anybody looks for due work."""
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context is None or "cl" not in context or not isinstance(context["cl"], RunList):
            return response
        if request.headers.get("HX-Request") == "true":
            response.template_name = "django_workflow/admin/partials/_run_list.html"  # type: ignore[attr-defined]
        context |= self._list_context(request, context["cl"])
        return response

    def _list_context(self, request: HttpRequest, cl: RunList) -> dict[str, Any]:
        may_see = cl.may_see_payloads
        columns = chosen_columns(request, may_see_payloads=may_see)
        veil = veil_over(request, *cl.result_list)
        look = Look(site=self.admin_site.name, may_see_payloads=may_see, veil=veil)
        chosen = {one.name for one in columns}
        return {
            "title": _("Runs"),
            "pulse": pulse(),
            "columns": columns,
            "offered": [
                (one, one.name in chosen) for one in offered_columns(may_see_payloads=may_see)
            ],
            "rows": [
                row_of(run, self.run_url(run.pk), columns, look)  # type: ignore[attr-defined]
                for run in veil.rows(cl.result_list)
            ],
            "facets": cl.facets(),
            "here": request.get_full_path(),
            "at": timezone.localtime(),
            "may_see_payloads": may_see,
        }

    def refuse(self, request: HttpRequest, text: str, back: str) -> HttpResponse:
        """Say why nothing is done, and lead back."""
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(back)
