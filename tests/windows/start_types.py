"""Payloads that `test_start_form` fills in; annotations are looked up by name, so they stand in a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

from django import forms

from django_workflow import AsyncWorkflowContext, WorkflowContext, register_dataclass, register_enum


@register_enum(name="start-colour")
class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Size(Enum):
    """Not registered, so that its values are stored."""

    SMALL = "s"
    LARGE = "l"


class Everything(TypedDict):
    text: str
    whole: int
    number: float
    price: Decimal
    is_gift: bool
    day: date
    at: datetime
    key: UUID
    colour: Colour
    size: Size
    speed: Literal["slow", "fast"]
    note: str | None
    tags: list[str]
    extra: NotRequired[int]


@register_dataclass(name="start-parcel")
@dataclass(frozen=True)
class Parcel:
    city: str
    weight: int
    fragile: bool = False
    marks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.weight > 30:
            raise ValueError("more than 30 kg are not carried")


class Card(TypedDict):
    card: str
    city: str
    holder: dict[str, str]
    is_known: bool


class CardForm(forms.Form):
    card = forms.CharField()
    city = forms.CharField(max_length=5)


def no_cards(payload: Any) -> Any:
    raise ValueError(f"the card {payload['card']} is not taken")


def everything(ctx: WorkflowContext[Everything]) -> None: ...
def parcel(ctx: WorkflowContext[Parcel]) -> None: ...
async def count(ctx: AsyncWorkflowContext[int]) -> None: ...
def card(ctx: WorkflowContext[Card]) -> None: ...
def anything(ctx: WorkflowContext[Any]) -> None: ...
def bare(ctx) -> None: ...  # type: ignore[no-untyped-def]
def broken(ctx: WorkflowContext[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821
