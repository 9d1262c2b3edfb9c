"""Stored JSON in a form's field, to be looked at and changed."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.plain import plain
from django_workflow.models import Run
from django_workflow.runtime.forking import Stored

LONGEST_SHOWN = 100_000
CODE = {"rows": 8, "class": "vLargeTextField dw-code", "spellcheck": "false"}


class JSONText(forms.CharField):
    """Stored JSON, as a page has shown it; None where nothing was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs=dict(CODE)), **options)

    def clean(self, value: Any) -> Any:
        """Return it in its stored form."""
        text = super().clean(value).strip()
        if not text:
            return None
        try:
            json.loads(text)
            codec.loads(text)
        except (ValueError, RecursionError, WorkflowError) as error:
            raise forms.ValidationError(
                _("This is no JSON that could be stored: %(error)s") % {"error": error}
            ) from error
        return Stored(text)


def laid_out(text: str) -> str:
    """Return stored JSON on lines of its own."""
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def shown_payload(run: Run) -> str:
    """Return the stored payload, laid out to be changed; empty where a part of it is hidden."""
    text = run.payload_text
    if text is None or len(text) > LONGEST_SHOWN:
        return ""
    found = plain(text)
    return "" if run.mask.payload(found) != found else laid_out(text)
