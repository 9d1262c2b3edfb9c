"""The verbs of a run handle. The row is the handle: each verb goes to the runtime and reads the row again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

from django.core.exceptions import ObjectDoesNotExist

from django_workflow.core.exceptions import RunNotFoundError
from django_workflow.core.ports import get_runtime

#: As it is: None is a payload of its own.
KEEP: Final = object()


class RunHandle:
    """What can be done with a run."""

    id: str
    refresh_from_db: Any
    arefresh_from_db: Any

    def refresh(self) -> Self:
        """Read the row again, from the database that is written to, and return the run.

        Raises:
            RunNotFoundError: it was deleted, or its trigger rolled back.
        """
        with self._still_there():
            self.refresh_from_db(using=get_runtime().alias)
        return self

    async def arefresh(self) -> Self:
        """See `refresh()`."""
        with self._still_there():
            await self.arefresh_from_db(using=get_runtime().alias)
        return self

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        try:
            yield
        except ObjectDoesNotExist:
            raise RunNotFoundError(
                f'There is no run "{self.id}" any more: it was deleted, or the transaction of its trigger rolled back.',
                run_id=self.id,
            ) from None

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

    def rerun_handler(self, *, actor: Any = None, why: str = "") -> Self:
        """Run the failure handler of a failed run anew, where it failed itself or there was none yet.

        Raises:
            RunStateError: the run has not failed, its handler has done its work or is at it, or it has none.
            WorkflowNotFoundError: this process does not know its workflow.
        """
        get_runtime().rerun_handler(self.id, actor=actor, why=why)
        return self.refresh()

    def retry_now(self, step: str | None = None, *, actor: Any = None, why: str = "") -> Self:
        """Skip the delay before the next attempt: of one step (by key or name), or of all that wait for one.

        Raises:
            RunStateError: nothing waits for a retry that is to come.
        """
        get_runtime().retry_now(self.id, step, actor=actor, why=why)
        return self.refresh()

    def skip_sleep(self, step: str | None = None, *, actor: Any = None, why: str = "") -> Self:
        """End a sleep now: that of one step (by key or name), or all of them.

        Raises:
            RunStateError: nothing sleeps until a time that is to come.
        """
        get_runtime().skip_sleep(self.id, step, actor=actor, why=why)
        return self.refresh()

    def extend_timeout(
        self, by: Any, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> Self:
        """Let a step (by key or name) wait longer; without one, let the run take longer than its own timeout.

        Raises:
            RunStateError: there is no such timeout that is to come.
        """
        get_runtime().extend_timeout(self.id, by, step, actor=actor, why=why)
        return self.refresh()

    def set_priority(self, priority: int, *, actor: Any = None, why: str = "") -> Self:
        """Give the run another priority, where it stands in line for flow control and wherever it will.

        Raises:
            RunStateError: the run has ended.
        """
        get_runtime().set_priority(self.id, priority, actor=actor, why=why)
        return self.refresh()

    def fork(
        self,
        step: str,
        *,
        payload: Any = KEEP,
        results: Mapping[str, Any] | None = None,
        actor: Any = None,
        why: str = "",
    ) -> Any:
        """Start a new run that goes on from a step (by key or name), with what was recorded before it.

        The new run has the version, options and labels of this one, and is linked to it. Steps before the cut are not
        executed again; that step and all after it are, under idempotency keys of their own.

        Args:
            step: The first step that is done again.
            payload: What the new run is given, instead of this run's payload.
            results: Other results for steps before the cut, by key or name.

        Raises:
            InvalidOptionError: there is no such step, or the run cannot be forked there.
        """
        changes = {} if payload is KEEP else {"payload": payload}
        return get_runtime().fork(
            self.id, step, changes=changes, results=results or {}, actor=actor, why=why
        )

    def edit_result(self, step: str, value: Any, *, actor: Any = None, why: str = "") -> Self:
        """Put a result in the place of what a step (by key or name) has recorded, be that a result or an error.

        The run is paused, failed or blocked, and stays so until it is resumed. What it did after this step is put
        aside, and done again.

        Raises:
            InvalidOptionError: there is no such recorded step, or its kind has no result of its own.
            RunStateError: the run is in another state, or something of it is still in flight.
        """
        get_runtime().edit_result(self.id, step, value, actor=actor, why=why)
        return self.refresh()

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

    async def arerun_handler(self, *, actor: Any = None, why: str = "") -> Self:
        """See `rerun_handler()`."""
        await get_runtime().in_thread(self.rerun_handler, actor=actor, why=why)
        return self

    async def aretry_now(
        self, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> Self:
        """See `retry_now()`."""
        await get_runtime().in_thread(self.retry_now, step, actor=actor, why=why)
        return self

    async def askip_sleep(
        self, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> Self:
        """See `skip_sleep()`."""
        await get_runtime().in_thread(self.skip_sleep, step, actor=actor, why=why)
        return self

    async def aextend_timeout(
        self, by: Any, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> Self:
        """See `extend_timeout()`."""
        await get_runtime().in_thread(self.extend_timeout, by, step, actor=actor, why=why)
        return self

    async def aset_priority(self, priority: int, *, actor: Any = None, why: str = "") -> Self:
        """See `set_priority()`."""
        await get_runtime().in_thread(self.set_priority, priority, actor=actor, why=why)
        return self

    async def afork(self, step: str, **options: Any) -> Any:
        """See `fork()`."""
        return await get_runtime().in_thread(self.fork, step, **options)

    async def aedit_result(
        self, step: str, value: Any, *, actor: Any = None, why: str = ""
    ) -> Self:
        """See `edit_result()`."""
        await get_runtime().in_thread(self.edit_result, step, value, actor=actor, why=why)
        return self
