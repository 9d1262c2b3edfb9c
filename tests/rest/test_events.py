"""Events over the API: sent, kept in the mailbox, refused by schemas, and those who wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_workflow.models import Event
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import ROOT, Api, is_problem, user_with
from tests.rest.workflows import asks_for_an_order, plain, waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def test_an_event_wakes_who_waits(api: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger()

    found = api.post("events/", {"event_id": f"word:{run.id}", "event_data": {"n": 1}})
    box.settle()

    assert (found.status_code, found.json()["event_data"]) == (201, {"n": 1})
    assert run.refresh().result == {"n": 1}
    [listed] = api.get("events/", event_id=f"word:{run.id}").json()["results"]
    assert (listed["reached"], listed["kept"]) == (1, False)


def test_an_early_event_is_kept_for_its_run(api: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger(workflow_run_id="order/1")
    other = {"event_id": "other", "workflow_run_id": run.id}

    assert api.post("events/", other).json()["kept"] is True
    assert api.post("events/", {"event_id": "other", "keep": False}).status_code == 201

    [kept] = api.get("events/", kept=True).json()["results"]
    assert (kept["event_id"], kept["workflow_run_id"]) == ("other", run.id)
    assert len(api.get("events/", workflow_run_id=run.id).json()["results"]) == 1


def test_waiters_are_told_since_when_and_until_when(api: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger()
    [found] = api.get("events/waiters/", event_id=f"word:{run.id}").json()["results"]
    assert (found["workflow_run_id"], found["step"]) == (run.id, "word")
    assert found["since"] < found["until"]
    assert api.get("events/waiters/", event_id="none").json() == {"results": []}
    is_problem(api.get("events/waiters/"), 400, "bad-input")


def test_a_serializer_as_schema_refuses_and_cleans(api: Api, box: WorkflowSandbox) -> None:
    run = asks_for_an_order.trigger()
    body = {"event_id": "order", "workflow_run_id": run.id}

    for data in ({"amount": "many"}, {"amount": 0}, {}, [], None, "x"):
        found = is_problem(api.post("events/", {**body, "event_data": data}), 400, "refused-event")
        assert "OrderSerializer" in found["detail"]
    assert box.waiting_on(run) == ["order"]
    assert not Event.objects.exists()

    sent = api.post("events/", {**body, "event_data": {"amount": "5", "colour": "red"}})
    box.settle()
    assert sent.status_code == 201
    # As the serializer gives it: a number, and nothing that it does not know.
    assert run.refresh().result == {"amount": 5, "rush": False}


def test_event_data_need_a_permission(box: WorkflowSandbox, api: Api) -> None:
    api.post("events/", {"event_id": "x", "event_data": "the secret"})
    viewer = Api(user_with("eve", "view_event", "notify_run"))

    assert viewer.get("events/").json()["results"][0]["event_data"] is None
    sent = viewer.post("events/", {"event_id": "y", "event_data": "their own"})
    assert sent.json()["event_data"] is None


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 400, "bad-input"),
        ({"event_id": ""}, 400, "bad-input"),
        ({"event_id": "x" * 1000}, 400, "bad-input"),
        ({"event_id": 5}, 400, "bad-input"),
        ({"event_id": "x", "keep": "yes"}, 400, "bad-input"),
        ({"event_id": "x", "workflow_run_id": "none"}, 404, "not-found"),
        ({"event_id": "\ud800"}, 400, "bad-input"),
    ],
)
def test_what_cannot_be_sent_is_refused(api: Api, body: Any, status: int, kind: str) -> None:
    is_problem(api.raw("events/", json.dumps(body).encode()), status, kind)
    assert not Event.objects.exists()


def test_half_a_character_is_shown_as_it_was_sent(api: Api) -> None:
    api.raw("events/", rb'{"event_id": "x", "event_data": "\ud800"}')
    assert rb'"event_data":"\ud800"' in api.get("events/").content
    assert api.client.get(f"{ROOT}events/", headers={"Accept": "text/html"}).status_code == 200


def test_pages_of_the_mailbox(api: Api, box: WorkflowSandbox) -> None:
    for number in range(5):
        api.post("events/", {"event_id": f"e{number}"})
    plain.trigger()

    first = api.get("events/", page_size=3).json()
    second = api.client.get(first["next"]).json()

    ids = [event["event_id"] for event in first["results"] + second["results"]]
    assert ids == ["e4", "e3", "e2", "e1", "e0"]
    assert second["next"] is None
    is_problem(api.get("events/", cursor="W251bGxd"), 400, "bad-cursor")
