"""Taking money and giving it back. A repeated attempt is known by its idempotency key, so nobody pays twice."""

from __future__ import annotations

from decimal import Decimal

from demo_project.shop.models import Payment, Product
from django_workflow import current_step


def charge(order: str, sku: str, quantity: int) -> Decimal:
    """Take the price of an order, and return it."""
    amount = Product.objects.get(sku=sku).price * quantity
    Payment.objects.get_or_create(
        key=current_step().idempotency_key, defaults={"order": order, "amount": amount}
    )
    return amount


def refund(order: str, reason: str) -> int:
    """Give the money of an order back; return how many payments that were."""
    return Payment.objects.filter(order=order).update(refunded_for=reason)


def pay_back(order: str, amount: Decimal) -> str:
    """Return the number of a refund."""
    return f"refund-{order}-{amount}"
