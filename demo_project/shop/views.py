"""The demo's pages: the newest runs, with links into the admin, and an order as its customer sees it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from demo_project.shop.models import Product
from django_workflow.models import Run

SHOWN = 50


def home(request: HttpRequest) -> HttpResponse:
    """Show the newest runs, and what is left of the stock."""
    runs = list(Run.objects.with_reason().order_by("-created_at", "id")[:SHOWN])
    context = {
        "runs": runs,
        "products": Product.objects.order_by("sku"),
        "is_moving": any(not run.is_finished for run in runs),
    }
    return render(request, "home.html", context)


def order(request: HttpRequest, number: str) -> HttpResponse:
    """Show how far an order is."""
    run = get_object_or_404(Run, pk=number, workflow="order")
    return render(request, "order.html", {"run": run})


def may_follow(request: HttpRequest, run: Run) -> bool:
    """Let everybody follow orders. A real shop would look whose order it is."""
    return run.workflow == "order"
