"""What checks are made of: their messages, and the settings where these can be read."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from django_workflow import conf


def as_error(number: int, message: str, hint: str, obj: Any = None) -> CheckMessage:
    """Return the error ``django_workflow.E…`` of this number."""
    return checks.Error(message, hint=hint, obj=obj, id=f"django_workflow.E{number:03}")


def as_warning(number: int, message: str, hint: str, obj: Any = None) -> CheckMessage:
    """Return the warning ``django_workflow.W…`` of this number."""
    return checks.Warning(message, hint=hint, obj=obj, id=f"django_workflow.W{number:03}")


def read_settings() -> conf.Settings | None:
    """Return the settings, or None while E001 has something to say of them."""
    return None if conf.problems() else conf.settings()


def journal_alias(settings: conf.Settings | None) -> str | None:
    """Return the database of the journal, or None where there is none of that name."""
    known = settings is not None and settings.DATABASE in connections
    return settings.DATABASE if known and settings is not None else None
