"""Forks: a new run that goes on from a step of an old one, and from a step of many."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.core.exceptions import WorkflowNotFoundError
from django_workflow.core.ports import get_runtime
from django_workflow.models import RunQuerySet
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, documented, respond
from django_workflow.rest.fields import Shape, Text
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import Selection, run_of, runs
from django_workflow.rest.verbs import Many, WhyBody, act, outcome, outcomes, unknown

A_STEP = (
    "A step, by its key, or by a name that no other step has. It is the first that is done again."
)


class ForkFields(Shape):
    """From which step, and with what."""

    step = Text(help_text=A_STEP)
    payload = serializers.JSONField(
        required=False, allow_null=True, help_text="Without one, the run's own."
    )
    results = serializers.DictField(
        required=False,
        child=serializers.JSONField(allow_null=True),
        help_text="Other results for steps before it, by key or name.",
    )


class ForkBody(WhyBody, ForkFields):
    """From which step, with what, and why."""


class ForkSelection(Selection, ForkFields):
    """Which runs, from which step, and with what; of a run that has no such step, a fork is refused."""


class ForkedShape(Shape):
    """The run that a fork has made."""

    workflow_run_id = shapes.text()
    status = shapes.text()
    forked_from = shapes.text()
    forked_at = shapes.text()


class Fork(ApiView):
    """A run is forked."""

    permissions = {"POST": "fork_run"}

    @documented("fork_run", takes=ForkBody, gives={201: ForkedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Start a new run that goes on from a step of this one."""
        given = self.body(ForkBody)
        new = act("fork", run_of(request, run_id), self.actor, **given)
        told = {"workflow_run_id": new.id, "status": str(new.status)}
        return respond({**told, "forked_from": run_id, "forked_at": given["step"]}, 201)


class ForkMany(Many):
    """Runs are forked."""

    verb = "fork"
    takes = ForkSelection
    given = ("why", "step", "payload", "results")
    permissions = {"POST": "fork_run"}

    def usual(self) -> RunQuerySet:
        """Return those that have ended."""
        return runs(self.request).ended()

    def known(self) -> RunQuerySet:
        """Return all: a fork is a run of its own."""
        return runs(self.request)

    def preview(self, ids: list[str], *, more: bool, **options: Any) -> Response:
        """Answer with the runs that have such a step, and why others cannot be forked there."""
        states = dict(self.known().filter(pk__in=ids).values_list("pk", "status"))
        step, results = options["step"], options.get("results", {})
        changes = {"payload": options["payload"]} if "payload" in options else {}

        def look(run_id: str) -> dict[str, Any]:
            if run_id not in states:
                raise unknown(run_id)
            try:
                get_runtime().check_fork(run_id, step, changes=changes, results=results)
            except WorkflowNotFoundError as error:
                raise ProblemError("not-here", str(error), workflow_run_id=run_id) from error
            return {"done": False, "status": states[run_id]}

        return outcomes([outcome(run_id, look) for run_id in ids], more=more, dry_run=True)

    @documented("fork_runs", takes=ForkSelection, gives={200: shapes.OutcomesShape}, tag="verbs")
    def post(self, request: Request) -> Response:
        """Start a new run from a step of each; without a state, of those that have ended."""
        return self.do()
