"""Workflows for worker processes: they leave traces in files, and can be held at a point until a file is removed."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.workflow import workflow

# A module that a test changes, for the reloader to see.
if "WORKER_WATCHED" in os.environ:
    importlib.import_module(os.environ["WORKER_WATCHED"])


def trace_folder() -> Path:
    return Path(os.environ["WORKER_TRACES"])


def pass_point(run_id: str, point: str) -> None:
    """Leave a line with this process's id, and wait for as long as ``hold.<point>`` is there."""
    with (trace_folder() / f"{run_id}.{point}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    gate = trace_folder() / f"hold.{point}"
    while gate.exists():
        time.sleep(0.005)  # the test's process holds the other end


def body(run_id: str, step: str) -> str:
    pass_point(run_id, f"in.{step}")
    return step


@workflow(name="worked_three_steps")
def three_steps(ctx: WorkflowContext[Any]) -> list[str]:
    results = []
    for step in ("one", "two", "three"):
        pass_point(ctx.workflow_run_id, f"before.{step}")
        results.append(ctx.run(step, body, ctx.workflow_run_id, step))
    pass_point(ctx.workflow_run_id, "after.three")
    return results


@workflow(name="worked_sleeper")
def sleeper(ctx: WorkflowContext[Any]) -> float:
    ctx.sleep("nap", ctx.request_payload)
    return ctx.run("awake", time.time)


@workflow(name="worked_once")
def once(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("only", body, ctx.workflow_run_id, "only")


@workflow(name="worked_call")
def calling(ctx: WorkflowContext[Any]) -> int:
    return ctx.call("ask", ctx.request_payload).status
