"""Real processes: workers, beats and `workflow_dev`, started, watched, killed; and the traces their workflows leave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_workflow.models import Run, Step

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 40.0


def eventually(claim: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the claim's value once it is true.

    Raises:
        AssertionError: it had not become true in time.
    """
    ends = time.monotonic() + seconds
    while not (value := claim()):
        assert time.monotonic() < ends, f"not true within {seconds} s"
        time.sleep(0.01)
    return value


class Process:
    """A child with a log, in a group of its own."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, *, times: int = 1, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the log holds a text."""
        try:
            eventually(
                lambda: self.output.count(text) >= times or self.popen.poll() is not None,
                seconds=seconds,
            )
            assert self.output.count(text) >= times
        except AssertionError:
            raise AssertionError(f"{text!r} is not in the output:\n{self.output}") from None

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        """Kill it with all its children, and wait."""
        self.signal_group(signal.SIGKILL)
        self.popen.wait(timeout=10)

    def ends(self, *, seconds: float = 20) -> int:
        return self.popen.wait(timeout=seconds)


@dataclass
class Site:
    """A project on this test's databases, whose processes can be started."""

    env: dict[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list)

    @property
    def traces(self) -> Path:
        return Path(self.env["WORKER_TRACES"])

    def start(self, *arguments: str, **env: str) -> Process:
        log = self.folder / f"{len(self.processes)}.log"
        process = Process(list(arguments), {**self.env, **env}, log)
        self.processes.append(process)
        return process

    def worker(self, *options: str, settings: dict[str, Any] | None = None, **env: str) -> Process:
        """Start ``celery worker`` and wait until it is ready."""
        chosen = {"LEASE": 1, **(settings or {})}
        worker = self.start(
            "-m", "celery", "-A", "tests.dispatchers.celery_app", "worker", "-c", "2",
            "-l", "INFO", "--without-mingle", "--without-gossip", *options,
            WORKER_WORKFLOW=json.dumps(chosen), **env,
        )  # fmt: skip
        worker.says(" ready.")
        return worker

    def beat(self) -> Process:
        schedule = self.folder / f"schedule.{len(self.processes)}"
        beat = self.start(
            "-m", "celery", "-A", "tests.dispatchers.celery_app", "beat", "-s", str(schedule), "-l", "INFO",
        )  # fmt: skip
        beat.says("beat: Starting")
        return beat

    def dev(self, *options: str, settings: dict[str, Any] | None = None, **env: str) -> Process:
        """Start ``workflow_dev`` and wait until it has told where it serves."""
        chosen = {"LEASE": 60, "SWEEP_INTERVAL": 60, **(settings or {})}
        dev = self.start(
            "manage.py", "workflow_dev", "0", *options,
            **{"WORKER_DEBUG": "1", "WORKER_WORKFLOW": json.dumps(chosen), **env},
        )  # fmt: skip
        dev.says("CONTROL-C")
        return dev

    def hold(self, point: str) -> None:
        (self.traces / f"hold.{point}").touch()

    def release(self, point: str) -> None:
        (self.traces / f"hold.{point}").unlink()

    def times_at(self, run: Run, point: str) -> int:
        """Return how often a run has passed a point."""
        trace = self.traces / f"{run.id}.{point}"
        return len(trace.read_text().splitlines()) if trace.exists() else 0

    def reaches(self, run: Run, point: str, *, times: int = 1) -> None:
        eventually(lambda: self.times_at(run, point) >= times)

    def close(self) -> None:
        for process in self.processes:
            process.kill()


def all_ended(runs: list[Run], *, seconds: float = 60) -> list[str]:
    """Wait until no run is unfinished, and return the states in which they ended."""
    ids = [run.id for run in runs]
    eventually(
        lambda: not Run.objects.filter(pk__in=ids, status__in=("pending", "running")).exists(),
        seconds=seconds,
    )
    return sorted(set(Run.objects.filter(pk__in=ids).values_list("status", flat=True)))


def recorded(run: Run) -> list[str]:
    """Return the names of the run's recorded steps, in the order of their records."""
    steps = Step.objects.filter(run_id=run.id, sequence__isnull=False).order_by("sequence")
    return list(steps.values_list("name", flat=True))


@contextlib.contextmanager
def site_in(folder: Path, env: dict[str, str], **more: str) -> Iterator[Site]:
    """Give a site whose processes are all dead afterwards."""
    traces = folder / "traces"
    traces.mkdir()
    settings = {"DJANGO_SETTINGS_MODULE": "tests.dispatchers.celery_settings"}
    site = Site({**env, **settings, "WORKER_TRACES": str(traces), **more}, folder)
    try:
        yield site
    finally:
        site.close()
