"""The column of words that people write: comments, reasons, notes, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from django_workflow.core.at_rest import sealed_words, shown_words

if TYPE_CHECKING:
    _TextField = models.TextField[str, str]
else:
    _TextField = models.TextField


class WordsField(_TextField):
    """A text that is encrypted in its column, where there are keys, and read as it was written.

    What writes it without the ORM seals it itself. It cannot be searched for.
    """

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        """Open it; where that cannot be done, tell so in its place, since a row must be readable without its words."""
        return None if value is None else shown_words(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Seal it; an expression stays as it is."""
        found = super().get_db_prep_save(value, connection)
        return sealed_words(found) if isinstance(found, str) else found

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        """Be any text to migrations: the column is one."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
