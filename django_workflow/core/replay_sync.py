"""A pass over a plain function: branches are called one after the other, without threads."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Callable
from datetime import datetime
from threading import get_ident
from typing import Any, NoReturn

from django_workflow.core import faults
from django_workflow.core.arguments import check_branches
from django_workflow.core.context import executing
from django_workflow.core.exceptions import CancelInterrupt, ContinueInterrupt, SuspendInterrupt
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


class SyncReplay(Replay):
    """A pass over a plain function."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._branch = self.root
        self._thread = get_ident()
        self._loop = _get_running_loop()
        self._around = self._transactions()
        # A race was decided: the functions of its losers, called so far, are not called again.
        self._again = False

    def _outcome(self, function: Callable[[], Any]) -> Outcome:
        try:
            value = _called(function)
        except SuspendInterrupt:
            return Suspended(tuple(self.open.values()), again=self._again)
        except ContinueInterrupt as interrupt:
            return Continued(interrupt.payload_text)
        except CancelInterrupt:
            return Cancelled()
        except (Exception, SystemExit) as error:  # the door of user code: its error is its outcome
            if self.root.interrupt is not None:
                self.swallowed(self.root, f"raised {type(error).__name__}")
            return Raised(error)
        finally:
            self._thread = -1
        if self.root.interrupt is not None:
            self.swallowed(self.root, "returned")
        return Completed(value)

    def here(self, verb: str) -> Branch:
        """See `Replay.here()`."""
        outer = executing.get()
        if outer is not None:
            raise faults.nested(verb, outer.name, run_id=self.run_id)
        if self._thread != get_ident():
            raise faults.outside(verb, run_id=self.run_id)
        return self._branch

    def enter(self, verb: str) -> Branch:
        """See `Replay.enter()`."""
        branch = self.here(verb)
        interrupt = branch.interrupt
        if interrupt is None:
            return branch
        # A generator that is closed meanwhile has to be left by the exception that closes it.
        leaving = faults.in_flight(interrupt, GeneratorExit)
        if leaving is None:
            self.swallowed(branch, f'asked for "{verb}"')
        raise leaving or interrupt

    def _interrupt(self, branch: Branch, step: str) -> SuspendInterrupt:
        branch.interrupt = interrupt = SuspendInterrupt(step=step)
        return interrupt

    def meet(
        self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]
    ) -> Any:
        """Return the recorded value of the step, or have it executed, or leave the function."""
        branch = self._branch
        if (
            branch.interrupt is not None
            or self._thread != get_ident()
            or executing.get() is not None
        ):
            self.enter(name)
        if name.__class__ is not str or not name:
            name = self.check_name(name, kind)
        key = branch.key_of(name)
        try:
            record = self._found(branch, kind, name, key)
            if record is None:
                step = self.build(branch, kind, name, key, options, fields)
            else:
                if kind.compares:
                    step = kind(key, name, branch.path, options, *fields)
                    self.check_arguments(step, record, stacklevel=4)
                if record.sequence is not None:
                    return self.value(branch, record)
                step = kind(key, name, branch.path, options, *fields)
            return self._perform(branch, step, record)
        except VERDICTS as verdict:
            self.stop(verdict)
            raise self._interrupt(branch, name) from verdict

    def _found(self, branch: Branch, kind: type[Step], name: str, key: str) -> Record | None:
        """Return the record that belongs here, or None where the branch is beyond its records."""
        order, index = branch.order, branch.index
        if index >= len(order):
            return None
        record = self.journal.records[order[index]]
        if record.key != key:
            unmet = branch.unmet()
            if unmet is None:
                return None
            record = unmet
        if record.key != key or record.kind != kind.kind:
            raise self.divergence(record, f'{kind.kind} "{name}"', name)
        branch.index = index + 1 if order[index] == key else order.index(key) + 1
        return record

    def _perform(self, branch: Branch, step: Step, record: Record | None) -> Any:
        alone = branch is self.root if self.target is None else step.key == self.target
        self._refuse_surroundings(step.name)
        if alone:
            done = self.ask_host(step, record)
            branch.index = len(branch.order)
            if done is not None and not self.closed:
                return self.value(branch, done)
        if self.trouble is None:
            self.open[step.key] = (step, record)
        raise self._interrupt(branch, step.name)

    def _refuse_surroundings(self, verb: str) -> None:
        """Refuse what would be recorded in a transaction of the workflow's own, or inside a loop of its own."""
        if _get_running_loop() is not self._loop:
            raise faults.in_a_loop(verb, run_id=self.run_id)
        if self._transactions() != self._around:
            raise faults.in_a_transaction(verb, run_id=self.run_id)

    def parallel(
        self, branches: tuple[Callable[[], Any], ...], return_errors: bool
    ) -> tuple[Any, ...]:
        """See `WorkflowContext.parallel()`."""
        parent = self.enter("parallel")
        self._go_to_the_target(parent, branches)
        check_branches(branches)
        parent.children += 1
        results: list[Any] = []
        errors: list[tuple[int, BaseException]] = []
        begun = []
        for index, function in enumerate(branches):
            branch = self._branch = self.child(f"{parent.path}p{parent.children}.{index}/", parent)
            begun.append(branch)
            try:
                results.append(self._call(branch, function))
            except (SuspendInterrupt, CancelInterrupt) as interrupt:
                if parent.interrupt is None or isinstance(interrupt, CancelInterrupt):
                    parent.interrupt = interrupt
            except (Exception, SystemExit) as error:  # a branch of user code ends as it ends
                errors.append((branch.sequence, error))
                results.append(error)
            finally:
                self._branch = parent
            if self.closed or isinstance(parent.interrupt, CancelInterrupt):
                break
        if parent.interrupt is not None:
            raise parent.interrupt
        self._check_joined(parent, begun)
        parent.clock = max([parent.clock, *(branch.clock for branch in begun)])
        parent.sequence = max([parent.sequence, *(branch.sequence for branch in begun)])
        if errors and not return_errors:
            raise faults.first_of(errors)
        return tuple(results)

    def _go_to_the_target(self, parent: Branch, branches: tuple[Callable[[], Any], ...]) -> None:
        """Call the branch alone in which the target of a step delivery stands, if it does, and leave the pass at the target.

        Each step of a fan-out has a pass, so calling all the others in each, or looking at them, would cost the square of
        their number. The turn's pass that registered the target has checked them. A branch that does not come to the target
        alone goes by what others have left in a variable: then all are called.
        """
        target = self.journal.records.get(self.target or "")
        stem = f"{parent.path}p{parent.children + 1}."
        if target is None or target.sequence is not None or not target.branch.startswith(stem):
            return
        index = int(target.branch[len(stem) :].partition("/")[0])
        if index < len(branches):
            check_branches(branches[index : index + 1])
            self._ends(parent, f"{stem}{index}/", branches[index])
        if self.closed:
            raise self._interrupt(parent, "parallel")

    def race(self, branches: tuple[Callable[[], Any], ...], losers: str) -> RaceResult:
        """See `WorkflowContext.race()`."""
        parent = self.enter("race")
        check_losers(branches, losers)
        check_branches(branches, verb="race")
        parent.children += 1
        key, before = parent.key_of("race"), parent.index
        try:
            record = self._found(parent, RaceStep, "race", key)
            if record is not None and won(record)[2] >= len(branches):
                raise self.divergence(record, f"a race of {len(branches)} branches", "race")
        except VERDICTS as verdict:
            self.stop(verdict)
            raise self._interrupt(parent, "race") from verdict
        if record is None:
            raise self._decide(parent, key, branches, losers)
        stem, count, index = won(record)
        try:
            self._visit_losers(parent, lost_branches(stem, count, index), branches)
            return RaceResult(index, self._in_branch(parent, f"{stem}{index}/", branches[index]))
        except (SuspendInterrupt, CancelInterrupt) as interrupt:
            # The winner has not ended, so what is behind the race was not met.
            parent.interrupt, parent.index = interrupt, before
            raise
        finally:
            if parent.interrupt is None:
                self.value(parent, record)

    def _decide(
        self, parent: Branch, key: str, branches: tuple[Callable[[], Any], ...], losers: str
    ) -> BaseException:
        """Call the branches; have the race recorded if one has ended. Returns what leaves the pass, in any case."""
        self._refuse_surroundings("race")
        stem = f"{parent.path}r{parent.children}."
        ended: list[tuple[int, int]] = []
        for index, function in enumerate(branches):
            has_ended = self._ends(parent, f"{stem}{index}/", function)
            if self.closed:
                return self._interrupt(parent, "race")
            if has_ended:
                ended.append((self.branches[f"{stem}{index}/"].sequence, index))
            if ended and ended[-1][0] == 0:
                # It has ended without a step, so those behind it are not begun.
                break
        if ended and self.target is None:
            self.open = {k: v for k, v in self.open.items() if not v[0].branch.startswith(stem)}
            _, winner = min(ended)
            step = RaceStep(
                key, "race", parent.path, NO_OPTIONS, stem, len(branches), winner, losers == "leave"
            )
            self._again = self.ask_host(step, None) is not None
            self.closed = True
        return self._interrupt(parent, "race")

    def _ends(self, parent: Branch, path: str, function: Callable[[], Any]) -> bool:
        """Call a branch and tell whether it has ended, well or badly."""
        try:
            self._in_branch(parent, path, function)
        except SuspendInterrupt:
            return False
        except CancelInterrupt as interrupt:
            parent.interrupt = interrupt
            raise
        except (Exception, SystemExit):  # a branch of user code ends as it ends
            return True
        return True

    def _visit_losers(
        self, parent: Branch, lost: tuple[str, ...], branches: tuple[Callable[[], Any], ...]
    ) -> None:
        """Call the losing branch in which the target of a step delivery was left under way, and leave the pass."""
        target = self.journal.records.get(self.target or "")
        if target is None:
            return
        for path in lost:
            if is_under(target.branch, [path]):
                self._in_branch(parent, path, branches[int(path[:-1].rpartition(".")[2])])
                raise self._interrupt(parent, "race")

    def _in_branch(self, parent: Branch, path: str, function: Callable[[], Any]) -> Any:
        self._branch = self.child(path, parent)
        try:
            return self._call(self._branch, function)
        finally:
            self._branch = parent

    def _check_joined(self, parent: Branch, begun: list[Branch]) -> None:
        """Hold the branches that have ended against the journal, before anything behind them is executed."""
        # The next one in number is there if there were more of them.
        gone = f"{parent.path}p{parent.children}.{len(begun)}/"
        if self.journal.order.get(gone):
            begun = [*begun, Branch(gone, self.journal, parent)]
        for branch in begun:
            record = branch.unmet()
            if record is not None:
                did = "its branch ended" if branch.path != gone else "the branch is not there"
                self.stop(self.divergence(record, f"nothing: {did}", record.name))
                raise self._interrupt(parent, record.name)

    def _call(self, branch: Branch, function: Callable[[], Any]) -> Any:
        try:
            value = _called(function)
        except (Exception, SystemExit) as error:
            if branch.interrupt is None:
                raise
            self.swallowed(branch, f"raised {type(error).__name__}")
            raise branch.interrupt from error
        if branch.interrupt is not None:
            self.swallowed(branch, "ended its branch")
            raise branch.interrupt
        return value

    def now(self) -> datetime:
        """See `WorkflowContext.now()`."""
        return self._branch.clock

    def cancel(self) -> NoReturn:
        """See `WorkflowContext.cancel()`."""
        branch = self.enter("cancel")
        branch.interrupt = CancelInterrupt()
        raise branch.interrupt

    def continue_as_new(self, payload: Any) -> NoReturn:
        """See `WorkflowContext.continue_as_new()`."""
        branch = self.enter("continue_as_new")
        branch.interrupt = self.continuing(branch, payload)
        raise branch.interrupt


def _called(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except faults.STRAY as error:
        raise faults.stray(error, "The workflow function") from error
