"""Failed and blocked runs, until somebody resumes, restarts or deletes them."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.models import RunQuerySet
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, documented, respond
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import (
    ResumeSelection,
    RunQuery,
    Selection,
    fitting,
    runs,
    selected,
)
from django_workflow.rest.shown import at, runs_shown
from django_workflow.rest.verbs import act_on_each, outcome, outcomes, preview
from django_workflow.runtime.dead_letters import Group, dead_letters
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.handler_again import with_handler_to_run
from django_workflow.runtime.veils import Veil


class DeadLetters(ApiView):
    """Dead letters, the newest first."""

    permissions = {"GET": "view_run"}

    @documented(
        "list_dead_letters", query=RunQuery, gives={200: shapes.RunPage}, tag="dead letters"
    )
    def get(self, request: Request) -> Response:
        """List those that fit the filters."""
        asked, sees = self.asked(RunQuery), self.sees
        rows = fitting(request, runs(request).dead_letters(), asked, sees=sees).with_reason()
        return respond(
            page(
                request, rows, ("-created_at", "id"),
                lambda found: runs_shown(request, found, sees=sees), asked,
            )
        )  # fmt: skip


class Groups(ApiView):
    """Dead letters by their cause."""

    permissions = {"GET": "view_run"}

    @documented("list_dead_letter_groups", gives={200: shapes.GroupList}, tag="dead letters")
    def get(self, request: Request) -> Response:
        """Count them by error: those whose errors are alike have one fingerprint, which is a filter."""
        found, sees = dead_letters(runs(request)), self.sees
        veil = Veil(request)
        told = [_group_shown(group, veil, sees=sees) for group in found.groups]
        return respond({"results": told, "truncated": found.is_cut})


def _group_shown(group: Group, veil: Veil, *, sees: bool) -> dict[str, Any]:
    failure = group.failure if sees else None
    return {
        "fingerprint": group.fingerprint,
        "workflows": dict(group.workflows.most_common()),
        "statuses": dict(group.states.most_common()),
        "step": group.step or None,
        "error_class": None if failure is None else failure.error_class,
        "message": None if failure is None else veil.text(failure.message),
        "count": group.count,
        "newest": group.newest,
        "first_seen": at(group.first_seen),
        "last_seen": at(group.last_seen),
    }


class _Letters(ApiView):
    takes: type[Selection] = Selection

    def letters(self) -> RunQuerySet:
        """Return those that a person may do something about: no failure handler is at work."""
        return runs(self.request).dead_letters().ended()

    def chosen(self) -> tuple[dict[str, Any], list[str], bool]:
        """Return what was given, the ids that are meant, and whether there are more."""
        given = self.body(self.takes)
        return given, *selected(self.request, given, self.letters(), self.letters(), sees=self.sees)

    def previewed(self, ids: list[str], *, more: bool) -> Response:
        """Answer with what the verb would be done to."""
        return preview(ids, runs(self.request), self.letters(), more=more)

    def act(
        self,
        verb: str,
        given: dict[str, Any],
        ids: list[str],
        *,
        more: bool,
        is_checked: bool = True,
    ) -> Response:
        """Do a verb to each dead letter; without a check, the verb itself says what it is not for."""
        if given.get("dry_run"):
            return self.previewed(ids, more=more)
        options = {name: given[name] for name in ("why", "force") if name in given}
        only = self.letters() if is_checked else None
        found = act_on_each(verb, ids, self.actor, among=runs(self.request), only=only, **options)
        return outcomes(found, more=more)


class ResumeLetters(_Letters):
    """Dead letters go on."""

    takes = ResumeSelection
    permissions = {"POST": "resume_run"}

    @documented(
        "resume_dead_letters",
        takes=ResumeSelection,
        gives={200: shapes.OutcomesShape},
        tag="dead letters",
    )
    def post(self, request: Request) -> Response:
        """Go on with each."""
        given, ids, more = self.chosen()
        return self.act("resume", given, ids, more=more)


class RestartLetters(_Letters):
    """Dead letters are started anew."""

    permissions = {"POST": "restart_run"}

    @documented(
        "restart_dead_letters",
        takes=Selection,
        gives={200: shapes.OutcomesShape},
        tag="dead letters",
    )
    def post(self, request: Request) -> Response:
        """Start a new run for each; the dead letters stay until they are deleted."""
        given, ids, more = self.chosen()
        if more:
            raise ProblemError("bad-input", "Too many are meant; narrow the filter.", path="filter")
        return self.act("restart", given, ids, more=False)


class RerunHandlers(_Letters):
    """The failure handlers of dead letters are run again."""

    permissions = {"POST": "resume_run"}

    @documented(
        "rerun_dead_letter_handlers",
        takes=Selection,
        gives={200: shapes.OutcomesShape},
        tag="dead letters",
    )
    def post(self, request: Request) -> Response:
        """Run each failed one's handler anew, where it failed itself or there was none yet."""
        given, ids, more = self.chosen()
        # Of those that are named and do not fit, the verb itself tells best why.
        return self.act("rerun_handler", given, ids, more=more, is_checked=False)

    def letters(self) -> RunQuerySet:
        """Return those whose handler is run again."""
        return with_handler_to_run(super().letters())


class DeleteLetters(_Letters):
    """Dead letters are deleted."""

    permissions = {"POST": "delete_run"}

    @documented(
        "delete_dead_letters",
        takes=Selection,
        gives={200: shapes.OutcomesShape},
        tag="dead letters",
    )
    def post(self, request: Request) -> Response:
        """Delete each with all that belongs to it; what was done to it stays known."""
        given, ids, more = self.chosen()
        if given.get("dry_run"):
            return self.previewed(ids, more=more)
        states = dict(runs(request).filter(pk__in=ids).values_list("pk", "status"))
        letters = set(self.letters().filter(pk__in=ids).values_list("pk", flat=True))

        def delete(run_id: str) -> dict[str, Any]:
            if run_id not in states:
                detail = f'There is no run "{run_id}".'
                raise ProblemError("not-found", detail, workflow_run_id=run_id)
            # Somebody may have gone on with it since.
            if run_id not in letters or not delete_runs(
                [run_id], actor=self.actor, why=given.get("why", "")
            ):
                state = runs(request).filter(pk=run_id).values_list("status", flat=True).first()
                detail = f'Run "{run_id}" is {state or "gone"}, or its end is awaited.'
                raise ProblemError("wrong-state", detail, workflow_run_id=run_id, state=state)
            return {}

        return outcomes([outcome(run_id, delete) for run_id in ids], more=more)
