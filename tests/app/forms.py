"""Forms, and other things that run in people's names, at paths that every process can import."""

from __future__ import annotations

from typing import Any

from django import forms


class BudgetForm(forms.Form):
    amount = forms.DecimalField(min_value=1)
    since = forms.DateField(required=False)


class BrokenForm(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no form today")


class RaisingForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        raise RuntimeError("not this way")


class SetForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        return {"many": {1, 2}}
