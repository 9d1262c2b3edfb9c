"""Business rows for tests: what a transactional step changes beside the journal."""

from __future__ import annotations

from django.db import models


class Stock(models.Model):
    sku = models.CharField(max_length=50, unique=True)
    # Positive, so that taking more than there is fails in the database, inside the transaction.
    quantity = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.sku}"


class Note(models.Model):
    text = models.TextField()

    def __str__(self) -> str:
        return self.text
