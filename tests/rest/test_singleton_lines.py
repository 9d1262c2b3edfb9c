"""The line of a queueing singleton over the API: read, paused and resumed like any flow control key, with no other limits."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import Singleton, WorkflowContext, workflow
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

LINE = "flow-control/singleton/rest_queue/ann/"


@workflow(name="rest_queue", singleton=Singleton("ann", on_conflict="queue"))
def queueing(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("wait", "1h")


def test_line_is_read_paused_and_resumed(api: Api, box: WorkflowSandbox) -> None:
    first, second = queueing.trigger(1), queueing.trigger(2)
    shown = api.get(LINE).json()
    assert (shown["parallelism"], shown["waiting"], shown["holding"]) == (1, 1, 1)

    assert api.post(f"{LINE}pause/").json()["paused"] is True
    first.cancel()
    assert second.refresh().status == "pending"
    assert api.post(f"{LINE}resume/").json()["paused"] is False
    assert second.refresh().status == "running"


def test_line_has_no_other_limits(api: Api, box: WorkflowSandbox) -> None:
    queueing.trigger(1)

    is_problem(api.patch(LINE, {"parallelism": 2}), 400, "bad-input")
    is_problem(api.post(f"{LINE}reset/"), 400, "bad-input")
    assert api.get(LINE).json()["parallelism"] == 1
