"""Runs are triggered: one, or many at once."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.workflow import Workflow
from django_workflow.models import Run
from django_workflow.models.about import find_row
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, documented, respond
from django_workflow.rest.fields import Shape, Text, Texts, Whole
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.runs import workflow_of
from django_workflow.rest.selecting import MOST_AT_ONCE, runs
from django_workflow.runtime.veils import Veil
from django_workflow.runtime.visibility import sees_all_runs
from django_workflow.views import resolved


class TriggerOptionsBody(Shape):
    """The options of a trigger, which are those of ``trigger()``."""

    label = serializers.ListField(  # type: ignore[assignment]
        required=False, child=Text(max_length=100), max_length=50
    )
    headers = Texts(required=False)
    delay = Text(required=False, help_text="As `10s` or `1d12h`.")
    not_before = serializers.DateTimeField(required=False)
    retries = Whole(required=False)
    retry_delay = Text(required=False)
    timeout = Text(required=False)
    ttl = Text(required=False)
    version = Text(required=False, max_length=50)
    priority = Whole(required=False)
    redact = serializers.ListField(required=False, child=Text(), max_length=100)
    about = Text(required=False, help_text="The row that the run is about, as `app.model:key`.")


class TriggerBody(TriggerOptionsBody):
    """A run to be started."""

    payload = serializers.JSONField(required=False, allow_null=True)
    workflow_run_id = Text(required=False, max_length=128)


class TriggerManyBody(TriggerOptionsBody):
    """Runs to be started, all or none."""

    payloads = serializers.ListField(
        child=serializers.JSONField(allow_null=True), min_length=1, max_length=MOST_AT_ONCE
    )
    workflow_run_ids = serializers.ListField(
        required=False, child=Text(max_length=128), max_length=MOST_AT_ONCE
    )


class _Trigger(ApiView):
    permissions = {"POST": "trigger_run"}
    scopes = {"POST": "workflow_trigger"}

    def workflow(self, name: str) -> Workflow[Any, Any]:
        """Return the workflow, if it too lets this request trigger it."""
        found = workflow_of(name)
        own = found.options.trigger_permission
        if own is not None and not resolved(own(self.request._request)):
            raise ProblemError("forbidden", f'You may not trigger workflow "{name}".')
        return found

    def options(self, given: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        """Return the options of a trigger."""
        about = given.pop("about", None)
        if about is not None:
            given["about"] = self._row(about)
        return {**given, "by": self.actor}

    def check_free(self, ids: list[str]) -> None:
        """Say that an ID is taken, and no more, where a run has it that is not there for who asks."""
        if not ids or sees_all_runs(self.request):
            return
        rows = Run.objects.using(settings().DATABASE).filter(pk__in=ids)
        there = runs(self.request).filter(pk__in=ids)
        taken = set(rows.values_list("pk", flat=True)) - set(there.values_list("pk", flat=True))
        for run_id in sorted(taken):
            raise ProblemError("exists", f'The ID "{run_id}" is taken.', workflow_run_id=run_id)

    def _row(self, about: str) -> Any:
        label, _, key = about.partition(":")
        try:
            model: Any = apps.get_model(label)
        except (LookupError, ValueError):
            model = None
        meta = None if model is None else model._meta
        # Whether there is such a row is for those alone who may see it.
        may_see = meta and self.request.user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
        row = find_row(label, key) if may_see and key else None
        if row is None:
            detail = "There is no such row, or you may not see it. Write app.model:key."
            raise serializers.ValidationError({"about": detail})
        return row


def _told(run: Any, veil: Veil) -> dict[str, Any]:
    # A singleton that skips makes no run, and that of its key may be somebody else's.
    if run is None:
        return {"workflow_run_id": None, "created": False}
    return {"workflow_run_id": veil.id(run.id), "created": run.created}


class Trigger(_Trigger):
    """A run of this workflow is started."""

    @documented(
        "trigger_run",
        takes=TriggerBody,
        gives={200: shapes.TriggeredShape, 201: shapes.TriggeredShape},
        tag="runs",
    )
    def post(self, request: Request, name: str) -> Response:
        """Start a run: 201, or 200 if this one was started before, with the same ID and payload, or is not needed."""
        workflow = self.workflow(name)
        given = self.body(TriggerBody)
        payload = given.pop("payload", None)
        self.check_free([given[name] for name in ("workflow_run_id",) if name in given])
        run = workflow.trigger(payload, **self.options(given))
        veil = Veil(request)
        told = _told(run, veil)
        response = respond(told, 201 if told["created"] else 200)
        if run is None or told["workflow_run_id"] != run.id:
            return response
        match = request.resolver_match
        place = match.namespace if match else ""
        response["Location"] = request.build_absolute_uri(reverse(f"{place}:run", args=[run.id]))
        return response


class TriggerMany(_Trigger):
    """Runs of this workflow are started."""

    @documented(
        "trigger_runs", takes=TriggerManyBody, gives={200: shapes.TriggeredMany}, tag="runs"
    )
    def post(self, request: Request, name: str) -> Response:
        """Start a run for each payload, all or none."""
        workflow = self.workflow(name)
        given = self.body(TriggerManyBody)
        payloads = given.pop("payloads")
        self.check_free(given.get("workflow_run_ids", []))
        found = workflow.trigger_many(payloads, **self.options(given))
        return respond({"results": [_told(run, Veil(request)) for run in found]})
