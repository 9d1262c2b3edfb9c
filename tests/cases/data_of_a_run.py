"""A run keeps what it is about, who began it and what is hidden of it; the function gets everything."""

from __future__ import annotations

from typing import Any

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Run
from tests.app.models import Note
from tests.cases.bodies import double
from tests.cases.stage import Stage


@workflow(name="data_of_a_run", redact=["secret"])
def sync(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("double", double, ctx.request_payload["n"])
    return [ctx.request_payload, dict(ctx.headers)]


@workflow(name="data_of_a_run.async", redact=["secret"])
async def asynchronous(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.run("double", double, ctx.request_payload["n"])
    return [ctx.request_payload, dict(ctx.headers)]


def play(stage: Stage) -> None:
    payload, headers = {"n": 4, "secret": "s", "card": "4111"}, {"Authorization": "Bearer x"}
    note = Note.objects.create(text="about me")
    run = stage.trigger(
        payload,
        headers=headers,
        label=["x", "y"],
        redact=["card", "steps.double", "result"],
        about=note,
        by="Ann",
    )
    again = run.restart(actor="Bob", why="once more")

    assert run.result == again.result == [payload, headers]
    for one in (Run.objects.get(pk=run.id), Run.objects.get(pk=again.id)):
        shown = one.shown_payload
        assert shown["n"] == 4
        assert shown["secret"].startswith("REDACTED:")
        assert shown["card"].startswith("REDACTED:")
        assert one.shown_headers["Authorization"].startswith("REDACTED:")
        assert one.shown_result.startswith("REDACTED:")
        assert one.about == note
    assert set(Run.objects.about(note)) == {run, again}
    assert set(Run.objects.labelled("x", "y")) >= {run, again}
    assert [run.refresh().triggered_by, again.refresh().triggered_by] == ["Ann", "Bob"]

    [action] = run.actions
    assert (action.verb, action.actor, action.why, action.door) == (
        "restart", "Bob", "once more", "code",
    )  # fmt: skip
    note.delete()
    assert Run.objects.get(pk=run.id).about is None
    stage.ran("double 4", 2)
