"""Hints by django.tasks, which Django has from 6.0 on: what they cost, and what happens where nobody takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from threading import Event, Thread
from typing import Any

import django
import pytest
from django.core import checks
from django.db import transaction
from django.test import override_settings

from django_workflow.core.ports import install_dispatcher
from django_workflow.dispatchers import django_tasks as module
from django_workflow.dispatchers.django_tasks import ChosenDispatcher, TasksDispatcher
from django_workflow.dispatchers.standing import stand_watch
from django_workflow.models import Run, Sweep
from tests.dispatchers.app.workflows import once
from tests.dispatchers.processes import eventually

tasks: Any = import_module("django.tasks") if django.VERSION >= (6, 0) else None

needs_tasks = pytest.mark.skipif(
    django.VERSION < (6, 0), reason="django.tasks is part of Django from 6.0 on"
)
pytestmark = pytest.mark.django_db(transaction=True)

DUMMY = "django.tasks.backends.dummy.DummyBackend"
IMMEDIATE = "django.tasks.backends.immediate.ImmediateBackend"


@pytest.fixture(autouse=True)
def by_tasks(settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TRACES", str(tmp_path))
    settings.WORKFLOW = {"DISPATCHER": "tasks"}


@pytest.fixture
def told(settings: Any) -> Iterator[list[Any]]:
    """What was enqueued in Django's dummy backend, by a dispatcher of this test's own."""
    settings.TASKS = {"default": {"BACKEND": DUMMY}}
    previous = install_dispatcher(ChosenDispatcher())
    yield tasks.default_task_backend.results
    install_dispatcher(previous)


@pytest.fixture
def immediate(settings: Any) -> Iterator[None]:
    settings.TASKS = {"default": {"BACKEND": IMMEDIATE}}
    previous = install_dispatcher(ChosenDispatcher())
    yield
    install_dispatcher(previous)


def ids_of(messages: list[checks.CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_workflow.") for message in messages]


def found(deploy: bool = False) -> list[str]:
    messages = checks.run_checks(
        tags=["django_workflow"], include_deployment_checks=deploy, databases=[]
    )
    return [name for name in ids_of(messages) if name in {"E030", "E031", "W030"}]


@needs_tasks
def test_a_commit_enqueues_one_task_and_a_rollback_none(told: list[Any]) -> None:
    with transaction.atomic():
        once.trigger()
        before = len(told)
    with transaction.atomic():
        once.trigger()
        transaction.set_rollback(True)

    assert before == 0
    assert [result.task.name for result in told] == ["advance"]
    assert told[0].args == []


@needs_tasks
def test_tasks_go_to_the_queue_of_the_settings(told: list[Any], settings: Any) -> None:
    settings.WORKFLOW = {"DISPATCHER": "tasks", "QUEUE": "durable"}
    settings.TASKS = {"default": {"BACKEND": DUMMY, "QUEUES": ["durable"]}}
    TasksDispatcher().hint()

    assert [result.task.queue_name for result in tasks.default_task_backend.results] == ["durable"]


@needs_tasks
def test_a_backend_that_works_at_once_carries_the_run_when_its_trigger_commits(
    immediate: None,
) -> None:
    with transaction.atomic():
        run = once.trigger()
        assert run.refresh().status == "pending"

    assert run.refresh().status == "completed"


@needs_tasks
def test_a_backend_that_works_at_once_is_not_asked_again_from_within(immediate: None) -> None:
    once.trigger_many([None] * 20)

    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}


@needs_tasks
def test_a_backend_that_is_away_is_left_alone_and_told_of_once(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.TASKS = {"default": {"BACKEND": "tests.dispatchers.backends.Away"}}
    dispatcher = TasksDispatcher()
    with caplog.at_level(logging.WARNING, logger="django_workflow"):
        dispatcher.hint()
        dispatcher.hint()

    assert tasks.default_task_backend.asked == 1
    assert caplog.text.count("the queue is away") == 1


@needs_tasks
def test_a_process_has_no_more_tasks_waiting_than_help(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "tests.dispatchers.backends.Kept"}}
    dispatcher = TasksDispatcher()
    for _ in range(5):
        dispatcher.hint(10)
    waiting = len(tasks.default_task_backend.kept)
    tasks.default_task_backend.begin(3)
    dispatcher.hint(10)

    assert waiting == module.MOST_HINTS
    assert len(tasks.default_task_backend.kept) == module.MOST_HINTS + 3


@needs_tasks
@pytest.mark.parametrize(
    "configured",
    [
        {},
        {"default": {"BACKEND": DUMMY, "QUEUES": ["mail"]}},
        {"default": {"BACKEND": "no.such.Backend"}},
    ],
)
def test_a_backend_that_takes_no_task_of_ours_is_an_error(configured: Any, settings: Any) -> None:
    settings.TASKS = configured

    assert found(deploy=True) == ["E031"]


@needs_tasks
@pytest.mark.parametrize("backend", [DUMMY, IMMEDIATE])
def test_a_backend_without_workers_is_told_at_deployment(backend: str, settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": backend}}

    assert found() == []
    assert found(deploy=True) == ["W030"]


@needs_tasks
def test_a_backend_with_workers_is_fine(settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "tests.dispatchers.backends.Kept"}}

    assert found(deploy=True) == []


def test_django_without_tasks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_available", lambda: False)

    assert found(deploy=True) == ["E030"]


@override_settings(WORKFLOW={"DISPATCHER": "celery"})
def test_nothing_is_asked_of_django_tasks_where_celery_tells_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "is_available", lambda: False)

    assert found(deploy=True) == []


def test_the_watch_sweeps_until_it_is_stopped() -> None:
    stopped = Event()
    watch = Thread(target=stand_watch, args=(stopped,), daemon=True)

    watch.start()
    eventually(Sweep.objects.exists)
    stopped.set()
    watch.join(10)

    assert not watch.is_alive()
