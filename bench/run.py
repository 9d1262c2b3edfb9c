"""One database's benchmark: starts workers and web servers, measures, prints a line of JSON per workload."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RUNS, STEPS, LATENCY_RUNS, LONG = 500, 10, 60, 1_000
CALLS, CALL_SECONDS = 500, 10
ITEMS, FANS = 5_000, (50, 200)
SLEEPERS, MANY_SLEEPERS, WAITERS, IN_LINE = 2_000, 20_000, 1_000, 5_000
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PORT = free_port()
os.environ["BENCH_BASE_URL"] = f"http://127.0.0.1:{PORT}"

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from bench import (
    admin,
    celery_app,  # noqa: F401  hints go where this app says
    machine,
    waiting,
)
from bench.workflows import (
    http_items,
    http_steps,
    inline_steps,
    mapped_items,
    parallel_steps,
    slow_call,
)
from django_workflow.core.journal import Journal
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime.worker import drain

PAYLOAD = {"filler": "x" * 200}


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the block lasts."""
    with tempfile.TemporaryFile() as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield started
        finally:
            started.terminate()
            with suppress(subprocess.TimeoutExpired):
                started.wait(20)
            started.kill()
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))


def payload(steps: int) -> dict[str, Any]:
    return {**PAYLOAD, "steps": steps}


def wait_all(ids: list[str], timeout: float = 300) -> None:
    """Wait until nothing is due any more: a look that costs the database next to nothing."""
    ends = time.perf_counter() + timeout
    while Delivery.objects.filter(due_at__isnull=False).exists():
        if time.perf_counter() > ends:
            found = Run.objects.filter(id__in=ids).exclude(status="completed").first()
            raise TimeoutError(
                f"Not done in {timeout} s: {found} {found and found.status} {found and found.reason}"
            )
        time.sleep(0.02)
    left = [run.id for run in Run.objects.filter(id__in=ids).exclude(status="completed")]
    if left:
        raise RuntimeError(f"Not completed: {left[:3]}")


def commits() -> int:
    if connection.vendor != "postgresql":
        return 0
    time.sleep(1.2)  # The server reports its counters about once a second.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


class Bench:
    """The workloads, against running workers."""

    def __init__(self, limit: float, roots: dict[str, int]) -> None:
        self.limit = limit
        self.roots = roots

    def cpu(self) -> dict[str, float]:
        """Return the CPU time that each part has used so far."""
        used = {part: machine.cpu_seconds(root) for part, root in self.roots.items()}
        return used | {"client": time.process_time()}

    def say(self, workload: str, measured: str, ratio: str = "") -> None:
        print(json.dumps({"workload": workload, "measured": measured, "ratio": ratio}), flush=True)

    def throughput(self, workload: str, workflow: Any) -> None:
        wait_all([run.id for run in workflow.trigger_many([payload(STEPS)] * 20)])
        before, cpu = commits(), self.cpu()
        began = time.perf_counter()
        ids = [run.id for run in workflow.trigger_many([payload(STEPS)] * RUNS)]
        wait_all(ids)
        took = time.perf_counter() - began
        used = {part: seconds - cpu[part] for part, seconds in self.cpu().items()}
        total = RUNS * STEPS
        shares = ", ".join(f"{part} {seconds / total * 1000:.2f}" for part, seconds in used.items())
        parts = [
            f"{total / took:,.0f} steps/s",
            f"{sum(used.values()) / total * 1000:.2f} CPU-s per 1,000 steps ({shares})",
        ]
        if before:
            parts.append(f"{(commits() - before) / total:.2f} transactions a step")
        if workflow is inline_steps:
            parts.append(f"{self.round_trips():.2f} round trips a step")
        self.say(
            workload,
            "; ".join(parts),
            f"{total / took / self.limit:.2f} steps per limit transaction",
        )

    def round_trips(self) -> float:
        """Count the statements of 40 runs drained in this process, BEGIN and COMMIT included."""
        count = 0

        def counting(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
            nonlocal count
            count += 1
            return execute(sql, params, many, context)

        from django_workflow.core.ports import install_dispatcher

        previous = install_dispatcher(None)
        try:
            inline_steps.trigger_many([payload(STEPS)] * 40, delay=0.5)
            time.sleep(0.6)
            with connection.execute_wrapper(counting):
                carried = drain()
        finally:
            install_dispatcher(previous)
        return count / (carried * STEPS) if carried else float("nan")

    def latency(self, workload: str, workflow: Any) -> None:
        took = []
        for _ in range(LATENCY_RUNS):
            time.sleep(0.05)
            run = workflow.trigger(payload(STEPS))
            run.wait(timeout=30)
            took.append((run.finished_at - run.created_at).total_seconds() * 1000)
        took.sort()
        p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
        self.say(
            workload,
            f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, trigger to end of {STEPS} steps",
            f"p50 as long as {p50 / 1000 * self.limit / machine.CLIENTS:.0f} of a client's transactions",
        )

    def parallel(self, workload: str) -> None:
        parts = []
        for steps in FANS:
            took = []
            for _ in range(10):
                time.sleep(0.05)
                run = parallel_steps.trigger(payload(steps))
                run.wait(timeout=60)
                took.append((run.finished_at - run.created_at).total_seconds() * 1000)
            parts.append(
                f"{steps} steps: p50 {statistics.median(took):.0f} ms, best {min(took):.0f} ms"
            )
        self.say(workload, "; ".join(parts) + ", trigger to end")

    def map(self, workload: str, workflow: Any) -> None:
        run = workflow.trigger(payload(ITEMS))
        run.wait(timeout=120)
        took = (run.finished_at - run.created_at).total_seconds()
        measured = f"{ITEMS:,} items in {took:.2f} s, {took / ITEMS * 1000:.2f} ms an item"
        self.say(workload, measured, f"{ITEMS / took / self.limit:.2f} items per limit transaction")

    def long(self, workload: str, workflow: Any) -> None:
        run = workflow.trigger(payload(LONG))
        run.wait(timeout=120)
        total = (run.finished_at - run.started_at).total_seconds()
        ends: list[Any] = list(
            Step.objects.filter(run=run).order_by("sequence").values_list("finished_at", flat=True)
        )
        tenth = LONG // 10
        first = (ends[tenth] - ends[0]).total_seconds() / tenth
        last = (ends[-1] - ends[-tenth - 1]).total_seconds() / tenth
        measured = (
            f"{total:.2f} s in all, {total / LONG * 1000:.2f} ms a step; first tenth {first * 1000:.2f} ms, "
            f"last {last * 1000:.2f} ms ({last / first:.2f} times); replay {replay_cost(run):.1f} µs per recorded step"
        )
        self.say(workload, measured, f"{LONG / total / self.limit:.2f} steps per limit transaction")

    def waits(self, workload: str, measure: Callable[[int], tuple[str, float]], count: int) -> None:
        """Measure runs that wait; they are cleared away, so that the next count is its own."""
        try:
            measured, per_second = measure(count)
        finally:
            Run.objects.filter(workflow__in=["sleeper", "waiter", "one_at_a_time"]).delete()
        self.say(workload, measured, f"{per_second / self.limit:.2f} runs per limit transaction")

    def calls(self, workload: str) -> None:
        """Let many runs call a slow server at once, beside what else there is to do."""
        port = free_port()
        with process(sys.executable, "-m", "bench.slow", str(port)):
            wait_for_port(port)
            payloads = [{"url": f"http://127.0.0.1:{port}/{CALL_SECONDS}"}] * CALLS
            before = self.cpu()["workers"]
            began = time.perf_counter()
            ids = [run.id for run in slow_call.trigger_many(payloads)]
            most = 0.0
            while Run.objects.filter(id__in=ids).exclude(status="completed").exists():
                most = max(most, machine.memory_mb(self.roots["workers"]))
                time.sleep(0.2)
            took = time.perf_counter() - began
        last = max(Step.objects.filter(run__in=ids).values_list("created_at", flat=True))
        first = min(Run.objects.filter(id__in=ids).values_list("created_at", flat=True))
        self.say(
            workload,
            f"{CALLS} calls of {CALL_SECONDS} s in {took:.1f} s (the last one registered after "
            f"{(last - first).total_seconds():.1f} s); workers at most {most:.0f} MB, "
            f"{self.cpu()['workers'] - before:.1f} CPU-s",
        )


def wait_for_port(port: int) -> None:
    """Wait until somebody listens there."""
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)


def replay_cost(run: Any) -> float:
    """Return the microseconds that a pass over a kept journal spends on a recorded step."""
    from bench.workflows import steps
    from django_workflow.core.context import RunFacts
    from django_workflow.core.context_sync import WorkflowContext
    from django_workflow.core.replay_sync import SyncReplay
    from django_workflow.store import records

    journal = Journal(run.id, started_at=run.started_at)
    journal.extend(records.load(run.id))
    facts = RunFacts(
        workflow_run_id=run.id, workflow_run_created_at=run.created_at, request_payload=run.payload
    )
    best = float("inf")
    for _ in range(5):
        replay = SyncReplay(journal, None, facts)  # type: ignore[arg-type]
        began = time.perf_counter()
        replay.run(lambda replay=replay: steps(WorkflowContext(replay)))
        best = min(best, time.perf_counter() - began)
    return best / LONG * 1_000_000


def web_server(name: str) -> tuple[str, ...]:
    """Return the command of a web server: two processes of two threads."""
    options = {
        "granian": (
            "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(PORT), "--workers", "2", "--blocking-threads", "2",
            "--no-ws", "--log-level", "warning", "bench.wsgi:application",
        ),
        "gunicorn": (
            "-k", "gthread", "-b", f"127.0.0.1:{PORT}", "-w", "2", "--threads", "2", "--keep-alive", "30",
            "--log-level", "warning", "bench.wsgi",
        ),
    }  # fmt: skip
    return (sys.executable, "-m", name, *options[name])


def limit_of() -> float:
    if connection.vendor == "postgresql":
        return machine.postgres_limit(os.environ["DATABASE_URL"])
    with tempfile.TemporaryDirectory() as folder:
        return machine.sqlite_limit(Path(folder) / "limit.sqlite3")


def database_root() -> dict[str, int]:
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return {"database": machine.parent_of(cursor.fetchone()[0])}


def main() -> None:
    call_command("migrate", verbosity=0)
    limit = limit_of()
    worker = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "bench.celery_app",
        "worker",
        "-c",
        "2",
        "-l",
        "WARNING",
    )
    web = web_server(os.environ.get("BENCH_WEB", "granian"))
    with process(*worker) as workers, process(*web) as servers:
        roots = {"workers": workers.pid, "web": servers.pid, **database_root()}
        bench = Bench(limit, roots)
        bench.say(
            "limit", f"{limit:,.0f} transactions/s of one INSERT and one UPDATE, 4 clients", "1"
        )
        wait_all([run.id for run in inline_steps.trigger_many([payload(1)] * 8)], timeout=60)
        workloads: dict[str, Callable[[], None]] = {
            "throughput": lambda: bench.throughput("throughput", inline_steps),
            "throughput-http": lambda: bench.throughput("throughput-http", http_steps),
            "latency": lambda: bench.latency("latency", inline_steps),
            "latency-http": lambda: bench.latency("latency-http", http_steps),
            "long": lambda: bench.long("long", inline_steps),
            "long-http": lambda: bench.long("long-http", http_steps),
            "calls": lambda: bench.calls("calls"),
            "parallel": lambda: bench.parallel("parallel"),
            "map": lambda: bench.map("map", mapped_items),
            "map-http": lambda: bench.map("map-http", http_items),
            "sleepers": lambda: bench.waits("sleepers", waiting.sleepers, SLEEPERS),
            "sleepers-20000": lambda: bench.waits(
                "sleepers-20000", waiting.sleepers, MANY_SLEEPERS
            ),
            "waiters": lambda: bench.waits("waiters", waiting.waiters, WAITERS),
            "flow": lambda: bench.waits("flow", waiting.flow, IN_LINE),
            "admin": lambda: bench.say("admin", admin.measure()),
        }
        for name in sys.argv[1:] or workloads:
            workloads[name]()


if __name__ == "__main__":
    main()
