"""Metrics: read from the rows, for the whole system, over a bounded number of them; and who may read them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import CollectorRegistry

from django_workflow import FlowControl, NonRetryableError, WorkflowContext, workflow
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime.measuring import _quantile
from django_workflow.runtime.sweeper import sweep, tick
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, measures
from django_workflow.telemetry.prometheus import WorkflowCollector, metrics
from tests.store.made import insert

DOCS = Path(__file__).resolve().parents[2] / "docs"
TOKEN = "a token of some length"

pytestmark = pytest.mark.django_db(transaction=True)


def refuse() -> None:
    raise NonRetryableError("no")


@workflow(name="measured")
def measured(ctx: WorkflowContext[Any]) -> None:
    ctx.run("look", len, "abc")
    if ctx.request_payload == "wait":
        ctx.wait_for_event("pickup", "measured:pickup", timeout="1d")
    if ctx.request_payload == "sleep":
        ctx.sleep("rest", "1d")
    if ctx.request_payload == "fail":
        ctx.run("refuse", refuse)


@workflow(name="measured_line", flow_control=FlowControl(key="tills", parallelism=1))
def in_line(ctx: WorkflowContext[Any]) -> None:
    ctx.run("pay", len, "abc")


def scraped() -> dict[tuple[str, ...], float]:
    """Return what a scrape says: name and values of the labels, to value."""
    registry = CollectorRegistry()
    registry.register(WorkflowCollector())
    return {
        (sample.name.removeprefix("django_workflow_"), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_an_empty_database_has_its_metrics() -> None:
    found = scraped()

    assert found["up",] == 1
    assert found["due",] == found["due_lag_seconds",] == found["oldest_due_timestamp_seconds",] == 0


def test_what_the_rows_say() -> None:
    for payload in ("wait", "sleep", "fail", "done", "done"):
        measured.trigger(payload)
    drain()
    measured.trigger("late")
    since = timezone.now() - timedelta(minutes=5)
    Delivery.objects.filter(run__status="pending").update(due_at=since)
    insert("held")
    claims.claim("worker", 1, only=["held"])

    found = scraped()

    assert found["runs", "measured", "running"] == 2
    assert found["runs", "measured", "failed"] == found["dead_letters", "measured"] == 1
    assert found["runs", "measured", "pending"] == 1
    assert ("runs", "measured", "completed") not in found
    assert found["recent_runs", "measured", "completed"] == 2
    assert found["due",] == found["held",] == 1
    assert found["scheduled",] == 2
    assert found["waiters",] == 1
    assert 299 < found["due_lag_seconds",] < 330
    assert found["oldest_due_timestamp_seconds",] == pytest.approx(since.timestamp(), abs=0.01)
    assert found["step_samples", "measured", "look"] == 5
    assert 0 <= found["step_seconds", "measured", "look", "0.5"] < 5


def test_lines_of_flow_control() -> None:
    for _ in range(3):
        in_line.trigger()

    found = scraped()

    assert found["flow_tickets", "tills", "granted"] == 1
    assert found["flow_tickets", "tills", "waiting"] == 2


def test_a_long_history_changes_neither_the_queries_nor_what_they_look_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured.trigger("done")
    drain()
    with CaptureQueriesContext(connection) as few:
        scraped()
    for _ in range(20):
        measured.trigger("sleep")
    drain()
    monkeypatch.setattr(measures, "COUNTED", 7)
    monkeypatch.setattr(measures, "LATEST_STEPS", 5)
    with CaptureQueriesContext(connection) as many:
        found = scraped()

    assert len(few) == len(many) < 30
    assert found["runs", "measured", "running"] == 7
    assert sum(value for key, value in found.items() if key[0] == "step_samples") <= 5


def test_finished_history_is_not_looked_at() -> None:
    measured.trigger("done")
    drain()
    Run.objects.update(created_at=timezone.now() - timedelta(days=2))

    assert ("recent_runs", "measured", "completed") not in scraped()


def test_step_that_took_long_is_seen() -> None:
    measured.trigger("done")
    drain()
    step = Step.objects.get(name="look")
    assert step.finished_at is not None
    Step.objects.update(started_at=step.finished_at - timedelta(seconds=90))

    assert scraped()["step_seconds", "measured", "look", "1"] == pytest.approx(90, abs=0.01)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.95, 4), (1.0, 4), (0.01, 1)])
def test_quantile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert _quantile([1, 2, 3, 4], share) == value


def test_database_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr("django_workflow.telemetry.prometheus.measure", away)

    assert scraped() == {("up",): 0}


def asked_by(user: Any = None, **headers: str) -> Any:
    request = RequestFactory().get("/metrics/", headers=headers)
    request.user = user or AnonymousUser()
    return metrics(request)


@override_settings(WORKFLOW={"METRICS_TOKEN": TOKEN})
def test_view_answers_whoever_has_the_token_or_may_see_runs() -> None:
    allowed = User.objects.create(username="ann")
    allowed.user_permissions.add(Permission.objects.get(codename="view_run"))
    response = asked_by(Authorization=f"Bearer {TOKEN}")

    assert b"django_workflow_due_lag_seconds 0.0" in response.content
    assert response.headers["Content-Type"].startswith("text/plain")
    assert asked_by(allowed).status_code == 200


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer None", f"Bearer {TOKEN}x"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_view_is_closed_to_others(given: str, token: str | None) -> None:
    eve = User.objects.create(username="eve")
    with override_settings(WORKFLOW={"METRICS_TOKEN": token}), pytest.raises(PermissionDenied):
        asked_by(eve, Authorization=given)


def every_metric() -> set[str]:
    registry = CollectorRegistry()
    registry.register(WorkflowCollector())
    absent = {"django_workflow_sweep_age_seconds", "django_workflow_beat_age_seconds"}
    return {family.name for family in registry.collect()} | absent


def test_the_beat_is_told_apart_from_sweeps() -> None:
    def ages() -> dict[str, float]:
        found = WorkflowCollector().collect()
        return {
            one.name: one.samples[0].value for one in found if one.name.endswith("_age_seconds")
        }

    sweep()
    assert set(ages()) == {"django_workflow_sweep_age_seconds"}
    tick()
    assert 0 <= ages()["django_workflow_beat_age_seconds"] < 60


def test_every_metric_is_documented() -> None:
    text = (DOCS / "reference" / "metrics.md").read_text()

    assert set(re.findall(r"^\| `(django_workflow_\w+)", text, re.MULTILINE)) == every_metric()


def test_dashboard_asks_for_metrics_that_there_are() -> None:
    board = json.loads((DOCS / "grafana" / "django_workflow.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    named = set(re.findall(r"django_workflow_\w+", " ".join(asked)))

    assert len(asked) >= 10
    assert named <= every_metric()
    # Nothing that can be seen is left out of it, but for what is a count of samples or a moment.
    assert every_metric() - named <= {
        "django_workflow_step_samples",
        "django_workflow_oldest_due_timestamp_seconds",
    }
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
