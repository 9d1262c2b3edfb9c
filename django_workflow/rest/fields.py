"""Fields that take what they say and nothing else, and the shapes made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

try:
    from drf_spectacular.utils import extend_schema_serializer
except ImportError:  # The extra "openapi" is not installed: there is nothing to document for.
    extend_schema_serializer = None  # type: ignore[assignment]


class Text(serializers.CharField):
    """A text; figures are none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "max_length": 1000, **options})

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what is no text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A whole number; texts are none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": -(2**31), "max_value": 2**31 - 1, **options})

    def to_internal_value(self, data: Any) -> int:
        """Refuse what is no whole number."""
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class Truth(serializers.BooleanField):
    """True or false; words and figures are neither."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what is neither."""
        if data is None and self.allow_null:
            return None
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Texts(serializers.DictField):
    """Texts by text, as headers are."""

    child = Text(max_length=20_000, allow_blank=True)

    def to_internal_value(self, data: Any) -> Any:
        """Refuse names that no database keeps."""
        for name in data if isinstance(data, Mapping) else ():
            Text(max_length=1000).run_validation(name)
        return super().to_internal_value(data)


class Shape(serializers.Serializer[Any]):
    """What a request holds, or an answer; what a request holds besides is refused."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give it a name of its own in a document that it shares with the project's serializers."""
        super().__init_subclass__(**kwargs)
        if extend_schema_serializer is not None:
            name = cls.__name__.removesuffix("Shape")
            extend_schema_serializer(component_name=f"Workflow{name.removeprefix('Workflow')}")(cls)

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what nobody reads: a misspelt option must not be taken for one that was left out."""
        if isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError(
                    {
                        str(name)[:100]: f"There is no such field here. Known: {known}."
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)
