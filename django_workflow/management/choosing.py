"""Runs chosen by filter for a verb on many: previewed, asked for on a terminal, and told one by one."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandError

from django_workflow.conf import settings
from django_workflow.core.anywhere import get_run
from django_workflow.core.exceptions import RunStateError, WorkflowError
from django_workflow.core.types import RunStatus
from django_workflow.management.base import FAILED, USAGE, VerbCommand, WorkflowCommand, whole
from django_workflow.management.output import RUN_COLUMNS, run_row
from django_workflow.models import Run, RunQuerySet

#: How many runs one command changes, and how many of them a preview shows.
MOST = 10_000
SHOWN = 20

FILTERS = ("workflow", "label", "status")


def runs() -> RunQuerySet:
    """Return all runs."""
    return Run.objects.using(settings().DATABASE)


def add_choice(parser: ArgumentParser, *, states: Sequence[str] | None = None) -> None:
    """Add the filters, and whether to look or to ask first."""
    parser.add_argument("--workflow", help="Instead of IDs: of this workflow.")
    parser.add_argument(
        "--label", action="append", default=[], help="Instead of IDs: with this label; may be repeated: all of them."
    )  # fmt: skip
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        choices=states or [status.value for status in RunStatus],
        help="Instead of IDs: in this state; may be repeated: any of them.",
    )
    parser.add_argument(
        "--limit",
        type=whole(1, MOST),
        default=MOST,
        help=f"With filters: at most so many, the oldest first; {MOST:,} unless given.",
    )
    _add_dry_run(parser)
    parser.add_argument("--yes", action="store_true", help="Do not ask on a terminal.")


def _add_dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="Only list the runs that are meant.")


def fitting(found: RunQuerySet, options: dict[str, Any]) -> RunQuerySet:
    """Return those of these runs that fit the filters."""
    if options["workflow"]:
        found = found.filter(workflow=options["workflow"])
    if options["status"]:
        found = found.filter(status__in=options["status"])
    return found.labelled(*dict.fromkeys(options["label"]))


def is_confirmed(command: WorkflowCommand, chosen: Sequence[Run], what: str, *, yes: bool) -> bool:
    """Ask a person on a terminal whether to go on; where nobody looks, or with ``--yes``, go on."""
    if not chosen or yes or command.as_json or not is_person(command):
        return True
    preview(command, chosen, what)
    command.stdout.write('Type "yes": ', ending="")
    command.stdout.flush()
    return sys.stdin.readline().strip() == "yes"


def is_person(command: WorkflowCommand) -> bool:
    """Tell whether a person on a terminal can be asked."""
    return sys.stdin.isatty() and command.screen.is_terminal


def preview(command: WorkflowCommand, chosen: Sequence[Run], what: str) -> None:
    """List the runs that are meant, the first ones of many."""
    if command.as_json:
        command.screen.json(
            {f"would_be_{_key(what)}": len(chosen), "workflow_run_ids": [r.id for r in chosen]}
        )
        return
    command.screen.table(RUN_COLUMNS, [run_row(run) for run in chosen[:SHOWN]])
    more = f" ({len(chosen) - SHOWN:,} are not shown)" if len(chosen) > SHOWN else ""
    command.screen.lines([f"{counted(len(chosen))} would be {what}{more}."])


def counted(number: int) -> str:
    """Return how many runs, in words."""
    return "1 run" if number == 1 else f"{number:,} runs"


def do_to_each(
    command: WorkflowCommand, ids: Sequence[str], what: str, do: Callable[[Run], Run | None]
) -> None:
    """Do something to each run, tell how many, and name those that were not to be had.

    Raises:
        CommandError: some were not.
    """
    done: list[str] = []
    refusals: list[WorkflowError] = []
    for run_id in ids:
        try:
            made = do(get_run(run_id))
            done.append(run_id if made is None else made.id)
        except WorkflowError as error:
            refusals.append(error)
    if command.as_json:
        command.screen.json({_key(what): len(done), "workflow_run_ids": done})
    else:
        command.screen.lines([f"{counted(len(done))} {_were(len(done))} {what}."])
    _tell(refusals)


def _tell(refusals: Sequence[WorkflowError]) -> None:
    if refusals:
        is_state = all(isinstance(error, RunStateError) for error in refusals)
        told = [str(error) for error in refusals[:SHOWN]]
        if len(refusals) > SHOWN:
            told.append(f"And {len(refusals) - SHOWN:,} more.")
        raise CommandError("\n".join(told), returncode=FAILED if is_state else USAGE)


def _key(what: str) -> str:
    return what.replace(" ", "_")


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


class PreviewedCommand(VerbCommand):
    """A verb on runs given by their ids, with a dry run."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, and whether to look first."""
        super().add_arguments(parser)
        _add_dry_run(parser)

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Do the verb to the runs, or list them."""
        if options["dry_run"]:
            self.look([get_run(run_id) for run_id in run_ids], **options)
        else:
            super().carry_out(run_ids=run_ids, **options)

    def would(self, run: Run, **options: Any) -> None:
        """Raise what the verb would raise, where that can be told without doing it."""

    def look(self, chosen: Sequence[Run], **options: Any) -> None:
        """List the runs that are meant, and name those to which it cannot be done.

        Raises:
            CommandError: there are such.
        """
        fit, refusals = [], []
        for run in chosen:
            try:
                self.would(run, **options)
                fit.append(run)
            except WorkflowError as error:
                refusals.append(error)
        preview(self, fit, self.done)
        _tell(refusals)


class BulkCommand(PreviewedCommand):
    """A verb on runs: given by their ids, or by filters."""

    how_many = "*"
    #: The runs that a filter without a state means.
    meant: Callable[[RunQuerySet], RunQuerySet] = staticmethod(lambda found: found)
    #: The filter that has to be given besides, if any.
    needs: str | None = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, or filters."""
        VerbCommand.add_arguments(self, parser)
        add_choice(parser)

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Do the verb to the runs."""
        given = [name for name in FILTERS if options[name]]
        if run_ids and given:
            raise CommandError(f"Give IDs, or --{given[0]}, not both.", returncode=USAGE)
        if not run_ids and not given:
            wanted = " or ".join(f"--{name}" for name in FILTERS)
            raise CommandError(f"Say which: IDs, or {wanted}.", returncode=USAGE)
        if not run_ids and self.needs is not None and self.needs not in given:
            raise CommandError(f"Of which state? Give --{self.needs} too.", returncode=USAGE)
        if run_ids:
            super().carry_out(run_ids=run_ids, **options)
            return
        chosen = self._chosen(options)
        if options["dry_run"]:
            self.look(chosen, **options)
            return
        if not is_confirmed(self, chosen, self.done, yes=options["yes"]):
            raise CommandError(f"Nothing was {self.done}.", returncode=FAILED)
        do_to_each(self, [run.id for run in chosen], self.done, lambda run: self.do(run, **options))

    def _chosen(self, options: dict[str, Any]) -> list[Run]:
        found = fitting(runs() if options["status"] else self.meant(runs()), options)
        return list(found.with_reason().order_by("created_at", "id")[: options["limit"]])
