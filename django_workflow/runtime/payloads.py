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
    try:
        return fitting(schema, payload)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidOptionError(
            f'The payload does not fit workflow "{workflow.name}": {error}'
        ) from error


def misfits(workflow: Workflow[Any, Any], payload: Any) -> dict[str, list[str]]:
    """Return what is wrong with a payload, by place, where its schema is a form or a serializer."""
    schema = workflow.options.payload_schema
    if not (isinstance(schema, type) and hasattr(schema, "is_valid")):
        return {}
    bound = schema(data=payload if payload is not None else {})
    if bound.is_valid() or not isinstance(bound.errors, Mapping):
        return {}
    return {
        str(place): [str(one) for one in (found if isinstance(found, list) else [found])]
        for place, found in bound.errors.items()
    }


def fitting(schema: Any, value: Any) -> Any:
    """Return a value as a schema cleans it: a form or serializer class, or a callable.

    Raises:
        ValueError: it does not fit; the text names each place. A callable may raise what it likes.
    """
    if not (isinstance(schema, type) and hasattr(schema, "is_valid")):
        return schema(value)
    bound = schema(data=value if value is not None else {})
    if not bound.is_valid():
        raise ValueError(_errors(bound.errors))
    return dict(getattr(bound, "validated_data", None) or getattr(bound, "cleaned_data", {}))


def _errors(errors: Any) -> str:
    if isinstance(errors, Mapping):
        return "; ".join(
            f"{place}: {', '.join(str(one) for one in found)}" for place, found in errors.items()
        )
    return str(errors)
