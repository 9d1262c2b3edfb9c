"""``manage.py workflow_import FILE``: a run from a journal that was exported elsewhere."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_workflow.management.base import USAGE, WorkflowCommand, add_json, operator
from django_workflow.management.commands.workflow_trigger import read_payload
from django_workflow.management.output import run_as_json
from django_workflow.runtime.importing import import_run, ready_to_insert
from django_workflow.runtime.journal_files import read_journal


class Command(WorkflowCommand):
    """Import a run."""

    help = (
        "Insert a run from what workflow_export has written. It does nothing by itself: a run that had not ended is "
        "paused, and goes on when it is resumed."
    )
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a file, and under which id."""
        parser.add_argument("file", metavar="FILE", help="The file, or - for standard input.")
        parser.add_argument("--id", dest="run_id", help="Another ID than the run had.")
        parser.add_argument(
            "--marks", action="store_true", help="Although marks stand for hidden values."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only check the file.")
        parser.add_argument("--why", default="", help="The reason, which is kept with the run.")
        add_json(parser)

    def carry_out(self, *, file: str, run_id: str | None, **options: Any) -> None:
        """Insert the run, or say that it could be."""
        if not file:
            raise CommandError("Name a file, or - for standard input.", returncode=USAGE)
        document = read_payload(file if file == "-" else f"@{file}")
        if options["dry_run"]:
            journal = read_journal(document)
            run = ready_to_insert(journal, marks=options["marks"])
            told = {
                "workflow_run_id": run_id or run["id"],
                "workflow": run["workflow"],
                "status": str(run["status"]),
                "steps": len(journal.recorded),
            }
            if self.as_json:
                self.screen.json(told)
            else:
                self.screen.lines(
                    [
                        f"Run {told['workflow_run_id']} of {told['workflow']} would be {told['status']}, "
                        f"with {told['steps']} recorded steps."
                    ]
                )
            return
        made = import_run(
            document, run_id=run_id, marks=options["marks"], actor=operator(), why=options["why"]
        )
        if self.as_json:
            self.screen.json(run_as_json(made, with_steps=True))
            return
        then = " Go on with it: manage.py workflow_resume" if made.status == "paused" else ""
        self.screen.lines(
            [
                f"Imported run {made.id} of {made.workflow}; it is {made.status}.{then and f'{then} {made.id}'}"
            ]
        )
