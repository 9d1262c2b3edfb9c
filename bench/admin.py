"""A million runs, and how long the admin's pages take with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from django_workflow.models import Run
from django_workflow.models.paging import Place

MANY = 1_000_000
LIVE = 20_000
ROUNDS = 20
GOAL_MS = 300
DEEP = 50_000  # page 1,000

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
# 90 of 100 completed, 2 cancelled, 5 failed, 1 blocked; the newest ones go on: asleep, waiting, retried. Four weeks of them.
RUNS = """
INSERT INTO django_workflow_run (
  id, workflow, version, status, payload_text, headers_text, options_text, result_text, failure_text, failed_step, revision,
  code_attempts, code_failed_at, paused_from, handler_status, handler_round, undo_status, undo_round, triggered_by,
  triggered_by_id, parent_step, parent_waits, "cascade", depth, created_at, started_at, finished_at, about_type, about_id)
SELECT 'wfr_' || md5(i::text), 'workflow-' || (i %% 12), '1', status,
  '{"order": ' || i || ', "filler": "' || repeat('x', 150) || '"}', '{}', '{}', NULL,
  CASE WHEN status IN ('failed', 'blocked') THEN '{"message": "Partner ' || (i %% 7) || ' refused order ' || i
    || '", "error_class": "shop.RefusedError", "traceback": "' || repeat('  File shop.py, line 1\\n', 20)
    || '", "step": "charge", "attempts": 3}' END,
  '', 0, 0, -1, '', '', 0, '', 0, '', '', '', false, true, 0, made, made,
  CASE WHEN status IN ('completed', 'cancelled', 'failed', 'blocked') THEN made + interval '3 seconds' END,
  CASE WHEN i %% 50 = 0 THEN 'auth.user' END, CASE WHEN i %% 50 = 0 THEN (i / 50)::text END
FROM (SELECT i, now() - (%(many)s - i) * interval '2.4 seconds' AS made,
  CASE WHEN i > %(many)s - %(live)s AND i %% 2 = 0 THEN 'running' WHEN i %% 100 < 5 THEN 'failed' WHEN i %% 100 = 5 THEN 'blocked'
    WHEN i %% 100 < 8 THEN 'cancelled' WHEN i %% 1000 = 8 THEN 'paused' ELSE 'completed' END AS status
  FROM generate_series(1, %(many)s) i) made_up
"""
LABELS = """
INSERT INTO django_workflow_runlabel (run_id, label)
SELECT 'wfr_' || md5(i::text), CASE WHEN i %% 2 = 0 THEN 'customer-' || (i %% 50000) ELSE 'vip' END
FROM generate_series(1, %(many)s) i WHERE i %% 4 < 2
"""
# Three steps for each of the newest tenth, and the open ones of what goes on.
STEPS = """
INSERT INTO django_workflow_step (run_id, key, branch, name, kind, status, sequence, arguments_text, result_text, attempts,
  delivered, created_at, started_at, finished_at, wake_at, worker)
SELECT r.id, 'step ' || n, '', 'step ' || n, 'run', 'completed', n, '', '1', 1, false, r.created_at, r.created_at,
  r.created_at + n * interval '40 milliseconds', NULL, 'host:' || (n %% 2) || ':1'
FROM (SELECT id, created_at FROM django_workflow_run ORDER BY created_at DESC LIMIT %(many)s / 10) r, generate_series(1, 3) n
"""
OPEN = """
INSERT INTO django_workflow_step (run_id, key, branch, name, kind, status, sequence, arguments_text, attempts, delivered,
  created_at, wake_at, worker)
SELECT id, 'open', '', 'open', CASE n %% 4 WHEN 0 THEN 'sleep' WHEN 1 THEN 'wait_for_event' ELSE 'run' END,
  CASE n %% 4 WHEN 0 THEN 'sleeping' WHEN 1 THEN 'waiting' WHEN 2 THEN 'retrying' ELSE 'executing' END,
  NULL, CASE n %% 4 WHEN 1 THEN '{"event_ids": ["pickup:' || n || '"], "count": 1}' ELSE '' END, 1, false, created_at, now() + interval '1 day', ''
FROM (SELECT id, created_at, row_number() OVER () AS n FROM django_workflow_run WHERE status = 'running') r
"""
DUE = """
INSERT INTO django_workflow_delivery (run_id, step_key, lane, due_at, leased_by, token, entries, wakes, tries, begun, deaths, trouble)
SELECT id, '', '', now() + interval '1 day', '', 0, 0, 3, 0, '', 0, '' FROM django_workflow_run WHERE status = 'running'
"""
WAITERS = """
INSERT INTO django_workflow_waiter (run_id, step_key, event_id, position, needed, schema, created_at, tried_at)
SELECT run_id, key, substr(arguments_text, 16, strpos(arguments_text, '"], ') - 16), 0, 1, '', created_at, created_at
FROM django_workflow_step WHERE kind = 'wait_for_event' AND status = 'waiting'
"""
TABLES = ("run", "runlabel", "step", "delivery", "waiter")


def fill(many: int) -> float:
    """Make the runs and what belongs to them; return how many seconds it took."""
    began = time.perf_counter()
    given = {"many": many, "live": min(LIVE, many // 10)}
    with connection.cursor() as cursor:
        for statement in (RUNS, LABELS, STEPS, OPEN, DUE, WAITERS):
            cursor.execute(statement, given)
        for table in TABLES:
            # As autovacuum leaves them.
            cursor.execute(f"VACUUM ANALYZE django_workflow_{table}")
    return time.perf_counter() - began


def clear() -> None:
    """Take all of it away."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_workflow_run CASCADE")


def questions(newest: Run) -> Iterator[tuple[str, dict[str, str]]]:
    """Return what is asked of the list, by name."""
    deep = Run.objects.order_by("-created_at", "id")[min(DEEP, Run.objects.count() - 1)]
    yield "first page", {}
    yield "page 1,000", {"behind": str(Place(created_at=deep.created_at, run_id=deep.pk))}
    for status in ("completed", "failed", "running", "paused", "pending", "dead"):
        yield f"status {status}", {"status": status}
    for step in ("waiting", "sleeping", "retrying"):
        yield f"step {step}", {"step": step}
    yield "workflow", {"workflow": "workflow-3"}
    yield "workflow and failed", {"workflow": "workflow-3", "status": "failed"}
    yield "workflow without runs", {"workflow": "nobody"}
    for since in ("1h", "30d"):
        yield f"since {since}", {"since": since}
    yield "late", {"late": "1"}
    yield "root", {"root": "1"}
    yield "label", {"label": "customer-8"}
    yield "search: id", {"q": newest.pk[:12]}
    yield "search: all ids", {"q": "wfr_"}
    yield "search: label", {"q": "customer-80"}
    yield "search: event", {"q": "event:pickup:17"}
    yield "search: about", {"q": "user 77"}
    yield "search: error", {"q": "error:Partner 3 refused"}
    yield "search: payload", {"q": f"payload:{MANY - 12}"}
    yield "search: nothing", {"q": "there is no such thing"}


@contextmanager
def visitor() -> Iterator[Client]:
    """Give a superuser at the admin, in this process."""
    with override_settings(MIDDLEWARE=MIDDLEWARE, ROOT_URLCONF="tests.urls"):
        client = Client()
        user, _created = User.objects.get_or_create(
            username="bench", is_staff=True, is_superuser=True
        )
        client.force_login(user)
        yield client


def backend_cpu() -> float:
    """Return the CPU seconds that this connection's server process has used."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ticks = Path(f"/proc/{cursor.fetchone()[0]}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def times(client: Client, url: str) -> tuple[float, float, float]:
    """Return p50 and p95 of a page, and the CPU time of one, of Django and the database, in milliseconds."""
    took: list[float] = []
    used = 0.0
    for _ in range(ROUNDS + 1):
        if len(took) == 1:
            used = time.process_time() + backend_cpu()
        began = time.perf_counter()
        answer: Any = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        took.append((time.perf_counter() - began) * 1000)
    used = time.process_time() + backend_cpu() - used
    ordered = sorted(took[1:])
    p95 = ordered[int(len(ordered) * 0.95) - 1]
    return ordered[len(ordered) // 2], p95, used / ROUNDS * 1000


def measure(many: int = MANY) -> str:
    """Fill, ask, clear; return the figures as text."""
    if connection.vendor != "postgresql":
        return "measured on PostgreSQL alone"
    # What other workloads have left would be among the newest.
    clear()
    filled = fill(many)
    lines = [f"{many:,} runs (made in {filled:.0f} s); p50, p95 and CPU time in ms"]
    try:
        with visitor() as client:
            newest = Run.objects.order_by("-created_at")[0]
            runs = reverse("admin:django_workflow_run_changelist", urlconf="tests.urls")
            pages = [(name, f"{runs}?{urlencode(query)}") for name, query in questions(newest)]
            ended = Run.objects.filter(
                created_at__lt=timezone.now() - timedelta(minutes=5), status="completed"
            )
            one = ended.order_by("-created_at")[0]
            pages += [
                (
                    "run page",
                    reverse(
                        "admin:django_workflow_run_change", args=[one.pk], urlconf="tests.urls"
                    ),
                ),
                ("overview, 24 h", f"{runs}overview/?span=24h"),
                ("overview, 30 d", f"{runs}overview/?span=30d"),
                ("overview, refreshed", f"{runs}overview/?part=now"),
            ]
            worst = ("", 0.0)
            for name, url in pages:
                p50, p95, cpu = times(client, url)
                lines.append(f"{name}: {p50:.0f}, {p95:.0f}, {cpu:.0f}")
                if "overview" not in name:
                    worst = max(worst, (name, p95), key=lambda each: each[1])
        lines.append(f"slowest of the list and the run page: {worst[0]}, p95 {worst[1]:.0f} ms")
    finally:
        clear()
    return "\n".join(lines)
