"""One start of the demo: what it triggers, and whether all of it ended as it should."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Sum

from demo_project.shop.models import Order, Payment, Product, Reservation, Session
from demo_project.shop.workflows import (
    drip,
    dynamic,
    nightly_report,
    order,
    parcel,
    price_update,
    refund_approval,
    slow_partner,
)
from django_workflow import Workflow, get_schedule
from django_workflow.core.plain import plain
from django_workflow.models import Run

SESSION = re.compile(r"^demo-\d+-")
INPUT = Path(__file__).resolve().parent / "input"
WORKFLOWS: dict[str, Workflow[Any, Any]] = {
    workflow.name: workflow
    for workflow in (
        dynamic,
        drip,
        order,
        refund_approval,
        slow_partner,
        price_update,
        parcel,
    )
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run that the input asks for, and how it should end."""

    workflow: str
    name: str
    payload: Any
    version: str | None = None
    status: str = "completed"
    result: Any = None


def entries() -> list[Entry]:
    """Return what the JSON files ask for."""
    found = []
    for workflow in WORKFLOWS:
        for item in _read(workflow):
            found.append(Entry(workflow=workflow, name=item.pop("id"), **item))  # noqa: PERF401  an entry a line
    return found


def _read(name: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads((INPUT / f"{name}.json").read_text())
    return items


def begin() -> list[str]:
    """Fill the stock up and trigger everything, in one transaction; return the ids of the runs."""
    with transaction.atomic():
        number = Session.objects.create().pk
        for item in _read("products"):
            _deliver(item.pop("per_start"), **item)
        # Nobody wants to wait for three o'clock in the morning.
        report = get_schedule(nightly_report.name).run_now()
        return [report.id, *(_trigger(number, entry) for entry in entries())]


def _deliver(quantity: int, *, sku: str, name: str, price: str) -> None:
    product, _ = Product.objects.get_or_create(
        sku=sku, defaults={"name": name, "price": Decimal(price)}
    )
    Product.objects.filter(pk=product.pk).update(
        stock=F("stock") + quantity, delivered=F("delivered") + quantity
    )


def _trigger(number: int, entry: Entry) -> str:
    run_id = f"demo-{number}-{entry.workflow}-{entry.name}"
    run: Run = WORKFLOWS[entry.workflow].trigger(
        entry.payload,
        workflow_run_id=run_id,
        label=f"demo-{number}",
        version=entry.version,
        about=_ordered(run_id, **entry.payload) if entry.workflow == order.name else None,
    )
    return run.id


def _ordered(number: str, *, sku: str, quantity: int, email: str, **_: Any) -> Order:
    product = Product.objects.get(sku=sku)
    return Order.objects.create(number=number, product=product, quantity=quantity, email=email)


def left_over() -> list[str]:
    """Return the ids of the runs that an earlier start left unfinished."""
    ours = Q(pk__startswith="demo-") | Q(workflow=nightly_report.name)
    unfinished = Run.objects.unfinished().filter(ours)
    return list(unfinished.order_by("created_at", "id").values_list("pk", flat=True))


def complaints(runs: Iterable[Run]) -> list[str]:
    """Return what is wrong with these runs and with the shop's books; nothing, if all went well."""
    expected = {f"{entry.workflow}-{entry.name}": entry for entry in entries()}
    found = []
    for run in runs:
        name = SESSION.sub("", run.id)
        # The report is not among them, and an earlier start may have had another input.
        found += _wrong_with(run, expected.get(name))
    return found + _wrong_with_books()


def _wrong_with(run: Run, entry: Entry | None) -> list[str]:
    if not run.is_finished:
        return [f"{run.id} has not ended: it is {run.status}. {run.reason}"]
    if entry is None:
        return []
    if run.status != entry.status:
        return [f"{run.id} is {run.status}, and should be {entry.status}. {run.reason}"]
    if entry.result is not None and plain(run.result_text) != entry.result:
        return [
            f"{run.id} returned {plain(run.result_text)}, and should have returned {entry.result}."
        ]
    if run.handler_status not in {"", "completed"}:
        return [f"The failure handler of {run.id} is {run.handler_status}."]
    return []


def _wrong_with_books() -> list[str]:
    """Compare what the steps wrote with what was recorded of them: each payment and each reservation once."""
    products = Product.objects.annotate(taken=Sum("reservations__quantity", default=0))
    found = [
        f"{product.name}: {product.stock} are left of {product.delivered}, and {product.taken} are reserved."
        for product in products
        if product.stock != product.delivered - product.taken
    ]
    books = {
        "payments": Payment.objects.values_list("order", flat=True),
        "reservations": Reservation.objects.values_list("order", flat=True),
    }
    for what, orders in books.items():
        found += [
            f"{order} has {count} {what}." for order, count in Counter(orders).items() if count > 1
        ]
    return found
