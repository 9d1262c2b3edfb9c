"""Couriers: threads that wait for the answers to a batch's requests, beside the worker's own.

The web processes do the work meanwhile, so one process of a worker can keep several of them busy. They live as long
as the batch; the worker's own thread is one more, and a batch of one delivery starts none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from django.db import connections

from django_workflow.conf import settings


class _Courier(Thread):
    """One thread; what it raises is for the worker."""

    def __init__(self, carry: Callable[[], None]) -> None:
        super().__init__(name="django_workflow-courier", daemon=True)
        self._carry = carry
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._carry()
        except BaseException as error:  # raised again by the worker's thread
            self.error = error
        finally:
            connections.close_all()


@contextmanager
def couriers(wanted: int, carry: Callable[[], None]) -> Iterator[None]:
    """Have up to ``wanted`` threads call ``carry`` during the block, as many as ``HTTP_CONCURRENCY`` allows.

    The block's end waits for them, and raises what one of them raised; a block that is left by an error does not.
    """
    started = [_Courier(carry) for _ in range(min(wanted, settings().HTTP_CONCURRENCY - 1))]
    for courier in started:
        courier.start()
    yield
    for courier in started:
        courier.join()
    for courier in started:
        if courier.error is not None:
            raise courier.error
