"""Run the benchmark: ``make bench`` (``ARGS="--database postgres --workload throughput"`` for a part)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.keeper import running

WORKLOADS = (
    "throughput",
    "throughput-http",
    "latency",
    "latency-http",
    "long",
    "long-http",
    "parallel",
    "map",
    "map-http",
    "calls",
    "sleepers",
    "sleepers-20000",
    "waiters",
    "flow",
    "admin",
)
#: What issue and docs ask of PostgreSQL, printed beside what was measured.
GOALS = {
    "throughput": "≥ 1,600 steps/s; ≤ 1.4 commits, ≤ 1.2 round trips a step; ≤ 1.0 CPU-s per 1,000",
    "throughput-http": "≥ 800 steps/s",
    "latency": "p50 ≤ 12 ms",
    "latency-http": "p50 ≤ 30 ms",
    "long": "≤ 1 ms a step; last tenth at most 1.2 times the first",
    "calls": "500 calls of 10 s in less than 15 s; workers below 300 MB",
    "parallel": "50 steps ≤ 60 ms, 200 ≤ 200 ms",
    "map": "5,000 items in ≤ 10 s",
    "map-http": "5,000 items in ≤ 10 s",
    "long-http": "≤ 5 s in all; replay ≤ 20 µs per recorded step",
    "sleepers": "none early; late by p99 ≤ 1.5 s",
    "sleepers-20000": "none early; all done in ≤ 12 s",
    "waiters": "p95 ≤ 0.8 s",
    "flow": "never two at once",
    "admin": "the list in ≤ 300 ms p95 with 1,000,000 runs, whatever is asked",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--database", choices=["postgres", "sqlite"], action="append")
    parser.add_argument("--workload", choices=WORKLOADS, action="append")
    parser.add_argument("--web", choices=["granian", "gunicorn"], default="granian")
    chosen = parser.parse_args()
    os.environ["BENCH_WEB"] = chosen.web
    console = Console()
    with running("valkey") as broker:
        for database in chosen.database or ["postgres", "sqlite"]:
            rows, code = measure(database, chosen.workload or list(WORKLOADS), broker)
            console.print(table(database, chosen.web, rows))
            if code:
                sys.exit(
                    f"{database}: a workload failed, see above; those after it were not measured."
                )


def measure(database: str, workloads: list[str], broker: str) -> tuple[list[dict[str, str]], int]:
    """Run the workloads on one database, in a process of their own; return what they measured, and its exit code."""
    with tempfile.TemporaryDirectory(prefix="workflow-bench-") as folder:
        environment = os.environ | {
            "BENCH_BROKER": broker,
            "DJANGO_SETTINGS_MODULE": "bench.settings",
        }
        command = [sys.executable, "-m", "bench.run", *workloads]
        if database == "sqlite":
            environment |= {
                "TEST_DB": "sqlite",
                "BENCH_SQLITE": str(Path(folder) / "bench.sqlite3"),
            }
            return _run(command, environment)
        with running("postgres-durable") as url:
            return _run(command, environment | {"TEST_DB": "postgres", "DATABASE_URL": url})


def _run(command: list[str], environment: dict[str, str]) -> tuple[list[dict[str, str]], int]:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows, done.returncode


def table(database: str, web: str, rows: list[dict[str, str]]) -> Table:
    """Lay the results out."""
    shown = Table(
        title=f"{database}: Celery worker -c 2 (prefork), 2 web processes of {web}",
        title_justify="left",
    )
    for column in ("workload", "measured", "of the machine's limit", "goal (PostgreSQL)"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(
            row["workload"], row["measured"], row["ratio"], GOALS.get(row["workload"], "")
        )
    return shown


if __name__ == "__main__":
    main()
