"""A worker that drains runs under one key, and now and then is killed in the middle of a body.

``python -m tests.concurrency.flow_child FOLDER SEED DEATHS``. A body leaves a file while it is inside, and reports whom it meets there:
a file of a process that is no more was left by one that was killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import django

KILLED = 9


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A child that was killed, and that its parent has not looked after yet.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def be_inside(folder: Path, random: Random, deaths: float) -> None:
    mine = folder / f"inside-{os.getpid()}"
    mine.touch()
    for other in folder.glob("inside-*"):
        process = int(other.name.partition("-")[2])
        if process != os.getpid() and is_alive(process):
            (folder / f"overlap-{os.getpid()}-{process}").touch()
    if random.random() < deaths:
        os._exit(KILLED)
    sleep(0.001)
    mine.unlink()


def main(folder: Path, seed: int, deaths: float) -> None:
    from django_workflow import FlowControl, WorkflowContext, workflow
    from django_workflow.models import Run
    from django_workflow.runtime.sweeper import sweep
    from django_workflow.runtime.worker import drain

    random = Random(seed)

    @workflow(name="flow_killed", flow_control=FlowControl("flow_killed", parallelism=1))
    def killed(ctx: WorkflowContext[Any]) -> None:
        ctx.run("inside", be_inside, folder, random, deaths)

    ends = monotonic() + 120
    while monotonic() < ends and Run.objects.unfinished().exists():
        if not drain(seconds=1):
            sweep()
            sleep(0.005)


if __name__ == "__main__":
    django.setup()
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
