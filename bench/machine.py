"""What the machine itself can do, and what processes have used."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

CLIENTS = 4
TICKS = os.sysconf("SC_CLK_TCK")


def postgres_limit(url: str, seconds: float = 3.0) -> float:
    """Return transactions of one INSERT and one UPDATE per second, from four clients."""
    with psycopg.connect(url, autocommit=True) as setup:
        setup.execute("DROP TABLE IF EXISTS bench_limit_a, bench_limit_b")
        setup.execute("CREATE TABLE bench_limit_a (id bigserial PRIMARY KEY, t text)")
        setup.execute("CREATE TABLE bench_limit_b (id int PRIMARY KEY, n int)")
        setup.execute("INSERT INTO bench_limit_b SELECT i, 0 FROM generate_series(0, 3) i")
    done = [0] * CLIENTS
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        with psycopg.connect(url) as connection:
            while time.perf_counter() < ends:
                connection.execute("INSERT INTO bench_limit_a (t) VALUES (%s)", ("x" * 100,))
                connection.execute("UPDATE bench_limit_b SET n = n + 1 WHERE id = %s", (number,))
                connection.commit()
                done[number] += 1

    _together(client)
    return sum(done) / seconds


def sqlite_limit(path: Path, seconds: float = 3.0) -> float:
    """Return transactions of one INSERT and one UPDATE per second, from four clients on one file."""
    with sqlite3.connect(path) as setup:
        setup.execute("PRAGMA journal_mode=WAL")
        setup.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT)")
        setup.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, n INT)")
        setup.executemany("INSERT INTO b VALUES (?, 0)", [(number,) for number in range(CLIENTS)])
    done = [0] * CLIENTS
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        connection.execute("PRAGMA synchronous=NORMAL")
        while time.perf_counter() < ends:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO a (t) VALUES (?)", ("x" * 100,))
            connection.execute("UPDATE b SET n = n + 1 WHERE id = ?", (number,))
            connection.execute("COMMIT")
            done[number] += 1
        connection.close()

    _together(client)
    return sum(done) / seconds


def _together(client: Any) -> None:
    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_seconds(*roots: int) -> float:
    """Return the CPU time of these processes and all their descendants, ended ones included."""
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        ticks[int(entry.name)] = sum(int(fields[place]) for place in (11, 12, 13, 14))
    todo, total = list(roots), 0
    while todo:
        process = todo.pop()
        total += ticks.get(process, 0)
        todo += parents.get(process, [])
    return total / TICKS


def memory_mb(root: int) -> float:
    """Return the memory of a process and its descendants in megabytes; what they share is counted once."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(parent_of(int(entry.name)), []).append(int(entry.name))
    todo, total = [root], 0
    while todo:
        process = todo.pop()
        todo += children.get(process, [])
        with suppress(OSError):
            found = re.search(
                r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M
            )
            total += int(found[1]) if found else 0
    return total / 1024


def parent_of(process: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
