"""Workflows and runs, to read."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError, RunNotFinishedError
from django_workflow.core.plain import plain
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run, Step
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, PageQuery, documented, respond
from django_workflow.rest.fields import Shape, Text
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import RunQuery, fitting, run_of, runs
from django_workflow.rest.shown import (
    action_shown,
    attempt_shown,
    failed,
    log_shown,
    run_shown,
    runs_shown,
    step_shown,
    webhook_shown,
)
from django_workflow.runtime.veils import Veil

#: How long a request for a result waits at most.
LONGEST_WAIT_SECONDS = 30.0


def workflow_of(name: str) -> Workflow[Any, Any]:
    """Return the workflow of this name.

    Raises:
        ProblemError: this process knows none; which it knows is not for everybody.
    """
    found = registry.find(name)
    if found is None:
        raise ProblemError("not-found", f'No workflow "{name}" is registered here.')
    return found


def _workflow_shown(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    schedule = workflow.options.schedule
    return {
        "name": workflow.name,
        "versions": list(workflow.versions),
        "latest_version": workflow.latest_version,
        "is_async": workflow.is_async,
        "description": inspect.getdoc(next(iter(workflow.versions.values()))) or "",
        "schedule": None if schedule is None else schedule.expression,
    }


class Workflows(ApiView):
    """The workflows that this process knows."""

    permissions = {"GET": "view_run"}

    @documented("list_workflows", gives={200: shapes.DefinitionList}, tag="workflows")
    def get(self, request: Request) -> Response:
        """List them by name."""
        return respond({"results": [_workflow_shown(one) for one in registry]})


class OneWorkflow(ApiView):
    """A workflow."""

    permissions = {"GET": "view_run"}

    @documented("get_workflow", gives={200: shapes.DefinitionShape}, tag="workflows")
    def get(self, request: Request, name: str) -> Response:
        """Return it with its versions."""
        return respond(_workflow_shown(workflow_of(name)))


class Runs(ApiView):
    """Runs, the newest first."""

    permissions = {"GET": "view_run"}

    @documented("list_runs", query=RunQuery, gives={200: shapes.RunPage}, tag="runs")
    def get(self, request: Request) -> Response:
        """List the runs that fit the filters."""
        asked, sees = self.asked(RunQuery), self.sees
        rows = fitting(request, runs(request), asked, sees=sees).with_reason()
        return respond(
            page(
                request, rows, ("-created_at", "id"),
                lambda found: runs_shown(request, found, sees=sees), asked,
            )
        )  # fmt: skip


class OneRun(ApiView):
    """A run."""

    permissions = {"GET": "view_run"}

    @documented("get_run", gives={200: shapes.RunShape}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """Return it."""
        run = run_of(request, run_id)
        return respond(run_shown(run, Veil(request, [run]), sees=self.sees, whole=True))


class _OfRun(ApiView):
    permissions = {"GET": "view_run"}

    def listed(self, run: Run, rows: Any, shown: Any) -> Response:
        """Answer with a page of what belongs to a run, in the order in which it came."""
        asked = self.asked(PageQuery)
        return respond(
            page(self.request, rows, ("id",), lambda found: [shown(one) for one in found], asked)
        )


class Steps(_OfRun):
    """The steps of a run."""

    @documented("list_steps", query=PageQuery, gives={200: shapes.StepPage}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """List them in the order in which they were met."""
        run, sees = run_of(request, run_id), self.sees
        veil = Veil(request, [run])
        rows = Step.objects.using(settings().DATABASE).filter(run_id=run.id)
        return self.listed(run, rows, lambda step: step_shown(step, run, veil, sees=sees))


class Attempts(_OfRun):
    """The tries of a run that did not become results."""

    @documented("list_attempts", query=PageQuery, gives={200: shapes.AttemptPage}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """List them in the order in which they ended."""
        run, sees = run_of(request, run_id), self.sees
        steps = Step.objects.using(settings().DATABASE).filter(run_id=run.id)
        names = dict(steps.values_list("key", "name")) if sees else {}
        veil = Veil(request, [run])
        return self.listed(
            run, run.attempts.all(), lambda one: attempt_shown(veil.row(one), run, names, sees=sees)
        )


class Logs(_OfRun):
    """What a run has told with ``log()``."""

    @documented("list_logs", query=PageQuery, gives={200: shapes.LogPage}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """List the lines, as they were said."""
        run, sees = run_of(request, run_id), self.sees
        return self.listed(run, run.logs.all(), lambda line: log_shown(line, sees=sees))


class Actions(_OfRun):
    """What was done to a run."""

    @documented("list_actions", query=PageQuery, gives={200: shapes.ActionPage}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """List who did what, why, and through which door."""
        run = run_of(request, run_id)
        veil = Veil(request, [run])
        return self.listed(run, run.actions, lambda one: action_shown(veil.row(one)))


class Webhooks(_OfRun):
    """The webhooks of a run."""

    permissions = {"GET": "view_run view_webhook"}

    @documented("list_webhooks", query=PageQuery, gives={200: shapes.WebhookPage}, tag="runs")
    def get(self, request: Request, run_id: str) -> Response:
        """List them, without their URLs."""
        run = run_of(request, run_id)
        return self.listed(run, run.webhooks.all(), webhook_shown)


class ResultQuery(Shape):
    """How long a request waits."""

    wait = Text(
        required=False,
        help_text="Wait so long for the end, as `10s`; 30 s at most. Without it, the answer comes at once.",
    )


class Result(ApiView):
    """The result of a run."""

    permissions = {"GET": "view_run view_payload"}
    scopes = {"GET": "workflow_wait"}

    @documented(
        "get_result",
        query=ResultQuery,
        gives={200: shapes.ResultShape, 202: shapes.ResultShape},
        tag="runs",
    )
    def get(self, request: Request, run_id: str) -> Response:
        """Return how the run ended: 200, or 202 if it has not."""
        seconds = self._seconds()
        run = run_of(request, run_id)
        if seconds and not run.is_finished:
            # What follows tells as much.
            with contextlib.suppress(RunNotFinishedError):
                run.wait(seconds)
            run = run_of(request, run_id)
        Veil(request, [run]).row(run)
        content = {
            "workflow_run_id": run.id,
            "status": str(run.status),
            "finished": run.is_finished,
            "result": run.mask.result(plain(run.result_text, whole=True))
            if run.status == RunStatus.COMPLETED
            else None,
            "failure": failed(run.failure),
        }
        return respond(content, 200 if run.is_finished else 202)

    def _seconds(self) -> float:
        wait = self.asked(ResultQuery).get("wait")
        if wait is None:
            return 0.0
        try:
            return min(parse_duration(wait).total_seconds(), LONGEST_WAIT_SECONDS)
        except InvalidOptionError as error:
            raise serializers.ValidationError({"wait": str(error)}) from error
