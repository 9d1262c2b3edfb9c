"""The context of a run goes along with its calls, and each request is a span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow import WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Step
from django_workflow.runtime.announcing import _made
from django_workflow.runtime.worker import drain
from tests.concurrency.test_calls import calling_thread, eventually, is_recorded
from tests.runtime.test_http_call import reply, served
from tests.telemetry.tracer import MIDDLEWARE, exported, spans, trace_ids

pytestmark = pytest.mark.django_db(transaction=True)


def ask(ctx: WorkflowContext[Any]) -> Any:
    url, headers = ctx.request_payload
    return ctx.call("ask", url, headers=headers, timeout="20s", retries=1, retry_delay=0).status


@pytest.fixture
def asking(settings: Any) -> Iterator[Any]:
    settings.WORKFLOW = {
        "DISPATCHER": "embedded",
        "CALL_ALLOW": ["127.0.0.0/8"],
        "MIDDLEWARE": MIDDLEWARE,
    }
    _made.cache_clear()
    exported.clear()
    yield workflow(name="traced_asks", transport="inline")(ask)
    registry.remove("traced_asks")
    _made.cache_clear()


def test_request_has_the_trace_and_its_own_span(asking: Any) -> None:
    with served(reply) as (url, seen), calling_thread():
        run = asking.trigger([f"{url}/orders?token=shh", {}])
        drain()
        eventually(lambda: is_recorded(run))
        drain()

    [call] = spans("call ask")
    assert call.context is not None
    [trace_id] = trace_ids()
    sent = {name.lower(): value for name, value in seen[0][2].items()}
    assert sent["traceparent"].startswith(f"00-{trace_id:032x}-{call.context.span_id:016x}-")
    assert call.attributes is not None
    assert call.attributes["http.response.status_code"] == 200
    assert call.attributes["workflow.step.attempt"] == 1
    assert "shh" not in str(call.attributes["url.full"])
    assert run.refresh().result == 200


def test_what_the_workflow_sends_itself_wins_and_failures_are_told(asking: Any) -> None:
    def refuses(handler: Any) -> None:
        reply(handler, 503)

    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with served(refuses) as (url, seen), calling_thread():
        run = asking.trigger([url, {"traceparent": own}])
        drain()
        eventually(lambda: is_recorded(run))
        drain()

    assert {name.lower(): value for name, value in seen[0][2].items()}["traceparent"] == own
    first, second = spans("call ask")
    assert not first.status.is_ok
    assert not second.status.is_ok


def test_no_answer_is_told_with_the_attempts(asking: Any) -> None:
    with calling_thread():
        run = asking.trigger(["http://127.0.0.1:9/", {}])
        drain()
        eventually(lambda: is_recorded(run))
        drain()

    found = spans("call ask")
    assert len(found) == 2
    assert all(not span.status.is_ok for span in found)
    assert Step.objects.get(run=run).status == "failed"
    assert trace_ids() == trace_ids(found)
