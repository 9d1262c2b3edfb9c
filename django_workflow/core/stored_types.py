"""The types that the codec can store: how each is written, and made again."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django_workflow.core.exceptions import InvalidOptionError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoredType:
    name: str
    cls: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    has_fields: bool = False


def dataclass_type(cls: type, name: str | None) -> StoredType:
    """Describe a dataclass, stored field by field and made again by calling it."""
    names = _field_names(cls)
    computed = {field.name for field in dataclasses.fields(cls) if not field.init}

    def encode(instance: Any) -> dict[str, Any]:
        return {name: getattr(instance, name) for name in names}

    def decode(fields: dict[str, Any]) -> Any:
        instance = cls(**{name: fields[name] for name in fields if name not in computed})
        for name in computed & fields.keys():
            object.__setattr__(instance, name, fields[name])
        return instance

    return StoredType(
        name=name or cls.__name__, cls=cls, encode=encode, decode=decode, has_fields=True
    )


def enum_type(cls: type[Enum], name: str | None) -> StoredType:
    """Describe an Enum, stored by the names of its members, or a Flag, stored by its values."""
    if not (is_class(cls) and issubclass(cls, Enum)):
        raise InvalidOptionError(f"register_enum takes an Enum class, not {cls!r}.")
    if issubclass(cls, Flag):
        # A combination of flags has no name of its own.
        return StoredType(
            name=name or cls.__name__, cls=cls, encode=lambda member: member.value, decode=cls
        )
    return StoredType(
        name=name or cls.__name__,
        cls=cls,
        encode=lambda member: member.name,
        # Not cls.__getitem__, which is str's where the members are text.
        decode=lambda member_name: cls[member_name],
    )


def is_class(cls: object) -> bool:
    """Tell whether this is a class: what is registered comes from users, typed or not."""
    return isinstance(cls, type)


def class_path(cls: type) -> str:
    """Return the class's name with its module, for messages and to know it after a reload."""
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def _field_names(cls: type) -> list[str]:
    if not (is_class(cls) and dataclasses.is_dataclass(cls)):
        raise InvalidOptionError(
            f"register_dataclass takes a dataclass, not {cls!r}. Put it above @dataclass."
        )
    fields = dataclasses.fields(cls)
    try:
        inspect.signature(cls).bind(**{field.name: None for field in fields if field.init})
    except TypeError as error:
        raise InvalidOptionError(
            f"{class_path(cls)} cannot be made from its fields alone: {error}. Use register_type."
        ) from error
    return [field.name for field in fields]


def _encode_datetime(value: datetime) -> str:
    return datetime.isoformat(value) + _zone_suffix(value.tzinfo)


def _decode_datetime(text: str) -> datetime:
    text, zone = _split_zone(text)
    moment = datetime.fromisoformat(text)
    if zone is None:
        return moment
    # The wall time with the recorded offset; should the zone's rules have changed, the instant.
    wall = moment.replace(tzinfo=zone)
    for local in (wall, wall.replace(fold=1)):
        if local.utcoffset() == moment.utcoffset():
            return local
    return moment.astimezone(zone)


def _encode_time(value: time) -> str:
    return time.isoformat(value) + _zone_suffix(value.tzinfo)


def _decode_time(text: str) -> time:
    text, zone = _split_zone(text)
    moment = time.fromisoformat(text)
    return moment if zone is None else moment.replace(tzinfo=zone)


def _zone_suffix(zone: object) -> str:
    # As RFC 9557 writes it; an offset alone would lose the rules for other days.
    return f"[{zone.key}]" if isinstance(zone, ZoneInfo) and zone.key else ""


def _split_zone(text: str) -> tuple[str, ZoneInfo | None]:
    if not text.endswith("]"):
        return text, None
    text, _, key = text[:-1].partition("[")
    return text, ZoneInfo(key)


def _encode_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is no number")
    return Decimal.__str__(value)


# In this order, for a datetime is a date too.
BUILT_IN_SCALARS: Final = (
    StoredType(name="datetime", cls=datetime, encode=_encode_datetime, decode=_decode_datetime),
    StoredType(name="date", cls=date, encode=date.isoformat, decode=date.fromisoformat),
    StoredType(name="time", cls=time, encode=_encode_time, decode=_decode_time),
    StoredType(
        name="timedelta",
        cls=timedelta,
        encode=lambda value: [value.days, value.seconds, value.microseconds],
        decode=lambda parts: timedelta(*parts),
    ),
    StoredType(name="decimal", cls=Decimal, encode=_encode_decimal, decode=Decimal),
    StoredType(name="uuid", cls=UUID, encode=UUID.__str__, decode=UUID),
)
BUILT_IN: Final = (
    *BUILT_IN_SCALARS,
    StoredType(name="tuple", cls=tuple, encode=list, decode=tuple),
    StoredType(name="dict", cls=dict, encode=dict, decode=dict),
)
