"""A pass over a coroutine function: tasks are branches, and everything replays as it went.

Recorded results are handed out one at a time, in the order of their sequence numbers, and the loop becomes idle in
between: what depended on who finished first goes the same way again. At idle with nothing left to hand out, the
open steps are the pass's outcome; a single one is executed with the loop stopped, so that its body may use the
sync ORM. When the pass ends its tasks are cancelled, from the root, and awaited.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from typing import Any, NoReturn

from django_workflow.core.context import check_branches, executing
from django_workflow.core.exceptions import (
    CancelInterrupt,
    MisplacedStepError,
    NonDeterminismError,
    SwallowedInterruptError,
    WorkflowError,
)
from django_workflow.core.idle_loop import IdleLoop, give_back, idle_loop
from django_workflow.core.journal import Record
from django_workflow.core.replay import (
    Branch,
    Cancelled,
    Completed,
    Diverged,
    Outcome,
    Raised,
    Replay,
    Suspended,
    first_of,
)
from django_workflow.core.steps import Step, StepOptions
from django_workflow.core.types import StepKind

GOODBYES = 5


class AsyncReplay(Replay):
    """A pass over a coroutine function."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loop: IdleLoop | None = None
        self._of_task: dict[asyncio.Task[Any], Branch] = {}
        self._asked: list[tuple[int, str]] = []
        self._waiting: dict[str, asyncio.Future[Record]] = {}
        self._to_come = [
            record
            for record in self.journal.in_sequence()
            if record.branch.startswith(self.prefix)
            and (self.prefix or not record.branch.startswith("failure."))
            and record.kind != StepKind.PATCH
        ]
        self._to_come.reverse()
        self._path: str | None = None
        self._ending: BaseException | None = None
        self._cancelled = False

    @property
    def branch(self) -> Branch:
        """The branch of the task that is running at this moment."""
        return self._of_task[asyncio.current_task()]  # type: ignore[index]

    def run(self, function: Callable[[], Any]) -> Outcome:
        """Run the coroutine and tell how the pass ended."""
        loop = self._loop = idle_loop()
        loop.set_task_factory(self._make_task)
        loop.on_idle = self._hand_out
        try:
            root = loop.create_task(_as_coroutine(function))
            root.add_done_callback(lambda _: loop.stop())
            suspended = self._drive(loop, root)
            outcome = self._end(loop, root, suspended)
        finally:
            give_back(loop)
            self._loop = None
        return self.verdict(outcome)

    def _drive(self, loop: IdleLoop, root: asyncio.Task[Any]) -> bool:
        """Go on until the root has ended (False) or the pass has to wait (True)."""
        while True:
            loop.run_until_idle()
            if root.done():
                return False
            if self.fault is not None or self._cancelled or not self._go_on():
                return True

    def _go_on(self) -> bool:
        """Have the only open step executed, if the host can; tell whether there is something to hand out."""
        if self._to_come:
            # By induction the next record was asked for in the pass that led to it: this code differs.
            self.fault = self._never_asked(self._to_come[-1])
            return False
        if self.target is None:
            single = next(iter(self.open.values())) if len(self.open) == 1 else None
        else:
            single = self.open.get(self.target)
        if single is None:
            if not self.open:
                self.fault = MisplacedStepError(
                    "The workflow waits for something that no step will end "
                    f"(run {self.facts.workflow_run_id}). Await steps, or what depends on them.",
                    step="",
                )
            return False
        step, record = single
        done = self.ask_host(step, record)
        if done is None or self.closed:
            return False
        del self.open[step.key]
        self._resolve(done)
        return True

    def _hand_out(self) -> bool:
        """At idle: hand out the next recorded result; tell whether there was one."""
        if not self._to_come or self.fault is not None or self._ending is not None:
            return False
        if not self._asked or self._asked[0][1] != self._to_come[-1].key:
            return False
        heappop(self._asked)
        record = self._to_come.pop()
        self._resolve(record)
        return True

    def _resolve(self, record: Record) -> None:
        future = self._waiting.pop(record.key, None)
        if future is not None and not future.done():
            future.set_result(record)

    def _make_task(self, loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        path, self._path = self._path, None
        creator = asyncio.current_task(loop)
        parent = self._of_task.get(creator) if creator is not None else None
        if parent is None:
            self._of_task[task] = self.root
            return task
        if path is None:
            parent.tasks += 1
            path = f"{parent.path}t{parent.tasks}/"
        self._of_task[task] = self.child(path, parent)
        return task

    async def meet(self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]) -> Any:
        """Return the recorded value of the step, or wait for the pass to execute it or to end."""
        if executing.get() is not None:
            self.refuse_nested(name)
        task = asyncio.current_task()
        branch = self._of_task.get(task) if task is not None else None
        if branch is None or self._loop is not asyncio.get_running_loop():
            self.refuse_outside(name)
        self._check_ending(branch, name)
        if name.__class__ is not str or not name:
            self.check_name(name, kind.kind)
        key = branch.key_of(name)
        record = self.found(branch, kind, name, key)
        if record is not None and record.sequence is not None:
            if kind.compares:
                self.check_arguments(kind(key, name, branch.path, options, *fields), record)
            heappush(self._asked, (record.sequence, key))
        else:
            self.open[key] = (self.build(branch, kind, name, key, options, fields), record)
        future = self._waiting[key] = self._loop.create_future()
        try:
            done = await future
        except asyncio.CancelledError:
            if self._ending is None:
                # Cancelled by the workflow itself, as a TaskGroup does: nobody waits for the step any more.
                self.open.pop(key, None)
            raise
        self.root.clock = done.finished_at or self.root.clock
        return self.value(branch, done)

    def _check_ending(self, branch: Branch, name: str) -> None:
        if self.fault is not None:
            raise self.fault
        if branch.interrupt is not None:
            self.after_interrupt(branch, name)
        if self._ending is not None:
            if unwinding_cancellation():
                raise asyncio.CancelledError
            branch.interrupt = self._ending
            self.swallowed(branch, f'asked for step "{name}"')

    async def parallel(self, branches: tuple[Any, ...], return_errors: bool) -> tuple[Any, ...]:
        """See `WorkflowContext.parallel()`."""
        if executing.get() is not None:
            self.refuse_nested("parallel")
        parent = self.branch
        self._check_ending(parent, "parallel")
        check_branches(branches)
        parent.children += 1
        tasks = []
        for index, given in enumerate(branches):
            self._path = f"{parent.path}p{parent.children}.{index}/"
            tasks.append(asyncio.get_running_loop().create_task(_as_coroutine(given)))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [
            (self._of_task[task].sequence, result)
            for task, result in zip(tasks, results, strict=True)
            if isinstance(result, BaseException)
        ]
        for _, error in errors:
            if not isinstance(error, Exception):
                raise error
        if errors and not return_errors:
            raise first_of(errors)  # type: ignore[arg-type]
        return tuple(results)

    def now(self) -> Any:
        """See `AsyncWorkflowContext.now()`."""
        return self.root.clock

    def cancel(self) -> NoReturn:
        """See `WorkflowContext.cancel()`; ends the whole run from whichever task calls it."""
        self._cancelled = True
        if self._loop is not None:
            self._loop.stop()
        super().cancel()

    def _end(self, loop: IdleLoop, root: asyncio.Task[Any], suspended: bool) -> Outcome:
        """Cancel what is left, from the root, await it, and tell the outcome."""
        self._ending = asyncio.CancelledError()
        outcome = None if suspended else _outcome_of(root)
        still_open = Suspended(tuple(self.open.values()))
        for _ in range(GOODBYES):
            left = [root] if not root.done() else [task for task in self._of_task if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_idle()
        for task in self._of_task:
            if task.done() and not task.cancelled():
                self._fault_of(task.exception())
        loop.run_until_complete(loop.shutdown_asyncgens())
        if self._cancelled:
            return Cancelled()
        if outcome is not None:
            return outcome
        return self._after_suspension(root, still_open)

    def _after_suspension(self, root: asyncio.Task[Any], still_open: Suspended) -> Outcome:
        if self.fault is not None:
            return Diverged(self.fault)
        if not root.done() or not root.cancelled():
            error = root.exception() if root.done() else None
            self.root.interrupt = self._ending
            did = f"raised {error!r}" if error is not None else "went on"
            if error is None or not is_interrupt(error):
                try:
                    self.swallowed(self.root, did)
                except SwallowedInterruptError as fault:
                    return Diverged(fault)
        return still_open

    def _never_asked(self, record: Record) -> WorkflowError:
        try:
            self.diverge(record, "nothing", record.name)
        except NonDeterminismError as error:
            return error

    def _fault_of(self, error: BaseException | None) -> None:
        if self.fault is None and isinstance(error, NonDeterminismError | SwallowedInterruptError):
            self.fault = error


def _outcome_of(root: asyncio.Task[Any]) -> Outcome:
    if root.cancelled():
        return Raised(asyncio.CancelledError("The workflow cancelled itself."))
    error = root.exception()
    if error is None:
        return Completed(root.result())
    if isinstance(error, CancelInterrupt):
        return Cancelled()
    return Raised(error)


async def _as_coroutine(given: Callable[[], Awaitable[Any]] | Awaitable[Any]) -> Any:
    result = given() if callable(given) else given
    return await result if isinstance(result, Awaitable) else result


def is_interrupt(error: BaseException) -> bool:
    """Tell whether nothing but cancellations and interrupts is in this error."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_interrupt(part) for part in error.exceptions)
    return isinstance(error, asyncio.CancelledError | CancelInterrupt)


def unwinding_cancellation() -> bool:
    """Tell whether a cancellation is on its way up this task's stack at this moment."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return True
        error = error.__context__
    return False
