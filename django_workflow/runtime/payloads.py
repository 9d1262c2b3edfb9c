"""Payloads against the schema of their workflow: a DRF serializer, a Django form, or a callable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.workflow import Workflow


def check_payload(workflow: Workflow[Any, Any], payload: Any) -> Any:
    """Return the payload as its schema wants it, before anything is stored.

    Raises:
        InvalidOptionError: it does not fit; the text names each place.
    """
    schema = workflow.options.payload_schema
    if schema is None:
        return payload
    if isinstance(schema, type) and hasattr(schema, "is_valid"):
        bound = schema(data=payload if payload is not None else {})
        if not bound.is_valid():
            raise InvalidOptionError(
                f'The payload does not fit workflow "{workflow.name}": {_errors(bound.errors)}'
            )
        return dict(getattr(bound, "validated_data", None) or getattr(bound, "cleaned_data", {}))
    try:
        return schema(payload)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidOptionError(
            f'The payload does not fit workflow "{workflow.name}": {error}'
        ) from error


def _errors(errors: Any) -> str:
    if isinstance(errors, Mapping):
        return "; ".join(
            f"{place}: {', '.join(str(one) for one in found)}" for place, found in errors.items()
        )
    return str(errors)
