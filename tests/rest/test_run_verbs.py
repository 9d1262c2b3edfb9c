"""Verbs on runs that go on, over the API."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow.models import Action, Run, Step
from django_workflow.rest import selecting
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, user_with
from tests.rest.test_runs import is_problem
from tests.rest.workflows import plain, waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def test_a_fork_is_made_and_named(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")

    body = {"step": "look", "payload": {"n": 2}, "why": "what if"}
    response = api.post("runs/one/fork/", body)

    assert response.status_code == 201
    found = response.json()
    new = Run.objects.get(pk=found["workflow_run_id"])
    assert (found["forked_from"], found["forked_at"]) == ("one", "look")
    assert new.result == {"n": 2}
    action = Action.objects.get(verb="fork")
    assert (action.actor, action.door, action.why) == ("ann", "rest", "what if")


def test_a_result_is_edited(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")

    refused = api.post("runs/one/edit-result/", {"step": "look", "value": None})
    Run.objects.update(status="paused", paused_from="running", finished_at=None)
    done = api.post("runs/one/edit-result/", {"step": "look", "value": {"seen": 2}})

    is_problem(refused, 409, "wrong-state")
    assert (done.status_code, done.json()["status"]) == (200, "paused")
    assert Step.objects.get().result == {"seen": 2}


def test_more_time_and_another_priority(api: Api, box: WorkflowSandbox) -> None:
    waits.trigger(workflow_run_id="one")
    before = Step.objects.get().wake_at

    assert api.post("runs/one/extend/", {"by": "1h", "step": "word"}).status_code == 200
    assert api.post("runs/one/priority/", {"priority": 4}).status_code == 200

    assert Step.objects.get().wake_at > before  # type: ignore[operator]
    is_problem(api.post("runs/one/extend/", {"by": "soon"}), 400, "bad-input")
    is_problem(api.post("runs/one/priority/", {"priority": "high"}), 400, "bad-input")


@pytest.mark.parametrize("path", ["retry", "skip-sleep"])
def test_nothing_to_do_is_a_conflict(path: str, api: Api, box: WorkflowSandbox) -> None:
    waits.trigger(workflow_run_id="one")

    is_problem(api.post(f"runs/one/{path}/"), 409, "wrong-state")
    is_problem(api.post(f"runs/one/{path}/", {"step": "no"}), 400, "bad-input")
    is_problem(api.post(f"runs/lost/{path}/"), 404, "not-found")


def test_bodies_are_checked(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")
    bodies: list[tuple[str, Any]] = [
        ("fork", {}),
        ("fork", {"step": "no"}),
        ("fork", {"step": "look", "result": {}}),
        ("edit-result", {"step": "look"}),
        ("extend", {}),
    ]

    for verb, body in bodies:
        is_problem(api.post(f"runs/one/{verb}/", body), 400, "bad-input")

    assert Run.objects.count() == 1


class TestForksOfMany:
    """``bulk/fork/``: the same shape as the other verbs on many, and the fields of a fork."""

    def test_each_is_told(self, api: Api, box: WorkflowSandbox) -> None:
        plain.trigger({"n": 1}, workflow_run_id="one")
        waits.trigger(workflow_run_id="two")

        body = {"ids": ["one", "two", "none"], "step": "look", "payload": None, "why": "what if"}
        told = api.post("bulk/fork/", body).json()

        assert [one["done"] for one in told["results"]] == [True, False, False]
        assert (told["done"], told["refused"], told["dry_run"]) == (1, 2, False)
        assert 'no step "look"' in told["results"][1]["problem"]["detail"]
        assert told["results"][2]["problem"]["status"] == 404
        new = Run.objects.get(pk=told["results"][0]["new_run_id"])
        assert (new.restarted_from_id, new.forked_at, new.result) == ("one", "look", None)
        action = Action.objects.get(verb="fork")
        assert (action.run_id, action.actor, action.door, action.why) == (
            "one", "ann", "rest", "what if",
        )  # fmt: skip

    def test_a_filter_and_all_mean_those_that_have_ended(
        self, api: Api, box: WorkflowSandbox
    ) -> None:
        for n in range(2):
            plain.trigger({"n": n}, workflow_run_id=f"run-{n}", label="vip")
        waits.trigger(workflow_run_id="lives", label="vip")

        for selection in ({"filter": {"label": ["vip"]}}, {"all": True}):
            dry = api.post("bulk/fork/", {**selection, "step": "look", "dry_run": True}).json()
            assert [one["workflow_run_id"] for one in dry["results"]] == ["run-0", "run-1"]
            assert (dry["done"], dry["refused"], dry["dry_run"]) == (0, 0, True)
        by_state = {"filter": {"status": ["running"]}, "step": "word"}
        assert api.post("bulk/fork/", by_state).json()["done"] == 1
        assert Run.objects.filter(restarted_from="lives").count() == 1

        done = api.post("bulk/fork/", {"filter": {"workflow": "rest.plain"}, "step": "look"})
        assert done.json()["done"] == 2

    def test_a_dry_run_tells_what_would_be_refused(self, api: Api, box: WorkflowSandbox) -> None:
        plain.trigger({"n": 1}, workflow_run_id="one")
        waits.trigger(workflow_run_id="two")
        bodies: list[tuple[dict[str, Any], list[int | None]]] = [
            ({"step": "look"}, [None, 400, 404]),
            ({"step": "word"}, [400, None, 404]),
            ({"step": "look", "results": {"look": 1}}, [400, 400, 404]),
        ]

        for body, expected in bodies:
            asked = {"ids": ["one", "two", "none"], "dry_run": True, **body}
            told = api.post("bulk/fork/", asked).json()
            problems = [one["problem"] for one in told["results"]]
            assert [one and one["status"] for one in problems] == expected
            really = api.post("bulk/fork/", {**asked, "dry_run": False}).json()
            assert [one["problem"] for one in really["results"]] == problems
            Run.objects.filter(restarted_from__isnull=False).delete()
        Action.objects.all().delete()
        api.post("bulk/fork/", {"all": True, "step": "look", "dry_run": True})
        assert Run.objects.count() == 2
        assert not Action.objects.exists()

    def test_what_is_unclear_or_too_much_does_nothing(
        self, api: Api, box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(3):
            plain.trigger({"n": n}, workflow_run_id=f"run-{n}")
        bodies: list[dict[str, Any]] = [
            {}, {"all": True}, {"step": "look"}, {"step": "look", "filter": {}}, {"ids": ["run-0"]},
            {"step": "look", "ids": ["run-0"], "all": True}, {"step": 1, "ids": ["run-0"]},
            {"step": "look", "ids": ["run-0"], "results": []}, {"step": "look", "all": True, "x": 1},
        ]  # fmt: skip
        for body in bodies:
            is_problem(api.post("bulk/fork/", body), 400, "bad-input")
        monkeypatch.setattr(selecting, "MOST_AT_ONCE", 2)
        is_problem(api.post("bulk/fork/", {"step": "look", "all": True}), 400, "bad-input")
        assert Run.objects.count() == 3

    def test_it_takes_its_permission(self, box: WorkflowSandbox) -> None:
        plain.trigger({"n": 1}, workflow_run_id="one")
        body = {"ids": ["one"], "step": "look"}
        other = Api(user_with("restarter", "view_run", "restart_run"))
        is_problem(other.post("bulk/fork/", body), 403, "forbidden")
        assert Run.objects.count() == 1
        forker = Api(user_with("forker", "view_run", "fork_run"))
        assert forker.post("bulk/fork/", body).json()["done"] == 1
