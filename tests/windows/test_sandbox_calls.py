"""The sandbox answers calls, tells what was called, and makes calls go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from django_workflow import ArgumentDriftError, InvalidOptionError, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.management.output import run_as_json
from django_workflow.models import Call
from django_workflow.testing import UnexpectedCallError, WorkflowSandbox

pytestmark = pytest.mark.django_db

URL = "https://partner.example/?token=shh"


@pytest.fixture
def calls() -> Iterator[Any]:
    @workflow(name="sandbox_calls")
    def asks(ctx: WorkflowContext[Any]) -> Any:
        reply = ctx.call("ask", URL, headers={"X-Api-Key": "shh", "X-Plain": "seen"})
        return [reply.status, reply.body]

    yield asks
    registry.remove("sandbox_calls")


def test_unexpected_call_is_an_error_that_says_what_to_write(calls: Any) -> None:
    with WorkflowSandbox() as box:
        with pytest.raises(UnexpectedCallError, match=r'box\.respond\("GET", "https://partner'):
            calls.trigger(workflow_run_id="asked")

        box.respond("GET", URL, body="there")
        box.settle()
        run = calls.trigger(workflow_run_id="asked")

    assert run.result == [200, "there"]


def test_crash_after_makes_the_request_again(calls: Any) -> None:
    with WorkflowSandbox() as box:
        box.respond("GET", URL)
        box.crash_after("ask")
        run = calls.trigger()
        assert box.waiting_on(run) == ["ask"]
        box.settle()

    assert run.refresh().result == [200, ""]
    assert len(box.calls) == 2
    assert len({call.headers["Idempotency-Key"] for call in box.calls}) == 1


def test_crash_before_and_failure_make_no_request(calls: Any) -> None:
    with WorkflowSandbox() as box:
        box.crash_before("ask")
        box.fail("ask", error=OSError("cable cut"))
        run = calls.trigger()
        box.settle()

    assert run.refresh().status == "failed"
    assert "cable cut" in run.failure.message
    assert box.calls == []


def test_nothing_that_is_shown_holds_a_secret(calls: Any) -> None:
    with WorkflowSandbox(now=datetime(2030, 1, 1, tzinfo=UTC)) as box:
        with pytest.raises(UnexpectedCallError):
            calls.trigger(workflow_run_id="asked")
        box.respond("GET", URL, error="no")
        [call] = Call.objects.all()
        assert "shh" in call.request_text
        assert "shh" not in repr(call.request.headers) + call.request.url
        assert ("X-Plain", "seen") in call.request.headers
        box.settle()
        run = call.run
        run.refresh()

    shown = repr(run_as_json(run, with_steps=True)) + repr(run.steps.get().arguments) + run.reason
    assert "shh" not in shown
    assert "shh" not in Call.objects.get().request_text


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x/"},
        {"method": "CONNECT"},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"Host": "other"}},
        {"headers": {"X A": "a"}},
        {"headers": ["X-A"]},
        {"body": {"a": 1}},
        {"body": 3},
        {"json": 1, "body": "x"},
        {"form": {"a": object()}},
        {"timeout": 0},
        {"retries": -1},
        {"retry_delay": "soon"},
        {"url": "https://user:pass@partner.example/"},
    ],
)
def test_what_cannot_work_is_refused_by_the_verb(wrong: dict[str, Any]) -> None:
    @workflow(name="sandbox_wrong", retries=0)
    def asks(ctx: WorkflowContext[Any]) -> Any:
        ctx.call("ask", **{"url": "https://partner.example/", **wrong})

    try:
        with WorkflowSandbox():
            run = asks.trigger()
    finally:
        registry.remove("sandbox_wrong")

    assert run.failure.error_class.endswith(".InvalidOptionError")
    assert not run.steps.exists()
    assert not Call.objects.exists()


def test_changed_url_of_an_open_call_is_drift(calls: Any) -> None:
    with WorkflowSandbox() as box:
        box.respond("GET", URL, error="no")
        run = calls.trigger()
        calls.versions["1"] = lambda ctx: ctx.call("ask", "https://other.example/").status
        box.respond("GET", "https://other.example/")
        run.resume()

    assert run.refresh().status == "blocked"
    assert run.failure.error_class.endswith(ArgumentDriftError.__name__)


@pytest.mark.parametrize(
    "wrong", [{"status": 99}, {"status": "200"}, {"times": 0}, {"json": 1, "body": "x"}]
)
def test_answer_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with WorkflowSandbox() as box, pytest.raises(InvalidOptionError):
        box.respond("GET", URL, **wrong)
