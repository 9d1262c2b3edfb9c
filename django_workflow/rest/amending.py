"""What is done to a run that goes on, or to its journal: no waiting, more time, another priority, edit."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import RunStateError
from django_workflow.models import Run
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, documented, respond
from django_workflow.rest.fields import Text, Whole
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import run_of, runs
from django_workflow.rest.verbs import WhyBody, act
from django_workflow.runtime.veils import Veil

A_STEP = "A step, by its key, or by a name that no other step has."
ALL_STEPS = f"{A_STEP} Without one, all of them."


class StepBody(WhyBody):
    """Which step, and why."""

    step = Text(required=False, help_text=ALL_STEPS)


class ExtendBody(WhyBody):
    """By how much, of which step, and why."""

    by = Text(help_text="As `2h` or `1d12h`.")
    step = Text(required=False, help_text=f"{A_STEP} Without one, the run's own timeout.")


class PriorityBody(WhyBody):
    """Which priority, and why."""

    priority = Whole()


class EditBody(WhyBody):
    """Of which step, which result, and why."""

    step = Text(help_text=A_STEP)
    value = serializers.JSONField(allow_null=True)


class _Change(ApiView):
    verb: str

    def do(self, run_id: str, **options: Any) -> Response:
        """Do the verb to one run."""
        run: Run = act(self.verb, run_of(self.request, run_id), self.actor, **options)
        return respond({"workflow_run_id": run.id, "status": str(run.status)})


class RetryNow(_Change):
    """A run does not wait for its retries."""

    verb = "retry_now"
    permissions = {"POST": "retry_run"}

    @documented("retry_run", takes=StepBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Skip the delay before the next attempt."""
        return self.do(run_id, **self.body(StepBody))


class SkipSleep(_Change):
    """A run sleeps no longer."""

    verb = "skip_sleep"
    permissions = {"POST": "skip_run"}

    @documented("skip_sleep", takes=StepBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """End a sleep, or all of them."""
        return self.do(run_id, **self.body(StepBody))


class ExtendTimeout(_Change):
    """A step, or a run, gets more time."""

    verb = "extend_timeout"
    permissions = {"POST": "extend_run"}

    @documented("extend_timeout", takes=ExtendBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Let a step wait longer, or the run take longer."""
        given = self.body(ExtendBody)
        return self.do(run_id, **{**given, "by": parse_duration(given["by"])})


class SetPriority(_Change):
    """A run gets another priority."""

    verb = "set_priority"
    permissions = {"POST": "prioritise_run"}

    @documented("set_priority", takes=PriorityBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Give a run another priority in the lines of flow control."""
        return self.do(run_id, **self.body(PriorityBody))


class EditResult(_Change):
    """A stored result is put right."""

    verb = "edit_result"
    permissions = {"POST": "edit_run"}

    @documented("edit_result", takes=EditBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Replace the result of a step of a paused, failed or blocked run; what came after it is put aside."""
        try:
            return self.do(run_id, **self.body(EditBody))
        except RunStateError as error:
            # A child that stands in the way may be one that is not there for who asks.
            told = Veil(request, runs(request).filter(pk=run_id)).text(str(error))
            state = {"workflow_run_id": error.run_id, "state": error.state}
            raise ProblemError("wrong-state", told, **state) from error
