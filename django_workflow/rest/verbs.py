"""What is done to runs: to one, or to many with an outcome for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import WorkflowError, WorkflowNotFoundError
from django_workflow.core.types import DEAD_LETTER, FINISHED, RunStatus
from django_workflow.models import Run, RunQuerySet
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, documented, respond
from django_workflow.rest.fields import Shape, Text, Truth
from django_workflow.rest.problems import ProblemError, problem_of
from django_workflow.rest.selecting import (
    MOST_AT_ONCE,
    ResumeSelection,
    Selection,
    run_of,
    runs,
    selected,
)

#: Verbs that make a new run: asked again, they make it again.
MAKES_RUNS = ("restart", "fork")


class WhyBody(Shape):
    """Why it is done."""

    why = Text(required=False, allow_blank=True, help_text="Kept with the run.")


class ResumeBody(WhyBody):
    """Why it is done, and whether also where the failure handler has run."""

    force = Truth(required=False)


def act(verb: str, run: Run, actor: Actor, **options: Any) -> Run:
    """Do a verb to a run, and return the run or, of a restart, the new one.

    Raises:
        ProblemError: its workflow is not in this process.
        WorkflowError: its state does not allow it.
    """
    try:
        done: Run = getattr(run, verb)(actor=actor, **options)
    except WorkflowNotFoundError as error:
        raise ProblemError("not-here", str(error), workflow_run_id=run.id) from error
    return done


def act_on_each(
    verb: str,
    ids: list[str],
    actor: Actor,
    *,
    among: RunQuerySet,
    only: RunQuerySet | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Do a verb to each of these runs, in a transaction of its own each, and return the outcomes.

    Args:
        among: The runs that are there for who asks.
        only: Those of them that it may be done to.
    """  # fmt: skip
    allowed = None if only is None else set(only.filter(pk__in=ids).values_list("pk", flat=True))

    def do(run_id: str) -> dict[str, Any]:
        run = among.filter(pk=run_id).first()
        if run is None:
            raise unknown(run_id)
        if allowed is not None and run_id not in allowed:
            raise ProblemError("wrong-state", f'Run "{run_id}" is {run.status}.', state=run.status)
        done = act(verb, run, actor, **options)
        made = {"new_run_id": done.id} if verb in MAKES_RUNS else {}
        return {"status": str(run.status), **made}

    return [outcome(run_id, do) for run_id in ids]


def preview(ids: list[str], among: RunQuerySet, fit: RunQuerySet, *, more: bool) -> Response:
    """Answer with what a verb would be done to: the dry run of a verb on many.

    Args:
        among: The runs that are there for who asks.
        fit: Those of them whose state allows the verb at this moment.
    """
    states = dict(among.filter(pk__in=ids).values_list("pk", "status"))
    fitting = set(fit.filter(pk__in=ids).values_list("pk", flat=True))

    def look(run_id: str) -> dict[str, Any]:
        if run_id not in states:
            raise unknown(run_id)
        state = states[run_id]
        if run_id not in fitting:
            raise ProblemError("wrong-state", f'Run "{run_id}" is {state}.', state=state)
        return {"done": False, "status": state}

    return outcomes([outcome(run_id, look) for run_id in ids], more=more, dry_run=True)


def unknown(run_id: str) -> ProblemError:
    """Return what says that there is no such run, or none for who asks."""
    return ProblemError("not-found", f'There is no run "{run_id}".', workflow_run_id=run_id)


def outcome(run_id: str, do: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Do something to one of many, and return what has become of it."""
    told = {
        "workflow_run_id": run_id,
        "done": True,
        "status": None,
        "new_run_id": None,
        "problem": None,
    }
    try:
        return told | do(run_id)
    except (WorkflowError, ProblemError) as error:
        found = problem_of(error)
        if found is None:
            raise
        return told | {"done": False, "status": found.get("state"), "problem": found}


def outcomes(results: list[dict[str, Any]], *, more: bool, dry_run: bool = False) -> Response:
    """Answer with what has become of each."""
    told = {
        "results": results,
        "done": sum(one["done"] for one in results),
        "refused": sum(one["problem"] is not None for one in results),
        "more": more,
        "dry_run": dry_run,
    }
    return respond(told)


class _Verb(ApiView):
    verb: str
    takes: type[Shape] = WhyBody

    def do(self, run_id: str) -> Response:
        """Do the verb to one run."""
        given = self.body(self.takes)
        run = act(self.verb, run_of(self.request, run_id), self.actor, **given)
        return respond({"workflow_run_id": run.id, "status": str(run.status)})


class Cancel(_Verb):
    """A run is cancelled."""

    verb = "cancel"
    permissions = {"POST": "cancel_run"}

    @documented("cancel_run", takes=WhyBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Cancel a run that has not ended, or a dead letter."""
        return self.do(run_id)


class Pause(_Verb):
    """A run is paused."""

    verb = "pause"
    permissions = {"POST": "pause_run"}

    @documented("pause_run", takes=WhyBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Hold a pending or running run where it is."""
        return self.do(run_id)


class Resume(_Verb):
    """A run goes on."""

    verb = "resume"
    takes = ResumeBody
    permissions = {"POST": "resume_run"}

    @documented("resume_run", takes=ResumeBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Go on with a paused, failed or blocked run."""
        return self.do(run_id)


class Restart(_Verb):
    """A run is started anew."""

    verb = "restart"
    permissions = {"POST": "restart_run"}

    @documented("restart_run", takes=WhyBody, gives={201: shapes.RestartedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Start a new run from the beginning, with the same payload."""
        given = self.body(WhyBody)
        new = act("restart", run_of(request, run_id), self.actor, **given)
        told = {"workflow_run_id": new.id, "status": str(new.status), "restarted_from": run_id}
        return respond(told, 201)


class RerunHandler(_Verb):
    """A failure handler is run again."""

    verb = "rerun_handler"
    permissions = {"POST": "resume_run"}

    @documented("rerun_handler", takes=WhyBody, gives={200: shapes.ChangedShape}, tag="verbs")
    def post(self, request: Request, run_id: str) -> Response:
        """Run the failure handler of a failed run anew, where it failed itself or there was none yet."""
        return self.do(run_id)


class Many(ApiView):
    """A verb on many runs."""

    verb: str
    takes: type[Selection] = Selection
    #: Which fields of the body the verb is given.
    given: tuple[str, ...] = ("why", "force")

    def usual(self) -> RunQuerySet:
        """Return the runs that the verb is for, where no state is named."""
        raise NotImplementedError

    def known(self) -> RunQuerySet:
        """Return the runs that a filter may name."""
        return runs(self.request)

    def possible(self) -> RunQuerySet:
        """Return the runs whose state allows the verb."""
        return self.usual()

    def do(self) -> Response:
        """Do the verb to each of the selected runs."""
        given = self.body(self.takes)
        ids, more = selected(self.request, given, self.usual(), self.known(), sees=self.sees)
        options = {name: given[name] for name in self.given if name in given}
        if given.get("dry_run"):
            return self.preview(ids, more=more, **options)
        if more and self.verb in MAKES_RUNS:
            detail = f"More than {MOST_AT_ONCE:,} runs are meant; narrow the filter."
            raise serializers.ValidationError({"filter": detail})
        done = act_on_each(self.verb, ids, self.actor, among=runs(self.request), **options)
        return outcomes(done, more=more)

    def preview(self, ids: list[str], *, more: bool, **options: Any) -> Response:
        """Answer with what it would be done to."""
        return preview(ids, runs(self.request), self.possible(), more=more)


class CancelMany(Many):
    """Runs are cancelled."""

    verb = "cancel"
    permissions = {"POST": "cancel_run"}

    def usual(self) -> RunQuerySet:
        """Return those that have not ended."""
        return runs(self.request).unfinished_or_paused()

    def known(self) -> RunQuerySet:
        """Return those that can be cancelled."""
        return self.possible()

    def possible(self) -> RunQuerySet:
        """Return those that can be cancelled, dead letters among them."""
        return runs(self.request).exclude(status__in=FINISHED)

    @documented("cancel_runs", takes=Selection, gives={200: shapes.OutcomesShape}, tag="verbs")
    def post(self, request: Request) -> Response:
        """Cancel each; without a state, those that have not ended."""
        return self.do()


class PauseMany(Many):
    """Runs are paused."""

    verb = "pause"
    permissions = {"POST": "pause_run"}

    def usual(self) -> RunQuerySet:
        """Return those that can be paused."""
        return runs(self.request).filter(status__in=[RunStatus.PENDING, RunStatus.RUNNING])

    @documented("pause_runs", takes=Selection, gives={200: shapes.OutcomesShape}, tag="verbs")
    def post(self, request: Request) -> Response:
        """Hold each; without a state, those that are pending or running."""
        return self.do()


class ResumeMany(Many):
    """Runs go on."""

    verb = "resume"
    takes = ResumeSelection
    permissions = {"POST": "resume_run"}

    def usual(self) -> RunQuerySet:
        """Return those that can be resumed."""
        return runs(self.request).filter(status__in=[RunStatus.PAUSED, *DEAD_LETTER])

    @documented(
        "resume_runs", takes=ResumeSelection, gives={200: shapes.OutcomesShape}, tag="verbs"
    )
    def post(self, request: Request) -> Response:
        """Go on with each; without a state, those that are paused, failed or blocked."""
        return self.do()


class RestartMany(Many):
    """Runs are started anew."""

    verb = "restart"
    permissions = {"POST": "restart_run"}

    def usual(self) -> RunQuerySet:
        """Return those that have ended."""
        return runs(self.request).ended()

    def possible(self) -> RunQuerySet:
        """Return all: a restart is a run of its own."""
        return runs(self.request)

    @documented("restart_runs", takes=Selection, gives={200: shapes.OutcomesShape}, tag="verbs")
    def post(self, request: Request) -> Response:
        """Start a new run for each; without a state, for those that have ended."""
        return self.do()
