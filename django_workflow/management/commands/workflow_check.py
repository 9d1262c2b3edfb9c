"""``manage.py workflow_check``: whether the engine keeps its promises at this moment."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from django_workflow.management.base import FAILED, WorkflowCommand, add_json
from django_workflow.management.output import moment, took
from django_workflow.runtime.rehearsal import rehearse_all
from django_workflow.runtime.sweeper import Health, health


class Command(WorkflowCommand):
    """Ask whether the engine is healthy."""

    help = "Ask the database whether due work is being done and every run has a wake-up. Exit status 0: yes, 1: no."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how to print, and what to ask."""
        parser.add_argument(
            "--against",
            action="store_true",
            help="Replay the journals of living runs against the code of this process, and list those that do not fit.",
        )
        parser.add_argument(
            "--workflow", action="append", help="With --against: of this workflow; may be repeated."
        )
        add_json(parser)

    def carry_out(self, **options: Any) -> None:
        """Print what the database says."""
        if options.get("against"):
            self._hold_against(options["workflow"])
            return
        found = health()
        if self.as_json:
            self.screen.json(_as_json(found))
        elif found.is_healthy:
            self.screen.lines([_summary(found)])
        if not found.is_healthy:
            raise CommandError("\n".join(_complaints(found)), returncode=FAILED)

    def _hold_against(self, workflows: list[str] | None) -> None:
        findings = list(rehearse_all(workflows))
        if self.as_json:
            self.screen.json([asdict(finding) for finding in findings])
        elif not findings:
            self.screen.lines(["Every living run fits the code."])
        if findings:
            lines = [f"{one.run_id} ({one.workflow}) {one.what}: {one.message}" for one in findings]
            count = f"{len(findings)} living runs do not fit the code."
            raise CommandError("\n".join([*lines, count]), returncode=FAILED)


def _as_json(found: Health) -> dict[str, Any]:
    return {
        "healthy": found.is_healthy,
        "stuck": found.stuck,
        "due": found.due,
        "oldest_due": moment(found.oldest_due),
        "lag_seconds": found.lag.total_seconds(),
        "swept_at": moment(found.swept_at),
        "swept_by": found.swept_by,
        "silent": found.is_silent,
    }


def _summary(found: Health) -> str:
    swept = (
        f"last swept by {found.swept_by} at {found.swept_at:%H:%M:%S} UTC"
        if found.swept_at
        else "never swept yet"
    )
    late = f", the oldest for {took(found.lag)}" if found.due else ""
    return f"Healthy: {found.due} due{late}; {swept}; no run without a wake-up."


def _complaints(found: Health) -> list[str]:
    lines = []
    if found.is_silent:
        what = (
            f"{found.due} deliveries are due, the oldest for {took(found.lag)}"
            if found.due
            else "The slot of a schedule has come"
        )
        lines.append(
            f"{what}, and nobody looks for them. Start a worker: "
            "manage.py workflow_dev in development, celery worker in production; or once: manage.py workflow_sweep."
        )
    if found.stuck:
        ids = ", ".join(found.stuck[:5]) + (
            f" and {len(found.stuck) - 5} more" if len(found.stuck) > 5 else ""
        )
        lines.append(
            f"{len(found.stuck)} unfinished runs have no wake-up: {ids}. Pause and resume them: "
            "manage.py workflow_pause ID, then manage.py workflow_resume ID."
        )
    return lines
