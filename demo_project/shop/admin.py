"""The shop's own pages in the admin: an order shows the runs about it."""

from __future__ import annotations

from django.contrib import admin

from demo_project.shop.models import Order, Product
from django_workflow.admin import WorkflowRunsInline


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Orders, each with its runs."""

    list_display = ("number", "product", "quantity", "email")
    inlines = [WorkflowRunsInline]


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What is sold."""

    list_display = ("name", "sku", "price", "stock")
