"""How the threads that work are called in rows: host, process, thread. What a dead process held is found by it."""

from __future__ import annotations

import os
import socket
from threading import get_ident


def worker_name() -> str:
    """Return the name under which this thread holds leases: host, process, thread."""
    return f"{machine_prefix()}{os.getpid()}:{get_ident() % 100_000}"


def machine_prefix() -> str:
    """Return what the names of all workers of this machine begin with."""
    return f"{socket.gethostname()[:60]}:"


def is_alive(worker: str) -> bool:
    """Tell whether the process of a worker of this machine is there."""
    process = worker.rpartition(":")[0].rpartition(":")[2]
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
