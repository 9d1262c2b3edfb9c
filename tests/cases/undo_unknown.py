"""A step that is cancelled while it waits for its retry is undone as unknown; undo is refused where it could not run."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    InvalidOptionError,
    NotSerializableError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import broken, flaky, mark, take_back
from tests.cases.stage import Stage


@workflow(name="undo_unknown", retries=1, retry_delay="1h")
def sync(ctx: WorkflowContext[Any]) -> None:
    for wrong in ("release", lambda undone: None, partial(take_back), 7):
        with pytest.raises(InvalidOptionError, match="undo"):
            ctx.using(undo=wrong)
    with pytest.raises(InvalidOptionError, match=r"undo is for ctx\.run and ctx\.atomic"):
        ctx.using(undo=take_back).sleep("rest", "1d")
    with pytest.raises(NotSerializableError):
        ctx.using(undo=take_back).run("object", mark, object())
    undoing = ctx.using(undo=take_back)
    ctx.parallel(
        lambda: undoing.run("book", flaky, "book", 9), lambda: undoing.run("pay", mark, "pay")
    )


@workflow(name="undo_unknown.async", retries=1, retry_delay="1h")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> None:
    with pytest.raises(NotSerializableError):
        await ctx.using(undo=take_back).run("object", mark, object())
    undoing = ctx.using(undo=take_back)
    await ctx.parallel(undoing.run("book", flaky, "book", 9), undoing.run("pay", mark, "pay"))


@workflow(name="undo_unknown.handler", retries=0)
def failing(ctx: WorkflowContext[Any]) -> None:
    ctx.run("bad", broken, "bad")


@failing.on_failure
def clean(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.using(undo=take_back).run("clean", mark, "clean")


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert stage.box.waiting_on(run) == ["book"]
    run.cancel(why="no more")

    assert (run.refresh().status, run.undo_status) == ("cancelled", "completed")
    stage.ran("undo book: unknown None ['book', 9]")
    stage.ran("undo pay: done pay ['pay']")
    assert run.steps.get(key="undo.1/undo book").sequence < (
        run.steps.get(key="undo.1/undo pay").sequence
    )

    other = failing.trigger(workflow_run_id="undo_unknown-handler")
    assert other.handler_status == "failed"
    assert "failure handler" in other.handler_failure.message
