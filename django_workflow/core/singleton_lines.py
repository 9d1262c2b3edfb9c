"""The names of the lines in which runs of a queueing singleton wait: flow control keys in a namespace of their own."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

#: How long any flow control key is at most.
LENGTH: Final = 200
#: With this begin the keys of singletons, and no others.
PREFIX: Final = "singleton/"
#: What stands for the run in the place of a step's key. No step has it: that of a name with a hash ends in its occurrence.
RUN_ITSELF: Final = "#run"
DIGEST: Final = 16


def line_of(workflow: str, key: str) -> str:
    """Return the line of a workflow's singleton key; no name of a workflow holds a slash, so it is no other's."""
    line = f"{PREFIX}{workflow}/{key}"
    if len(line) <= LENGTH:
        return line
    digest = sha256(line.encode()).hexdigest()[:DIGEST]
    return f"{line[: LENGTH - DIGEST - 1]}…{digest}"


def is_line(flow_key: str) -> bool:
    """Tell whether a flow control key is the line of a singleton."""
    return flow_key.startswith(PREFIX)


def key_in(line: str) -> str:
    """Return the singleton key that a line is named after, as far as the name tells."""
    workflow, _, key = line.removeprefix(PREFIX).partition("/")
    return key or workflow
