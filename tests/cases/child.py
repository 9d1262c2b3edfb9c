"""The process that carries out what is due in a parent's sandbox, and is killed on the way.

``python -m tests.cases.child PLAN``, with a `Plan` as JSON. It dies by ``os._exit``: no ``finally``, no roll-back, no goodbye
to the database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import django

KILLED = 9


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the child is told."""

    case: str
    run_ids: list[str]
    now: str
    worker: str
    at: int
    when: str


def carry_out(plan: Plan) -> None:
    from tests.cases.stage import case_of
    from tests.crashes import CrashingSandbox, CrashPoint

    case_of(plan.case)
    point = CrashPoint(plan.at, plan.when, die=lambda: os._exit(KILLED))  # type: ignore[arg-type]
    with CrashingSandbox(point, now=datetime.fromisoformat(plan.now), steps_per_pass=None) as box:
        box._worker = plan.worker
        box.run_ids.update(plan.run_ids)
        box.settle()


def run_child(plan: Plan, env: Mapping[str, str]) -> int:
    """Have a child carry the plan out, and return its exit status."""
    command = [sys.executable, "-m", "tests.cases.child", json.dumps(asdict(plan))]
    return subprocess.run(command, env=dict(env), timeout=60, check=False).returncode


if __name__ == "__main__":
    django.setup()
    carry_out(Plan(**json.loads(sys.argv[1])))
