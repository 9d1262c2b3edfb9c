"""Writes that one thread keeps back for a moment, to make them in one transaction with those that follow.

Each names its own claim, so being taken over concerns one of them alone. The keeper's thread writes what a longer
body would hold up. A process that dies meanwhile does again what it had not written, as after any death.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from django_workflow.runtime.leases import Held, keeper
from django_workflow.store.rows import Claim
from django_workflow.store.sql import connection

#: How many seconds a write is kept back for others.
WRITTEN_WITHIN = 0.005

W = TypeVar("W")
R = TypeVar("R")


class KeptBack(Generic[W, R]):
    """What one thread has to write."""

    def __init__(
        self,
        write: Callable[[Sequence[tuple[Claim, W]]], Sequence[R]],
        went_wrong: Callable[[Claim, Exception], None],
    ) -> None:
        """``write`` makes the transaction; ``went_wrong`` puts a claim off of which nothing could be written."""
        self._make = write
        self._went_wrong = went_wrong
        self._lock = Lock()
        self._kept: list[tuple[Claim, W]] = []
        self._written: list[tuple[Claim, W, R]] = []
        self._since = 0.0
        self._watch: Held | None = None

    def add(self, claim: Claim, what: W) -> bool:
        """Keep a write back; True if the oldest one has waited for as long as it may, so that it is time to flush."""
        with self._lock:
            if not self._kept:
                self._let_watch_go()
                self._since = monotonic()
                # In a transaction, as in a test's, another thread would not see what this one has written.
                if not connection().in_atomic_block:
                    self._watch = keeper.watch(claim, WRITTEN_WITHIN, self._write)
            self._kept.append((claim, what))
            return monotonic() - self._since >= WRITTEN_WITHIN

    def flush(self) -> list[tuple[Claim, W, R]]:
        """Write what is kept back; return what was written since the last flush, with what became of it."""
        self._let_watch_go()
        self._write()
        written, self._written = self._written, []
        return written

    def _let_watch_go(self) -> None:
        if self._watch is not None:
            keeper.let_go(self._watch)
            self._watch = None

    def _write(self) -> None:
        # Under the lock to its end: whoever flushes knows that nothing is on its way any more.
        with self._lock:
            kept, self._kept = self._kept, []
            if not kept:
                return
            try:
                done = self._make(kept)
            except (
                Exception
            ) as error:  # broad: whatever it is, they are repeated, and nobody else is held up
                for claim, _ in kept:
                    self._went_wrong(claim, error)
            else:
                self._written.extend(
                    (claim, what, result) for (claim, what), result in zip(kept, done, strict=True)
                )
