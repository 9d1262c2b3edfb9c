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
from concurrent.futures import Executor
from contextvars import Context
from threading import local
from typing import Any, TypeVarTuple

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.types import T

Ts = TypeVarTuple("Ts")

LONGEST_TIMER_SECONDS = 1.0
#: How long a socket or an executor job may keep a pass from becoming idle.
LONGEST_WAIT_SECONDS = 60.0


class _IdleSelector(selectors.DefaultSelector):
    loop: IdleLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None:
            return super().select(timeout)
        if self.loop.is_idle():
            if not self.loop.on_idle():
                self.loop.stop_idle()
            return []
        found = super().select(0 if self.loop.is_stuck else LONGEST_WAIT_SECONDS)
        if not found:
            self.loop.stop_stuck()
        return found


class IdleLoop(asyncio.SelectorEventLoop):
    """A loop for one pass at a time: `run_until_idle()` returns when only new input can go on."""

    def __init__(self) -> None:
        selector = _IdleSelector()
        selector.loop = self
        self._sources = selector
        self._jobs = 0
        self._ended_idle = False
        #: Whether a socket or a job was waited for in vain.
        self.is_stuck = False
        self.on_idle: Callable[[], bool] = _nothing_more
        super().__init__(selector)

    def __del__(self, _warn: object = None) -> None:
        # Kept by a thread that has ended; BaseEventLoop would warn of it.
        if not self.is_closed():
            self.close()

    def is_idle(self) -> bool:
        """Whether nothing is under way: no socket is watched, no executor job is out."""
        return self._jobs == 0 and len(self._sources.get_map()) == 1

    def stop_idle(self) -> None:
        """End `run_until_idle()`: nothing is left to do."""
        self._ended_idle = True
        self.stop()

    def stop_stuck(self) -> None:
        """End `run_until_idle()`: what is under way has taken too long."""
        self.is_stuck = True
        self.stop()

    def run_until_idle(self) -> bool:
        """Run until nothing is ready, under way or timed, and `on_idle` had nothing to add.

        Returns False where it was stopped before.
        """
        self._ended_idle = False
        self.run_forever()
        return self._ended_idle

    def close_generators(self) -> None:
        """Close the async generators that were left half way; the loop stays usable."""
        if self._asyncgens:  # type: ignore[attr-defined]
            self.run_until_complete(self.shutdown_asyncgens())
            # Else asyncio would warn of each generator in the next pass.
            self._asyncgens_shutdown_called = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """See `asyncio.loop.run_in_executor()`; the job is counted until its result has arrived."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: Any) -> None:
        self._jobs -= 1

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_later()`.

        Raises:
            InvalidOptionError: the delay is over a second: a wait of that length belongs into the journal.
        """
        if delay > LONGEST_TIMER_SECONDS:
            raise InvalidOptionError(
                f"A timer of {round(delay, 2):g} s was set in a workflow function, where it would be lost with the process "
                'and hold a worker. Use `await ctx.sleep("name", duration)`.'
            )
        return super().call_later(delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at()`, and `call_later()` for what is refused."""
        if when - self.time() > LONGEST_TIMER_SECONDS + 0.001:
            return self.call_later(when - self.time(), callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)


def _nothing_more() -> bool:
    return False


_thread = local()


def idle_loop() -> IdleLoop:
    """Return this thread's loop, or another one while it is in use."""
    loop: IdleLoop | None = getattr(_thread, "loop", None)
    _thread.loop = None
    return IdleLoop() if loop is None or loop.is_closed() else loop


def give_back(loop: IdleLoop, *, is_clean: bool = True) -> None:
    """Keep the loop for the thread's next pass; close it if anything of this one is left."""
    loop.set_task_factory(None)
    loop.on_idle = _nothing_more
    is_clean = is_clean and loop.is_idle() and not loop.is_stuck
    if is_clean and getattr(_thread, "loop", None) is None:
        _thread.loop = loop
    else:
        loop.close()
