"""One approves with a form, one rejects; nobody is in time for the third."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from tests.app.forms import BudgetForm
from tests.cases.bodies import mark
from tests.cases.stage import Stage

OPS = "Ops@example.org"


@workflow(name="approval")
def sync(ctx: WorkflowContext[Any]) -> Any:
    yes = ctx.wait_for_approval("budget", form=BudgetForm, assignees=OPS, timeout="2d")
    ctx.run("after", mark, "after")
    no = ctx.wait_for_approval("again", assignees=[OPS], timeout="2d")
    none = ctx.wait_for_approval("late", timeout="2d")
    return [
        [yes.approved, yes.decision, yes.decided_by, yes.comment, yes.data, yes.decided_at],
        [no.approved, no.decision, no.comment, no.data, no.timed_out],
        [none.approved, none.decision, none.timed_out, none.timeout, none.decided_by],
    ]


@workflow(name="approval.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    yes = await ctx.wait_for_approval("budget", form=BudgetForm, assignees=OPS, timeout="2d")
    await ctx.run("after", mark, "after")
    no = await ctx.wait_for_approval("again", assignees=[OPS], timeout="2d")
    none = await ctx.wait_for_approval("late", timeout="2d")
    return [
        [yes.approved, yes.decision, yes.decided_by, yes.comment, yes.data, yes.decided_at],
        [no.approved, no.decision, no.comment, no.data, no.timed_out],
        [none.approved, none.decision, none.timed_out, none.timeout, none.decided_by],
    ]


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.reason.startswith('"budget" is waiting for approval by ops@example.org until 2030-')
    stage.box.advance("1h")
    decided_at = stage.box.now
    stage.box.approve(run, "budget", by=OPS, data={"amount": "12.50"}, comment="fine\x00 ")
    assert stage.box.waiting_on(run) == ["again"]
    stage.box.reject(run, "again", by=OPS, comment="no")
    assert stage.box.waiting_on(run) == ["late"]
    stage.box.advance("2d")

    yes, no, none = run.refresh().result
    assert yes[:4] == [True, "approved", "ops@example.org", "fine"]
    assert str(yes[4]["amount"]) == "12.50"
    assert yes[5] == decided_at
    assert no == [False, "rejected", "no", None, False]
    assert none == [False, "timed_out", True, True, ""]
    assert [one.decision for one in run.approvals.order_by("pk")] == [
        "approved",
        "rejected",
        "timed_out",
    ]
    stage.ran("after")
