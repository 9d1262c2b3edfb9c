"""Schedules over the API: made, changed, held, run at once, and deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_workflow.models import Run, Schedule
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem, user_with
from tests.rest.workflows import plain

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

DAILY = {"workflow": "rest.plain", "cron": "0 9 * * *", "timezone": "Europe/Paris"}


def test_a_schedule_is_made_and_changed(api: Api, box: WorkflowSandbox) -> None:
    made = api.put("schedules/daily/paris/", {**DAILY, "payload": {"n": 1}, "label": ["report"]})
    changed = api.put("schedules/daily/paris/", {**DAILY, "cron": "0 10 * * *", "jitter": "30s"})

    assert made.status_code == changed.status_code == 200
    assert made.json()["schedule_id"] == "daily/paris"
    assert len(made.json()["next_fires"]) == 3
    found = api.get("schedules/daily/paris/").json()
    assert (found["cron"], found["jitter_seconds"]) == ("0 10 * * *", 30.0)
    assert Schedule.objects.count() == 1
    assert [one["schedule_id"] for one in api.get("schedules/").json()["results"]] == [
        "daily/paris"
    ]
    assert api.get("schedules/", workflow="none").json()["results"] == []


def test_it_fires_as_it_says(api: Api, box: WorkflowSandbox) -> None:
    api.put("schedules/daily/", {**DAILY, "payload": {"n": 1}})
    [first, *_] = api.get("schedules/daily/fires/", count=1).json()["next_fires"]
    box.advance(timedelta(days=1))
    run = Run.objects.get()
    assert run.payload == {"n": 1}
    assert run.scheduled_for is not None
    assert run.scheduled_for.isoformat() == first
    assert api.get("schedules/daily/").json()["last_run"] == run.id


def test_fires_are_bounded(api: Api, box: WorkflowSandbox) -> None:
    api.put("schedules/daily/", DAILY)
    assert len(api.get("schedules/daily/fires/").json()["next_fires"]) == 5
    assert len(api.get("schedules/daily/fires/", count=10**6).json()["next_fires"]) == 100
    is_problem(api.get("schedules/daily/fires/", count=0), 400, "bad-input")


def test_pause_resume_and_run_now(api: Api, box: WorkflowSandbox) -> None:
    api.put("schedules/daily/", DAILY)

    assert api.post("schedules/daily/pause/").json()["paused"] is True
    box.advance(timedelta(days=2))
    assert not Run.objects.exists()
    ran = api.post("schedules/daily/run/")
    assert api.post("schedules/daily/resume/").json()["paused"] is False
    box.advance(timedelta(days=1))

    assert ran.status_code == 201
    assert Run.objects.get(pk=ran.json()["workflow_run_id"]).schedule_id == "daily"
    assert Run.objects.count() == 2


def test_delete(api: Api, box: WorkflowSandbox) -> None:
    api.put("schedules/daily/", DAILY)
    assert api.delete("schedules/daily/").status_code == 204
    is_problem(api.delete("schedules/daily/"), 404, "not-found")


def test_unknown_schedules_are_not_found(api: Api) -> None:
    for path in ("", "fires/"):
        is_problem(api.get(f"schedules/none/{path}"), 404, "not-found")
    for verb in ("pause", "resume", "run"):
        is_problem(api.post(f"schedules/none/{verb}/"), 404, "not-found")
    is_problem(api.get("schedules/a%00b/"), 404, "not-found")


def test_one_whose_workflow_is_not_here_cannot_be_run(api: Api, box: WorkflowSandbox) -> None:
    api.put("schedules/daily/", DAILY)
    Schedule.objects.update(workflow="gone")
    is_problem(api.post("schedules/daily/run/"), 409, "not-here")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"cron": "often"}, None),
        ({"cron": "0 0 31 2 *"}, None),
        ({"cron": 5}, "cron"),
        ({"timezone": "Mars/Olympus"}, None),
        ({"overlap": "maybe"}, "overlap"),
        ({"jitter": "-5s"}, None),
        ({"retries": True}, "retries"),
        ({"crom": "x"}, "crom"),
        ({"headers": {"a": 1}}, "headers.a"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(
    api: Api, box: WorkflowSandbox, change: Any, path: str | None
) -> None:
    found = is_problem(api.put("schedules/daily/", {**DAILY, **change}), 400, "bad-input")
    assert found.get("path") == path
    assert not Schedule.objects.exists()


def test_unknown_workflow_and_wrong_id(api: Api) -> None:
    is_problem(api.put("schedules/x/", {**DAILY, "workflow": "none"}), 404, "not-found")
    is_problem(api.put(f"schedules/{'x' * 500}/", DAILY), 400, "bad-input")


def test_making_one_takes_the_right_to_trigger_too(box: WorkflowSandbox) -> None:
    keeper = Api(user_with("eve", "change_schedules", "view_schedule"))
    found = is_problem(keeper.put("schedules/daily/", DAILY), 403, "forbidden")
    assert "trigger_run" in found["detail"]
    plain.schedule("0 9 * * *", schedule_id="daily")
    assert keeper.post("schedules/daily/pause/").status_code == 200
