"""Calls made by real workers: many slow ones at once, and what becomes of them when a worker stops or is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow.models import Delivery
from tests.dispatchers.app.workflows import calling, once
from tests.dispatchers.processes import Process, Site, all_ended, eventually
from tests.runtime.test_http_call import reply, served

pytestmark = pytest.mark.serial

LOOPBACK = {"CALL_ALLOW": ["127.0.0.0/8"]}
CALLS = 60


@pytest.fixture
def slow_server() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes a second for each request."""

    def answer(handler: Any) -> None:
        time.sleep(1)  # the time that the other server takes
        try:
            reply(handler)
        except OSError:
            return

    with served(answer) as found:
        yield found


def test_many_slow_calls_wait_side_by_side_and_hold_no_slot(
    site: Site, slow_server: tuple[str, list[Any]]
) -> None:
    url, seen = slow_server
    site.worker(settings=LOOPBACK)
    begun = time.monotonic()
    runs = [calling.trigger(url) for _ in range(CALLS)]
    eventually(lambda: len(seen) >= 10)
    beside = once.trigger()

    assert all_ended([beside]) == ["completed"]
    assert all_ended(runs) == ["completed"]

    # One after the other, in two slots: half a minute.
    assert time.monotonic() - begun < 12
    assert len(seen) == CALLS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_calls_of_a_worker_that_ends_are_made_by_another(
    site: Site, slow_server: tuple[str, list[Any]], number: int
) -> None:
    url, seen = slow_server
    first = site.worker(settings=LOOPBACK)
    runs = [calling.trigger(url) for _ in range(5)]
    eventually(lambda: len(seen) >= 5)
    _end(first, number)
    if number == signal.SIGTERM:
        held = Delivery.objects.exclude(leased_by="")
        assert not held.filter(lane="call").exists()
    site.worker(settings=LOOPBACK)

    assert all_ended(runs) == ["completed"]
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in seen]
    assert len(set(keys)) == 5
    assert not Delivery.objects.filter(run__in=runs).exists()


def _end(process: Process, number: int) -> None:
    if number == signal.SIGKILL:
        process.kill()
    else:
        process.signal(number)
        process.ends()


def test_workflow_dev_makes_calls(brokerless: Site, slow_server: tuple[str, list[Any]]) -> None:
    url, seen = slow_server
    brokerless.dev("--noreload", settings=LOOPBACK)

    assert all_ended([calling.trigger(url)]) == ["completed"]
    assert len(seen) == 1
