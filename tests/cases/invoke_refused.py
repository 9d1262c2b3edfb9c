"""What cannot be invoked is the step's error, and nothing is half there; a wrong call is an error of the code."""

from __future__ import annotations

from typing import Any

from django_workflow import (
    AsyncWorkflowContext,
    InvalidOptionError,
    StepError,
    WorkflowContext,
    WorkflowNotFoundError,
    workflow,
)
from django_workflow.models import Run
from tests.cases.stage import Stage


def only_numbers(payload: Any) -> int:
    return int(payload)


@workflow(name="invoke_refused.child", payload_schema=only_numbers)
def child(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


CALLS: list[tuple[Any, Any, dict[str, Any]]] = [
    ("nothing of this name", None, {}),
    (42, None, {}),
    (child, "1", {"colour": "red"}),
    (child, "1", {"cascade": "yes"}),
    (child, "1", {"detached": True}),
    (child, "many", {}),
    (child, "1", {"workflow_run_id": "taken"}),
]


@workflow(name="invoke_refused")
def sync(ctx: WorkflowContext[Any]) -> Any:
    found = []
    for target, payload, options in CALLS:
        try:
            ctx.invoke("child", target, payload, **options)
        except (InvalidOptionError, WorkflowNotFoundError) as error:
            found.append(str(error))
        except StepError as error:
            found.append(error.failure.message)
    return [*found, ctx.invoke("child", child, "7")]


@workflow(name="invoke_refused.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    found = []
    for target, payload, options in CALLS:
        try:
            await ctx.invoke("child", target, payload, **options)
        except (InvalidOptionError, WorkflowNotFoundError) as error:
            found.append(str(error))
        except StepError as error:
            found.append(error.failure.message)
    return [*found, await ctx.invoke("child", child, "7")]


def play(stage: Stage) -> None:
    child.trigger(1, workflow_run_id="taken")
    run = stage.trigger()

    *found, result = run.result
    beginnings = (
        'No workflow "nothing of this name" is registered',
        "ctx.invoke takes a workflow or the name of one, not 42",
        "trigger() has no option 'colour'",
        "cascade is True or False, not 'yes'",
        "ctx.invoke has no option 'detached'",
        'The payload does not fit workflow "invoke_refused.child"',
        'The run ID "taken" is taken',
    )
    assert [text[: len(start)] for text, start in zip(found, beginnings, strict=True)] == list(
        beginnings
    )
    assert result == 7
    assert run.children.count() == 1
    assert Run.objects.count() == 3
