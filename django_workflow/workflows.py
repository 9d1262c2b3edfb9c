"""The workflows that the package brings along. Found by itself, as those of any app."""

from __future__ import annotations

from typing import Any, Final

from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.workflow import workflow
from django_workflow.runtime import bulk

BULK: Final = "django_workflow.bulk"


@workflow(name=BULK, transport="inline", trigger_permission=lambda request: False)
def act_on_all(ctx: WorkflowContext[dict[str, Any]]) -> dict[str, int]:
    """Do something to all runs that match: each in a transaction with its record, so once; a page per generation."""
    job, run_id = ctx.request_payload, ctx.workflow_run_id
    verb, pace = job["asked"]["verb"], job["asked"]["per_minute"]
    done, refused = job.get("done", 0), job.get("refused", 0)

    chosen = ctx.run("choose", bulk.choose, run_id, job, job.get("place", ""))
    for target in chosen["ids"]:
        outcome = ctx.atomic(f"{verb} {target}", bulk.act, run_id, job, target)
        done, refused = done + outcome["done"], refused + (not outcome["done"])
        ctx.set_progress(done=done + refused, total=max(job["asked"]["total"], done + refused))
        if pace:
            ctx.sleep("pace", 60 / pace)
    if chosen["place"]:
        ctx.continue_as_new({**job, "place": chosen["place"], "done": done, "refused": refused})
    return {"done": done, "refused": refused}
