"""What the bodies of the cases have done: kept outside the database, so that no roll-back takes it away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PATH = "WORKFLOW_CASE_LEDGER"


def _nobody() -> None:
    return


class Ledger:
    """Lines, in memory, or in a file where a parent process has named one."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        #: Asked before anything is written; raises where the writer is dead.
        self.refuse: Callable[[], None] = _nobody
        self.path: Path | None = Path(os.environ[PATH]) if PATH in os.environ else None

    def write(self, line: str) -> None:
        self.refuse()
        if self.path is None:
            self._lines.append(line)
            return
        with self.path.open("a") as file:
            file.write(line + "\n")

    def read(self) -> list[str]:
        if self.path is None:
            return list(self._lines)
        return self.path.read_text().splitlines() if self.path.exists() else []

    def clear(self) -> None:
        self._lines.clear()
        self.refuse = _nobody
        if self.path is not None:
            self.path.unlink(missing_ok=True)


ledger = Ledger()
