"""The demo's workflows: steps from a payload, a drip campaign, an order, a nightly report. Found by itself, as admin.py is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypedDict

from demo_project.shop import courier, mail, payments, stock
from django_workflow import (
    AsyncWorkflowContext,
    Cron,
    Failure,
    NonRetryableError,
    RetryPolicy,
    WorkflowContext,
    workflow,
)
from django_workflow.models import Run

# (a) Steps from the payload. A run keeps to the version it began with, whatever is registered later.


class Functions(TypedDict):
    """What the dynamic workflow is triggered with."""

    version: str
    functions: list[str]


FUNCTIONS: dict[str, Callable[[int], int]] = {
    "AddOne": lambda number: number + 1,
    "MultiplyWithTwo": lambda number: number * 2,
}


def apply(name: str, number: int) -> int:
    """Apply the function of this name.

    Raises:
        NonRetryableError: there is none; trying again would not make one.
    """
    if name not in FUNCTIONS:
        raise NonRetryableError(f'Unknown step "{name}".')
    return FUNCTIONS[name](number)


@workflow(name="dynamic", version="v1")
def dynamic(ctx: WorkflowContext[Functions]) -> int:
    """Apply the functions one after the other, each as a step of its own."""
    number = 0
    for i, name in enumerate(ctx.request_payload["functions"]):
        number = ctx.run(f"step-{i}:{name}", apply, name, number)
    return number


@dynamic.version("v2")
def dynamic_with_trail(ctx: WorkflowContext[Functions]) -> dict[str, Any]:
    """As v1, and keep what was between; runs of v1 go on as they began."""
    trail = [0]
    for i, name in enumerate(ctx.request_payload["functions"]):
        trail.append(ctx.run(f"step-{i}:{name}", apply, name, trail[-1]))
    return {"number": trail[-1], "trail": trail}


# (b) A drip campaign: async, and in the worker's own process. A second stands in for a day.


class Person(TypedDict):
    """Who the drip campaign is for."""

    email: str
    logs_in: bool


DAY = "1s"


def has_logged_in(person: Person) -> bool:
    """Tell whether the person has come back by now."""
    return person["logs_in"]


@workflow(name="drip", transport="inline")
async def drip(ctx: AsyncWorkflowContext[Person]) -> str:
    """Welcome somebody, and nudge them if they do not come back."""
    person = ctx.request_payload
    await ctx.run("send-welcome", mail.asend, person["email"], "Welcome!")
    await ctx.sleep("wait-a-day", DAY)
    if await ctx.run("check-login", has_logged_in, person):
        return "came back"
    await ctx.run("send-nudge", mail.asend, person["email"], "We miss you!")
    await ctx.sleep("wait-another-day", DAY)
    await ctx.run("send-offer", mail.asend, person["email"], "Tea at half the price")
    return "nudged"


# (c) An order: over http, one step per request.


class Order(TypedDict):
    """What is ordered."""

    sku: str
    quantity: int
    email: str
    courier: str


@workflow(name="order", retries=RetryPolicy(max_retries=3, first_delay="0.3s", factor=2))
def order(ctx: WorkflowContext[Order]) -> dict[str, Any]:
    """Charge, reserve, ship and bill side by side, and ask for a review."""
    bought, number = ctx.request_payload, ctx.workflow_run_id

    paid = ctx.run("charge card", payments.charge, number, bought["sku"], bought["quantity"])
    left = ctx.atomic("reserve stock", stock.reserve, number, bought["sku"], bought["quantity"])
    label, invoice = ctx.parallel(
        lambda: ctx.run("print label", courier.print_label, number, bought["courier"]),
        lambda: bill(ctx, number, paid),
    )
    ctx.sleep("let it travel", "1s")
    ctx.run("ask for a review", mail.send, bought["email"], "How do you like it?")
    return {"paid": paid, "left": left, "label": label, "invoice": invoice}


def bill(ctx: WorkflowContext[Order], number: str, paid: Decimal) -> str:
    """Make an invoice and send it, with a rest between: the other branch does not wait for it."""
    invoice = ctx.run("make invoice", make_invoice, number, paid)
    ctx.sleep("until the office opens", "0.5s")
    ctx.run("send invoice", mail.send, ctx.request_payload["email"], f"Your invoice {invoice}")
    return invoice


def make_invoice(number: str, paid: Decimal) -> str:
    """Return the number of an invoice."""
    return f"invoice-{number}-{paid}"


@order.on_failure
def refund(ctx: WorkflowContext[Order], failure: Failure) -> None:
    """Give the money back and say so; the run stays in the dead letters until a person decides."""
    ctx.run("refund", payments.refund, ctx.workflow_run_id, failure.message)
    ctx.run("say sorry", mail.send, ctx.request_payload["email"], "We could not ship your order")


# (d) A report, every night: the clock starts it, and it knows for which day it is.


def count_orders(day: str) -> int:
    """Return how many orders had been placed by the end of this day."""
    return Run.objects.filter(workflow=order.name, created_at__date__lte=day).count()


@workflow(
    name="nightly-report", schedule=Cron("0 3 * * *", timezone="Europe/Paris", overlap="skip")
)
def nightly_report(ctx: WorkflowContext[None]) -> str:
    """Count the orders until the night before."""
    day = ((ctx.scheduled_for or ctx.now()) - timedelta(days=1)).date().isoformat()
    orders = ctx.run("count orders", count_orders, day)
    ctx.run("send report", mail.send, "office@example.org", f"{orders} orders until {day}")
    return f"{orders} orders until {day}"
