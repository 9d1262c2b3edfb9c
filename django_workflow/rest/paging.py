"""Lists by cursor: a page is found by its first row, however long the list is, and nothing is counted."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from django_workflow.rest.problems import ProblemError

MOST, USUAL = 200, 50


def page(
    request: Request,
    rows: QuerySet[Any],
    order: tuple[str, ...],
    shown: Callable[[list[Any]], list[Any]],
    asked: dict[str, Any],
) -> dict[str, Any]:
    """Return one page of rows in this order, of fields that never change and of which the last is unique."""
    size = min(asked.get("page_size", USUAL), MOST)
    cursor = asked.get("cursor")
    if cursor:
        rows = rows.filter(_after(order, _read(cursor, order, rows)))
    found = list(rows.order_by(*order)[: size + 1])
    following = None
    if len(found) > size:
        found = found[:size]
        text = _written([getattr(found[-1], field.lstrip("-")) for field in order])
        following = replace_query_param(request.build_absolute_uri(), "cursor", text)
    return {"next": following, "results": shown(found)}


def _after(order: tuple[str, ...], values: list[Any]) -> Q:
    found, equal = Q(), Q()
    for field, value in zip(order, values, strict=True):
        name, is_down = field.lstrip("-"), field.startswith("-")
        found |= equal & Q(**{f"{name}__{'lt' if is_down else 'gt'}": value})
        equal &= Q(**{name: value})
    return found


def _written(values: list[Any]) -> str:
    plain = [one.isoformat() if isinstance(one, datetime) else one for one in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read(cursor: str, order: tuple[str, ...], rows: QuerySet[Any]) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError(cursor)
        return [
            _value(rows.model._meta.get_field(field.lstrip("-")).get_internal_type(), value)
            for field, value in zip(order, values, strict=True)
        ]
    except (binascii.Error, ValueError, RecursionError):
        raise ProblemError(
            "bad-cursor", "Begin without a cursor, or take the whole of next.", path="cursor"
        ) from None


def _value(kind: str, value: Any) -> Any:
    if kind == "DateTimeField" and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None and moment.utcoffset() is not None:
            # What no database can hold raises here, not there.
            moment.timestamp()
            return moment
    elif kind == "CharField" and isinstance(value, str) and value.isprintable():
        value.encode()
        return value
    elif kind == "BigAutoField" and type(value) is int and abs(value) < 2**63:
        return value
    raise ValueError(kind)
