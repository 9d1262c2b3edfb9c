"""The thread that makes calls: beside workers, through pauses, cancels, deaths and a database that goes away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError

from django_workflow import WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Call, Delivery, Run
from django_workflow.runtime import calling
from django_workflow.runtime.bell import bell
from django_workflow.runtime.call_thread import CallThread
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from tests.runtime.test_http_call import reply, served

pytestmark = pytest.mark.django_db(transaction=True)

PAST = "2020-01-01T00:00:00+00:00"


def ask(ctx: WorkflowContext[Any]) -> Any:
    headers = {"Authorization": "shh"}
    retries = ctx.request_payload.get("retries", 0)
    url = ctx.request_payload["url"]
    reply = ctx.call("ask", url, headers=headers, timeout="20s", retries=retries, retry_delay=0)
    return [reply.status, reply.body]


@pytest.fixture(autouse=True)
def asking(settings: Any) -> Iterator[Any]:
    settings.WORKFLOW = {"DISPATCHER": "embedded", "CALL_ALLOW": ["127.0.0.0/8"], "LEASE": 1}
    yield workflow(name="asks", transport="inline")(ask)
    registry.remove("asks")


@contextmanager
def calling_thread() -> Iterator[CallThread]:
    thread = CallThread()
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        thread.join(10)
        assert not thread.is_alive()


def eventually(claim: Callable[[], Any], seconds: float = 20) -> Any:
    ends = time.monotonic() + seconds
    while not (value := claim()):
        assert time.monotonic() < ends, f"not true within {seconds} s"
        time.sleep(0.01)
    return value


def is_recorded(run: Run) -> bool:
    return run.steps.filter(sequence__isnull=False).exists()


def test_calls_are_made_side_by_side_and_hold_no_worker(asking: Any) -> None:
    gate = Event()

    def slow(handler: Any) -> None:
        gate.wait(20)
        reply(handler, 200, b'{"a":1}', Content_Type="application/json")

    with served(slow) as (url, seen), calling_thread():
        runs = [asking.trigger({"url": f"{url}/{number}"}) for number in range(20)]
        drain()
        eventually(lambda: len(seen) == 20)
        assert drain() == 0
        assert Run.objects.stuck().count() == 0
        assert (
            runs[0].refresh().reason.startswith('"ask" is waiting for the answer to GET http://127')
        )
        # Longer than the lease: renewed, none is made twice.
        time.sleep(1.5)
        gate.set()
        eventually(lambda: all(is_recorded(run) for run in runs))
        drain()

    assert [run.refresh().result for run in runs] == [[200, {"a": 1}]] * 20
    assert len(seen) == 20
    assert not Call.objects.filter(request_text__contains="shh").exists()
    assert not Delivery.objects.exists()


def test_bell_makes_an_idle_thread_look_at_once(asking: Any) -> None:
    with served(reply) as (url, seen), calling_thread():
        time.sleep(0.6)
        asking.trigger({"url": url})
        begun = time.monotonic()
        drain()
        eventually(lambda: seen)
        took = time.monotonic() - begun

    assert took < 0.4


def test_ordinary_workers_leave_calls_alone(asking: Any) -> None:
    asking.trigger({"url": "http://127.0.0.1:1"})

    assert drain() == 1
    assert drain() == 0
    assert claims.count_due(10) == 0
    assert Delivery.objects.get(step_key="ask").due_at is not None
    assert Run.objects.stuck().count() == 0


def test_call_of_a_dead_process_is_made_again_under_the_same_key(asking: Any) -> None:
    with served(reply) as (url, seen):
        run = asking.trigger({"url": url})
        drain()
        [call], _ = calling.claim_calls("dead", 10)
        with calling_thread():
            eventually(lambda: is_recorded(run))
            drain()

    assert run.refresh().result == [200, ""]
    headers = {name.lower(): value for name, value in seen[0][2].items()}
    assert dict(call.request.headers)["Idempotency-Key"] == headers["idempotency-key"]
    assert len(seen) == 1
    assert run.attempts.count() == 0


def test_late_answer_changes_nothing_and_is_kept_aside(asking: Any) -> None:
    run = asking.trigger({"url": "http://127.0.0.1:1"})
    drain()
    [call], _ = calling.claim_calls("slow", 10)
    Delivery.objects.filter(step_key="ask").update(due_at=PAST)
    [again], _ = calling.claim_calls("other", 10)
    answer = calling.Answer(200, (), b"first")

    assert calling.finish(again, answer, call.timeout, "other")
    assert not calling.finish(call, calling.Answer(200, (), b"late"), call.timeout, "slow")

    drain()
    assert run.refresh().result == [200, "first"]
    assert list(run.attempts.values_list("outcome", flat=True)) == ["late"]


def test_stop_gives_back_what_is_in_flight_and_charges_nobody(asking: Any) -> None:
    gate = Event()
    with served(lambda handler: (gate.wait(20), reply(handler))) as (url, seen):
        run = asking.trigger({"url": url})
        drain()
        with calling_thread():
            eventually(lambda: seen)
        delivery = Delivery.objects.get(step_key="ask")
        assert (delivery.leased_by, delivery.tries, delivery.deaths) == ("", 0, 0)
        gate.set()
        with calling_thread():
            eventually(lambda: is_recorded(run))
        drain()

    assert run.refresh().result == [200, ""]
    assert len(seen) == 2
    assert run.attempts.count() == 0


def test_cancelled_run_is_not_answered(asking: Any) -> None:
    gate = Event()
    with served(lambda handler: (gate.wait(20), reply(handler))) as (url, seen):
        run = asking.trigger({"url": url})
        drain()
        with calling_thread():
            eventually(lambda: seen)
            run.cancel()
            gate.set()
            time.sleep(0.3)

    assert run.refresh().status == "cancelled"
    assert not is_recorded(run)
    assert not Call.objects.exists()


def test_paused_run_records_what_is_in_flight(asking: Any) -> None:
    gate = Event()
    with served(lambda handler: (gate.wait(20), reply(handler))) as (url, seen):
        run = asking.trigger({"url": url})
        drain()
        with calling_thread():
            eventually(lambda: seen)
            run.pause()
            gate.set()
            eventually(lambda: is_recorded(run))
        drain()
        assert run.refresh().status == "paused"
        run.resume()
        drain()

    assert run.refresh().result == [200, ""]


def test_retries_use_attempts_and_keep_the_key(asking: Any) -> None:
    answers = [503, 429, 200]

    def failing(handler: Any) -> None:
        reply(handler, answers.pop(0), Retry_After="0")

    with served(failing) as (url, seen), calling_thread():
        run = asking.trigger({"url": url, "retries": 5})
        drain()
        eventually(lambda: is_recorded(run))
        drain()

    assert run.refresh().result == [200, ""]
    assert run.attempts.count() == 2
    keys = {name.lower(): value for _, _, sent, _ in seen for name, value in sent.items()}
    assert len(seen) == 3
    assert len({sent["Idempotency-Key"] for _, _, sent, _ in seen}) == 1
    assert keys


def test_answer_waits_for_a_database_that_is_away(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, refused = calling.calls.record, []

    def record(*args: Any) -> Any:
        if len(refused) < 2:
            refused.append(args)
            raise OperationalError("away")
        return usual(*args)

    monkeypatch.setattr(calling.calls, "record", record)
    with served(reply) as (url, seen), calling_thread():
        run = asking.trigger({"url": url})
        drain()
        eventually(lambda: is_recorded(run))
        drain()

    assert run.refresh().result == [200, ""]
    assert len(seen) == 1


def test_more_than_at_once_wait_for_room(asking: Any, settings: Any) -> None:
    settings.WORKFLOW = {**settings.WORKFLOW, "CALLS_AT_ONCE": 3}
    gate = Event()
    with served(lambda handler: (gate.wait(20), reply(handler))) as (url, seen), calling_thread():
        runs = [asking.trigger({"url": url}) for _ in range(8)]
        drain()
        eventually(lambda: len(seen) == 3)
        time.sleep(0.7)
        assert len(seen) == 3
        gate.set()
        eventually(lambda: all(is_recorded(run) for run in runs))

    assert len(seen) == 8


def test_ring_without_a_listener_does_nothing() -> None:
    for _ in range(100_000):
        bell.ring()
    bell.hush()


def test_call_that_cannot_be_read_holds_nobody_up(asking: Any) -> None:
    with served(reply) as (url, _):
        broken, run = asking.trigger({"url": url}), asking.trigger({"url": url})
        drain()
        Call.objects.filter(run=broken).update(request_text="{}")
        with calling_thread():
            eventually(lambda: is_recorded(run))

    assert "cannot be read" in broken.refresh().reason
    assert Delivery.objects.get(run=broken, step_key="ask").leased_by == ""


def test_call_that_a_process_cannot_begin_is_nobodys_attempt(
    asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: Any) -> Any:
        raise calling.LocalTroubleError("no files left")

    monkeypatch.setattr("django_workflow.runtime.call_thread.HttpCaller.ask", refuse)
    with calling_thread():
        run = asking.trigger({"url": "http://127.0.0.1:1"})
        drain()
        eventually(lambda: run.refresh().reason == "no files left")

    assert run.attempts.count() == 0
    assert run.steps.get().attempts == 0
