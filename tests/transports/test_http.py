"""The transport ``http`` keeps the contract, one step per request, under one claim."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings
from django.test import override_settings

from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery
from django_workflow.runtime.worker import carry, drain, stopping
from tests.store.loads import Loads
from tests.transports import runs
from tests.transports.contract import TransportContract
from tests.transports.runs import claimed, lose_lease
from tests.transports.wsgi import DjangoTransport, PassOn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("http_transport")]


class TestHttp(TransportContract):
    name = "http"


@pytest.fixture(autouse=True)
def begun() -> Iterator[None]:
    yield
    stopping.clear()


def stop_worker(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
    stopping.set()
    return pass_on(request)


def test_each_request_executes_one_step(http_transport: DjangoTransport) -> None:
    runs.steps.trigger(["a", "b", "c"])

    drain()

    assert len(http_transport.requests) == 3


def test_steps_per_pass_sets_how_many(http_transport: DjangoTransport) -> None:
    runs.steps.trigger(["a", "b", "c", "d"])

    with override_settings(WORKFLOW={**settings.WORKFLOW, "STEPS_PER_PASS": 2}):
        drain()

    assert len(http_transport.requests) == 2


def test_one_claim_serves_all_requests_of_a_pass() -> None:
    run = runs.steps.trigger(["a", "b", "c"])

    claims = drain()

    assert (claims, run.refresh().result) == (1, "a-b-c")


def test_journal_is_not_asked_for_by_who_must_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = Loads(monkeypatch)
    run = runs.steps.trigger(["a", "b", "c"])
    drain()

    assert (loads.single, loads.ahead) == ([], [])
    assert run.refresh().result == "a-b-c"


def test_request_names_the_run_and_nothing_of_its_state(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["secret"], workflow_run_id="order-1")
    delivery = Delivery.objects.get()

    drain()

    request = http_transport.requests[0]
    assert run.id == "order-1"
    assert request.method == "POST"
    assert str(request.url) == "http://testserver/workflows/steps/"
    assert request.content == b'{"workflow_run_id":"order-1","delivery":%d}' % delivery.pk


def test_worker_that_is_told_to_stop_gives_its_turn_back(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a", "b", "c"])
    http_transport.proxy = stop_worker

    drain()

    turn = Delivery.objects.get()
    assert (runs.done, turn.leased_by, turn.tries) == (["a"], "", 0)
    assert run.refresh().status == RunStatus.RUNNING


def test_delivery_under_a_lease_that_has_ended_does_nothing() -> None:
    run = runs.steps.trigger(["a"])
    claim = claimed(run)
    lose_lease()

    carry(claim, "a worker")

    assert runs.done == []
    assert "stale" in run.refresh().reason
