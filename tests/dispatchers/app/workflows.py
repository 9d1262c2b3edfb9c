"""Workflows for worker processes: they leave traces in files, and can be held at a point until a file says go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from django_workflow.core.context import WorkflowContext
from django_workflow.core.workflow import workflow


def trace_folder() -> Path:
    return Path(os.environ["WORKER_TRACES"])


def leave_trace(run_id: str, step: str) -> None:
    """Append a line with this process's id: each line is one execution of the body."""
    with (trace_folder() / f"{run_id}.{step}").open("a") as file:
        file.write(f"{os.getpid()}\n")


def hold(run_id: str, step: str) -> None:
    """Wait for as long as the file ``hold.<step>`` is there."""
    gate = trace_folder() / f"hold.{step}"
    while gate.exists():
        time.sleep(0.005)  # another process holds the other end


def body(run_id: str, step: str) -> str:
    leave_trace(run_id, step)
    hold(run_id, step)
    leave_trace(run_id, f"{step}.end")
    return step


@workflow(name="three_steps")
def three_steps(ctx: WorkflowContext[Any]) -> list[str]:
    return [ctx.run(step, body, ctx.workflow_run_id, step) for step in ("one", "two", "three")]


@workflow(name="sleeper")
def sleeper(ctx: WorkflowContext[Any]) -> float:
    ctx.sleep("nap", ctx.request_payload["seconds"])
    return ctx.run("awake", time.time)


@workflow(name="quick")
def quick(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("only", body, ctx.workflow_run_id, "only")


@workflow(name="slow")
def slow(ctx: WorkflowContext[Any]) -> str:
    ctx.run("slow", time.sleep, ctx.request_payload["seconds"])
    return "done"
