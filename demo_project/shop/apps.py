"""A small shop."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """The app ``demo_project.shop``."""

    name = "demo_project.shop"
    default_auto_field = "django.db.models.BigAutoField"
