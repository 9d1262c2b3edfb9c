"""A pass over a coroutine function: tasks are branches, and everything replays as it went.

Recorded results are handed out one at a time, in the order of their sequence numbers, and the loop becomes idle in
between: what depended on who finished first goes the same way again. The next result has been asked for by then,
or the code has changed: it was so in the pass that led to it. At idle with nothing left to hand out, the open
steps are the pass's outcome; a single one is executed with the loop stopped, so that its body may use the sync
ORM. When the pass ends its tasks are cancelled, from the root, and awaited; a task whose verb can have no answer
any more just waits for that. (A task group that is failing at that moment keeps the cancellation to itself, as
asyncio has it: the code behind it runs on to its next verb.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from inspect import iscoroutine
from typing import Any, NoReturn

from django_workflow.core import faults
from django_workflow.core.arguments import check_branches
from django_workflow.core.async_branches import (
    as_coroutine,
    close_coroutines,
    first_to_end,
    is_cancellation,
    raised_by,
    wait_for_the_end,
    yielded,
)
from django_workflow.core.context import executing
from django_workflow.core.exceptions import (
    CancelInterrupt,
    ContinueInterrupt,
    SuspendInterrupt,
    WorkflowError,
)
from django_workflow.core.idle_loop import LONGEST_WAIT_SECONDS, IdleLoop, give_back, idle_loop
from django_workflow.core.journal import Branch, Record, won
from django_workflow.core.races import RaceResult, check_losers, is_under, lost_branches
from django_workflow.core.replay import (
    VERDICTS,
    Cancelled,
    Completed,
    Continued,
    Outcome,
    Raised,
    Replay,
    Suspended,
)
from django_workflow.core.steps import NO_OPTIONS, RaceStep, Step, StepOptions
from django_workflow.core.types import StepKind

GOODBYES = 5


class AsyncReplay(Replay):
    """A pass over a coroutine function."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loop: IdleLoop | None = None
        self._of_task: dict[asyncio.Task[Any], Branch] = {}
        self._waiting: dict[str, asyncio.Future[Record]] = {}
        self._to_come = [
            record
            for record in reversed(self.journal.in_sequence())
            if record.kind != StepKind.PATCH and self.in_scope(record.branch)
        ]
        self._path: str | None = None
        self._strays = 0
        self._checked = False
        self._cancelled = False
        self._continued: ContinueInterrupt | None = None
        self._ending = False
        # Races that were decided in this pass and are to be recorded, and the branches that have lost.
        self._decided: list[RaceStep] = []
        self._out: tuple[str, ...] = ()
        # Whether catching the cancellation at the pass's end is the workflow's good right.
        self._forgiving = False
        # A task that catches whatever it is sent would ask on and on while its coroutine is closed at last.
        self._is_stubborn = False

    def _outcome(self, function: Callable[[], Any]) -> Outcome:
        loop = self._loop = idle_loop()
        loop.set_task_factory(self._make_task)
        loop.on_idle = self._hand_out

        def stop(_: object) -> None:
            loop.stop()

        try:
            root = loop.create_task(as_coroutine(function))
            root.add_done_callback(stop)
            try:
                self._drive(loop, root)
                return self._ended(loop, root)
            finally:
                root.remove_done_callback(stop)
                self._end(loop, root)
        finally:
            self._loop = None
            give_back(loop, is_clean=all(task.done() for task in self._of_task))
            # A pass that has ended is held by nothing but what a user may have kept.
            self._of_task.clear()
            self._waiting.clear()

    def _drive(self, loop: IdleLoop, root: asyncio.Task[Any]) -> None:
        """Go on until the root has ended, or the pass has to wait."""
        while True:
            idle = self._run(loop)
            if root.done() or self.closed or self._cancelled or loop.is_stuck:
                return
            if idle and not self._go_on():
                return

    def _run(self, loop: IdleLoop) -> bool:
        try:
            return loop.run_until_idle()
        except SystemExit as error:
            # asyncio lets it through although it is the outcome of a task, as any other error would be.
            if any(raised_by(task, error) for task in self._of_task):
                return False
            raise

    def _go_on(self) -> bool:
        """Have the only open step executed, if the host can; tell whether there is something to hand out."""
        if self._is_astray():
            return False
        if self._decided:
            race = self._decided.pop()
            return self._hand_over(race, self.ask_host(race, None))
        if self.target is not None:
            single = self.open.get(self.target)
        else:
            single = next(iter(self.open.values())) if len(self.open) == 1 else None
        if single is None:
            if not self.open and self.target is None:
                self.stop(faults.endless(run_id=self.run_id))
            return False
        step, record = single
        return self._hand_over(step, self.ask_host(step, record))

    def _hand_over(self, step: Step, done: Record | None) -> bool:
        """Hand out what was recorded just now; tell whether there was something."""
        if done is None or self.closed:
            return False
        self.open.pop(step.key, None)
        self._waiting.pop(step.key).set_result(done)
        return True

    def _is_astray(self) -> bool:
        """Hold what was asked for against the journal, before anything new is executed."""
        record = self._to_come[-1] if self._to_come else None
        if record is None and self.target is None and not self._checked:
            # Once is enough: what comes later is added by this pass itself.
            self._checked = True
            record = self.unmet()
        if record is None:
            return False
        asked = [step for step in self._asked_for() if step.branch == record.branch]
        found = f'{asked[0].kind} "{asked[0].name}"' if asked else "nothing there"
        self.stop(self.divergence(record, found, asked[0].name if asked else record.name))
        return True

    def _asked_for(self) -> list[Step | Record]:
        """Return what the workflow waits for now: open steps, and records that are not handed out yet."""
        keys = [key for key, future in self._waiting.items() if not future.done()]
        return [
            self.open[key][0] if key in self.open else self.journal.records[key] for key in keys
        ]

    def _hand_out(self) -> bool:
        """At idle: hand out the next recorded result; tell whether there was one."""
        if self.closed or self._ending:
            return False
        future = None
        while self._to_come and future is None:
            record = self._to_come[-1]
            future = self._waiting.pop(record.key, None)
            if future is None:
                if not record.branch.startswith(self.journal.lost + self._out):
                    return False
                # A loser's, which it did not come to before its race was over.
                self._to_come.pop()
        if future is None:
            return False
        record = self._to_come.pop()
        # Done already: the workflow has given the step up, and nobody is there to take its result.
        if not future.done():
            future.set_result(record)
        return True

    def _make_task(self, loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # A task that begins before it has its branch could not ask for a step.
        options.pop("eager_start", None)
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        path, self._path = self._path, None
        if not self._of_task:
            self._of_task[task] = self.root
            return task
        creator = asyncio.current_task(loop)
        parent = self._of_task.get(creator) if creator is not None else None
        if parent is None:
            # Made by a callback, as for a generator that was left half way: numbered apart, since when that
            # happens may depend on the garbage collector.
            parent = self.root
            self._strays += 1
            path = f"{parent.path}x{self._strays}/"
        elif path is None:
            parent.tasks += 1
            path = f"{parent.path}t{parent.tasks}/"
        branch = self._of_task[task] = self.child(path, parent)
        if self._ending and self._is_leaving(parent):
            branch.interrupt = asyncio.CancelledError()
        return task

    def here(self, verb: str) -> Branch:
        """See `Replay.here()`."""
        outer = executing.get()
        if outer is not None:
            raise faults.nested(verb, outer.name, run_id=self.run_id)
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        branch = self._of_task.get(task) if task is not None else None
        if branch is None or self._loop is None:
            raise faults.outside(verb, run_id=self.run_id)
        return branch

    def enter(self, verb: str) -> Branch:
        """See `Replay.enter()`."""
        branch = self.here(verb)
        if branch.path.startswith(self._out) and self._is_leaving(branch):
            raise asyncio.CancelledError
        if self._ending:
            if self._is_leaving(branch):
                raise asyncio.CancelledError
            if not self._forgiving:
                self.swallowed(branch, f'asked for "{verb}"')
        return branch

    def _is_leaving(self, branch: Branch) -> bool:
        """Whether the pass's end is on its way up the stack of the branch, or of the one that made it."""
        leaving = faults.in_flight(asyncio.CancelledError, GeneratorExit)
        return branch.interrupt is not None or leaving is not None

    def swallowed(self, branch: Branch, did: str) -> None:
        """See `Replay.swallowed()`."""
        steps = [step for step, _ in self.open.values()]
        own = [step for step in steps if step.branch.startswith(branch.path)]
        names = [step.name for step in own or steps]
        interrupt = SuspendInterrupt(step=names[0] if names else None)
        self.stop(faults.swallowed(interrupt, did, run_id=self.run_id))

    async def meet(
        self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]
    ) -> Any:
        """Return the recorded value of the step, or wait for the pass to execute it or to end."""
        if self._is_stubborn:
            await yielded()
        branch = self.enter(name)
        if self._is_over_for(branch) or self._loop is None:
            return await wait_for_the_end()
        if name.__class__ is not str or not name:
            name = self.check_name(name, kind)
        key = branch.key_of(name)
        try:
            self._ask(branch, kind, name, key, options, fields)
            future = self._waiting[key] = self._loop.create_future()
            done = await future
            self.root.clock = done.finished_at or self.root.clock
            return self.value(branch, done)
        except VERDICTS as verdict:
            self.stop(verdict)
            return await wait_for_the_end()
        except asyncio.CancelledError:
            if not self._ending:
                # By the workflow itself, as a task group does: nobody waits for the step any more.
                self.open.pop(key, None)
            raise

    def _ask(
        self,
        branch: Branch,
        kind: type[Step],
        name: str,
        key: str,
        options: StepOptions,
        fields: tuple[Any, ...],
    ) -> None:
        record = self.journal.records.get(key)
        if record is None:
            # Where something else is recorded here, that is found when nothing is left to hand out: until then
            # the workflow may give this step up, as it did in the pass that led to the record.
            self.open[key] = (self.build(branch, kind, name, key, options, fields), None)
            return
        if record.kind != kind.kind:
            raise self.divergence(record, f'{kind.kind} "{name}"', name)
        if kind.compares or record.sequence is None:
            step = kind(key, name, branch.path, options, *fields)
            if kind.compares:
                self.check_arguments(step, record, stacklevel=5)
            if record.sequence is None:
                self.open[key] = (step, record)
        branch.meet(key)

    def _is_over_for(self, branch: Branch) -> bool:
        """Whether no verb of the branch can have an answer any more."""
        return (
            self.closed
            or self._cancelled
            or self._ending
            or (bool(self._out) and branch.path.startswith(self._out))
        )

    async def _begin(
        self, verb: str, branches: tuple[Any, ...]
    ) -> tuple[Branch, str, list[asyncio.Task[Any]]]:
        """Return the branch that asks, what the paths of the new branches begin with, and their tasks."""
        try:
            parent = self.enter(verb)
            check_branches(branches, verb=verb, may_be_awaitable=True)
            if self._is_over_for(parent):
                await wait_for_the_end()
        except BaseException:
            close_coroutines(branches)
            raise
        parent.children += 1
        stem = f"{parent.path}{verb[0]}{parent.children}."
        tasks = []
        for index, given in enumerate(branches):
            self._path = f"{stem}{index}/"
            # A coroutine is a task's own: in a wrapper that is cancelled at once it would never be awaited.
            branch = given if iscoroutine(given) else as_coroutine(given)
            tasks.append(asyncio.get_running_loop().create_task(branch))
        return parent, stem, tasks

    async def parallel(self, branches: tuple[Any, ...], return_errors: bool) -> tuple[Any, ...]:
        """See `WorkflowContext.parallel()`."""
        parent, _, tasks = await self._begin("parallel", branches)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = []
        for task, result in zip(tasks, results, strict=True):
            sequence = self._of_task[task].sequence
            parent.sequence = max(parent.sequence, sequence)
            if isinstance(result, Exception | SystemExit):
                # A branch may have ended by what a task of its own was handed.
                path = self._of_task[task].path
                own = [one.sequence for one in self.branches.values() if one.path.startswith(path)]
                errors.append((max(own), result))
            elif isinstance(result, BaseException):
                raise result
        if errors and not return_errors:
            raise faults.first_of(errors)
        return tuple(results)

    async def race(self, branches: tuple[Any, ...], losers: str) -> RaceResult:
        """See `WorkflowContext.race()`."""
        try:
            check_losers(branches, losers)
        except BaseException:
            close_coroutines(branches)
            raise
        parent, stem, tasks = await self._begin("race", branches)
        count, key = len(tasks), parent.key_of("race")
        record = self.journal.records.get(key)
        if record is not None and (record.kind != StepKind.RACE or won(record)[2] >= count):
            self.stop(self.divergence(record, f"a race of {count} branches", "race"))
            await wait_for_the_end()
        winner = await first_to_end(tasks, None if record is None else won(record)[2])
        lost = lost_branches(stem, count, winner)
        target = self.journal.records.get(self.target or "")
        if target is not None and (record is None or is_under(target.branch, lost)):
            # A step delivery decides nothing, and its step may be one that a loser has left under way: what came
            # after the race is not asked for then.
            end = self.journal.watermark + 1 if record is None else record.sequence or 0
            self._to_come = [
                r for r in self._to_come if (r.sequence or 0) < end or is_under(r.branch, lost)
            ]
            await wait_for_the_end()
        self._lose(lost, [task for index, task in enumerate(tasks) if index != winner])
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if record is None:
            step = RaceStep(
                key, "race", parent.path, NO_OPTIONS, stem, count, winner, losers == "leave"
            )
            self._decided.append(step)
        else:
            parent.meet(key)
        done = await future
        self.root.clock = done.finished_at or self.root.clock
        self.value(parent, done)
        return RaceResult(winner, tasks[winner].result())

    def _lose(self, lost: tuple[str, ...], tasks: list[asyncio.Task[Any]]) -> None:
        """Leave these branches where they stand: no verb of theirs has an answer any more."""
        self._out += lost
        self.open = {
            key: one for key, one in self.open.items() if not is_under(one[0].branch, lost)
        }
        self._decided = [race for race in self._decided if not is_under(race.branch, lost)]
        for task in tasks:
            task.cancel()

    def now(self) -> datetime:
        """See `AsyncWorkflowContext.now()`."""
        return self.root.clock

    def cancel(self) -> NoReturn:
        """See `WorkflowContext.cancel()`; ends the whole run from whichever task calls it."""
        self.enter("cancel")
        self._cancelled = True
        asyncio.get_running_loop().stop()
        raise CancelInterrupt

    def continue_as_new(self, payload: Any) -> NoReturn:
        """See `WorkflowContext.continue_as_new()`."""
        branch = self.enter("continue_as_new")
        interrupt = self.continuing(branch, payload)
        if sum(not task.done() for task in self._of_task) > 1:
            raise faults.cannot_continue("", [], run_id=self.run_id)
        self._continued = interrupt
        self._cancelled = True
        asyncio.get_running_loop().stop()
        raise interrupt

    def _is_left(self, branch: Branch) -> bool:
        """See `Replay._is_left()`."""
        return self._is_over_for(branch) or super()._is_left(branch)

    def stop(self, fault: WorkflowError) -> None:
        """See `Replay.stop()`."""
        super().stop(fault)
        if self._loop is not None and not self._ending:
            self._loop.stop()

    def _ended(self, loop: IdleLoop, root: asyncio.Task[Any]) -> Outcome:
        if self._continued is not None:
            return Continued(self._continued.payload_text)
        if self._cancelled:
            return Cancelled()
        if not root.done():
            if loop.is_stuck:
                return Raised(faults.stuck(LONGEST_WAIT_SECONDS))
            return Suspended(tuple(self.open.values()))
        if root.cancelled():
            return Raised(asyncio.CancelledError("The workflow cancelled itself."))
        error = root.exception()
        if error is None:
            return Completed(root.result())
        if isinstance(error, Exception | SystemExit | GeneratorExit):
            return Raised(error)
        raise error

    def _end(self, loop: IdleLoop, root: asyncio.Task[Any]) -> None:
        """Cancel what is left, from the root, and await it."""
        self._ending = True
        left = [task for task in self._of_task if not task.done()]
        # Whoever awaits a task that the workflow has cancelled is right to catch a cancellation.
        self._forgiving = (
            root.done()
            or self._cancelled
            or loop.is_stuck
            or any(
                task.cancelling() and not self._of_task[task].path.startswith(self._out)
                for task in left
            )
        )
        # The root passes it on to what it awaits; a failing task group in its way does not.
        told = left if root.done() else [root]
        for _ in range(GOODBYES):
            for task in told:
                task.cancel()
            self._run(loop)
            told = left = [task for task in self._of_task if not task.done()]
            if not left or loop.is_stuck:
                break
        loop.close_generators()
        self._is_stubborn = bool(left)
        for task in self._of_task:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            elif not task.cancelled():
                task.exception()
        if not self._forgiving:
            self._check_root(root, left)

    def _check_root(self, root: asyncio.Task[Any], left: list[asyncio.Task[Any]]) -> None:
        """See whether the function let the cancellation at the pass's end through."""
        if left:
            self.swallowed(self._of_task[left[0]], "did not end")
        elif not root.cancelled():
            error = root.exception()
            if error is None:
                self.swallowed(self.root, "returned")
            elif not is_cancellation(error):
                self.swallowed(self.root, f"raised {type(error).__name__}")
