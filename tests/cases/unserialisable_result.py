"""What cannot be stored is an error of the step, or of the function, that names the path."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    NotSerializableError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


def not_json() -> Any:
    mark("not json")
    return {"rows": [1, {2, 3}]}


@workflow(name="unserialisable_result", retries=0)
def sync(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload == "function":
        return {"when": object()}
    return ctx.run("not json", not_json)


@workflow(name="unserialisable_result.async", retries=0)
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    if ctx.request_payload == "function":
        return {"when": object()}
    return await ctx.run("not json", not_json)


def play(stage: Stage) -> None:
    run = stage.trigger("step")
    of_function = stage.trigger("function")

    assert run.status == "failed"
    assert run.failure.error_class.endswith(".NotSerializableError")
    assert 'result["rows"][1]' in run.failure.message
    assert of_function.status == "failed"
    assert 'result["when"]' in of_function.failure.message
    assert of_function.failure.step is None
    with pytest.raises(NotSerializableError) as caught:
        stage.trigger({"a": [float("nan")]})
    assert caught.value.path == 'payload["a"][0]'
    stage.ran("not json")
