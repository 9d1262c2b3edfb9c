"""Flow control keys over the API: read, limited, paused, pinned and reset, each logged with who did it."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem
from tests.rest.workflows import limited

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

KEY = "flow-control/rest/limited/"


def test_a_key_is_read_while_runs_wait(api: Api, box: WorkflowSandbox) -> None:
    limited.trigger()
    assert api.post(f"{KEY}pause/").json()["paused"] is True
    run = limited.trigger()

    [found] = api.get("flow-control/").json()["results"]

    assert (found["key"], found["parallelism"], found["waiting"]) == ("rest/limited", 1, 1)
    assert api.get(KEY).json() == found
    assert "paused" in api.get(f"runs/{run.id}/").json()["reason"]
    api.post(f"{KEY}resume/")
    box.settle()
    assert run.refresh().status == "completed"


def test_limits_are_set_and_pinned(
    api: Api, box: WorkflowSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "django_workflow")
    limited.trigger()

    found = api.patch(KEY, {"parallelism": 7, "rate": 10, "period": "1m", "why": "a busy day"})

    assert found.status_code == 200, found.content
    shown = found.json()
    assert (shown["parallelism"], shown["rate"], shown["period_seconds"]) == (7, 10, 60.0)
    assert shown["pinned"] is True
    assert api.patch(KEY, {"rate": None}).json()["rate"] is None
    assert api.post(f"{KEY}unpin/").json()["pinned"] is False
    assert api.post(f"{KEY}pin/").json()["pinned"] is True
    assert api.post(f"{KEY}reset/", {"why": "done"}).json()["pinned"] is False
    told = [record for record in caplog.records if getattr(record, "why", "")]
    assert [record.__dict__["why"] for record in told] == ["a busy day", "done"]
    assert {record.__dict__["actor"] for record in told} == {"ann"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"why": "no reason"},
        {"parallelism": 0},
        {"parallelism": "7"},
        {"rate": -1},
        {"rate": True},
        {"period": "soon"},
        {"period": 5},
        {"paralellism": 5},
        {"parallelism": 2**40},
    ],
)
def test_what_cannot_be_a_limit_is_refused(api: Api, box: WorkflowSandbox, body: Any) -> None:
    limited.trigger()
    before = api.get(KEY).json()
    is_problem(api.patch(KEY, body), 400, "bad-input")
    assert api.get(KEY).json() == before


def test_a_key_that_nothing_has_used(api: Api) -> None:
    is_problem(api.get("flow-control/none/"), 404, "not-found")
    is_problem(api.post("flow-control/none/pause/"), 404, "not-found")
    # Its limits may be set beforehand.
    assert api.patch("flow-control/none/", {"parallelism": 3}).json()["parallelism"] == 3
    is_problem(api.get(f"flow-control/{'x' * 5000}/"), 404, "not-found")
