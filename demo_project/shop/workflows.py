"""The demo's workflows, from the simplest to the one that waits for children, webhooks and people. Found by itself, as admin.py is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypedDict

from demo_project.shop import carrier, catalogue, courier, mail, partner, payments, stock
from django_workflow import (
    AsyncWorkflowContext,
    CallError,
    Cron,
    Failure,
    FlowControl,
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

    ctx.set_progress(10, message="We take the payment.")
    paid = ctx.run("charge card", payments.charge, number, bought["sku"], bought["quantity"])
    left = ctx.atomic("reserve stock", stock.reserve, number, bought["sku"], bought["quantity"])
    ctx.set_progress(40, message="We pack it.")
    label, invoice = ctx.parallel(
        lambda: ctx.run("print label", courier.print_label, number, bought["courier"]),
        lambda: bill(ctx, number, paid),
    )
    ctx.set_progress(80, message="It is on its way.")
    ctx.sleep("let it travel", "1s")
    ctx.run("ask for a review", mail.send, bought["email"], "How do you like it?")
    ctx.set_progress(100, message="It is there.")
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
    ctx.set_progress(0, message="We cannot ship it, and give your money back.")
    ctx.run("refund", payments.refund, ctx.workflow_run_id, failure.message)
    ctx.run("say sorry", mail.send, ctx.request_payload["email"], "We could not ship your order")


# (d) A report, every night: the clock starts it, and it knows for which day it is. However many there are (more reports may
# name the key), one body at a time: the database has other things to do.


def count_orders(day: str) -> int:
    """Return how many orders had been placed by the end of this day."""
    return Run.objects.filter(workflow=order.name, created_at__date__lte=day).count()


@workflow(
    name="nightly-report",
    schedule=Cron("0 3 * * *", timezone="Europe/Paris", overlap="skip"),
    flow_control=FlowControl("reports", parallelism=1),
)
def nightly_report(ctx: WorkflowContext[None]) -> str:
    """Count the orders until the night before."""
    day = ((ctx.scheduled_for or ctx.now()) - timedelta(days=1)).date().isoformat()
    orders = ctx.run("count orders", count_orders, day)
    ctx.run("send report", mail.send, "office@example.org", f"{orders} orders until {day}")
    return f"{orders} orders until {day}"


# (e) A refund that a person approves, by the link in a mail. Waiting holds no worker.


class Refund(TypedDict):
    """What is to be paid back, and to whom."""

    email: str
    amount: str


BOSS = "boss@example.org"


@workflow(name="refund-approval")
def refund_approval(ctx: WorkflowContext[Refund]) -> str:
    """Ask the boss, pay back if they approve, and tell the customer either way."""
    email, amount = ctx.request_payload["email"], ctx.request_payload["amount"]
    asked = ctx.wait_for_approval(
        "ask the boss", assignees=[BOSS], title=f"Refund {amount} to {email}?", timeout="1d"
    )
    if asked.approved:
        ctx.run("pay back", payments.pay_back, ctx.workflow_run_id, Decimal(amount))
    ctx.run("tell the customer", mail.send, email, f"Your refund: {asked.decision}")
    return asked.decision


# (f) A partner who is slow, and busy at first: a call holds no worker and no web process while it waits.


class Question(TypedDict):
    """Which article the partner is asked for."""

    sku: str


@workflow(name="slow-partner")
def slow_partner(ctx: WorkflowContext[Question]) -> int:
    """Ask a partner how many of an article they have; "503, come back in a second" is waited for."""
    asking, sku = (
        ctx.using(retries=3, retry_delay="0.5s", timeout="10s"),
        ctx.request_payload["sku"],
    )
    try:
        reply = asking.call("ask the partner", partner.url_for(sku))
    except CallError:
        # Nobody there. The partner is this demo, and started again it may have another port.
        reply = asking.call("ask at the new address", partner.url_for(sku))
    in_stock: int = reply.body["in_stock"]
    return in_stock


# (g) New prices for 500 articles: one step, whose items are recorded, retried and resumed each for itself.


class Update(TypedDict):
    """How many articles get a new price."""

    articles: int


@workflow(name="price-update", transport="inline")
def price_update(ctx: WorkflowContext[Update]) -> dict[str, int]:
    """Find the new prices, twenty at a time."""
    articles = catalogue.articles(ctx.request_payload["articles"])
    prices = ctx.map("reprice", catalogue.reprice, articles, max_parallel=20)
    return {"articles": len(prices), "cents": sum(prices)}


# (h) A parcel: two children pack, the carrier calls back, and the customer has a moment to say that they are at home.


class Parcel(TypedDict):
    """What is sent, in which boxes; whether the customer will answer, and how long that is waited for."""

    boxes: list[int]
    at_home: bool
    patience: str


AT_HOME = "at home?"


@workflow(name="pack")
def pack(ctx: WorkflowContext[int]) -> str:
    """Pack one box; a run of its own, with its own retries."""
    return ctx.run("pack", carrier.pack, ctx.request_payload)


@workflow(name="parcel")
def parcel(ctx: WorkflowContext[Parcel]) -> dict[str, Any]:
    """Have every box packed, wait for the carrier, and deliver where the customer wants."""
    first, second = ctx.request_payload["boxes"]
    packed = ctx.parallel(
        lambda: ctx.invoke("first box", pack, first),
        lambda: ctx.invoke("second box", pack, second),
    )
    hook = ctx.create_webhook("carrier's webhook")
    ctx.run("book the carrier", carrier.book, hook.webhook_url)
    called = ctx.wait_for_webhook("carrier", hook, timeout="1h")
    state = called.request.body["state"] if called.request else "lost"

    def answered() -> str:
        ctx.wait_for_event(AT_HOME, f"at-home:{ctx.workflow_run_id}", timeout="1h")
        return "at the door"

    def patience() -> str:
        ctx.sleep("patience", ctx.request_payload["patience"])
        return "at the neighbour's"

    delivered = ctx.race(answered, patience).result
    return {"packed": list(packed), "state": state, "delivered": delivered}
