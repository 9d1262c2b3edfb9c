"""What the shop keeps, beside what django_workflow keeps of its runs."""

from __future__ import annotations

from django.db import models


class Product(models.Model):
    """Something to be sold."""

    sku = models.CharField(max_length=50, unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    #: All that ever came in, and what is left of it.
    delivered = models.PositiveIntegerField(default=0)
    stock = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What somebody has ordered; its run is about this row, and is shown on its page in the admin."""

    number = models.CharField(max_length=128, unique=True)
    product = models.ForeignKey(Product, models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    email = models.EmailField()

    def __str__(self) -> str:
        return self.number


class Reservation(models.Model):
    """Stock taken for an order. Commits together with the step that makes it."""

    order = models.CharField(max_length=128)
    product = models.ForeignKey(Product, models.PROTECT, related_name="reservations")
    quantity = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product} for {self.order}"


class Payment(models.Model):
    """Money taken for an order, known by the idempotency key of the step that took it."""

    key = models.UUIDField(unique=True)
    order = models.CharField(max_length=128)
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    refunded_for = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.amount} for {self.order}"


class Mail(models.Model):
    """A mail that the demo does not really send."""

    key = models.UUIDField(unique=True)
    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    #: Where its reader decides, in a mail that asks for that.
    link = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.subject} to {self.recipient}"


class Booking(models.Model):
    """A carrier that has been asked to come, and the webhook that it calls when it was there."""

    key = models.UUIDField(unique=True)
    webhook = models.TextField()
    booked_at = models.DateTimeField(auto_now_add=True)
    was_there = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"booking of {self.booked_at:%Y-%m-%d %H:%M:%S}"


class Session(models.Model):
    """One start of the demo; its number is part of the ids of the runs that it triggers."""

    began_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"demo {self.pk}"
