"""The verbs of a run handle. The row is the handle: each verb goes to the runtime and reads the row again."""

from __future__ import annotations

from typing import Any, Self

from django_workflow.core.ports import get_runtime


class RunHandle:
    """What can be done with a run."""

    id: str
    refresh_from_db: Any
    arefresh_from_db: Any

    def refresh(self) -> Self:
        """Read the row again, from the database that is written to, and return the run."""
        self.refresh_from_db(using=get_runtime().alias)
        return self

    async def arefresh(self) -> Self:
        """See `refresh()`."""
        await self.arefresh_from_db(using=get_runtime().alias)
        return self

    def wait(self, timeout: Any = None) -> Self:
        """Block until the run has ended or ``timeout`` is over; return it refreshed.

        Raises:
            RunNotFinishedError: the time was over first.
            TransactionOpenError: called inside an open transaction, where no end could be seen.
        """
        return get_runtime().wait(self, timeout)  # type: ignore[no-any-return]

    async def wait_async(self, timeout: Any = None) -> Self:
        """See `wait()`."""
        return await get_runtime().await_run(self, timeout)  # type: ignore[no-any-return]

    def cancel(self, *, actor: Any = None, why: str = "") -> Self:
        """End the run as cancelled, and its children with it; what is in flight can no longer record.

        While children are being cancelled the run is ``cancelling``.

        Raises:
            RunStateError: the run has ended; ``.state`` tells how.
        """
        get_runtime().cancel(self.id, actor=actor, why=why)
        return self.refresh()

    def pause(self, *, actor: Any = None, why: str = "") -> Self:
        """Hold the run where it is: no new attempts; what is in flight may record.

        Raises:
            RunStateError: the run is not pending or running.
        """
        get_runtime().pause(self.id, actor=actor, why=why)
        return self.refresh()

    def resume(self, *, force: bool = False, actor: Any = None, why: str = "") -> Self:
        """Go on with a paused, failed or blocked run under the same id.

        Raises:
            RunStateError: the run is in another state, or its failure handler has run and ``force`` is False.
        """
        get_runtime().resume(self.id, force=force, actor=actor, why=why)
        return self.refresh()

    def restart(self, *, actor: Any = None, why: str = "") -> Any:
        """Trigger a new run from the start, with the same payload and options, linked to this one."""
        return get_runtime().restart(self.id, actor=actor, why=why)

    async def acancel(self, *, actor: Any = None, why: str = "") -> Self:
        """See `cancel()`."""
        await get_runtime().in_thread(self.cancel, actor=actor, why=why)
        return self

    async def apause(self, *, actor: Any = None, why: str = "") -> Self:
        """See `pause()`."""
        await get_runtime().in_thread(self.pause, actor=actor, why=why)
        return self

    async def aresume(self, *, force: bool = False, actor: Any = None, why: str = "") -> Self:
        """See `resume()`."""
        await get_runtime().in_thread(self.resume, force=force, actor=actor, why=why)
        return self

    async def arestart(self, *, actor: Any = None, why: str = "") -> Any:
        """See `restart()`."""
        return await get_runtime().in_thread(self.restart, actor=actor, why=why)
