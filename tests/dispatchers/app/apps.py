from __future__ import annotations

from django.apps import AppConfig


class WorkedConfig(AppConfig):
    """Holds the workflows that worker processes of these tests carry out."""

    name = "tests.dispatchers.app"
    label = "worked"
