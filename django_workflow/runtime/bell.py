"""The bell: a process that registers a call tells the one of its worker that makes calls.

A pipe that the main process opens before its pool is forked; where there is none, the look at the database finds the
call a moment later.
"""

from __future__ import annotations

import contextlib
import os


class Bell:
    """A pipe that says "look", and nothing else."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None

    def open(self) -> int:
        """Return the end to listen at; processes that are forked from now on ring here."""
        if self._ends is None:
            self._ends = os.pipe()
            for end in self._ends:
                os.set_blocking(end, False)
        return self._ends[0]

    def ring(self) -> None:
        """Tell whoever listens. Safe in a signal handler; never waits, never raises."""
        if self._ends is not None:
            # Full is as good as rung.
            with contextlib.suppress(OSError):
                os.write(self._ends[1], b"!")

    def hush(self) -> None:
        """Take away what was rung."""
        if self._ends is not None:
            with contextlib.suppress(OSError):
                os.read(self._ends[0], 65_536)


bell = Bell()
