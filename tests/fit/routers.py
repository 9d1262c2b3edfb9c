"""The router of docs/how-to/multi-database.md."""

from __future__ import annotations

from typing import Any


class JournalRouter:
    """Leaves the tables of django_workflow on their database, and everything else where it is."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "journal" if model._meta.app_label == "django_workflow" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "journal") is (app_label == "django_workflow")
