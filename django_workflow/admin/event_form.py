"""The part of a form in which people name the event that they send, and give its data."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.core.events import EVENT_ID_LENGTH, check_event_id
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.runtime.reserved import sender_of


class EventFields(forms.Form):
    """Which event, and with what; to be mixed into a form that also asks why."""

    event_id = forms.CharField(
        label=gettext_lazy("Event ID"),
        max_length=EVENT_ID_LENGTH,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    event_data = forms.CharField(
        label=gettext_lazy("Data"),
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 5, "class": "vLargeTextField dw-code", "spellcheck": "false"}
        ),
        help_text=gettext_lazy("JSON; empty for none."),
    )
    field_order = ["event_id", "event_data", "keep", "why"]

    def clean_event_id(self) -> str:
        """Refuse what can be no event's id, and what only a webhook or an approval may send."""
        try:
            event_id = check_event_id(self.cleaned_data["event_id"])
        except InvalidOptionError as error:
            raise forms.ValidationError(str(error)) from error
        sender = sender_of(event_id)
        if sender == "webhook":
            raise forms.ValidationError(_("Only a call of its webhook sends this event."))
        if sender == "approval":
            raise forms.ValidationError(_("Only a decision sends this event."))
        return event_id

    def clean_event_data(self) -> Any:
        """Read the JSON."""
        text = self.cleaned_data["event_data"].strip()
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise forms.ValidationError(
                _("This is no JSON: %(error)s") % {"error": error}
            ) from error
