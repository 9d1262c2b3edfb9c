"""Fields of a form for the values of a payload: shown as they are stored, and read back as the same value."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.json_text import CODE, JSONText, laid_out
from django_workflow.admin.payload_types import Part, is_scalar
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import WorkflowError

#: A payload goes without this part.
LEFT_OUT: Any = object()
#: Nothing is known of the value that was there.
UNKNOWN: Any = object()
#: What an empty field stands for where something must be given.
_REQUIRED: Any = object()
WHOLE = re.compile(r"[+-]?\d+")
LONG_TEXT = 100
TEXT = {"class": "vTextField"}
HELP = {datetime: gettext_lazy("As 2026-11-21T14:30:00+00:00.")}


def field_of(part: Part, was: Any, *, is_hidden: bool = False) -> PayloadField:
    """Return the field for a part of a payload, filled with the value that was there, unless that is hidden."""
    if not is_hidden and _is_value(was) and not _fits(part, was):
        part = Part(
            name=part.name,
            type=Any,
            is_nullable=part.is_nullable,
            is_optional=part.is_optional,
        )
    return PayloadField(part, was, is_hidden=is_hidden)


def _is_value(was: Any) -> bool:
    return was is not LEFT_OUT and was is not UNKNOWN and was is not None


def _fits(part: Part, was: Any) -> bool:
    """Tell whether the value comes back from its field as it is."""
    field = PayloadField(part, was)
    try:
        return codec.dumps(field.clean(field.initial), what="value") == codec.dumps(
            was, what="value"
        )
    except (forms.ValidationError, WorkflowError):
        return False


class PayloadField(forms.Field):
    """One value. Empty, it is what it was if that was hidden or nothing; else None, or left out, where that is allowed."""

    def __init__(self, part: Part, was: Any, *, is_hidden: bool = False) -> None:
        self.part = part
        self.was = was
        self.is_hidden = is_hidden
        self.choices: list[tuple[str, Any]] = []
        self.json = JSONText(required=False)
        self.empty = self._empty()
        known = was if _is_value(was) and not is_hidden else UNKNOWN
        super().__init__(
            required=False,
            label=part.name or gettext_lazy("Payload"),
            widget=self._widget(known),
            initial=self.shown(known),
            help_text=self._help(),
        )

    def _empty(self) -> Any:
        was = self.was
        if self.is_hidden or was is None or was is LEFT_OUT or was == "":
            return was
        if self.part.is_nullable and (was is not UNKNOWN or not self.part.is_optional):
            return None
        return LEFT_OUT if self.part.is_optional else _REQUIRED

    @property
    def is_json(self) -> bool:
        """Whether it is asked for as JSON."""
        return not is_scalar(self.part.type)

    def _widget(self, known: Any) -> forms.Widget:
        kind = self.part.type
        if self.is_json:
            return forms.Textarea(attrs={**CODE, "rows": 4})
        if self.is_checkbox:
            return forms.CheckboxInput()
        self.choices = _choices(kind, known)
        if self.choices:
            blank = [("", "---------")] if self.empty is not _REQUIRED or known is UNKNOWN else []
            shown = [(str(number), label) for number, (label, _value) in enumerate(self.choices)]
            return forms.Select(choices=[*blank, *shown])
        if kind is date:
            return forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", **TEXT})
        is_long = isinstance(known, str) and (len(known) > LONG_TEXT or "\n" in known)
        if kind is str and is_long:
            return forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})
        return forms.TextInput(attrs=TEXT)

    @property
    def is_checkbox(self) -> bool:
        """Whether it is either on or off: nothing third is possible."""
        return self.part.type is bool and not self.is_hidden and self.empty is _REQUIRED

    def _help(self) -> Any:
        if self.is_hidden:
            return _("Hidden. Leave it empty to start with what this run has.")
        said: list[Any] = [_("JSON, as it is stored.")] if self.is_json else []
        said += [HELP[self.part.type]] if self.part.type in HELP else []
        if self.empty is None:
            said.append(_("Empty for none."))
        elif self.empty is LEFT_OUT:
            said.append(_("Empty to leave it out."))
        return " ".join(str(one) for one in said)

    def shown(self, value: Any) -> Any:
        """Return how the value stands in the field."""
        if value is UNKNOWN:
            return False if self.is_checkbox else ""
        if self.is_json:
            return laid_out(codec.dumps(value, what="value"))
        if self.choices:
            held = [codec.dumps(one, what="value") for _label, one in self.choices]
            text = codec.dumps(value, what="value")
            return str(held.index(text)) if text in held else ""
        if self.is_checkbox:
            return value
        return value.isoformat() if isinstance(value, date) else str(value)

    def clean(self, value: Any) -> Any:
        """Return the value that was given.

        Raises:
            ValidationError: it is none of this type.
        """
        if self.is_checkbox:
            return bool(value)
        text = "" if value is None else str(value).replace("\r\n", "\n")
        if not text.strip() and (not text or self.part.type is not str):
            if self.empty is _REQUIRED:
                raise forms.ValidationError(_("This field is required."), code="required")
            return self.empty
        if self.is_json:
            return codec.loads(self.json.clean(text).text)
        if self.choices:
            return self._chosen(text)
        return READERS[self.part.type](text, self)

    def _chosen(self, text: str) -> Any:
        if not text.isascii() or not text.isdigit() or int(text) >= len(self.choices):
            raise forms.ValidationError(_("Choose one of these."))
        return self.choices[int(text)][1]


def _choices(kind: Any, known: Any) -> list[tuple[str, Any]]:
    if kind is bool:
        return [(_("Yes"), True), (_("No"), False)]
    if typing.get_origin(kind) is Literal:
        return [(str(one), one) for one in typing.get_args(kind)]
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return []
    # Members that the codec does not know cannot be stored, so their values are.
    as_members = isinstance(known, kind) or (known is UNKNOWN and _can_be_stored(kind))
    return [(one.name, one if as_members else one.value) for one in kind]


def _can_be_stored(kind: type[Enum]) -> bool:
    try:
        codec.dumps(list(kind), what="value")
    except WorkflowError:
        return False
    return True


def _text(text: str, field: PayloadField) -> str:
    found: str = forms.CharField(strip=False).clean(text)
    return found


def _int(text: str, field: PayloadField) -> int:
    if not WHOLE.fullmatch(text.strip()):
        raise forms.ValidationError(_("Enter a whole number."))
    try:
        return int(text)
    except ValueError as error:
        raise forms.ValidationError(_("It has too many digits.")) from error


def _float(text: str, field: PayloadField) -> float:
    if WHOLE.fullmatch(text.strip()):
        return _int(text, field)
    found: float = forms.FloatField().clean(text)
    return found


def _decimal(text: str, field: PayloadField) -> Decimal:
    try:
        found = Decimal(text.strip())
    except InvalidOperation as error:
        raise forms.ValidationError(_("Enter a number.")) from error
    if not found.is_finite():
        raise forms.ValidationError(_("Enter a number."))
    return found


def _date(text: str, field: PayloadField) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise forms.ValidationError(_("Enter a date as 2026-11-21.")) from error


def _datetime(text: str, field: PayloadField) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise forms.ValidationError(_("Enter a time as 2026-11-21T14:30:00+00:00.")) from error
    was_naive = isinstance(field.was, datetime) and field.was.tzinfo is None
    if found.tzinfo is None and not was_naive:
        raise forms.ValidationError(_("Say in which time zone it is, as +00:00 at its end."))
    return found


def _uuid(text: str, field: PayloadField) -> UUID:
    found: UUID = forms.UUIDField().clean(text)
    return found


READERS: dict[Any, Callable[[str, PayloadField], Any]] = {
    str: _text,
    int: _int,
    float: _float,
    Decimal: _decimal,
    date: _date,
    datetime: _datetime,
    UUID: _uuid,
}
