"""An event loop that knows exactly when nothing can happen any more by itself.

It is idle when the selector is asked to wait for ever (nothing ready, no timer) while only the loop's own
wake-up pipe is registered (no socket) and no executor job is out. Then `on_idle` is asked for more; when it has
nothing, the loop stops. So the async ORM may be used between steps, and the moment at which the next recorded
result is handed out does not depend on timing.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from threading import local
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError

LONGEST_TIMER_SECONDS = 1.0


class _IdleSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    loop: IdleLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None and self.loop.is_idle():
            if not self.loop.on_idle():
                self.loop.stop()
            return []
        return super().select(timeout)


class IdleLoop(asyncio.SelectorEventLoop):
    """A loop for one pass at a time: `run_until_idle()` returns when only new input can go on."""

    def __init__(self) -> None:
        selector = _IdleSelector()
        selector.loop = self
        self._sources = selector
        self._jobs = 0
        self.on_idle: Callable[[], bool] = lambda: False
        super().__init__(selector)

    def is_idle(self) -> bool:
        """Whether nothing is under way: no socket is watched, no executor job is out."""
        return self._jobs == 0 and len(self._sources.get_map()) == 1

    def run_until_idle(self) -> None:
        """Run until nothing is ready, under way or timed, and `on_idle` had nothing to add."""
        self.run_forever()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """See `asyncio.loop.run_in_executor()`; the job is counted until its result has arrived."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: Any) -> None:
        self._jobs -= 1

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """See `asyncio.loop.call_later()`.

        Raises:
            InvalidOptionError: the delay is over a second: a wait of that length belongs into the journal.
        """
        if delay > LONGEST_TIMER_SECONDS:
            raise InvalidOptionError(
                f"A timer of {delay:g} s was set in a workflow function, where it would be lost with the process "
                'and hold a worker. Use `await ctx.sleep("name", duration)`.'
            )
        return super().call_later(delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """See `asyncio.loop.call_at()`, and `call_later()` for what is refused."""
        if when - self.time() > LONGEST_TIMER_SECONDS + 0.001:
            return self.call_later(when - self.time(), callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)


_thread = local()


def idle_loop() -> IdleLoop:
    """Return this thread's loop, or another one while it is in use."""
    loop: IdleLoop | None = getattr(_thread, "loop", None)
    _thread.loop = None
    return IdleLoop() if loop is None or loop.is_closed() else loop


def give_back(loop: IdleLoop) -> None:
    """Keep the loop for the thread's next pass, if it is clean; close it otherwise."""
    loop.set_task_factory(None)
    loop.on_idle = lambda: False
    if getattr(_thread, "loop", None) is None and loop.is_idle() and not asyncio.all_tasks(loop):
        _thread.loop = loop
    else:
        loop.close()
