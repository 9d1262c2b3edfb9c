"""Values to JSON text and back, types included; never pickle.

What holds of every text that ``dumps`` returns:
it is ASCII, so any database and any column of text keeps it as it is;
``loads`` gives back an equal value of the same types, or ``dumps`` has refused the value;
a type stands in it under its registered name, so classes may move between modules;
a tag ``{"$": name, "v": ...}`` is ours, for a user's dict that holds the key is written as pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from json import JSONDecoder, JSONEncoder
from pathlib import PurePath
from types import CoroutineType, GeneratorType
from typing import Any, Final, NoReturn, TypeVar, overload

from django_workflow.core import at_rest
from django_workflow.core.exceptions import (
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
    UndecodableValueError,
)
from django_workflow.core.stored_types import (
    BUILT_IN,
    BUILT_IN_SCALARS,
    StoredType,
    class_path,
    dataclass_type,
    enum_type,
    is_class,
)
from django_workflow.core.types import T

E = TypeVar("E", bound=Enum)

TAG: Final = "$"
VALUE: Final = "v"
MARK: Final = '"$":'

# Far from where Python's recursion ends, be the caller's stack as deep as a web request's.
MAX_DEPTH: Final = 200

UNCHECKED: Final = frozenset({str, bool, type(None)})
PLAIN: Final = UNCHECKED | {int, float}
TEXT: Final = frozenset({str})

# What to do instead, the first that fits.
ADVICE: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (Enum, "Register its class with register_enum, or store its value"),
    ((set, frozenset), "Store a sorted list"),
    (
        (bytes, bytearray, memoryview),
        "Store text, or keep the bytes elsewhere and store their name",
    ),
    (dict, "Store dict(...) of it"),
    (tuple, "Store tuple(...) of it, or register its class with register_type"),
    ((list, GeneratorType, range), "Store list(...) of it"),
    (CoroutineType, "Await it first"),
    (PurePath, "Store str(...) of it"),
)


class _RefusedError(Exception):
    def __init__(self, reason: str, *, is_too_deep: bool = False) -> None:
        super().__init__(reason)
        self.is_too_deep = is_too_deep
        # Filled while the error climbs: the containers passed, and the way into them.
        self.trail: list[tuple[object, str]] = []

    def locate(self, what: str) -> tuple[str, str]:
        """Return the path to the value, and what is wrong with it."""
        path, passed = what, set()
        for container, segment in reversed(self.trail):
            if self.is_too_deep and id(container) in passed:
                return path, "contains itself. Store the id of the other value instead."
            passed.add(id(container))
            path += segment
        return path, str(self)


class _UnreadableError(Exception):
    def __init__(self, reason: str, *, type_name: str | None = None) -> None:
        super().__init__(reason)
        self.type_name = type_name


class Codec:
    """Writes values as JSON text and reads them back, with the types registered here."""

    def __init__(self) -> None:
        self._by_name: dict[str, StoredType] = {}
        self._by_class: dict[type, StoredType] = {}
        self._fallbacks: list[tuple[Callable[[Any], bool], Callable[[Any], Any]]] = []
        self._decoder = JSONDecoder(object_hook=self._hook, parse_constant=_refuse_constant)
        for stored in BUILT_IN:
            self._by_name[stored.name] = stored
            self._by_class[stored.cls] = stored
        # Dicts are plain; only the name is taken, for those that hold the tag's key.
        del self._by_class[dict]

    def dumps(self, value: Any, *, what: str, max_bytes: int | None = None) -> str:
        """Return the value as compact ASCII JSON text.

        Subclasses of str, int, float, Decimal, UUID and of the classes of ``datetime`` are
        stored as their base, unless they are registered. A surrogate pair written as two
        characters is read back as the one it stands for.

        Args:
            value: Anything made of JSON values and of registered types.
            what: The root word of paths in messages, as ``result`` or ``payload``.
            max_bytes: How long the text may be.

        Raises:
            NotSerializableError: A part of the value cannot be stored; the path says which.
            PayloadTooLargeError: The text is longer than ``max_bytes``.
        """
        try:
            text = _plain_text(value)
            if text is None:
                text = ENCODER.encode(self._tagged(value, 1))
        except _RefusedError as refusal:
            path, reason = refusal.locate(what)
            message = f"{_shortened(path)} {reason}"
            raise NotSerializableError(message, path=path) from refusal.__cause__
        except RecursionError as error:
            message = f"{what} is nested deeper than what is left of the stack. Store it flatter."
            raise NotSerializableError(message, path=what) from error
        if max_bytes is not None and len(text) > max_bytes:
            raise PayloadTooLargeError(
                f"{what} takes {len(text):,} bytes, and at most {max_bytes:,} are stored. "
                "Keep it elsewhere, and store its name.",
                size=len(text),
                limit=max_bytes,
            )
        return text

    def loads(self, text: str, *, what: str = "value") -> Any:
        """Return the value that ``dumps`` wrote as this text.

        Only give it what ``dumps`` wrote: in foreign JSON anybody could write tags.

        Raises:
            UndecodableValueError: It names a type that is not registered here, a registered
                type refuses what was stored, or the text is not the codec's.
            AtRestError: it is encrypted or in a file, and cannot be read at this moment.
        """
        is_tagged = MARK in text
        if is_tagged and at_rest.is_kept(text):
            text = at_rest.opened(text)
            is_tagged = MARK in text
        try:
            return (self._decoder if is_tagged else DECODER).decode(text)
        except (_UnreadableError, ValueError, RecursionError) as error:
            raise self._undecodable(text, what, error) from error.__cause__ or error

    def copy(self, value: T, *, what: str = "value") -> T:
        """Return the value as it will be read back."""
        copied: T = self.loads(self.dumps(value, what=what), what=what)
        return copied

    def register_type(
        self, name: str, cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]
    ) -> None:
        """Store instances of ``cls`` as what ``encode`` makes of them, under this name.

        The name stands in every stored value and must stay the same; the class may move.
        ``encode`` may return registered types again, and ``decode`` gets them decoded.

        Raises:
            InvalidOptionError: The name or the class is registered already, or cannot be.
        """
        self._register(StoredType(name=name, cls=cls, encode=encode, decode=decode))

    @overload
    def register_dataclass(self, cls: type[T], name: str | None = None) -> type[T]: ...
    @overload
    def register_dataclass(
        self, cls: None = None, name: str | None = None
    ) -> Callable[[type[T]], type[T]]: ...
    def register_dataclass(
        self, cls: type[T] | None = None, name: str | None = None
    ) -> type[T] | Callable[[type[T]], type[T]]:
        """Store instances of this dataclass, field by field; also a decorator above ``@dataclass``.

        They are made again by calling the class, so a field added later needs a default.
        ``name`` is the class's name unless given, see ``register_type``.
        """
        if cls is None:
            return lambda cls: self.register_dataclass(cls, name)
        self._register(dataclass_type(cls, name))
        return cls

    @overload
    def register_enum(self, cls: type[E], name: str | None = None) -> type[E]: ...
    @overload
    def register_enum(
        self, cls: None = None, name: str | None = None
    ) -> Callable[[type[E]], type[E]]: ...
    def register_enum(
        self, cls: type[E] | None = None, name: str | None = None
    ) -> type[E] | Callable[[type[E]], type[E]]:
        """Store members of this Enum by their names (of a Flag by their values); also a decorator.

        ``name`` is the class's name unless given, see ``register_type``.
        """
        if cls is None:
            return lambda cls: self.register_enum(cls, name)
        self._register(enum_type(cls, name))
        return cls

    def register_fallback(
        self, predicate: Callable[[Any], bool], convert: Callable[[Any], Any]
    ) -> None:
        """Store ``convert(value)`` in place of a value that ``predicate`` accepts.

        Asked only for values whose own class is not registered.
        """
        self._fallbacks.append((predicate, convert))

    def _register(self, stored: StoredType) -> None:
        name, cls = stored.name, stored.cls
        if type(name) is not str or not name:
            raise InvalidOptionError(f"The name of a type must be text, not {name!r}.")
        if name in at_rest.NAMES:
            raise InvalidOptionError(f'The type name "{name}" is taken. Register it under another.')
        if not is_class(cls) or cls in PLAIN or cls in {dict, list}:
            raise InvalidOptionError(f"{cls!r} cannot be registered: it is plain JSON or no class.")
        taken = self._by_name.get(name)
        if taken and (taken in BUILT_IN or class_path(taken.cls) != class_path(cls)):
            raise InvalidOptionError(
                f'The type name "{name}" belongs to {class_path(taken.cls)} already. '
                f"Register {class_path(cls)} under another name."
            )
        known = self._by_class.get(cls)
        if known and known.name != name:
            raise InvalidOptionError(
                f'{class_path(cls)} is registered as "{known.name}" already. '
                "Keep that name: stored values hold it."
            )
        self._by_name[name] = self._by_class[cls] = stored

    def _tagged(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in UNCHECKED:
            return value
        if kind is int or kind is float:
            return _checked_number(value)
        if depth > MAX_DEPTH:
            raise _RefusedError(
                f"is nested deeper than {MAX_DEPTH} levels. Store it flatter.", is_too_deep=True
            )
        if kind is dict:
            return self._tagged_dict(value, depth)
        if kind is list:
            return self._tagged_list(value, depth)
        stored = self._by_class.get(kind)
        if stored is None:
            return self._tagged_other(value, depth)
        return self._tagged_registered(value, stored, depth)

    def _tagged_dict(
        self, mapping: dict[Any, Any], depth: int, segment: str = '["{}"]'
    ) -> dict[str, Any]:
        items = mapping
        if not TEXT.issuperset(map(type, mapping)):
            items = {_text_key(key): value for key, value in mapping.items()}
        is_escaped = TAG in items
        depth += 3 if is_escaped else 1
        tagged: dict[str, Any] = {}
        try:
            for key, value in items.items():
                tagged[key] = self._tagged(value, depth)
        except _RefusedError as refusal:
            refusal.trail.append((mapping, segment.format(key)))
            raise
        # As pairs, for the decoder's hook would take a dict in there for a tag.
        return {TAG: "dict", VALUE: list(map(list, tagged.items()))} if is_escaped else tagged

    def _tagged_list(self, items: list[Any], depth: int) -> list[Any]:
        depth += 1
        tagged: list[Any] = []
        try:
            for value in items:
                tagged.append(self._tagged(value, depth))  # noqa: PERF401 - its length is used below
        except _RefusedError as refusal:
            refusal.trail.append((items, f"[{len(tagged)}]"))
            raise
        return tagged

    def _tagged_registered(self, value: Any, stored: StoredType, depth: int) -> dict[str, Any]:
        try:
            encoded = stored.encode(value)
        except Exception as error:  # broad: it is the user's function, or the user's value
            raise _RefusedError(f'cannot be stored as "{stored.name}": {error}.') from error
        try:
            if stored.has_fields:
                tagged: Any = self._tagged_dict(encoded, depth + 1, ".{}")
            else:
                tagged = self._tagged(encoded, depth + 1)
        except _RefusedError as refusal:
            refusal.trail.append((value, ""))
            raise
        return {TAG: stored.name, VALUE: tagged}

    def _tagged_other(self, value: Any, depth: int) -> Any:
        for predicate, convert in self._fallbacks:
            if predicate(value):
                return self._tagged(convert(value), depth + 1)
        if not isinstance(value, Enum):
            for base, base_value in BASE_VALUE.items():
                if isinstance(value, base):
                    return _checked_number(base_value(value))
            for stored in BUILT_IN_SCALARS:
                if isinstance(value, stored.cls) and value == value:
                    return self._tagged_registered(value, stored, depth)
        raise _RefusedError(_reason(value))

    def _hook(self, node: dict[str, Any]) -> Any:
        if TAG not in node:
            return node
        name = node[TAG]
        if not isinstance(name, str) or node.keys() != {TAG, VALUE}:
            raise _UnreadableError('holds the key "$" without being a tag of the codec')
        stored = self._by_name.get(name)
        if stored is None:
            raise _UnreadableError(
                f'is a "{name}", and no such type is registered here. '
                f'Register it with register_type("{name}", ...), register_dataclass or '
                "register_enum, and resume the run",
                type_name=name,
            )
        try:
            return stored.decode(node[VALUE])
        except Exception as error:  # broad: it is the user's function, or an old form of the type
            raise _UnreadableError(
                f'cannot be made a "{name}" again: {type(error).__name__}: {error}', type_name=name
            ) from error

    def _undecodable(self, text: str, what: str, error: Exception) -> UndecodableValueError:
        if not isinstance(error, _UnreadableError):
            return UndecodableValueError(
                f"{what} is not what the codec wrote: {error}.", type_name=None, path=what
            )
        # The hook works from the inside out and knows no path; a second reading finds it.
        try:
            self._revive(DECODER.decode(text), what)
        except UndecodableValueError as located:
            return located
        except RecursionError:
            pass
        return UndecodableValueError(f"{what} {error}.", type_name=error.type_name, path=what)

    def _revive(self, raw: Any, path: str) -> Any:
        if isinstance(raw, list):
            return [self._revive(item, f"{path}[{index}]") for index, item in enumerate(raw)]
        if not isinstance(raw, dict):
            return raw
        # What a tag holds stands, to the user, in the tag's own place.
        segment = "" if TAG in raw else '["{}"]'
        revived = {key: self._revive(item, path + segment.format(key)) for key, item in raw.items()}
        try:
            return self._hook(revived)
        except _UnreadableError as error:
            raise UndecodableValueError(
                f"{_shortened(path)} {error}.", type_name=error.type_name, path=path
            ) from error.__cause__


def _plain_text(value: Any) -> str | None:
    """Return the text of a value made of JSON's own types alone, and None for any other."""
    if not _is_plain(value, 1):
        return None
    try:
        return ENCODER.encode(value)
    except ValueError:
        # NaN, infinity or an endless integer: the slow way finds the path to it.
        return None


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is dict:
        # Sets of types are compared in C: many times faster than a loop over the items.
        if TAG in value or not TEXT.issuperset(map(type, value)):
            return False
        items: Iterable[Any] = value.values()
    elif kind is list:
        items = value
    else:
        return kind in PLAIN
    if depth > MAX_DEPTH:
        return False
    if PLAIN.issuperset(map(type, items)):
        return True
    return all(type(item) in PLAIN or _is_plain(item, depth + 1) for item in items)


def _checked_number(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        raise _RefusedError(f"is {value}, which JSON does not have. Store None instead.")
    if isinstance(value, int):
        try:
            repr(value)
        except ValueError as error:
            raise _RefusedError("is an integer of too many digits. Store it as text.") from error
    return value


def _text_key(key: object) -> str:
    if isinstance(key, str) and not isinstance(key, Enum):
        return str.__str__(key)
    raise _RefusedError(
        f"has the key {_shortened(repr(key))} of class {type(key).__name__}, "
        "and keys must be text. Store str(key), or a list of pairs."
    )


def _reason(value: object) -> str:
    advice = next(
        (advice for classes, advice in ADVICE if isinstance(value, classes)),
        "Store plain data, or register its class with register_type",
    )
    if dataclasses.is_dataclass(value):
        advice = "Register its class with register_dataclass"
    return f"is of class {class_path(type(value))}, which cannot be stored. {_of_django(value) or advice}."


def _of_django(value: object) -> str:
    """Return what to do with values that Django hands out, known by what they can do: nothing of it is imported here."""
    cls = type(value)
    if hasattr(cls, "_meta") and hasattr(cls, "pk"):
        return "Store its pk, and fetch the row in the step that needs it"
    if hasattr(cls, "values_list"):
        return 'Store plain values, as list(queryset.values_list("pk", flat=True))'
    return "Store str(...) of it" if cls.__name__ == "__proxy__" else ""


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


# Not str(value), int(value), float(value): a subclass may have made them something else.
BASE_VALUE: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}

# Cycles are found by their depth, NaN is refused, and what is not ASCII is escaped.
ENCODER: Final = JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"))
DECODER: Final = JSONDecoder(parse_constant=_refuse_constant)

codec: Final = Codec()

register_type = codec.register_type
register_dataclass = codec.register_dataclass
register_enum = codec.register_enum
