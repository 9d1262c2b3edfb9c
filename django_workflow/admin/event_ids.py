"""The field of forms in which people name the event that they send."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext as _

from django_workflow.core.events import check_event_id
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.runtime.reserved import sender_of


def cleaned_event_id(given: str) -> str:
    """Return the id of an event that people may send.

    Raises:
        ValidationError: it can be no event's id, or only a webhook or an approval sends it.
    """
    try:
        event_id = check_event_id(given)
    except InvalidOptionError as error:
        raise forms.ValidationError(str(error)) from error
    sender = sender_of(event_id)
    if sender == "webhook":
        raise forms.ValidationError(_("Only a call of its webhook sends this event."))
    if sender == "approval":
        raise forms.ValidationError(_("Only a decision sends this event."))
    return event_id
