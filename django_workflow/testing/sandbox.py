"""The sandbox: runs driven in the test's own process and thread, on a clock that the test moves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from asgiref.sync import sync_to_async
from django.db.models import F, Min

from django_workflow.conf import settings
from django_workflow.core.calls import Headers
from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.exceptions import InvalidOptionError, RunNotFinishedError, WorkflowError
from django_workflow.core.ports import get_runtime
from django_workflow.core.types import StepKind
from django_workflow.core.workflow import registry
from django_workflow.models import Approval, Delivery, Event, Run, Schedule, Step
from django_workflow.runtime.announcing import run_started
from django_workflow.runtime.approval_mail import send_due
from django_workflow.runtime.calling import Answer, DueCall, NoAnswerError, claim_calls, finish
from django_workflow.runtime.executor import End, enter
from django_workflow.runtime.flow_control import look_after
from django_workflow.runtime.journals import journals
from django_workflow.runtime.performer import Allowance
from django_workflow.runtime.trouble import DeliveryTroubleError, refuse_open_transaction
from django_workflow.runtime.waiting import match_untried
from django_workflow.runtime.worker import put_off
from django_workflow.store import claims
from django_workflow.store.rows import Claim, StepRow
from django_workflow.store.sql import connection
from django_workflow.testing.answers import Answers, MadeCall, UnexpectedCallError
from django_workflow.testing.faults import (
    Fault,
    Rule,
    Rules,
    SandboxPerformer,
    SimulatedDeath,
)
from django_workflow.testing.hooks import (
    in_transaction,
    open_boxes,
    own_commit_hooks,
    virtual_keeper,
)
from django_workflow.testing.outside import FromOutside

#: More passes than this at one moment, and a run is taken for one that never comes to rest.
MOST_PASSES = 10_000


class RestlessRunError(WorkflowError):
    """Raised when runs go on and on without the clock being moved."""


class WorkflowSandbox(FromOutside):
    """Drives runs in-process: no broker, no worker, no waiting.

    Inside ``with`` (or ``async with``), every verb is followed by `settle()`: ``trigger()`` returns when the run waits
    or has ended, or, in a transaction, drives it when the transaction commits. The transaction of a TestCase does not
    count. Runs of all transports are driven here. Only runs that were triggered inside the box are seen.

    At its end, what was ordered with `fail()`, `crash_before()` or `crash_after()` and never happened is an
    ``UnmetOrderError``.

    By default every pass executes one step body and is replayed from the stored journal, which finds code that is not
    deterministic soonest; ``steps_per_pass=None`` executes what is ready in one pass, as a worker does inline.
    """

    def __init__(
        self,
        *,
        steps_per_pass: int | None = 1,
        now: datetime | None = None,
        schedules: bool = True,
    ) -> None:
        """Make a box; its clock begins at ``now``, or at the present moment.

        With ``schedules``, those that are declared in code begin with it, as do those that are made inside the box.

        Raises:
            InvalidOptionError: ``now`` is naive.
        """
        self._steps_per_pass = steps_per_pass
        self._now = datetime.now(UTC) if now is None else parse_moment(now)
        self._rules = Rules()
        self._answers = Answers()
        #: The requests that ``ctx.call`` has made, in their order.
        self.calls: list[MadeCall] = []
        self._worker = f"sandbox:{secrets.token_hex(6)}"
        self._is_pending = False
        self._is_to_sync = schedules
        self._stack = ExitStack()
        #: The runs that belong to this box.
        self.run_ids: set[str] = set()
        #: The schedules that its clock fires.
        self.schedule_ids: set[str] = set()
        #: Whether the box is carrying deliveries out at this moment.
        self.is_driving = False

    def __enter__(self) -> Self:
        journals.clear()
        self._stack.enter_context(open_boxes.holding(self))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        journals.clear()
        # What has gone wrong in the test says more.
        if exc_info[0] is None:
            self._rules.check_all_met()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)

    @property
    def now(self) -> datetime:
        """The time in the box: aware, in UTC; it stands still until `advance()` moves it."""
        return self._now

    # Driving

    def settle(self) -> None:
        """Carry out everything that is due, and what a simulated crash has left behind.

        Raises:
            TransactionOpenError: called inside a transaction.
            RestlessRunError: the runs never come to rest.
        """
        if self.is_driving:
            return
        refuse_open_transaction("box.settle() was called")
        with self._at_work():
            self._begin_schedules()
            self._bury()
            self._drive()

    def _begin_schedules(self) -> None:
        """Let what is declared in code begin from the box's time; with nothing declared, nothing is asked."""
        if self._is_to_sync and any(one.options.schedule for one in registry):
            self.schedule_ids.update(get_runtime().sync_schedules(anew=True))
        self._is_to_sync = False

    def advance(self, duration: Any) -> None:
        """Move the clock, and carry out what becomes due on the way, each thing at its own time.

        Called by a step body, it moves the clock alone: the body has taken that long.

        Raises:
            InvalidOptionError: ``duration`` is no duration.
            TransactionOpenError: called inside a transaction.
        """
        target = self._now + parse_duration(duration)
        if self.is_driving:
            self._move(target)
            return
        self.settle()
        with self._at_work():
            while (due := self._next_due()) is not None and due <= target:
                self._move(due)
                self._drive()
            self._move(target)
            self._drive()

    def _move(self, to: datetime) -> None:
        self._now = max(self._now, to)
        virtual_keeper.look(self._now)

    def _next_due(self) -> datetime | None:
        alias = settings().DATABASE
        due, mail = "due_at", "next_mail_at"
        found = [
            (self._deliveries(), due),
            (Approval.objects.using(alias).filter(run_id__in=self.run_ids), mail),
        ]
        if self.schedule_ids:
            found.append((Schedule.objects.using(alias).filter(pk__in=self.schedule_ids), due))
        moments: list[datetime | None] = [
            rows.filter(**{f"{field}__gt": self._now}).aggregate(at=Min(field))["at"]
            for rows, field in found
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    def _deliveries(self) -> Any:
        return Delivery.objects.using(settings().DATABASE).filter(run_id__in=self.run_ids)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.is_driving = True
        try:
            with open_boxes.holding(self), own_commit_hooks():
                yield
        finally:
            self.is_driving = False

    def _bury(self) -> None:
        """End the leases of the dead: nobody but the box works under its name, and it is only beginning."""
        virtual_keeper.clear()
        claims.release_worker(self._worker, lambda _: False)

    def _drive(self) -> None:
        for _ in range(MOST_PASSES):
            for claim in claims.claim(self._worker, 1, only=self.run_ids):
                journals.clear()
                run_started(claim)
                self._carry(claim)
                last = claim.run
                break
            else:
                called = self._call()
                if called is not None:
                    last = called
                elif not (
                    match_untried()
                    or look_after()
                    or send_due(self.run_ids)
                    or self._fire_schedules()
                ):
                    return
        raise RestlessRunError(
            f"After {MOST_PASSES} passes there is still something due in the sandbox, last for run {last.id} of "
            f'workflow "{last.workflow}". Does it loop for ever, or retry without a delay?'
        )

    def _fire_schedules(self) -> int:
        if not self.schedule_ids:
            return 0
        started: int = get_runtime().fire_schedules(only=self.schedule_ids)
        return started

    def _carry(self, claim: Claim) -> None:
        allowance = Allowance(budget=None, steps=self._steps_per_pass)
        performer = partial(SandboxPerformer, self._rules, lambda: self._now)
        try:
            if (
                enter(claim, worker=self._worker, allowance=allowance, performer=performer)
                is End.AGAIN
            ):
                claims.give_back(claim, due_in=parse_duration(0))
        except DeliveryTroubleError as error:
            put_off(claim, str(error))
        except SimulatedDeath:
            # Its claim stays with the dead.
            return

    def _call(self) -> Any:
        """Answer the next call that is due; return its run, or None where none is."""
        due, found = claim_calls(self._worker, 1, only=self.run_ids)
        for call in due:
            self._answer(call)
            return call.claim.run
        return self._deliveries().first().run if found else None

    def _answer(self, call: DueCall) -> None:
        name = call.row.name or ""
        rule = self._rules.take_named(name, call.row.branch or "", call.claim.step_key)
        if rule is not None and rule.fault is Fault.CRASH_BEFORE:
            return
        if rule is not None and rule.fault is Fault.FAIL:
            outcome: Answer | NoAnswerError = NoAnswerError(str(rule.raised()))
        else:
            outcome = self._ask(call, name)
        if rule is None or rule.fault is not Fault.CRASH_AFTER:
            finish(call, outcome, parse_duration(0), self._worker)

    def _ask(self, call: DueCall, name: str) -> Answer | NoAnswerError:
        request = call.request
        try:
            outcome = self._answers.take(request, name, call.claim.run_id, call.attempt)
        except UnexpectedCallError:
            claims.release([(call.claim.delivery_id, call.claim.token)])
            raise
        self.calls.append(
            MadeCall(
                step=name,
                attempt=call.attempt,
                method=request.method,
                url=request.url,
                headers=Headers(request.headers),
                content=request.body,
            )
        )
        return outcome

    # What the hooks ask

    def after_verb(self, result: Any) -> Any:
        """Drive what a verb has set going, now or at the end of its transaction; not for tests to call."""
        if self.is_driving:
            return result
        if in_transaction(connection()):
            self._is_pending = True
            return result
        self.settle()
        for run in result if isinstance(result, list) else [result]:
            if isinstance(run, Run):
                run.refresh()
            elif isinstance(run, Event | Schedule):
                run.refresh_from_db(using=settings().DATABASE)
        return result

    def after_transaction(self) -> None:
        """Drive what was waiting for the end of a transaction; not for tests to call."""
        if self._is_pending and not self.is_driving:
            self._is_pending = False
            self.settle()

    def wait(self, run: Run, timeout: Any) -> Run:
        """Settle, and return the run if it has ended: waiting would not move the clock."""
        refuse_open_transaction(f"run.wait() was called for run {run.id}")
        self.settle()
        if run.refresh().is_finished:
            return run
        raise RunNotFinishedError(
            f'Run "{run.id}" has not ended: it is {run.status}. {run.reason} '
            "In a sandbox time stands still: move it with box.advance().",
            run_id=run.id,
            state=run.status,
        )

    def registers(self, rows: Sequence[StepRow]) -> None:
        """Die where a test has ordered so; not for tests to call."""
        self._rules.die_at(rows, Fault.CRASH_BEFORE)

    def has_registered(self, rows: Sequence[StepRow]) -> None:
        """Die where a test has ordered so; not for tests to call."""
        self._rules.die_at(rows, Fault.CRASH_AFTER)

    # What is seen

    def waiting_on(self, run: Run) -> list[str]:
        """Return the names of the steps that the run waits for, in the order in which they were met."""
        return [step.name for step in self._steps(run) if not step.is_recorded and step.is_open]

    def steps(self, run: Run) -> list[str]:
        """Return the names of the run's steps as written: the recorded ones in sequence, then the pending ones."""
        return [step.name for step in self._steps(run)]

    def _steps(self, run: Run) -> list[Step]:
        found = (
            Step.objects.using(settings().DATABASE)
            .filter(run_id=run.id)
            .exclude(kind=StepKind.PATCH)
        )
        return list(found.order_by(F("sequence").asc(nulls_last=True), "id"))

    # What other servers say

    def respond(
        self,
        method: str,
        url: str,
        *,
        status: int = 200,
        json: Any = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        attempt: int | None = None,
        error: str | BaseException | None = None,
    ) -> None:
        """Answer calls to this URL, ``times`` often (default: always), or at this attempt of a call alone; with ``error``, by giving no answer.

        Several answers for one URL are given in the order in which they were set. What was called is in ``box.calls``.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        self._answers.add(
            method,
            url,
            status=status,
            json=json,
            body=body,
            headers=headers,
            times=times,
            attempt=attempt,
            error=error,
        )

    def forget_answers(self) -> None:
        """Take back every answer that `respond()` has set."""
        self._answers.clear()

    # What goes wrong

    def fail(
        self,
        step: str,
        times: int = 1,
        error: BaseException | type[BaseException] | None = None,
        occurrence: int | None = None,
    ) -> None:
        """Let the next attempts of a step raise ``error`` (a RuntimeError if none is given) instead of its body.

        Of any run of the box and any branch; ``occurrence=2`` means the second step of that name in its branch only.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        self._order(Fault.FAIL, step, occurrence, times, error)

    def crash_before(self, step: str, occurrence: int | None = None) -> None:
        """Let the process die before the body of the step, or before the step is registered, once; the next `settle()` recovers.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        self._order(Fault.CRASH_BEFORE, step, occurrence)

    def crash_after(self, step: str, occurrence: int | None = None) -> None:
        """Let the process die after the body of the step and before its record, once; the next `settle()` recovers.

        The body runs again then. Of an atomic step nothing is left. Of a step without a body, as a sleep or a wait, the
        process dies when it is registered.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        self._order(Fault.CRASH_AFTER, step, occurrence)

    def _order(
        self,
        fault: Fault,
        step: str,
        occurrence: int | None,
        times: int = 1,
        error: BaseException | type[BaseException] | None = None,
    ) -> None:
        if not isinstance(step, str) or not step:
            raise InvalidOptionError(
                f"A step is named by the text given to its verb, not {step!r}."
            )
        for name, value in (("times", times), ("occurrence", occurrence)):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise InvalidOptionError(
                    f"{name} must be a whole number of 1 or more, not {value!r}."
                )
        self._rules.add(Rule(fault, step, occurrence, times, error))

    # For async tests

    async def asettle(self) -> None:
        """See `settle()`."""
        await sync_to_async(self.settle)()

    async def aadvance(self, duration: Any) -> None:
        """See `advance()`."""
        await sync_to_async(self.advance)(duration)

    async def awaiting_on(self, run: Run) -> list[str]:
        """See `waiting_on()`."""
        return await sync_to_async(self.waiting_on)(run)

    async def asteps(self, run: Run) -> list[str]:
        """See `steps()`."""
        return await sync_to_async(self.steps)(run)
