"""``manage.py workflow_check``: whether the engine keeps its promises at this moment."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from django_workflow.core.durations import parse_duration
from django_workflow.management.base import FAILED, USAGE, WorkflowCommand, add_json
from django_workflow.management.output import moment, took
from django_workflow.runtime.rehearsal import rehearse_all
from django_workflow.runtime.sweeper import Health, health


class Command(WorkflowCommand):
    """Ask whether the engine is healthy."""

    takes_database = True
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
        parser.add_argument(
            "--max-lag",
            metavar="DURATION",
            help="Unhealthy too if something has been due for longer than this, as 5m: there are too few workers.",
        )
        parser.add_argument(
            "--max-silence",
            metavar="DURATION",
            help="Unhealthy too if neither a worker nor the beat has looked for due work for so long, as 1m, even where "
            "nothing is due.",
        )
        add_json(parser)

    def carry_out(self, **options: Any) -> None:
        """Print what the database says."""
        limits = {name: options[name] for name in ("max_lag", "max_silence") if options[name]}
        if options["against"]:
            if limits:
                raise CommandError(
                    "--against looks at code; --max-lag and --max-silence do not fit.",
                    returncode=USAGE,
                )
            self._hold_against(options["workflow"])
            return
        if options["workflow"]:
            raise CommandError("--workflow is for --against.", returncode=USAGE)
        allowed = {name: parse_duration(value) for name, value in limits.items()}
        found = health()
        complaints = _complaints(found) + _limits_passed(found, **allowed)
        if self.as_json:
            self.screen.json(
                _as_json(found) | {"healthy": not complaints, "complaints": complaints}
            )
        elif not complaints:
            self.screen.lines([_summary(found)])
        if complaints:
            raise CommandError("\n".join(complaints), returncode=FAILED)

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
        "beat_at": moment(found.beat_at),
        "beat_age_seconds": None if found.since_beat is None else found.since_beat.total_seconds(),
        "silent": found.is_silent,
        "silence_seconds": None if found.silence is None else found.silence.total_seconds(),
        "workers": found.workers,
    }


def _limits_passed(
    found: Health, *, max_lag: timedelta | None = None, max_silence: timedelta | None = None
) -> list[str]:
    lines = []
    if max_lag is not None and found.lag > max_lag:
        lines.append(
            f"{found.due} deliveries are due, the oldest for {took(found.lag)}; --max-lag is {took(max_lag)}."
        )
    if max_silence is not None and (found.silence is None or found.silence > max_silence):
        ago = "ever" if found.silence is None else f"for {took(found.silence)}"
        lines.append(
            f"Neither a worker nor the beat has looked for due work {ago}; --max-silence is {took(max_silence)}."
        )
    return lines


def _summary(found: Health) -> str:
    swept = (
        f"last swept by {found.swept_by} at {found.swept_at:%H:%M:%S} UTC"
        if found.swept_at
        else "never swept yet"
    )
    beat = f", last beat tick at {found.beat_at:%H:%M:%S} UTC" if found.beat_at else ""
    late = f", the oldest for {took(found.lag)}" if found.due else ""
    held = f"; {len(found.workers)} at work" if found.workers else ""
    return f"Healthy: {found.due} due{late}; {swept}{beat}{held}; no run without a wake-up."


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
