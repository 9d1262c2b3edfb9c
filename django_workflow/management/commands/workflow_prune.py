"""``manage.py workflow_prune``: delete ended runs that have been kept long enough."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError

from django_workflow.conf import ENDED_STATES, FINISHED_STATES, settings
from django_workflow.core.durations import parse_duration
from django_workflow.management.base import FAILED, USAGE, WorkflowCommand, add_json, operator
from django_workflow.runtime.pruning import BATCH, Selection, prune_keys
from django_workflow.runtime.spilled_files import collect_files


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise ArgumentTypeError(f"must be a whole number of 1 to 10,000, not {text!r}")
    return int(text)


class Command(WorkflowCommand):
    """Prune runs."""

    takes_database = True
    help = (
        "Delete runs that ended long ago, with all that belongs to them: the oldest first, in short transactions. "
        "Failed and blocked runs stay unless they are asked for; unfinished ones always do."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take which runs, and whether to ask."""
        parser.add_argument(
            "--older-than",
            metavar="DURATION",
            help='How long ago they ended, as 30d; WORKFLOW["RETENTION"] unless given.',
        )
        parser.add_argument(
            "--status", action="append", choices=ENDED_STATES, help="May be repeated: any of them."
        )
        parser.add_argument(
            "--dead-letters", action="store_true", help="Failed and blocked runs too."
        )
        parser.add_argument("--workflow", help="The workflow's name.")
        parser.add_argument(
            "--batch",
            type=_count,
            default=BATCH,
            help=f"Runs in a transaction; {BATCH} unless given.",
        )
        parser.add_argument(
            "--files",
            action="store_true",
            help="No runs, only the files of long texts that nothing refers to any more.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say how many would go.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        add_json(parser)

    def carry_out(
        self, *args: Any, batch: int, files: bool, dry_run: bool, yes: bool, **options: Any
    ) -> None:
        """Delete the runs and the files of those that are gone, or count them."""
        if files:
            self._tell_files(collect_files(apply=not dry_run), dry_run=dry_run)
            return
        selection = _selection(**options)
        if dry_run:
            self._tell(selection.counts(), "would be deleted")
            return
        if not yes:
            self._ask(selection)
        deleted = dict.fromkeys(selection.ages, 0)
        try:
            for state, count in selection.prune(batch=batch, by=operator()):
                deleted[state] += count
        except KeyboardInterrupt:
            self._tell(deleted, "were deleted")
            raise CommandError(
                "Stopped; what is left can be deleted later.", returncode=FAILED
            ) from None
        prune_keys()
        has_files = settings().SPILL_STORAGE is not None
        self._tell(deleted, "were deleted", collect_files() if has_files else None)

    def _ask(self, selection: Selection) -> None:
        if self.as_json or not sys.stdin.isatty():
            raise CommandError("Say --yes to delete, or --dry-run to look.", returncode=USAGE)
        self._tell(selection.counts(), "will be deleted")
        self.stdout.write('Type "yes" to delete them: ', ending="")
        self.stdout.flush()
        if sys.stdin.readline().strip() != "yes":
            raise CommandError("Nothing was deleted.", returncode=FAILED)

    def _tell_files(self, count: int, *, dry_run: bool) -> None:
        what = "would be deleted" if dry_run else "were deleted"
        if self.as_json:
            self.screen.json({"would_delete" if dry_run else "deleted": 0, "files": count})
        else:
            self.screen.lines([f"{count} files {what}."])

    def _tell(self, counts: dict[str, int], what: str, files: int | None = None) -> None:
        total = sum(counts.values())
        if self.as_json:
            key = "would_delete" if what.startswith("would") else "deleted"
            told: dict[str, Any] = {key: total, "by_status": counts}
            self.screen.json(told if files is None else {**told, "files": files})
            return
        parts = ", ".join(f"{count} {state}" for state, count in counts.items())
        self.screen.lines([f"{total} runs {what}: {parts}."])
        if files:
            self._tell_files(files, dry_run=False)


def _selection(
    *,
    older_than: str | None,
    status: list[str] | None,
    dead_letters: bool,
    workflow: str | None,
    **options: Any,
) -> Selection:
    """Return the runs that were asked for."""
    states = list(status or FINISHED_STATES)
    if dead_letters:
        states += [state for state in ENDED_STATES if state not in (*states, *FINISHED_STATES)]
    kept = settings().RETENTION or {}
    if older_than is not None:
        ages = dict.fromkeys(states, parse_duration(older_than))
    else:
        ages = {state: kept[state] for state in states if state in kept}
    if not ages:
        raise CommandError(
            f'Say how old: --older-than 30d. WORKFLOW["RETENTION"] says nothing of {", ".join(states)}.',
            returncode=USAGE,
        )
    return Selection(ages=ages, workflow=workflow)
