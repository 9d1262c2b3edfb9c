"""What a run is about: any row of any model, by the model's label and the row's key as text."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db.models import Model

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.models.lengths import MODEL_LABEL_LENGTH, OBJECT_ID_LENGTH


def reference(obj: Any) -> tuple[str, str]:
    """Return the model's label and the key as text; composite keys are a JSON list.

    Raises:
        InvalidOptionError: it is no saved row, or its key is too long.
    """
    if not isinstance(obj, Model):
        raise InvalidOptionError(f"about must be a model instance, not {obj!r}.")
    # A UUID is there before its row is.
    if obj.pk is None or obj._state.adding:
        raise InvalidOptionError(
            f"about is {obj!r}, which is not saved: nothing could be found by it. Save it first."
        )
    # A proxy is its model's row; its parents' keys are its own.
    meta: Any = obj._meta.concrete_model._meta  # type: ignore[union-attr]
    label, key = meta.label_lower, str(meta.pk.value_to_string(obj))
    if len(label) > MODEL_LABEL_LENGTH or len(key) > OBJECT_ID_LENGTH:
        raise InvalidOptionError(
            f"about is a {label} whose key has {len(key)} characters; {OBJECT_ID_LENGTH} are stored at most."
        )
    return label, key


def find_row(label: str, key: str) -> Model | None:
    """Return the row, or None if it, or its model, is gone."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    try:
        pk = model._meta.pk.to_python(key)
        found: Model | None = model._base_manager.filter(pk=pk).first()
        return found
    except (ValidationError, ValueError, TypeError):
        # The model's key is of another type by now.
        return None
