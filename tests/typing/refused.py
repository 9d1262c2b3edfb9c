"""What type checkers refuse. Each line says with which error: one that is not refused is an unused ignore, an error too."""

from __future__ import annotations

from typing import TypedDict

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow


class Order(TypedDict):
    order_id: int


def charge(order_id: int, *, currency: str = "EUR") -> str:
    return f"ch_{order_id}_{currency}"


@workflow
def fulfil(ctx: WorkflowContext[Order]) -> str:
    ctx.run("a text for a number", charge, "42")  # type: ignore[call-overload]
    ctx.run("one argument too many", charge, 1, 2)  # type: ignore[call-overload]
    ctx.run("none at all", charge)  # type: ignore[call-overload]
    ctx.run("a keyword that it does not have", charge, 1, colour="red")  # type: ignore[arg-type, call-arg]
    ctx.run(charge, 1)  # type: ignore[call-overload]
    ctx.atomic("a text for a number", charge, "42")  # type: ignore[arg-type]
    number: int = ctx.run("a text is returned", charge, 1)  # type: ignore[assignment]
    ctx.map("texts for numbers", charge, ["a", "b"])  # type: ignore[arg-type]
    _one, _two, _three = ctx.parallel(lambda: 1, lambda: "2")  # type: ignore[misc]
    ctx.request_payload["customer"]  # type: ignore[typeddict-item]
    ctx.sleep("no duration")  # type: ignore[call-arg]
    return number  # type: ignore[return-value]


@workflow
async def nightly(ctx: AsyncWorkflowContext[Order]) -> str:
    await ctx.run("a text for a number", charge, "42")  # type: ignore[call-overload]
    forgotten: str = ctx.run("not awaited", charge, 1)  # type: ignore[assignment]
    return forgotten


fulfil.trigger({"order_id": "42"})  # type: ignore[arg-type]
fulfil.trigger({"order": 42})  # type: ignore[arg-type]
fulfil.trigger(42)  # type: ignore[arg-type]
fulfil.run(42)  # type: ignore[attr-defined]


@workflow(retrys=3)  # type: ignore[call-overload, untyped-decorator]
def misspelt(ctx: WorkflowContext[Order]) -> None: ...


@workflow  # type: ignore[arg-type]
def without_context() -> None: ...
