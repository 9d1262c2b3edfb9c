"""Lines, progress and state are kept once, in order, whatever is replayed; a body tells too."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, current_step, workflow
from tests.cases.bodies import mark
from tests.cases.stage import Stage


def tell(name: str) -> str:
    current_step().log(f"in {name}", "warning", name=name)
    current_step().set_progress(done=1, total=2)
    return mark(name)


@workflow(name="log_lines")
def sync(ctx: WorkflowContext[Any]) -> Any:
    def branch(side: str) -> str:
        ctx.log(f"{side} begins")
        ctx.run("side", mark, side)
        ctx.sleep("rest", "1h")
        ctx.log(f"{side} ends")
        return side

    ctx.log("begin", level="debug", order=7)
    ctx.log("begin again")
    ctx.set_progress(10, message="one")
    ctx.run("one", mark, "one")
    ctx.run("two", tell, "two")
    ctx.set_state({"at": "two"})
    ctx.log("two is done")
    ctx.parallel(lambda: branch("left"), lambda: branch("right"))
    ctx.set_state(["joined"])
    ctx.sleep("night", "1h")
    ctx.set_progress(100)
    ctx.log("end", "error")
    return "done"


@workflow(name="log_lines.async")
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    async def branch(side: str) -> str:
        ctx.log(f"{side} begins")
        await ctx.run("side", mark, side)
        await ctx.sleep("rest", "1h")
        ctx.log(f"{side} ends")
        return side

    ctx.log("begin", level="debug", order=7)
    ctx.log("begin again")
    ctx.set_progress(10, message="one")
    await ctx.run("one", mark, "one")
    await ctx.run("two", tell, "two")
    ctx.set_state({"at": "two"})
    ctx.log("two is done")
    await ctx.parallel(branch("left"), branch("right"))
    ctx.set_state(["joined"])
    await ctx.sleep("night", "1h")
    ctx.set_progress(100)
    ctx.log("end", "error")
    return "done"


def play(stage: Stage) -> None:
    run = stage.trigger()
    assert run.state == {"at": "two"}
    assert str(run.progress) == "50 % (1 of 2)"
    stage.box.advance("1h")
    assert run.refresh().state == ["joined"]
    stage.box.advance("1h")

    assert run.refresh().result == "done"
    assert run.progress.percent == 100
    between = [(line.level, line.message, line.fields) for line in run.logs.filter(attempt=0)]
    assert between[:3] == [
        ("debug", "begin", {"order": 7}),
        ("info", "begin again", {}),
        ("info", "two is done", {}),
    ]
    assert sorted(message for _, message, _ in between[3:-1]) == [
        "left begins",
        "left ends",
        "right begins",
        "right ends",
    ]
    assert between[-1] == ("error", "end", {})
    told = list(run.logs.exclude(attempt=0))
    # A body that died is called again, and says it again.
    assert 1 <= len(told) <= 1 + stage.box.crashes
    assert (told[0].step, told[0].message, told[0].fields) == ("two", "in two", {"name": "two"})
