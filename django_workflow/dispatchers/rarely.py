"""Log lines about what goes wrong all the time: one a minute."""

from __future__ import annotations

from logging import Logger
from time import monotonic
from typing import Any

MINUTE_SECONDS = 60.0


class Rarely:
    """A logger that says no more than one thing a minute, and how much it has kept to itself."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._said_at: float | None = None
        self._unsaid = 0

    def warning(self, message: str, *arguments: Any, exc_info: bool = False) -> None:
        """Log a warning, unless the last one was less than a minute ago."""
        now = monotonic()
        if self._said_at is not None and now - self._said_at < MINUTE_SECONDS:
            self._unsaid += 1
            return
        unsaid, self._unsaid, self._said_at = self._unsaid, 0, now
        if unsaid:
            message += f" ({unsaid} more times in the last minute)"
        self._logger.warning(message, *arguments, exc_info=exc_info)
