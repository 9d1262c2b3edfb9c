"""Requests of one batch are under way side by side; what goes wrong with one is no matter of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.test import override_settings

from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run
from django_workflow.runtime.worker import drain, stopping
from django_workflow.transports.http import HttpTransport
from tests.transports import runs
from tests.transports.runs import driven
from tests.transports.wsgi import DjangoTransport, PassOn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("http_transport")]

TOGETHER = 3
#: Long enough for the slowest machine, and never waited for in full unless something is wrong.
PATIENCE = 20


@pytest.fixture(autouse=True)
def begun() -> Iterator[None]:
    yield
    stopping.clear()


def with_concurrency(count: int) -> override_settings:
    return override_settings(WORKFLOW={**settings.WORKFLOW, "HTTP_CONCURRENCY": count})


def meeting(count: int) -> Callable[[httpx.Request, PassOn], httpx.Response]:
    """Let no request through before this many are under way."""
    barrier = threading.Barrier(count)

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        barrier.wait(PATIENCE)
        return pass_on(request)

    return proxy


def test_requests_of_a_batch_are_under_way_together(http_transport: DjangoTransport) -> None:
    triggered = [runs.steps.trigger(["a"]) for _ in range(TOGETHER)]
    http_transport.proxy = meeting(TOGETHER)

    with with_concurrency(TOGETHER):
        drain()

    assert [run.refresh().result for run in triggered] == ["a"] * TOGETHER


def test_no_more_of_them_than_the_setting_says(http_transport: DjangoTransport) -> None:
    for _ in range(6):
        runs.steps.trigger(["a", "b"])
    lock, under_way, most = threading.Lock(), 0, 0

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        response = pass_on(request)
        with lock:
            under_way -= 1
        return response

    http_transport.proxy = proxy
    with with_concurrency(2):
        drain()

    assert most == 2
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.COMPLETED}


def test_passes_go_on_while_a_request_is_under_way(http_transport: DjangoTransport) -> None:
    requested = runs.steps.trigger(["a"])
    passed = runs.inline.trigger()
    seen: list[str] = []

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        assert runs.passed_inline.wait(PATIENCE)
        seen.append("after the pass")
        return pass_on(request)

    http_transport.proxy = proxy
    drain()

    assert seen == ["after the pass"]
    assert (requested.refresh().result, passed.refresh().result) == ("a", "passed")


def test_trouble_of_one_is_put_off_and_the_others_get_through(
    http_transport: DjangoTransport,
) -> None:
    triggered = [runs.steps.trigger(["a"], workflow_run_id=f"order-{n}") for n in range(3)]

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        if b"order-1" in request.content:
            raise httpx.ConnectError("refused")
        return pass_on(request)

    http_transport.proxy = proxy
    with with_concurrency(3):
        drain()

    assert [run.refresh().status for run in triggered] == ["completed", "running", "completed"]
    assert "could not be reached" in triggered[1].reason
    http_transport.proxy = None
    driven(triggered[1])
    assert triggered[1].result == "a"


class Killed(BaseException):
    """What ends a process at once."""


def test_end_of_the_process_in_a_courier_reaches_the_worker(
    http_transport: DjangoTransport,
) -> None:
    for _ in range(3):
        runs.steps.trigger(["a"])

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        if threading.current_thread() is not threading.main_thread():
            raise Killed
        return pass_on(request)

    http_transport.proxy = proxy
    with with_concurrency(2), pytest.raises(Killed):
        drain()


def test_worker_that_is_told_to_stop_gives_back_what_has_not_begun(
    http_transport: DjangoTransport,
) -> None:
    for _ in range(6):
        runs.steps.trigger(["a"])

    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        stopping.set()
        return pass_on(request)

    http_transport.proxy = proxy
    with with_concurrency(2):
        drain()

    begun = Run.objects.filter(status=RunStatus.COMPLETED).count()
    assert 1 <= begun <= 2
    left = Delivery.objects.filter(leased_by="", tries=0, due_at__isnull=False)
    assert left.count() == 6 - begun


class Counting(httpx.BaseTransport):
    """Stands for a connection; fails to be used by two at once."""

    def __init__(self, through: DjangoTransport, **_: Any) -> None:
        self.through = through
        self.used_for: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.used_for.append(request.read())
        return self.through.handle_request(request)


def test_requests_of_a_claim_share_a_connection(
    http_transport: DjangoTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Counting] = []

    def connect(**options: Any) -> Counting:
        made.append(Counting(http_transport))
        return made[-1]

    transport = HttpTransport()
    monkeypatch.setattr("django_workflow.transports.http.httpx.HTTPTransport", connect)
    monkeypatch.setattr("django_workflow.runtime.worker.get_transport", lambda name: transport)
    http_transport.proxy = None
    for n in range(2):
        runs.steps.trigger(["a", "b", "c"], workflow_run_id=f"order-{n}")
    meet, first = threading.Barrier(2), set[str]()

    def together(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        if threading.current_thread().name not in first:
            first.add(threading.current_thread().name)
            meet.wait(PATIENCE)
        return pass_on(request)

    http_transport.proxy = together
    with with_concurrency(2):
        drain()

    assert len(made) == 2
    assert [len(set(one.used_for)) for one in made] == [1, 1]
    assert [len(one.used_for) for one in made] == [3, 3]
