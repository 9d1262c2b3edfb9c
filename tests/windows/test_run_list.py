"""The list of runs in the admin: its filters, its search, its pages, its columns, its files, and who sees what."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_workflow import NonRetryableError, Workflow, WorkflowContext, notify, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run
from django_workflow.models.paging import Place, bounded_counts, page_of, workflow_names
from django_workflow.models.run_filters import RunFilters
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_workflow/run/"


def refuse(text: str) -> None:
    raise NonRetryableError(f"Partner refused {text}")


def fall(text: str) -> None:
    raise ValueError(f"not yet: {text}")


def listed(ctx: WorkflowContext[dict[str, Any]]) -> None:
    asked = ctx.request_payload
    if "refuse" in asked:
        ctx.run("ask the partner", refuse, asked["refuse"])
    if "event" in asked:
        ctx.wait_for_event("pickup", asked["event"])
    if "retry" in asked:
        ctx.run("try", fall, asked["retry"])
    if "sleep" in asked:
        ctx.sleep("rest", asked["sleep"])


@pytest.fixture(autouse=True)
def flow() -> Iterator[Workflow[Any, Any]]:
    yield workflow(name="a_list_one", redact=["card"])(listed)
    registry.remove("a_list_one")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    client = Client()
    client.force_login(user)
    return client


def made(flow: Workflow[Any, Any], run_id: str, label: Any = None, **payload: Any) -> Run:
    about = payload.pop("about", None)
    run = flow.trigger(payload, workflow_run_id=run_id, label=label, about=about)
    drain()
    return run.refresh()  # type: ignore[no-any-return]


def ids(client: Client, query: str = "") -> list[str]:
    response = client.get(f"{RUNS}?{query}")
    assert response.status_code == 200
    return [row.run.pk for row in response.context_data["rows"]]  # type: ignore[attr-defined]


def figures(client: Client, query: str = "") -> dict[str, str]:
    """Return what the facets say: label and count."""
    facets = client.get(f"{RUNS}?{query}").context_data["facets"]  # type: ignore[attr-defined]
    return {str(one.label): one.count for facet in facets for one in facet.choices}


@pytest.fixture
def five(flow: Workflow[Any, Any]) -> None:
    """One run in each of five ways to stand."""
    made(flow, "done", label="vip")
    made(flow, "asleep", label=["vip", "slow"], sleep="2h")
    made(flow, "waits", event="pickup:42")
    made(flow, "retried", retry="soon")
    made(flow, "dead", refuse="the order")


# Filters and facets


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"done", "asleep", "waits", "retried", "dead"}),
        ("status=completed", {"done"}),
        ("status__exact=failed", {"dead"}),
        ("status=dead", {"dead"}),
        ("status=nonsense", {"done", "asleep", "waits", "retried", "dead"}),
        ("step=sleeping", {"asleep"}),
        ("step=waiting", {"waits"}),
        ("step=retrying", {"retried"}),
        ("workflow=other", set()),
        ("label=vip", {"done", "asleep"}),
        ("label=vip&status=completed", {"done"}),
        ("since=1h", {"done", "asleep", "waits", "retried", "dead"}),
        ("ended=1h", {"done", "dead"}),
        ("before=2020-01-01", set()),
        ("after=2020-01-01", {"done", "asleep", "waits", "retried", "dead"}),
        ("version=2", set()),
        ("root=1", {"done", "asleep", "waits", "retried", "dead"}),
        ("label=a%00b", set()),
        ("unheard=of", {"done", "asleep", "waits", "retried", "dead"}),
    ],
)
def test_the_list_is_narrowed(query: str, found: set[str], admin: Client, five: None) -> None:
    assert set(ids(admin, query)) == found


def test_runs_that_are_due_for_long_are_found(admin: Client, five: None) -> None:
    Delivery.objects.filter(run="asleep").update(due_at=now() - timedelta(minutes=5))

    assert ids(admin, "late=1") == ["asleep"]


def test_facets_count_under_all_other_filters(admin: Client, five: None) -> None:
    told = figures(admin, "label=vip&status=completed")

    assert told["completed"] == "1"
    assert told["running"] == "1", "of those with the label, whatever their status"
    assert told["failed"] == "0"
    assert told["sleeping"] == "0", "no completed one is asleep"
    assert told["a_list_one"] == "1"


def test_facets_count_no_further_than_matters(admin: Client, flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 502)

    assert figures(admin)["pending"] == "500+"


def test_a_filter_is_kept_by_all_links_and_taken_back_by_its_own(admin: Client, five: None) -> None:
    response = admin.get(f"{RUNS}?status=failed&label=vip&per=100")
    context = response.context_data  # type: ignore[attr-defined]
    links = {str(one.label): one.url for facet in context["facets"] for one in facet.choices}

    assert links["failed"] == "?label=vip&per=100"
    assert links["completed"] == "?status=completed&label=vip&per=100"
    assert context["cl"].narrowings[0].url == "?status=failed&per=100"
    assert context["cl"].kept == {"status": "failed", "label": "vip"}
    assert context["export_csv_url"].endswith("?status=failed&label=vip&per=100")


def test_the_error_of_a_group_narrows_the_list(
    admin: Client, five: None, flow: Workflow[Any, Any]
) -> None:
    made(flow, "dead too", refuse="another thing")
    groups = admin.get(f"{RUNS}dead-letters/").context_data["found"].groups  # type: ignore[attr-defined]
    mark = next(group.fingerprint for group in groups if group.run_ids == ["dead"])

    assert ids(admin, f"error={mark}") == ["dead"]
    assert ids(admin, "error=unknown") == []


# Search


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("don", {"done"}),
        ("sl", {"asleep"}),
        ("pickup:4", {"waits"}),
        ("event:pickup:42", {"waits"}),
        ("refused the", {"dead"}),
        ("error:PARTNER", {"dead"}),
        ("id:vip", set()),
        ("label:vip", {"done", "asleep"}),
        ("payload:2h", {"asleep"}),
        ("2h", set()),
        ("nothing such", set()),
        ("zz\x00qq", set()),
    ],
)
def test_one_box_finds_what_people_know(
    text: str, found: set[str], admin: Client, five: None
) -> None:
    response = admin.get(RUNS, {"q": text})

    assert {row.run.pk for row in response.context_data["rows"]} == found  # type: ignore[attr-defined]


def test_an_event_sent_to_a_run_alone_finds_it(admin: Client, five: None) -> None:
    notify("parcel:1", workflow_run_id="asleep")

    assert ids(admin, "q=parcel:1") == ["asleep"]


@pytest.mark.parametrize("text", ["{}", "group {}", "auth.group {}", "Group #{}", "auth.group:{}"])
def test_the_row_that_a_run_is_about_finds_it(
    text: str, admin: Client, flow: Workflow[Any, Any]
) -> None:
    group = Group.objects.create(name="buyers")
    made(flow, "about it", about=group)
    made(flow, "about nothing")

    assert ids(admin, f"q={text.format(group.pk).replace('#', '%23')}") == ["about it"]
    assert ids(admin, f"q=user {group.pk}") == []
    assert ids(admin, f"about=auth.group:{group.pk}") == ["about it"]


def test_a_search_and_a_filter_go_together(admin: Client, five: None) -> None:
    assert ids(admin, "q=vip&status=running") == ["asleep"]
    assert figures(admin, "q=vip&status=running")["completed"] == "1"


def test_errors_and_payloads_are_searched_with_the_permission_alone(five: None) -> None:
    clerk = staff("view_run")

    assert ids(clerk, "q=refused") == []
    assert ids(clerk, "q=error:refused") == []
    assert ids(clerk, "q=payload:2h") == []
    assert ids(clerk, "q=vip") != []


def test_what_is_redacted_is_not_found_out_by_asking(
    admin: Client, flow: Workflow[Any, Any]
) -> None:
    made(flow, "paid", card="4111", name="Zoë")

    assert ids(admin, "q=payload:zoë") == ["paid"]
    assert ids(admin, "q=payload:4111") == []


def test_a_search_that_finds_too_much_says_so(admin: Client, flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 502, label="many")

    assert "Only the first 500" in admin.get(f"{RUNS}?q=label:many").content.decode()


# Pages


def test_pages_meet_every_run_once_forth_and_back(admin: Client, flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 130)
    # Several at one moment: the id decides among them.
    Run.objects.update(created_at=now())
    Run.objects.filter(pk__gt="wfr_8").update(created_at=now() - timedelta(hours=1))
    wanted = list(Run.objects.order_by("-created_at", "id").values_list("pk", flat=True))

    forth, query = [], ""
    while True:
        cl = admin.get(f"{RUNS}{query}").context_data["cl"]  # type: ignore[attr-defined]
        forth.append([run.pk for run in cl.result_list])
        if not cl.older:
            break
        query = cl.older
    back = [forth[-1]]
    while cl.newer:
        cl = admin.get(f"{RUNS}{cl.newer}").context_data["cl"]  # type: ignore[attr-defined]
        back.insert(0, [run.pk for run in cl.result_list])

    assert [run_id for page in forth for run_id in page] == wanted
    assert back == forth
    assert [len(page) for page in forth] == [50, 50, 30]


def test_a_page_may_be_longer(admin: Client, flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 120)

    assert len(ids(admin, "per=100")) == 100
    assert len(ids(admin, "per=7")) == 50


@pytest.mark.parametrize(
    "text",
    ["", "x", "2020-01-01", "2020-01-01~a", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z~%00"],
)
def test_a_place_that_is_none_is_the_first_page(text: str, admin: Client, five: None) -> None:
    assert Place.parse(text.replace("%00", "\x00")) is None
    assert len(ids(admin, f"behind={text}")) == 5


def test_page_and_counts_are_asked_for_by_indexed_statements(five: None) -> None:
    runs = Run.objects.all()

    assert len(page_of(runs, None, 2).runs) == 2
    assert bounded_counts({"all": runs, "none": runs.none()}, 3) == {"all": 4, "none": 0}
    assert bounded_counts({"none": runs.none()}) == {"none": 0}
    assert workflow_names("default") == ["a_list_one"]


# What it costs, and how it refreshes


def queries(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("query", ["", "q=vip", "status=running&step=sleeping"])
def test_the_list_takes_the_same_queries_for_any_number(
    query: str, admin: Client, flow: Workflow[Any, Any]
) -> None:
    made(flow, "first", label=["vip", "eu"], sleep="2h")
    url = f"{RUNS}?{query}"
    queries(admin, url)
    few = len(queries(admin, url))
    flow.trigger_many([{"sleep": "2h"}] * 40, label=["vip", "x", "y"])
    drain()

    assert len(queries(admin, url)) == few
    assert few <= (30 if "q" in query else 17)
    assert not any("payload_text" in sql for sql in queries(admin, url))


def test_what_is_asked_for_again_is_the_rows_and_the_facets_alone(
    admin: Client, five: None
) -> None:
    html = admin.get(f"{RUNS}?label=vip", headers={"HX-Request": "true"}).content.decode()

    assert html.lstrip().startswith('<div id="dw-rows"')
    assert 'id="dw-facets" hx-swap-oob="true"' in html
    assert "<html" not in html


# Columns


def test_columns_are_chosen_and_kept(admin: Client, five: None) -> None:
    response = admin.post(
        f"{RUNS}columns/", {"column": ["steps", "next"], "back": f"{RUNS}?label=vip"}
    )
    html = admin.get(RUNS).content.decode()

    assert response["Location"] == f"{RUNS}?label=vip"
    assert 'class="field-steps">rest<' in html
    assert 'class="field-workflow"' not in html

    admin.post(f"{RUNS}columns/", {"back": "https://elsewhere.example/"})
    assert 'class="field-workflow"' in admin.get(RUNS).content.decode()


def test_every_column_can_be_shown(admin: Client, five: None, flow: Workflow[Any, Any]) -> None:
    made(flow, "about it", about=Group.objects.create(name="buyers"))
    from django_workflow.admin.run_columns import COLUMNS

    admin.post(f"{RUNS}columns/", {"column": [column.name for column in COLUMNS]})
    html = admin.get(RUNS).content.decode()

    assert all(f'class="field-{column.name}"' in html for column in COLUMNS)
    assert "Partner refused the order" in html


def test_the_column_of_errors_needs_the_permission(five: None) -> None:
    clerk = staff("view_run")
    clerk.post(f"{RUNS}columns/", {"column": ["error", "state"]})

    html = clerk.get(RUNS).content.decode()

    assert "Partner refused" not in html
    assert 'value="error"' not in html


def test_a_choice_comes_by_post_and_with_the_permission_to_see(admin: Client) -> None:
    assert admin.get(f"{RUNS}columns/").status_code == 405
    assert staff().post(f"{RUNS}columns/").status_code == 403


# Files


def export(client: Client, kind: str, query: str = "") -> str:
    response = client.get(f"{RUNS}export.{kind}?{query}")
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]


def test_what_matches_is_exported(admin: Client, five: None) -> None:
    rows = list(csv.DictReader(io.StringIO(export(admin, "csv", "label=vip&behind=x"))))
    told = json.loads(export(admin, "json", "status=failed"))

    assert {row["workflow_run_id"] for row in rows} == {"done", "asleep"}
    assert {row["labels"] for row in rows} == {"vip", "slow, vip"}
    assert [one["workflow_run_id"] for one in told] == ["dead"]
    assert told[0]["error"] == "Partner refused the order"
    assert json.loads(export(admin, "json", "workflow=none")) == []


def test_an_export_goes_on_behind_its_first_chunk(admin: Client, flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 1_001)

    assert len(json.loads(export(admin, "json"))) == 1_001
    assert len(export(admin, "csv").splitlines()) == 1_002


@pytest.mark.parametrize("begin", ["=", "+", "-", "@"])
def test_no_cell_of_an_export_is_a_formula(
    begin: str, admin: Client, flow: Workflow[Any, Any]
) -> None:
    made(flow, f"{begin}1+1", label=f"{begin}cmd|'/c calc'!A0")

    [row] = csv.DictReader(io.StringIO(export(admin, "csv")))

    assert row["workflow_run_id"] == f"'{begin}1+1"
    assert row["labels"].startswith(f"'{begin}")


def test_errors_are_exported_with_the_permission_alone(five: None) -> None:
    clerk = staff("view_run")

    assert "refused" not in export(clerk, "csv") + export(clerk, "json")
    assert "error" not in json.loads(export(clerk, "json"))[0]


def test_an_export_needs_the_permission_to_see() -> None:
    assert staff().get(f"{RUNS}export.csv").status_code == 403


# Who sees which runs


def only_vips(request: HttpRequest, runs: QuerySet[Run]) -> QuerySet[Run]:
    """What a project would write: runs of the customers that the user looks after."""
    if request.user.is_superuser:
        return runs
    return runs.filter(labels_of_run__label="vip")


@pytest.fixture
def filtered(settings: LazySettings) -> None:
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.only_vips"}


@pytest.mark.usefixtures("filtered", "five")
def test_a_project_says_who_sees_which_runs(admin: Client) -> None:
    clerk = staff("view_run", "view_payload", "pause_run", "resume_run")

    assert set(ids(clerk)) == {"done", "asleep"}
    assert ids(clerk, "q=dead") == []
    assert figures(clerk)["failed"] == "0"
    assert {one["workflow_run_id"] for one in json.loads(export(clerk, "json"))} == {
        "done",
        "asleep",
    }
    assert clerk.get(f"{RUNS}dead/change/").status_code == 302
    assert clerk.get(f"{RUNS}waits/pause/").status_code == 302
    assert clerk.get(f"{RUNS}dead/story/").status_code == 404
    assert "refused" not in clerk.get(f"{RUNS}dead-letters/").content.decode()
    assert "refused" not in clerk.get(f"{RUNS}overview/").content.decode()
    chosen = {"action": "pause_selected", "_selected_action": ["waits", "asleep"], "index": "0"}
    assert ">waits<" not in clerk.post(RUNS, chosen).content.decode()
    assert len(ids(admin)) == 5


def test_filters_survive_a_round_trip() -> None:
    given = {"status": "failed", "label": "vip", "since": "7d", "q": "x"}
    filters = RunFilters.of(given)

    assert filters.as_query() == given
    fixed = filters.at(now())
    assert fixed.since == ""
    assert fixed.after
    assert RunFilters.of(fixed.as_query()) == fixed
