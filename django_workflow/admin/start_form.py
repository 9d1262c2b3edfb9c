"""The form that starts a run like another: a field for each part of the payload, or its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.json_text import LONGEST_SHOWN, JSONText, shown_payload
from django_workflow.admin.payload_fields import LEFT_OUT, UNKNOWN, field_of
from django_workflow.admin.payload_types import Shape, shape_of
from django_workflow.admin.verbs import ReasonForm
from django_workflow.core.actors import Actor
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import TAG, VALUE, codec
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.plain import plain
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.forking import Stored
from django_workflow.runtime.payloads import check_payload, misfits
from django_workflow.runtime.triggering import new_run_id

#: Before the names of the payload's fields.
PREFIX = "payload-"
VALUE_NAME = "value"


class StartForm(ReasonForm):
    """What a new run is started with."""

    payload = JSONText(label=gettext_lazy("Payload"), required=False)
    workflow_run_id = forms.CharField(
        label=gettext_lazy("Run ID"),
        max_length=128,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Sent twice, it starts one run."),
    )
    labels = forms.CharField(
        label=gettext_lazy("Labels"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Separated by commas."),
    )
    delay = forms.CharField(
        label=gettext_lazy("Delay"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("As 30m or 1d; empty to begin at once."),
    )
    field_order = ["payload", "workflow_run_id", "labels", "delay", "why"]

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        #: The payload's fields; None where it is asked for as JSON.
        self.shape: Shape | None = None
        self.is_switchable = False
        self.initial["workflow_run_id"] = new_run_id()
        if not runs:
            return
        self.run = runs[0]
        self.initial["labels"] = ", ".join(self.run.labels)
        found = self._asked_for()
        if found is None:
            if self.sees:
                self.initial["payload"] = shown_payload(self.run)
        else:
            self._ask_for(*found)

    # The fields

    def _asked_for(self) -> tuple[Shape, dict[str, Any], set[str]] | None:
        """Return the payload's parts, what stands in each and which are hidden; None where JSON is asked for."""
        workflow = registry.find(self.run.workflow)
        shape = None if workflow is None else shape_of(workflow)
        if shape is None:
            return None
        held = _parts_of(self.run, shape) if self.sees else ({}, set())
        self.is_switchable = held is not None
        if held is None or self._wants_json():
            return None
        return shape, *held

    def _wants_json(self) -> bool:
        return "payload" in self.data if self.is_bound else self.asked.get("as") == "json"

    def _ask_for(self, shape: Shape, held: dict[str, Any], hidden: set[str]) -> None:
        self.shape = shape
        del self.fields["payload"]
        missing = LEFT_OUT if held else UNKNOWN
        own = {
            PREFIX + (part.name or VALUE_NAME): field_of(
                part, held.get(part.name, missing), is_hidden=part.name in hidden
            )
            for part in shape.parts
        }
        self.fields = {**own, **self.fields}

    @property
    def switch(self) -> tuple[str, str] | None:
        """Where the payload is asked for in the other way, and what leads there."""
        if not self.is_switchable:
            return None
        if self.shape is None:
            return "?", _("Fill in its fields")
        return "?as=json", _("Write it as JSON")

    @property
    def typed(self) -> list[BoundField]:
        """The payload's fields."""
        return [self[name] for name in self.fields if name.startswith(PREFIX)]

    @property
    def others(self) -> list[BoundField]:
        """All other fields."""
        return [self[name] for name in self.fields if not name.startswith(PREFIX)]

    # What was given

    def clean_labels(self) -> list[str]:
        """Return them one by one."""
        return [one.strip() for one in self.cleaned_data["labels"].split(",") if one.strip()]

    def clean(self) -> dict[str, Any]:
        """Make one payload of its fields."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if self.shape is None or any(name.startswith(PREFIX) for name in self.errors):
            return given
        values = {
            name.removeprefix(PREFIX): given.pop(name)
            for name in list(given)
            if name.startswith(PREFIX)
        }
        try:
            payload = self._payload_of(values)
            given["payload"] = Stored(codec.dumps(payload, what="payload"))
            if self._keeps_hidden(values):
                check_payload(registry.get(self.run.workflow), payload)
                return given
        except (
            Exception
        ) as error:  # the project's class and schema: they may refuse in their own way
            self.add_error(None, self._refusal(values, error))
            return given
        for name, texts in misfits(registry.get(self.run.workflow), payload).items():
            own = PREFIX + name
            self.add_error(own if own in self.fields else None, texts)
        return given

    def _keeps_hidden(self, values: dict[str, Any]) -> bool:
        """Tell whether a value is taken from the run that the user does not see."""
        fields: Any = self.fields
        return any(
            fields[PREFIX + name].is_hidden and value is fields[PREFIX + name].was
            for name, value in values.items()
        )

    def _refusal(self, values: dict[str, Any], error: Exception) -> str:
        if self._keeps_hidden(values):
            return _("Such a payload is refused. Why is not shown: it may tell what is hidden.")
        return _("This is no payload: %(error)s") % {"error": error}

    def _payload_of(self, values: dict[str, Any]) -> Any:
        shape: Any = self.shape
        values = {name: value for name, value in values.items() if value is not LEFT_OUT}
        if shape.is_value:
            return values.get(VALUE_NAME)
        was_dict = self.sees and isinstance(_payload(self.run), dict)
        return values if shape.cls is None or was_dict else shape.cls(**values)


def _payload(run: Run) -> Any:
    text = run.payload_text
    return None if text is None else codec.loads(text, what="payload")


def _parts_of(run: Run, shape: Shape) -> tuple[dict[str, Any], set[str]] | None:
    """Return a payload by its parts, and the names of those that are hidden; None where it does not fit."""
    try:
        text = opened(run.payload_text or "null")
        payload = codec.loads(text, what="payload")
    except WorkflowError:
        return None
    if len(text) > LONGEST_SHOWN:
        return None
    bare, shown = json.loads(text, object_hook=_untagged), run.mask.payload(plain(text))
    if shape.is_value:
        return ({"": payload}, set()) if bare == shown else None
    if payload is None:
        return {}, set()
    names = [part.name for part in shape.parts]
    if shape.cls is not None and type(payload) is shape.cls:
        held = {name: getattr(payload, name) for name in names}
    elif isinstance(payload, dict) and payload.keys() <= set(names):
        held = payload
    else:
        return None
    # Hidden as a whole, or stored in a form of its class's own.
    if not (isinstance(shown, dict) and isinstance(bare, dict) and held.keys() <= bare.keys()):
        return None
    return held, {name for name in held if shown.get(name) != bare[name]}


def _untagged(node: dict[str, Any]) -> Any:
    if node.keys() != {TAG, VALUE}:
        return node
    return dict(node[VALUE]) if node[TAG] == "dict" else node[VALUE]


def start_like(run: Run, by: Actor, given: dict[str, Any]) -> Any:
    """Start a run of the same workflow; what was hidden of the first one stays hidden."""
    payload = given.get("payload")
    options: dict[str, Any] = {"delay": given["delay"]} if given.get("delay") else {}
    return registry.get(run.workflow).trigger(
        None if payload is None else codec.loads(payload.text),
        workflow_run_id=given["workflow_run_id"],
        label=given.get("labels") or None,
        redact=stored_options(run.options_text).get("redact", ()),
        by=by,
        **options,
    )
