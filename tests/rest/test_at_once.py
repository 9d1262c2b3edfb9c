"""Requests that meet: one wins, the others are told the state that they found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.models import User

from django_workflow.models import Action, Run
from tests.concurrency.together import threads
from tests.rest.conftest import Api, is_problem
from tests.rest.workflows import plain

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.rest.urls"),
]


def asked_at_once(paths: list[str], body: Any = None) -> list[Any]:
    user = User.objects.create_superuser("ann")
    clients = [Api(user) for _ in paths]
    with threads() as found:
        return found.together(
            *(lambda api=api, path=path: api.post(path, body) for api, path in zip(clients, paths, strict=True))  # type: ignore[misc]
        )  # fmt: skip


def test_one_run_is_cancelled_once() -> None:
    run = plain.trigger()

    found = asked_at_once([f"runs/{run.id}/cancel/"] * 6)

    assert Counter(one.status_code for one in found) == {200: 1, 409: 5}
    for one in found:
        if one.status_code == 409:
            assert is_problem(one, 409, "wrong-state")["state"] == "cancelled"
    assert Action.objects.filter(verb="cancel").count() == 1


def test_pause_and_cancel_of_one_run() -> None:
    run = plain.trigger()

    found = asked_at_once([f"runs/{run.id}/{verb}/" for verb in ("pause", "cancel") * 3])

    kept = list(run.actions.values_list("verb", "before", "after"))
    assert kept in (
        [("cancel", "pending", "cancelled")],
        [("pause", "pending", "paused"), ("cancel", "paused", "cancelled")],
    )
    assert sum(one.status_code == 200 for one in found) == len(kept)
    for one in found:
        assert one.status_code == 200 or is_problem(one, 409, "wrong-state")["state"] in (
            "paused", "cancelled"
        )  # fmt: skip


def test_one_id_is_triggered_once() -> None:
    body = {"workflow_run_id": "order-1", "payload": {"n": 1}}

    found = asked_at_once(["workflows/rest.plain/runs/"] * 6, body)

    assert Counter(one.status_code for one in found) == {201: 1, 200: 5}
    assert Run.objects.get().id == "order-1"
    assert Run.objects.stuck().count() == 0
