"""A process that dies at any write changes nothing; a workflow for which it does is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import TestCase, TransactionTestCase

from django_workflow import (
    AsyncWorkflowContext,
    InvalidOptionError,
    Workflow,
    WorkflowContext,
    notify,
    workflow,
)
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.testing import CrashDifferenceError, WorkflowSandbox, crash_everywhere
from tests.app.models import Note

attempts: list[str] = []


def note(text: str) -> str:
    Note.objects.create(text=text)
    return text


def note_once(text: str) -> str:
    Note.objects.get_or_create(text=text)
    return text


def count() -> int:
    attempts.append("x")
    return len(attempts)


def sturdy(ctx: WorkflowContext[Any]) -> str:
    ctx.atomic("reserve", note, "reserved")
    ctx.run("charge", note_once, "charged")
    seen = ctx.wait_for_event("pickup", "kit:pickup", timeout="2d")
    ctx.sleep("rest", "1h")
    return f"{ctx.uuid()} {seen.event_data}"


async def asturdy(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.atomic("reserve", note, "reserved")
    await ctx.run("charge", note_once, "charged")
    seen = await ctx.wait_for_event("pickup", "kit:pickup", timeout="2d")
    await ctx.sleep("rest", "1h")
    return f"{await ctx.uuid()} {seen.event_data}"


def careless(ctx: WorkflowContext[Any]) -> None:
    ctx.run("write", note, "careless")


def counted(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("count", count)


def called(ctx: WorkflowContext[Any]) -> Any:
    hook = ctx.create_webhook("hook")
    return ctx.wait_for_webhook("answer", hook, timeout="2d").request.body


@pytest.fixture(autouse=True)
def made() -> Iterator[dict[str, Workflow[Any, Any]]]:
    attempts.clear()
    bodies: dict[str, Any] = {
        "kit.sturdy": sturdy,
        "kit.asturdy": asturdy,
        "kit.careless": careless,
        "kit.counted": counted,
        "kit.called": called,
    }
    found = {name: workflow(name=name)(body) for name, body in bodies.items()}
    yield found
    for name in found:
        registry.remove(name)


def notes() -> list[str]:
    return list(Note.objects.order_by("text").values_list("text", flat=True))


def play_of(name: str) -> Any:
    def play(box: WorkflowSandbox) -> Any:
        run = registry.get(name).trigger()
        notify("kit:pickup", "by Ann")
        box.advance("3d")
        return run.refresh().result

    return play


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["kit.sturdy", "kit.asturdy"])
def test_a_sturdy_workflow_ends_the_same_wherever_the_process_dies(name: str) -> None:
    report = crash_everywhere(play_of(name), state=notes)

    assert report.writes > 10
    assert report.deaths >= 2 * report.writes - 2
    assert not Run.objects.exists()
    assert notes() == []


@pytest.mark.django_db
def test_a_workflow_with_a_webhook_ends_the_same(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.doors.urls"
    settings.WORKFLOW = {"BASE_URL": "https://example.org", "TRANSPORT": "inline"}

    def play(box: WorkflowSandbox) -> Any:
        run = registry.get("kit.called").trigger()
        assert box.call_webhook(box.webhook(run, "hook"), json={"state": "paid"}).status_code == 200
        return run.refresh().result

    assert crash_everywhere(play).deaths > 10


@pytest.mark.django_db
def test_rows_that_are_written_twice_are_found() -> None:
    with pytest.raises(CrashDifferenceError) as raised:
        crash_everywhere(play_of("kit.careless"), state=notes)

    assert "['careless', 'careless'] instead of ['careless']" in str(raised.value)
    assert raised.value.write >= 1
    assert raised.value.statement
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_result_that_depends_on_the_number_of_calls_is_found() -> None:
    def play(box: WorkflowSandbox) -> None:
        attempts.clear()
        registry.get("kit.counted").trigger()

    with pytest.raises(CrashDifferenceError, match=r"its result: '2' instead of '1'"):
        crash_everywhere(play)


@pytest.mark.django_db
def test_a_play_that_fails_after_a_death_says_where() -> None:
    def play(box: WorkflowSandbox) -> None:
        attempts.clear()
        registry.get("kit.counted").trigger()
        assert len(attempts) == 1, "counted twice"

    with pytest.raises(CrashDifferenceError, match="it raised AssertionError: counted twice"):
        crash_everywhere(play)


@pytest.mark.django_db
def test_an_undisturbed_play_that_fails_raises_its_own_error() -> None:
    def play(box: WorkflowSandbox) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        crash_everywhere(play)


@pytest.mark.django_db
def test_a_play_without_a_write_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="nothing was written"):
        crash_everywhere(lambda box: None)


class InATestCase(TestCase):
    def test_works(self) -> None:
        assert crash_everywhere(play_of("kit.careless")).deaths


class InATransactionTestCase(TransactionTestCase):
    def test_works(self) -> None:
        assert crash_everywhere(play_of("kit.careless")).deaths
        assert not Run.objects.exists()
