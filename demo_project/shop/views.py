"""The demo's home page: the newest runs, with links into the admin."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

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
