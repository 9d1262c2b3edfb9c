"""``manage.py workflow_fork``: a new run that goes on from a step of an old one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.ports import get_runtime
from django_workflow.management.base import operator
from django_workflow.management.choosing import BulkCommand
from django_workflow.management.commands.workflow_trigger import read_payload
from django_workflow.models import Run


class Command(BulkCommand):
    """Fork runs."""

    help = (
        "Start new runs that go on from a step of old ones, with what was recorded before it: by ID, or of those in a "
        "state."
    )
    verb, done = "fork", "forked"
    # Every run can be forked, and those of a label are seldom all meant.
    needs = "status"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, a step, and what is to be different."""
        super().add_arguments(parser)
        parser.add_argument(
            "--step", required=True, help="The first step that is done again, by its key or name."
        )
        parser.add_argument("--data", metavar="JSON", help="Another payload: JSON, @file, or -.")
        parser.add_argument(
            "--results", metavar="JSON", help="Other results of earlier steps: an object, by step."
        )

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Read once what is to be different, and fork each run."""
        given: dict[str, Any] = {}
        if options["data"] is not None:
            given["payload"] = read_payload(options["data"])
        if options["results"] is not None:
            given["results"] = read_payload(options["results"])
            if not isinstance(given["results"], dict):
                raise InvalidOptionError("--results takes a JSON object: results by step.")
        super().carry_out(run_ids=run_ids, **{**options, "given": given})

    def would(self, run: Run, *, step: str = "", **options: Any) -> None:
        """Raise what a fork of this run would raise."""
        given = options["given"]
        changes = {"payload": given["payload"]} if "payload" in given else {}
        get_runtime().check_fork(run.id, step, changes=changes, results=given.get("results", {}))

    def do(self, run: Run, *, why: str, step: str = "", **options: Any) -> Run:
        """Fork one run."""
        forked: Run = run.fork(step, actor=operator(), why=why, **options["given"])
        return forked

    def told(self, run_id: str, run: Run) -> str:
        """Return the line that names the new run."""
        return f"Run {run_id} was forked as {run.id}."
