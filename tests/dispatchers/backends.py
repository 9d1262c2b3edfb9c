"""Backends of django.tasks for tests; for Django 6.0 and newer."""

from __future__ import annotations

from typing import Any

from django.tasks.backends.base import BaseTaskBackend
from django.tasks.backends.dummy import DummyBackend


class Away(BaseTaskBackend):
    """A queue that does not answer."""

    asked = 0

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.asked += 1
        raise ConnectionError("the queue is away")


class Kept(DummyBackend):
    """A queue whose tasks begin when a test says so."""

    supports_get_result = True

    @property
    def kept(self) -> list[Any]:
        return self.results

    def begin(self, count: int) -> None:
        for result in self.results[:count]:
            object.__setattr__(result, "status", "RUNNING")
