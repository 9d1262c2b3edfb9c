from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from enum import Enum, Flag, IntFlag, StrEnum
from typing import Any

import pytest

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.stored_types import class_path, dataclass_type, enum_type


@dataclass
class Order:
    number: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    net: int
    gross: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gross", self.net * 2)


@dataclass(kw_only=True)
class Parcel(Order):
    weight: int


@dataclass
class NeedsInitVar:
    number: int
    secret: InitVar[int]


@dataclass(init=False)
class OwnInit:
    number: int

    def __init__(self, text: str) -> None:
        self.number = int(text)


class Mood(StrEnum):
    GLAD = "glad"


class Colour(Enum):
    RED = "r"
    CRIMSON = RED


class Rights(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    LOW = 1
    HIGH = 2


@pytest.mark.parametrize("instance", [Order(1, "x"), Total(3), Parcel(1, weight=2)], ids=repr)
def test_dataclass_is_made_again_from_its_fields(instance: Any) -> None:
    stored = dataclass_type(type(instance), None)

    assert stored.decode(stored.encode(instance)) == instance


def test_field_that_init_computes_is_stored_too() -> None:
    stored = dataclass_type(Total, None)

    assert stored.decode({"net": 3, "gross": 7}).gross == 7


def test_field_added_later_takes_its_default() -> None:
    assert dataclass_type(Order, None).decode({"number": 1}) == Order(1)


@pytest.mark.parametrize("cls", [NeedsInitVar, OwnInit])
def test_dataclass_that_its_fields_cannot_make_is_refused(cls: type) -> None:
    with pytest.raises(InvalidOptionError, match=r"cannot be made from its fields alone.* register_type"):  # fmt: skip
        dataclass_type(cls, None)


@pytest.mark.parametrize("cls", [Colour, Order(1), "Order", int])
def test_what_is_no_dataclass_is_refused(cls: Any) -> None:
    with pytest.raises(InvalidOptionError, match="Put it above @dataclass"):
        dataclass_type(cls, None)


@pytest.mark.parametrize("cls", [Order, Colour.RED, "Colour"])
def test_what_is_no_enum_is_refused(cls: Any) -> None:
    with pytest.raises(InvalidOptionError, match="takes an Enum class"):
        enum_type(cls, None)


@pytest.mark.parametrize(
    ("member", "form"),
    [
        (Colour.RED, "RED"),
        (Colour.CRIMSON, "RED"),
        (Mood.GLAD, "GLAD"),
        (Rights.READ | Rights.WRITE, 3),
        (Rights(0), 0),
        (Bits.LOW | Bits.HIGH, 3),
    ],
)
def test_enum_is_stored_by_name_and_flag_by_value(member: Enum, form: object) -> None:
    stored = enum_type(type(member), None)

    assert stored.encode(member) == form
    assert stored.decode(form) is member


def test_name_is_the_class_name_unless_given() -> None:
    names = [dataclass_type(Order, None).name, dataclass_type(Order, "shop.order").name]

    assert names == ["Order", "shop.order"]


@pytest.mark.parametrize(("cls", "path"), [(int, "int"), (Order, f"{__name__}.Order")])
def test_class_path_leaves_builtins_out(cls: type, path: str) -> None:
    assert class_path(cls) == path
