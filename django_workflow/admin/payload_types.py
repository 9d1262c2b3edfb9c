"""What the annotation of a workflow's context says of its payload."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, Flag
from typing import Annotated, Any, Literal, NotRequired, Required, Union
from uuid import UUID

from django_workflow.core.context import BaseContext
from django_workflow.core.workflow import Workflow

#: Of these a form asks for more than JSON; and of an Enum and a Literal.
SCALARS = (str, int, float, bool, Decimal, date, datetime, UUID)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One field of a payload."""

    name: str
    type: Any
    #: Whether None is one of its values.
    is_nullable: bool = False
    #: Whether a payload without it is complete.
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a payload is made of."""

    parts: tuple[Part, ...]
    #: The dataclass that it is; None of a TypedDict, and of a single value, whose only part has no name.
    cls: Any = None

    @property
    def is_value(self) -> bool:
        """Whether the payload is a single value."""
        return len(self.parts) == 1 and not self.parts[0].name


def shape_of(workflow: Workflow[Any, Any]) -> Shape | None:
    """Return what the latest version asks for; None where its annotation does not say."""
    try:
        found = _payload_type(workflow.versions[workflow.latest_version])
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            return Shape(parts=_of_dataclass(found), cls=found)
        if _is_typed_dict(found):
            return Shape(parts=_of_typed_dict(found))
        part = _part("", found)
    except Exception:  # the project's annotations: their names may be there for type checkers alone
        return None
    return Shape(parts=(part,)) if is_scalar(part.type) else None


def is_scalar(kind: Any) -> bool:
    """Tell whether a form can ask for such a value otherwise than by JSON."""
    if typing.get_origin(kind) is Literal or kind in SCALARS:
        return True
    return isinstance(kind, type) and issubclass(kind, Enum) and not issubclass(kind, Flag)


def _payload_type(function: Any) -> Any:
    named = next(iter(inspect.signature(function).parameters))
    context = typing.get_type_hints(function).get(named)
    origin, given = typing.get_origin(context), typing.get_args(context)
    is_context = isinstance(origin, type) and issubclass(origin, BaseContext)
    return given[0] if is_context and given else Any


def _is_typed_dict(found: Any) -> bool:
    # Not typing.is_typeddict, which does not know those of typing_extensions.
    return isinstance(found, type) and issubclass(found, dict) and hasattr(found, "__total__")


def _of_dataclass(cls: Any) -> tuple[Part, ...]:
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return tuple(
        _part(
            field.name,
            hints[field.name],
            is_optional=field.default is not missing or field.default_factory is not missing,
        )
        for field in dataclasses.fields(cls)
        if field.init
    )


def _of_typed_dict(cls: Any) -> tuple[Part, ...]:
    return tuple(
        _part(name, kind, is_optional=name in cls.__optional_keys__)
        for name, kind in typing.get_type_hints(cls, include_extras=True).items()
    )


def _part(name: str, kind: Any, *, is_optional: bool = False, is_nullable: bool = False) -> Part:
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if origin in (NotRequired, Required):
        return _part(name, given[0], is_optional=origin is NotRequired)
    if origin is Annotated:
        return _part(name, given[0], is_optional=is_optional)
    if origin in (Union, types.UnionType) and type(None) in given:
        others = [one for one in given if one is not type(None)]
        inner = others[0] if len(others) == 1 else Any
        return _part(name, inner, is_optional=is_optional, is_nullable=True)
    return Part(name=name, type=kind, is_nullable=is_nullable, is_optional=is_optional)
