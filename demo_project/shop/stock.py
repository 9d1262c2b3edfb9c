"""Stock: taken once for each order, because the row and the step's record commit together."""

from __future__ import annotations

from django.db.models import F

from demo_project.shop.models import Product, Reservation
from django_workflow import NonRetryableError


def reserve(order: str, sku: str, quantity: int) -> int:
    """Take stock for an order, and return what is left of it.

    Raises:
        NonRetryableError: there is not enough; waiting would not help.
    """
    product = Product.objects.get(sku=sku)
    enough = Product.objects.filter(pk=product.pk, stock__gte=quantity)
    if not enough.update(stock=F("stock") - quantity):
        raise NonRetryableError(
            f"{quantity} of {product.name} were ordered, and {product.stock} are there."
        )
    Reservation.objects.create(order=order, product=product, quantity=quantity)
    product.refresh_from_db()
    return product.stock
