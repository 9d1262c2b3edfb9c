"""What is put in the place of production's parts while a box is open, and taken away when the last one closes.

Of Django, two things are looked into: ``atomic`` blocks, because the runs triggered in one are driven from its end,
and ``on_commit``. A TestCase never commits, so while a box is at work (and only then: hooks of the test's own
transactions are left to Django's rules) the end of the outermost block that is not the test case's runs the hooks
that were registered within.
"""

from __future__ import annotations

import logging
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

from asgiref.sync import SyncToAsync, async_to_sync
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.core import ports
from django_workflow.core.idle_loop import IdleLoop
from django_workflow.runtime import bodies, overtime
from django_workflow.runtime.leases import Held
from django_workflow.store import schedules, triggers, waits
from django_workflow.store.rows import Claim, StepRow
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

#: Verbs of the runtime that change nothing.
READS = frozenset(
    {"alias", "child", "flow_state", "in_thread", "get_run", "get_schedule", "get_waiters"}
)


class Box(Protocol):
    """What the hooks need of a sandbox."""

    is_driving: bool
    run_ids: set[str]
    schedule_ids: set[str]

    @property
    def now(self) -> datetime:
        """The box's time."""

    def after_verb(self, result: Any) -> Any:
        """Drive what the verb has set going, now or when its transaction ends."""

    def after_transaction(self) -> None:
        """Drive what was waiting for the end of a transaction."""

    def wait(self, run: Any, timeout: Any) -> Any:
        """Stand in for ``run.wait()``."""

    def registers(self, rows: Sequence[StepRow]) -> None:
        """Hear of steps that are about to be registered."""

    def has_registered(self, rows: Sequence[StepRow]) -> None:
        """Hear of steps that were registered."""


class OpenBoxes:
    """The boxes that are open, the innermost last: it gets what happens."""

    def __init__(self) -> None:
        self._boxes: list[Box] = []
        self._hooks = ExitStack()

    @property
    def current(self) -> Box:
        """The box that verbs belong to at this moment."""
        return self._boxes[-1]

    @contextmanager
    def holding(self, box: Box) -> Iterator[None]:
        """Make this box the current one; the first one brings the hooks, the last one takes them away."""
        if not self._boxes:
            self._hooks.enter_context(installed())
        self._boxes.append(box)
        try:
            yield
        finally:
            self._boxes.reverse()
            self._boxes.remove(box)
            self._boxes.reverse()
            if not self._boxes:
                self._hooks.close()


open_boxes = OpenBoxes()


class _Clock:
    def now(self) -> datetime:
        return open_boxes.current.now


class _Silence:
    def hint(self, count: int = 1) -> None:
        """Tell nobody: the box looks by itself."""


class _Verbs:
    """The runtime, with each verb that changes something followed by what the box makes of it."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._runtime, name)
        if name in READS or not callable(found):
            return found

        def verb(*args: Any, **kwargs: Any) -> Any:
            return open_boxes.current.after_verb(found(*args, **kwargs))

        return verb

    def wait(self, run: Any, timeout: Any) -> Any:
        return open_boxes.current.wait(run, timeout)

    async def await_run(self, run: Any, timeout: Any) -> Any:
        return await self._runtime.in_thread(self.wait, run, timeout)


class VirtualKeeper:
    """Watches the deadlines of bodies on the box's clock; in one thread there is no lease to renew."""

    def __init__(self) -> None:
        self._held: list[Held] = []

    def watch(self, claim: Claim, seconds: float, overdue: Callable[[], None]) -> Held:
        """See `Keeper.watch()`."""
        begun = open_boxes.current.now.timestamp()
        held = Held(claim, begun, begun=begun, deadline=begun + seconds, overdue=overdue)
        self._held.append(held)
        return held

    def let_go(self, held: Held) -> None:
        """See `Keeper.let_go()`."""
        if held in self._held:
            self._held.remove(held)

    def look(self, now: datetime) -> None:
        """Act upon the deadlines that are over: a body has moved the clock."""
        if in_transaction(connection()):
            return
        for held in [
            h for h in self._held if h.deadline is not None and h.deadline <= now.timestamp()
        ]:
            held.deadline = None
            if held.overdue is not None:
                held.overdue()

    def clear(self) -> None:
        """Forget the dead."""
        self._held.clear()


virtual_keeper = VirtualKeeper()


class _BodiesHere:
    """Runs async bodies so that what they ask of the ORM comes back to the driving thread and its transaction."""

    def run(self, value: Awaitable[Any], timeout: timedelta | None, attend: Any = None) -> Any:
        return async_to_sync(bodies.awaited)(value, timeout)


def _run_here(loop: IdleLoop, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
    """Stand in for ``IdleLoop.run_in_executor``: another thread would not see the test's transaction."""
    future = loop.create_future()
    running = _get_running_loop()
    _set_running_loop(None)
    # asgiref leaves there what it takes for the loop above, and would wait for it in this thread's next call.
    above = dict(vars(SyncToAsync.threadlocal))
    try:
        future.set_result(func(*args))
    except Exception as error:  # broad: it belongs to whoever awaits
        future.set_exception(error)
    finally:
        vars(SyncToAsync.threadlocal).clear()
        vars(SyncToAsync.threadlocal).update(above)
        _set_running_loop(running)
    return future


def _tracked(
    insert: Callable[[Sequence[Any]], dict[str, datetime]],
) -> Callable[[Sequence[Any]], dict[str, datetime]]:
    def tracking(new: Sequence[Any]) -> dict[str, datetime]:
        created = insert(new)
        open_boxes.current.run_ids.update(created)
        return created

    return tracking


def _tracked_schedule(insert: Callable[..., bool]) -> Callable[..., bool]:
    def tracking(schedule_id: str, *args: Any, **kwargs: Any) -> bool:
        created = insert(schedule_id, *args, **kwargs)
        if created:
            open_boxes.current.schedule_ids.add(schedule_id)
        return created

    return tracking


def _registering(wait: Callable[..., None]) -> Callable[..., None]:
    def register(claim: Claim, rows: Iterable[StepRow], **options: Any) -> None:
        found = list(rows)
        box = open_boxes.current
        box.registers(found)
        wait(claim, found, **options)
        box.has_registered(found)

    return register


def in_transaction(of: BaseDatabaseWrapper) -> bool:
    """Tell whether a transaction is open, the ones around a test case aside."""
    return any(not getattr(block, "_from_testcase", False) for block in of.atomic_blocks)


def _commit_hooks_wait(of: BaseDatabaseWrapper) -> bool:
    """Tell whether ``on_commit`` hooks of this connection would wait for a commit that a TestCase never makes."""
    return open_boxes.current.is_driving and of.in_atomic_block and not in_transaction(of)


def _call_hook(func: Callable[[], Any], robust: bool) -> None:
    if not robust:
        func()
        return
    try:
        func()
    except Exception:  # broad: what Django does with robust hooks
        logger.exception("Error calling %r in on_commit().", func)


def _on_commit(original: Any) -> Any:
    def on_commit(self: BaseDatabaseWrapper, func: Any, robust: bool = False) -> None:
        if callable(func) and _commit_hooks_wait(self):
            _call_hook(func, robust)
        else:
            original(self, func, robust)

    return on_commit


def _atomic_enter(original: Any) -> Any:
    def enter(self: transaction.Atomic) -> None:
        of = transaction.get_connection(self.using)
        asked = self.savepoint
        if of.in_atomic_block and not in_transaction(of):
            # The outermost transaction of what is tested: when it is rolled back, the test case's must survive.
            self.savepoint = True
        try:
            original(self)
        finally:
            self.savepoint = asked

    return enter


def _atomic_exit(original: Any) -> Any:
    def leave(self: transaction.Atomic, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        original(self, exc_type, exc_value, traceback)
        if exc_type is not None:
            return
        of = transaction.get_connection(self.using)
        if _commit_hooks_wait(of):
            hooks, of.run_on_commit = of.run_on_commit, []
            for _, func, robust in hooks:
                _call_hook(func, robust)
        if of is connection() and not in_transaction(of):
            open_boxes.current.after_transaction()

    return leave


@contextmanager
def own_commit_hooks() -> Iterator[None]:
    """Put the hooks that the test's own transactions have registered aside while the box is at work."""
    aside = [(of, of.run_on_commit) for of in connections.all(initialized_only=True)]
    for of, _ in aside:
        of.run_on_commit = []
    try:
        yield
    finally:
        for of, hooks in aside:
            of.run_on_commit = hooks + of.run_on_commit


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put a value in the place of an attribute, for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def installed() -> Iterator[None]:
    """Put everything in its place."""
    runtime = ports.get_runtime()
    clock = ports.install_clock(_Clock())
    dispatcher = ports.install_dispatcher(_Silence())
    ports.install_runtime(_Verbs(runtime))
    with ExitStack() as stack:
        stack.callback(ports.install_runtime, runtime)
        stack.callback(ports.install_dispatcher, dispatcher)
        stack.callback(ports.install_clock, clock)
        for owner, name, value in (
            (triggers, "insert", _tracked(triggers.insert)),
            (waits, "wait", _registering(waits.wait)),
            (schedules, "insert", _tracked_schedule(schedules.insert)),
            (overtime, "keeper", virtual_keeper),
            (bodies, "body_loop", _BodiesHere()),
            (IdleLoop, "run_in_executor", _run_here),
            (BaseDatabaseWrapper, "on_commit", _on_commit(BaseDatabaseWrapper.on_commit)),
            (transaction.Atomic, "__enter__", _atomic_enter(transaction.Atomic.__enter__)),
            (transaction.Atomic, "__exit__", _atomic_exit(transaction.Atomic.__exit__)),
        ):
            stack.enter_context(swapped(owner, name, value))
        yield
