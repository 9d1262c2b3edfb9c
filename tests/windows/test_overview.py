"""The overview of the admin: what is wrong, and the way to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_workflow import NonRetryableError, Workflow, WorkflowContext, workflow
from django_workflow.admin.overview import start_commands
from django_workflow.admin.overview_charts import Flow, Scale, chart_of, flows_of
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run, Sweep
from django_workflow.models.run_rates import Ended, StepTimes, ended_runs, steps_lately
from django_workflow.runtime.sweeper import tick
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_workflow/run/"
OVERVIEW = f"{RUNS}overview/"


def refuse() -> None:
    raise NonRetryableError("Partner refused <b>it</b>")


def seen(ctx: WorkflowContext[dict[str, Any]]) -> None:
    ctx.run("count", lambda: 1)
    if ctx.request_payload.get("refuse"):
        ctx.run("refuse", refuse)
    if ctx.request_payload.get("sleep"):
        ctx.sleep("rest", "2h")


@pytest.fixture(autouse=True)
def flow() -> Iterator[Workflow[Any, Any]]:
    yield workflow(name="over_one")(seen)
    registry.remove("over_one")


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


def some(flow: Workflow[Any, Any]) -> None:
    flow.trigger_many([{}] * 3 + [{"refuse": True}] * 2 + [{"sleep": True}] * 4)
    drain()


def page(client: Client, query: str = "") -> Any:
    response = client.get(f"{OVERVIEW}{query}")
    assert response.status_code == 200
    return response


def test_tiles_count_and_lead_to_their_runs(admin: Client, flow: Workflow[Any, Any]) -> None:
    some(flow)

    tiles = {str(tile.label): tile for tile in page(admin).context_data["tiles"]}

    assert {label: tile.count for label, tile in tiles.items()} == {
        "running": "4",
        "pending": "0",
        "waiting": "0",
        "sleeping": "4",
        "retrying": "0",
        "paused": "0",
        "failed": "2",
        "blocked": "0",
        "due, not begun": "0",
    }
    for tile in tiles.values():
        assert str(len(admin.get(tile.url).context_data["rows"])) == tile.count  # type: ignore[attr-defined]
    assert [label for label, tile in tiles.items() if tile.is_bad] == ["failed"]


def test_what_has_ended_is_drawn_by_workflow_and_leads_to_its_runs(
    admin: Client, flow: Workflow[Any, Any]
) -> None:
    some(flow)

    response = page(admin, "?span=1h")
    [line] = response.context_data["flows"]
    html = response.content.decode()

    assert (line["flow"].count, line["flow"].failed, line["flow"].failure_rate) == (5, 2, "40 %")
    assert len(admin.get(line["url"]).context_data["rows"]) == 5  # type: ignore[attr-defined]
    assert len(admin.get(line["failed_url"]).context_data["rows"]) == 2  # type: ignore[attr-defined]
    assert 'aria-label="5 runs ended, 2 of them badly (40 %)"' in html
    assert "Partner refused &lt;b&gt;it&lt;/b&gt;" in html
    assert "style=" not in html.split('id="content-main"')[1]


def test_dead_letters_stand_by_their_errors(admin: Client, flow: Workflow[Any, Any]) -> None:
    some(flow)

    [(group, url)] = page(admin).context_data["groups"]

    assert group.count == 2
    assert len(admin.get(url).context_data["rows"]) == 2  # type: ignore[attr-defined]


def test_steps_are_timed_and_workers_named(admin: Client, flow: Workflow[Any, Any]) -> None:
    some(flow)

    context = page(admin).context_data

    assert [(one.workflow, one.name, len(one.seconds)) for one in context["times"]] == [
        ("over_one", "count", 5)
    ]
    assert len(context["workers"]) == 1
    assert steps_lately(Run.objects.filter(workflow="other")).times == []


def test_when_nobody_looks_it_says_what_to_type(
    admin: Client, flow: Workflow[Any, Any], settings: Any
) -> None:
    flow.trigger({}, workflow_run_id="due")
    Delivery.objects.update(due_at=now() - timedelta(minutes=3))
    Sweep.objects.update_or_create(
        pk=1, defaults={"swept_at": now() - timedelta(minutes=2), "swept_by": "host:1"}
    )

    html = page(admin, "?part=now").content.decode()

    assert "Work is due, and nobody looks for it." in html
    assert "python manage.py workflow_dev" in html
    assert f"{RUNS}due/change/" in html
    assert "by host:1" in html
    assert re.search(r"Last tick of beat</dt><dd>never<", html)
    Sweep.objects.update(swept_at=now())
    tick()
    assert re.search(
        r"Last tick of beat</dt><dd>\d s ago<", page(admin, "?part=now").content.decode()
    )
    assert "workflow_dev" not in page(admin, "?part=now").content.decode()


def test_the_command_fits_the_dispatcher(settings: Any) -> None:
    settings.WORKFLOW = {"QUEUE": "flows"}
    assert start_commands() == [
        "celery -A tests worker -l INFO -Q flows",
        "celery -A tests beat",
    ]
    settings.WORKFLOW = {"BEAT": False}
    assert start_commands() == ["celery -A tests worker -l INFO"]


def test_an_empty_overview_says_what_to_do(admin: Client) -> None:
    html = page(admin).content.decode()

    assert "No runs yet." in html
    assert "workflow_trigger" in html
    assert "Nothing has ended in this time." in html


def test_each_part_is_fetched_by_itself(admin: Client, flow: Workflow[Any, Any]) -> None:
    some(flow)

    first = page(admin, "?part=now&span=7d").content.decode()
    second = page(admin, "?part=lately&span=7d").content.decode()

    assert first.lstrip().startswith('<div id="dw-now"')
    assert 'id="dw-lately"' not in first
    assert second.lstrip().startswith('<div id="dw-lately"')
    assert "span=7d&amp;part=lately" in second
    assert "last 24 hours" in page(admin, "?span=nonsense").content.decode()


def test_a_run_that_nothing_will_wake_is_told_of(admin: Client, flow: Workflow[Any, Any]) -> None:
    some(flow)
    assert "dw-note" not in page(admin, "?part=sound").content.decode()
    run = Run.objects.filter(status="running").first()
    assert run is not None
    Delivery.objects.filter(run=run).update(due_at=None)

    html = page(admin, "?part=sound").content.decode()

    assert f"{RUNS}{run.pk.replace('_', '_5F')}/change/" in html
    assert "load, dw:tick" not in html
    assert 'hx-trigger="load, dw:tick"' in page(admin).content.decode()


def test_it_takes_the_same_queries_for_any_number(admin: Client, flow: Workflow[Any, Any]) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin)
        return len(captured)

    some(flow)
    count()
    few = count()
    some(flow)
    some(flow)

    assert count() == few
    assert few <= 14


def test_it_needs_the_permission_to_see_and_errors_need_theirs(
    flow: Workflow[Any, Any],
) -> None:
    some(flow)
    clerk = staff("view_run")

    html = page(clerk).content.decode()

    assert "Partner refused" not in html
    assert "NonRetryableError" not in html
    clerk.logout()
    assert clerk.get(OVERVIEW).status_code == 302
    nobody = Client()
    nobody.force_login(User.objects.create_user("nobody", is_staff=True))
    assert nobody.get(OVERVIEW).status_code == 403


@pytest.mark.parametrize("unit", ["minute", "hour", "day"])
def test_the_database_counts_by_unit(unit: str, flow: Workflow[Any, Any]) -> None:
    some(flow)
    Run.objects.filter(status="failed").update(finished_at=now() - timedelta(days=2))

    found = ended_runs(Run.objects.all(), now() - timedelta(days=7), unit)

    assert sorted((one.status, one.count) for one in found) == [("completed", 3), ("failed", 2)]
    assert ended_runs(Run.objects.all(), now() + timedelta(days=1), unit) == []


# Pictures


AT = datetime(2026, 5, 4, 10, 30, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "length", "bars", "last"),
    [
        ("1h", timedelta(hours=1), 60, AT.replace(second=0)),
        ("24h", timedelta(days=1), 24, AT.replace(minute=0, second=0)),
        ("7d", timedelta(days=7), 42, AT.replace(hour=7, minute=0, second=0)),
        ("30d", timedelta(days=30), 30, AT.replace(hour=0, minute=0, second=0)),
    ],
)
def test_the_last_bar_is_the_one_of_now(
    span: str, length: timedelta, bars: int, last: datetime
) -> None:
    scale = Scale.of(span, length, AT)

    assert scale.bars == bars
    assert scale.begin + (bars - 1) * scale.step == last
    assert scale.place(AT) == bars - 1
    assert scale.place(scale.begin) == 0
    assert scale.place(AT - 2 * length) == 0


def test_bars_stand_on_each_other_and_what_failed_is_always_seen() -> None:
    scale = Scale.of("1h", timedelta(hours=1), AT)
    everything, flows = flows_of(
        [
            Ended(AT, "a", "completed", 10_000),
            Ended(AT, "a", "failed", 1),
            Ended(AT, "b", "blocked", 5),
        ],
        scale,
    )
    chart = chart_of(everything, scale, width=600, height=100)
    [bar] = chart.bars

    assert [flow.workflow for flow in flows] == ["a", "b"]
    assert everything.failed == 6
    assert everything.failure_rate == "0.1 %"
    assert float(bar.bad_height) == 2
    assert float(bar.bad_y) + float(bar.bad_height) == pytest.approx(float(bar.good_y))
    assert float(bar.good_y) + float(bar.good_height) == 100
    assert chart_of(Flow(workflow="none"), scale, width=600, height=100).bars == []


def test_percentiles() -> None:
    times = StepTimes(workflow="a", name="b", seconds=[float(n) for n in range(100, 0, -1)])

    assert (times.p50, times.p95) == (51, 96)
