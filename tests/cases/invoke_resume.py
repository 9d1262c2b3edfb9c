"""Who resumes a run that failed by its child resumes the child; nothing that was done is done again."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


def mended(name: str) -> str:
    mark(name)
    if name not in repaired:
        raise ValueError(f"{name} is broken.")
    return name


repaired: set[str] = set()

# What is mended is so in this process.
IN_ONE_PROCESS = True


@workflow(name="invoke_resume.child", retries=0)
def child(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("charge", mark, f"charge {ctx.request_payload}")
    return ctx.run("ship", mended, ctx.request_payload)


@workflow(name="invoke_resume")
def sync(ctx: WorkflowContext[Any]) -> Any:
    one = ctx.invoke("one", child, "one")
    return [one, ctx.invoke("two", child, "two")]


@workflow(name="invoke_resume.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    one = await ctx.invoke("one", child, "one")
    return [one, await ctx.invoke("two", child, "two")]


def play(stage: Stage) -> None:
    repaired.clear()
    run = stage.trigger()
    assert run.status == "failed"
    run.resume()
    assert run.refresh().status == "failed"

    repaired.update(["one"])
    run.resume()
    assert run.refresh().status == "failed"
    assert run.failure.step == "two"

    # The child first, and by hand: it is done when the parent asks for it.
    repaired.update(["two"])
    run.children.get(parent_step="two").resume()
    assert run.refresh().status == "failed"
    run.resume()

    assert run.refresh().result == ["one", "two"]
    assert run.children.count() == 2
    stage.ran("charge one")
    stage.ran("charge two")
    stage.ran("one", 3)
    stage.ran("two", 2)
