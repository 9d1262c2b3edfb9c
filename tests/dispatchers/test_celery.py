"""Hints by Celery's broker: what they cost when it is away, and what they carry when it is there."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from threading import Event, Thread
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.app import app_or_default
from celery.beat import Service
from django.db import transaction

from django_workflow import conf
from django_workflow.core.ports import install_dispatcher
from django_workflow.dispatchers import celery as module
from django_workflow.dispatchers.celery import ADVANCE, SWEEP, CeleryDispatcher
from django_workflow.dispatchers.publisher import Publisher
from django_workflow.dispatchers.rarely import Rarely
from tests.concurrency.together import eventually
from tests.dispatchers.app.workflows import once

REFUSED = "redis://127.0.0.1:1/0"


@pytest.fixture
def celery_dispatcher(settings: Any) -> Iterator[CeleryDispatcher]:
    """A dispatcher of this test's own, in its place."""
    settings.WORKFLOW = {"DISPATCHER": "celery"}
    made = CeleryDispatcher()
    previous = install_dispatcher(made)
    before = app_or_default()
    yield made
    install_dispatcher(previous)
    before.set_current()
    if made._publisher is not None:
        made._publisher.close()
        made._publisher._thread.join(timeout=10)


def use_broker(url: str, **conf_values: Any) -> Celery:
    app = Celery("tests-of-hints", broker=url)
    app.conf.update(conf_values)
    app.set_current()
    return app


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """The address of a host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture
def down(request: pytest.FixtureRequest, silent_broker: str) -> str:
    return {"refused": REFUSED, "silent": silent_broker}[request.param]


def seconds_to_trigger() -> float:
    begun = monotonic()
    with transaction.atomic():
        once.trigger()
        once.trigger()
    return monotonic() - begun


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("down", ["refused", "silent"], indirect=True)
def test_a_broker_that_is_away_costs_half_a_second_once_and_then_nothing(
    celery_dispatcher: CeleryDispatcher, down: str, caplog: pytest.LogCaptureFixture
) -> None:
    use_broker(down)

    with caplog.at_level(logging.WARNING, logger="django_workflow"):
        first = seconds_to_trigger()
        others = [seconds_to_trigger() for _ in range(10)]

    assert first < 0.5
    assert max(others) < 0.1
    assert [record.name for record in caplog.records] == ["django_workflow.dispatchers.celery"]
    assert "could not be told" in caplog.text


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a caller wait for the broker as long as a busy machine may need."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 20)


@pytest.mark.usefixtures("patient")
def test_hints_are_sent_and_carry_nothing_but_their_expiry(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str
) -> None:
    use_broker(redis_url)

    celery_dispatcher.hint(3)

    assert broker.llen("celery") == 3
    message = broker.lindex("celery", 0)
    assert message is not None
    assert b'"task": "django_workflow.advance"' in message
    assert b'"expires": null' not in message


@pytest.mark.usefixtures("patient")
def test_no_more_hints_are_sent_at_once_than_help(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str
) -> None:
    use_broker(redis_url)

    celery_dispatcher.hint(5000)

    assert broker.llen("celery") == module.MOST_HINTS


@pytest.mark.usefixtures("patient")
def test_hints_go_to_the_queue_of_the_settings(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str, settings: Any
) -> None:
    settings.WORKFLOW = {"DISPATCHER": "celery", "QUEUE": "durable"}
    use_broker(redis_url)

    celery_dispatcher.hint()

    assert broker.llen("durable") == 1


@pytest.mark.usefixtures("patient")
def test_a_connection_that_was_closed_while_it_idled_is_replaced_without_a_word(
    celery_dispatcher: CeleryDispatcher,
    broker: redis.Redis,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_broker(redis_url)
    celery_dispatcher.hint()

    broker.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    celery_dispatcher.hint()

    assert broker.llen("celery") == 2
    assert "could not be told" not in caplog.text


def test_after_the_circuit_time_hints_are_tried_again(
    celery_dispatcher: CeleryDispatcher,
    broker: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CIRCUIT_SECONDS", 0.0)
    use_broker(REFUSED)
    celery_dispatcher.hint()
    use_broker(redis_url)

    celery_dispatcher.hint()

    assert broker.llen("celery") == 1


def test_a_first_connection_that_is_only_slow_silences_nobody_for_long(
    celery_dispatcher: CeleryDispatcher,
    broker: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect, gate = Publisher._connect, Event()

    def slowly(publisher: Publisher) -> Any:
        gate.wait(20)
        return connect(publisher)

    monkeypatch.setattr(Publisher, "_connect", slowly)
    use_broker(redis_url)
    celery_dispatcher.hint()
    celery_dispatcher.hint()
    assert broker.llen("celery") == 0
    gate.set()
    publisher = celery_dispatcher._publisher
    assert publisher is not None
    eventually(lambda: publisher.sent_at > 0)

    monkeypatch.setattr(module, "PATIENCE_SECONDS", 20)
    celery_dispatcher.hint()

    # The one that nobody waited for any more, none of the silence, and this one.
    assert broker.llen("celery") == 2


def test_a_publisher_that_hangs_is_left_alone_and_replaced(
    celery_dispatcher: CeleryDispatcher,
    silent_broker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CIRCUIT_SECONDS", 0.0)
    use_broker(silent_broker)
    celery_dispatcher.hint()
    hanging = celery_dispatcher._publisher

    celery_dispatcher.hint()

    assert celery_dispatcher._publisher is not hanging


@pytest.mark.usefixtures("patient")
def test_threads_that_hint_together_are_all_served(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str
) -> None:
    use_broker(redis_url).set_default()
    threads = [Thread(target=celery_dispatcher.hint) for _ in range(10)]

    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert 1 <= broker.llen("celery") <= 10


@pytest.mark.usefixtures("patient")
def test_after_a_fork_the_child_makes_a_connection_of_its_own(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str
) -> None:
    use_broker(redis_url)
    celery_dispatcher.hint()
    publisher = celery_dispatcher._publisher

    celery_dispatcher._forget_publisher()  # what a forked child calls first
    celery_dispatcher.hint()

    assert celery_dispatcher._publisher is not publisher
    assert broker.llen("celery") == 2
    assert publisher is not None
    publisher.close()


def test_where_there_is_no_broker_nobody_is_told(
    celery_dispatcher: CeleryDispatcher, broker: redis.Redis, redis_url: str, settings: Any
) -> None:
    settings.WORKFLOW = {"DISPATCHER": "embedded"}
    use_broker(redis_url)

    celery_dispatcher.hint()

    assert broker.llen("celery") == 0


def test_broken_settings_do_not_make_a_hint_raise(
    celery_dispatcher: CeleryDispatcher, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WORKFLOW = {"DISPATCHR": "celery"}

    celery_dispatcher.hint()

    assert "DISPATCHER" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_an_eager_app_does_the_work_where_the_trigger_commits(
    celery_dispatcher: CeleryDispatcher, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "WORKER_TRACES", str(tmp_path))
    use_broker(REFUSED, task_always_eager=True)

    run = once.trigger()

    assert run.refresh().status == "completed"


class Schedule:
    """Stands where beat's scheduler does; only what is put into it counts."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}

    def update_from_dict(self, entries: dict[str, Any]) -> None:
        self.entries.update(entries)


@pytest.mark.parametrize(
    ("configured", "queue"),
    [
        ({}, None),
        ({"QUEUE": "durable"}, "durable"),
        ({"QUEUE": "durable", "SWEEP_QUEUE": "ticks"}, "ticks"),
    ],
)
def test_beat_gets_the_tick_which_expires_and_has_its_queue(
    settings: Any, configured: dict[str, str], queue: str | None
) -> None:
    settings.WORKFLOW = configured
    schedule = Schedule()

    module._beat_begins(sender=SimpleNamespace(scheduler=schedule))

    entry = schedule.entries[SWEEP]
    assert entry["task"] == SWEEP
    assert entry["schedule"] == conf.settings().SWEEP_INTERVAL
    assert entry["options"]["expires"] == module.TICK_EXPIRES_SECONDS
    assert entry["options"].get("queue") == queue


def test_beat_is_left_alone_if_the_settings_say_so(settings: Any) -> None:
    settings.WORKFLOW = {"BEAT": False}
    schedule = Schedule()

    module._beat_begins(sender=SimpleNamespace(scheduler=schedule))

    assert schedule.entries == {}


def test_celerys_own_scheduler_takes_the_tick_beside_the_projects_schedule() -> None:
    app = Celery("tests-of-beat", broker="memory://")
    app.conf.beat_schedule = {"theirs": {"task": "theirs", "schedule": 60}}
    service = Service(app, scheduler_cls="celery.beat:Scheduler")

    module._beat_begins(sender=service)

    assert {"theirs", SWEEP} <= set(service.scheduler.schedule)


@pytest.mark.parametrize("name", [ADVANCE, SWEEP])
def test_tasks_carry_their_options_themselves(name: str) -> None:
    app = Celery("tests-of-tasks", broker="memory://")
    app.conf.update(task_time_limit=1, task_soft_time_limit=1, task_ignore_result=False)

    task = app.tasks[name]

    assert task.ignore_result
    assert task.acks_late
    assert not task.reject_on_worker_lost
    assert task.expires > 0
    assert min(task.time_limit, task.soft_time_limit) > 86_400


def test_what_goes_wrong_all_the_time_is_said_once_a_minute_with_its_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("django_workflow.dispatchers.rarely.monotonic", lambda: now[0])
    rarely = Rarely(logging.getLogger("rarely"))

    rarely.warning("it is %s", "away")
    rarely.warning("it is %s", "away")
    rarely.warning("it is %s", "away")
    now[0] += 61
    rarely.warning("it is %s", "away")

    said = [record.getMessage() for record in caplog.records]
    assert said == ["it is away", "it is away (2 more times in the last minute)"]
