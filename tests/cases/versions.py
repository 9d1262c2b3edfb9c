"""Runs keep the version they began with; new ones get the one registered last, or the one asked for."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import (
    AsyncWorkflowContext,
    InvalidOptionError,
    WorkflowContext,
    workflow,
)
from tests.cases.bodies import mark
from tests.cases.stage import Stage


@workflow(name="versions")
def sync(ctx: WorkflowContext[Any]) -> list[str]:
    ctx.sleep("rest", "1h")
    return [ctx.version, ctx.run("old", mark, "old")]


@sync.version("2")
def second(ctx: WorkflowContext[Any]) -> list[str]:
    ctx.run("new", mark, "new")
    ctx.sleep("rest", "1h")
    return [ctx.version, ctx.run("newer", mark, "newer")]


@workflow(name="versions.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    await ctx.sleep("rest", "1h")
    return [ctx.version, await ctx.run("old", mark, "old")]


@asynchronous.version("2")
async def asecond(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    await ctx.run("new", mark, "new")
    await ctx.sleep("rest", "1h")
    return [ctx.version, await ctx.run("newer", mark, "newer")]


def play(stage: Stage) -> None:
    old = stage.trigger(version="1")
    new = stage.trigger()
    stage.box.advance("1h")

    assert old.refresh().result == ["1", "old"]
    assert new.refresh().result == ["2", "newer"]
    with pytest.raises(InvalidOptionError, match='no version "3"'):
        stage.trigger(version="3")
    stage.ran("old")
    stage.ran("new")
