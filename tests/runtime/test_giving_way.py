"""What the runtime writes in one transaction, made again where it gave way: done once, and nothing done beside it twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow import Singleton, WorkflowContext, workflow
from django_workflow.models import Action, Delivery, Run, RunLog, Webhook
from django_workflow.runtime.worker import drain
from django_workflow.store import actions, repeating, telling, trigger_keys, webhooks
from tests.cases.outside import reachable
from tests.store.giving_way import GivesWay

pytestmark = pytest.mark.django_db(transaction=True)

bodies: Counter[str] = Counter()


def body(name: str) -> None:
    bodies[name] += 1


@workflow(name="giving_way", transport="inline")
def tells(ctx: WorkflowContext[Any]) -> str:
    ctx.log("It begins.")
    ctx.run("a", body, "a")
    ctx.create_webhook("hook")
    ctx.run("b", body, "b")
    return "made"


@workflow(name="giving_way_alone", transport="inline", singleton=Singleton(key="one"))
def alone(ctx: WorkflowContext[Any]) -> None: ...


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin with nothing counted, and rest for no time."""
    bodies.clear()
    monkeypatch.setattr(repeating, "sleep", lambda seconds: None)
    with reachable():
        yield


@pytest.mark.parametrize("times", [1, 3])
def test_record_with_what_was_told_beside_it(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gives_way = GivesWay(times, telling.write)
    monkeypatch.setattr(telling, "write", gives_way)
    run = tells.trigger()

    drain()

    assert gives_way.calls > times
    assert run.refresh().status == "completed"
    assert bodies == {"a": 1, "b": 1}
    assert RunLog.objects.filter(message="It begins.").count() == 1
    assert not Delivery.objects.exists()


def test_webhook_that_is_made_with_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    # The record before it has moved the claim's counter by then.
    monkeypatch.setattr(webhooks, "database_now", GivesWay(1, webhooks.database_now))
    run = tells.trigger()

    drain()

    assert run.refresh().status == "completed"
    assert bodies == {"a": 1, "b": 1}
    assert Webhook.objects.count() == 1


def test_verb_and_the_action_that_is_kept_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tells.trigger()
    monkeypatch.setattr(actions, "keep", GivesWay(1, actions.keep))

    run.pause(why="lunch")

    assert run.refresh().status == "paused"
    assert Action.objects.get().why == "lunch"


def test_trigger_through_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger_keys, "assign", GivesWay(1, trigger_keys.assign))

    run = alone.trigger()

    assert run.created
    assert Run.objects.get().pk == run.pk
