"""A carrier who comes when booked, and tells by a webhook that they were there."""

from __future__ import annotations

from demo_project.shop.models import Booking
from django_workflow import current_step


def book(webhook: str) -> str:
    """Book the carrier, once however often this is repeated, and return the number of the booking."""
    booking, _ = Booking.objects.get_or_create(
        key=current_step().idempotency_key, defaults={"webhook": webhook}
    )
    return f"booking-{booking.pk}"


def pack(items: int) -> str:
    """Return what was packed."""
    return f"a box of {items}"
