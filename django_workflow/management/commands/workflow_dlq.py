"""``manage.py workflow_dlq``: dead letters, listed, counted by cause, resumed, restarted, given to their failure handlers again, deleted."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from itertools import islice
from typing import Any

from django.core.management.base import CommandError

from django_workflow.core.anywhere import get_run
from django_workflow.core.exceptions import RunStateError
from django_workflow.management.base import (
    FAILED,
    USAGE,
    WorkflowCommand,
    add_json,
    operator,
    print_runs,
)
from django_workflow.management.choosing import (
    add_choice,
    do_to_each,
    fitting,
    is_confirmed,
    is_person,
    preview,
    runs,
)
from django_workflow.management.dead_letters import GROUP_COLUMNS, group_json, group_row
from django_workflow.models import Run, RunQuerySet
from django_workflow.runtime.dead_letters import fingerprint, grouped
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.handler_again import with_handler_to_run

RERUN = "rerun-handler"
PAST = {
    "resume": "resumed",
    "restart": "restarted",
    RERUN: "handled again",
    "delete": "deleted",
}
STATES = ("failed", "blocked")
FILTERS = ("workflow", "label", "status", "step", "error", "fingerprint")


class Command(WorkflowCommand):
    """Look after dead letters."""

    help = (
        "Failed and blocked runs: list them, count them by cause (groups), or resume, restart or delete them, or run their "
        "failure handlers again (rerun-handler), by ID, by filters, or all. Groups prints the fingerprints."
    )
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a verb, ids and filters."""
        parser.add_argument(
            "verb",
            nargs="?",
            default="list",
            choices=["list", "groups", *PAST],
            help="list unless given.",
        )
        parser.add_argument("run_ids", nargs="*", metavar="ID", help="The ID of a run.")
        add_choice(parser, states=STATES)
        parser.add_argument("--step", help="Instead of IDs: that failed in this step.")
        parser.add_argument(
            "--error",
            help="Instead of IDs: of this class of error, as ValueError, or with its module.",
        )
        parser.add_argument(
            "--fingerprint", help="Instead of IDs: of this group of errors, as groups prints it."
        )
        parser.add_argument("--all", action="store_true", help="Instead of IDs: every dead letter.")
        parser.add_argument(
            "--force",
            action="store_true",
            help="With resume: even where undo or the failure handler has run.",
        )
        parser.add_argument("--why", default="", help="The reason, which is kept with each run.")
        add_json(parser)

    def carry_out(self, *, verb: str, run_ids: list[str], **options: Any) -> None:
        """List, count, or do the verb."""
        given = [name for name in FILTERS if options[name]] + ["all"] * bool(options["all"])
        if run_ids and given:
            raise CommandError(f"Give IDs, or --{given[0]}, not both.", returncode=USAGE)
        if options["force"] and verb != "resume":
            raise CommandError("--force is for resume.", returncode=USAGE)
        if verb in PAST and not run_ids and not given:
            raise CommandError(f"Say which to {verb}: IDs, filters, or --all.", returncode=USAGE)
        chosen = self._chosen(verb, run_ids, options)
        if verb == "list":
            print_runs(self, chosen)
        elif verb == "groups":
            self._print_groups(chosen)
        elif options["dry_run"]:
            preview(self, chosen, PAST[verb])
        else:
            self._do(verb, chosen, options)

    def _chosen(self, verb: str, run_ids: list[str], options: dict[str, Any]) -> list[Run]:
        if run_ids:
            return [_dead_letter(run_id) for run_id in dict.fromkeys(run_ids)]
        found = fitting(runs().dead_letters(), options)
        if verb == RERUN:
            found = with_handler_to_run(found)
        if options["step"]:
            found = found.filter(failed_step=options["step"])
        ordered = found.with_reason().order_by("created_at", "id")
        if options["fingerprint"]:
            return _of_group(ordered, options["fingerprint"], options["error"], options["limit"])
        return _of_error(ordered, options["error"], options["limit"])

    def _print_groups(self, chosen: list[Run]) -> None:
        groups = grouped(chosen)
        if self.as_json:
            self.screen.json([group_json(group) for group in groups])
        else:
            self.screen.table(GROUP_COLUMNS, [group_row(group) for group in groups])

    def _do(self, verb: str, chosen: list[Run], options: dict[str, Any]) -> None:
        if verb == "delete" and not options["yes"] and (self.as_json or not is_person(self)):
            raise CommandError("Say --yes to delete, or --dry-run to look.", returncode=USAGE)
        if not is_confirmed(self, chosen, PAST[verb], yes=options["yes"]):
            raise CommandError(f"Nothing was {PAST[verb]}.", returncode=FAILED)
        by = {"actor": operator(), "why": options["why"]}
        verbs: dict[str, Callable[[Run], Run | None]] = {
            "resume": lambda run: run.resume(force=options["force"], **by),
            "restart": lambda run: _still_dead(run).restart(**by),
            RERUN: lambda run: run.rerun_handler(**by),
            "delete": lambda run: _delete(run, **by),
        }
        do_to_each(self, [run.id for run in chosen], PAST[verb], verbs[verb])


def _of_error(found: RunQuerySet, error: str | None, limit: int) -> list[Run]:
    if not error:
        return list(found[:limit])
    # Looked for in the text first; what the failure says decides.
    likely = list(found.filter(failure_text__contains=error)[:limit])
    return [
        run for run in likely if run.failure is not None and _is_of(run.failure.error_class, error)
    ]


def _of_group(found: RunQuerySet, mark: str, error: str | None, limit: int) -> list[Run]:
    fit = (
        run
        for run in found.iterator(chunk_size=200)
        if fingerprint(run.failure, run.id) == mark
        and (not error or (run.failure is not None and _is_of(run.failure.error_class, error)))
    )
    return list(islice(fit, limit))


def _is_of(error_class: str, wanted: str) -> bool:
    return error_class == wanted or error_class.endswith(f".{wanted}")


def _dead_letter(run_id: str) -> Run:
    return _still_dead(get_run(run_id))


def _still_dead(run: Run) -> Run:
    if run.status not in STATES:
        raise RunStateError(
            f'Run "{run.id}" is {run.status}; it is no dead letter.',
            run_id=run.id,
            state=run.status,
        )
    return run


def _delete(run: Run, **by: Any) -> None:
    _still_dead(run)
    if not delete_runs([run.id], **by):
        raise RunStateError(
            f'Run "{run.id}" is {run.status}, but its failure handler is at work, or a parent waits for it.',
            run_id=run.id,
            state=run.status,
        )
