"""``manage.py workflow_export ID``: a run's journal as JSON, to be replayed or imported elsewhere."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from django_workflow.core.anywhere import get_run
from django_workflow.management.base import USAGE, WorkflowCommand, operator, stream_of
from django_workflow.runtime.exporting import export_run


class Command(WorkflowCommand):
    """Export a run."""

    help = (
        "Write a run with its journal as JSON: for django_workflow.testing.replay(), or for workflow_import elsewhere. "
        "What windows hide is hidden in it, unless --whole is given."
    )
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an id, and where to write."""
        parser.add_argument("run_id", metavar="ID", help="The ID of the run.")
        parser.add_argument(
            "--output", "-o", metavar="FILE", help="A new file; standard output unless given."
        )
        parser.add_argument(
            "--whole",
            action="store_true",
            help="Hide nothing; it is kept with the run that you did so.",
        )
        parser.add_argument(
            "--why", default="", help="With --whole: the reason, which is kept too."
        )

    def carry_out(self, *, run_id: str, output: str | None, **options: Any) -> None:
        """Write the journal."""
        run = get_run(run_id)
        document = export_run(run, whole=options["whole"], actor=operator(), why=options["why"])
        text = json.dumps(document, indent=2) + "\n"
        if output is None or output == "-":
            stream_of(self.stdout).write(text)
            return
        try:
            # Never over another file: it may be the only copy of a run that is gone.
            with Path(output).open("x") as file:
                file.write(text)
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error}.", returncode=USAGE) from error
        hidden = f"; hidden: {', '.join(document['hidden'])}" if document["hidden"] else ""
        self.aside.lines([f"Wrote {len(document['steps'])} steps of run {run_id}{hidden}."])
