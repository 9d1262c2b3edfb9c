"""Why people do something by hand: the field that every form of a verb has."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy

from django_workflow.conf import settings

REASON_LENGTH = 1_000


def logged(told: str, why: str, between: str = ": ") -> str:
    """Return what the admin's own log says: without the reason where that is encrypted, since that log never is."""
    return f"{told}{between}{why}" if why and not settings().ENCRYPTION_KEYS else told


class AsksWhy(forms.Form):
    """Why it is done."""

    #: Says with what the reason is kept.
    kept: ClassVar[Any] = gettext_lazy("Kept beside your name.")

    why = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=REASON_LENGTH,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["why"].help_text = self.kept


class WhyForm(AsksWhy):
    """Why something is done to a row, and whether a reason is asked for."""

    def __init__(self, data: Any = None, *, row: Any = None, is_grave: bool = False) -> None:
        super().__init__(data)
        self.row = row
        if is_grave:
            self.fields["why"].required = True
