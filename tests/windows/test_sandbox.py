"""The sandbox, as a user's own tests would use it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import TestCase, TransactionTestCase

from django_workflow import (
    AsyncWorkflowContext,
    InvalidOptionError,
    NonRetryableError,
    RunNotFinishedError,
    TransactionOpenError,
    WorkflowContext,
    anotify,
    cancel_runs,
    current_step,
    get_run,
    notify,
    workflow,
)
from django_workflow.core.ports import get_clock, get_dispatcher, get_runtime
from django_workflow.models import Delivery, Run
from django_workflow.runtime.worker import drain
from django_workflow.testing import UnmetOrderError, WorkflowSandbox
from tests.app.models import Note

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    calls.clear()
    return iter(())


def note(text: str) -> str:
    calls.append(text)
    return text


def write(text: str) -> None:
    Note.objects.create(text=text)
    transaction.on_commit(lambda: calls.append(f"committed {text}"))


@workflow(name="sandbox.trip", retries=2, retry_delay="10s")
def trip(ctx: WorkflowContext[Any]) -> str:
    ctx.run("pack", note, "pack")
    ctx.sleep("drive", "2d")
    ctx.atomic("check in", write, "check in")
    ctx.run("unpack", note, "unpack")
    return "there"


@workflow(name="sandbox.async_trip", retries=2, retry_delay="10s")
async def async_trip(ctx: AsyncWorkflowContext[Any]) -> str:
    await ctx.run("pack", note, "pack")
    await ctx.sleep("drive", "2d")
    await ctx.atomic("check in", write, "check in")
    await ctx.run("unpack", note, "unpack")
    return "there"


@workflow(name="sandbox.over_http", transport="http")
def over_http(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("pack", note, "pack")


BOTH = pytest.mark.parametrize("journey", [trip, async_trip], ids=["sync", "async"])


@pytest.mark.django_db
class TestInsideATestCasesTransaction:
    @BOTH
    def test_trigger_drives_the_run_until_it_waits(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            run = journey.trigger()

            assert box.steps(run) == ["pack", "drive"]
            assert box.waiting_on(run) == ["drive"]
            assert run.status == "running"
            assert calls == ["pack"]

    @BOTH
    def test_advance_moves_the_clock_and_carries_out_what_is_due(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            run = journey.trigger()
            begun = box.now

            box.advance("1d")
            waiting = box.waiting_on(run)
            box.advance(timedelta(days=1))

        assert waiting == ["drive"]
        assert box.now == begun + timedelta(days=2)
        assert run.refresh().result == "there"
        assert run.finished_at == begun + timedelta(days=2)

    @BOTH
    def test_hook_of_an_atomic_step_runs_when_the_step_commits(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            journey.trigger()
            box.advance("2d")

        assert calls == ["pack", "committed check in", "unpack"]

    def test_run_is_driven_when_the_transaction_of_its_trigger_commits(self) -> None:
        with WorkflowSandbox() as box:
            with transaction.atomic():
                with transaction.atomic():
                    run = trip.trigger()
                before = list(calls)

            assert before == []
            assert box.steps(run) == ["pack", "drive"]

    def test_run_is_driven_when_a_transaction_without_a_savepoint_ends(self) -> None:
        with WorkflowSandbox() as box:
            with transaction.atomic(savepoint=False):
                run = trip.trigger()

            assert box.steps(run) == ["pack", "drive"]

    def test_rolled_back_trigger_leaves_nothing(self) -> None:
        with WorkflowSandbox() as box:
            with transaction.atomic():
                trip.trigger()
                transaction.set_rollback(True)
            box.settle()

        assert not Run.objects.exists()
        assert calls == []

    def test_trigger_in_a_transaction_that_raises_leaves_nothing(self) -> None:
        def trigger_and_raise() -> None:
            with transaction.atomic():
                trip.trigger()
                raise ZeroDivisionError

        with WorkflowSandbox() as box:
            with pytest.raises(ZeroDivisionError):
                trigger_and_raise()
            box.settle()

        assert not Run.objects.exists()

    def test_hooks_of_the_tests_own_transactions_are_left_to_django(self) -> None:
        with WorkflowSandbox(), transaction.atomic():
            transaction.on_commit(lambda: calls.append("own"))
            trip.trigger()

        assert calls == ["pack"]

    def test_run_that_a_captured_hook_triggers_is_driven(self) -> None:
        with WorkflowSandbox() as box:
            with TestCase.captureOnCommitCallbacks(execute=True):
                transaction.on_commit(lambda: calls.append(trip.trigger().id))

            assert box.waiting_on(get_run(calls[-1])) == ["drive"]

    def test_settling_inside_a_transaction_is_refused(self) -> None:
        box = WorkflowSandbox()

        with box, transaction.atomic(), pytest.raises(TransactionOpenError, match=r"box\.settle"):
            box.settle()


@pytest.mark.django_db(transaction=True)
class TestWithoutATransactionAround:
    @BOTH
    def test_run_goes_to_its_end(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            run = journey.trigger()
            box.advance("2d")

        assert run.refresh().result == "there"
        assert calls == ["pack", "committed check in", "unpack"]
        assert Note.objects.get().text == "check in"

    def test_run_is_driven_when_the_transaction_of_its_trigger_commits(self) -> None:
        with WorkflowSandbox() as box:
            with transaction.atomic():
                run = trip.trigger()
                before = list(calls)

            assert before == []
            assert box.steps(run) == ["pack", "drive"]

    def test_run_that_an_on_commit_hook_triggers_is_driven(self) -> None:
        with WorkflowSandbox() as box:
            with transaction.atomic():
                transaction.on_commit(lambda: calls.append(trip.trigger().id))

            assert box.waiting_on(get_run(calls[-1])) == ["drive"]


class SandboxInATestCase(TestCase):
    def test_sync(self) -> None:
        with WorkflowSandbox() as box:
            run = trip.trigger()
            box.advance("2d")

        assert run.refresh().result == "there"

    async def test_async_test_of_a_sync_workflow(self) -> None:
        async with WorkflowSandbox() as box:
            run = await trip.atrigger()
            await box.aadvance("2d")

            assert (await run.arefresh()).result == "there"
            assert await box.asteps(run) == ["pack", "drive", "check in", "unpack"]

    async def test_async_test_of_an_async_workflow(self) -> None:
        with WorkflowSandbox() as box:
            run = await async_trip.atrigger()

            assert await box.awaiting_on(run) == ["drive"]
            await box.aadvance("2d")
            await box.asettle()
            assert (await run.arefresh()).status == "completed"


class SandboxInATransactionTestCase(TransactionTestCase):
    databases = {"default"}

    async def test_async_test_of_an_async_workflow(self) -> None:
        async with WorkflowSandbox() as box:
            run = await async_trip.atrigger()
            await box.aadvance("2d")

            assert (await run.arefresh()).status == "completed"


async def add_note(text: str) -> int:
    await asyncio.sleep(0)
    return (await Note.objects.acreate(text=text)).pk


@workflow(name="sandbox.async_orm")
async def async_orm(ctx: AsyncWorkflowContext[Any]) -> list[str]:
    await ctx.run("add", add_note, "from a body")
    return [one.text async for one in Note.objects.order_by("pk")]


@pytest.mark.django_db
def test_async_bodies_and_code_see_the_tests_transaction() -> None:
    Note.objects.create(text="from the test")

    with WorkflowSandbox():
        run = async_orm.trigger()

    assert run.result == ["from the test", "from a body"]


@pytest.mark.django_db
def test_async_orm_works_in_an_async_test() -> None:
    async def test() -> Any:
        await Note.objects.acreate(text="from the test")
        async with WorkflowSandbox():
            return await async_orm.atrigger()

    run = async_to_sync(test)()

    assert run.result == ["from the test", "from a body"]


def go_with_order(verb: str, *order: Any) -> None:
    with WorkflowSandbox() as box:
        getattr(box, verb)(*order)
        trip.trigger()


@pytest.mark.django_db
class TestFaults:
    @BOTH
    def test_fail_makes_the_next_attempts_raise(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            box.fail("pack", times=2)
            run = journey.trigger()
            states = [list(calls), box.waiting_on(run)]
            box.advance("10s")
            states.append(list(calls))
            box.advance("10s")

            assert states == [[], ["pack"], []]
            assert calls == ["pack"]
            assert [attempt.outcome for attempt in run.attempts.all()] == ["failed", "failed"]
            assert "The sandbox made" in run.attempts.first().failure.message

    def test_fail_raises_the_error_given(self) -> None:
        with WorkflowSandbox() as box:
            box.fail("pack", error=NonRetryableError("No bags."))
            run = trip.trigger()

        assert run.status == "failed"
        assert run.failure.message == "No bags."

    @pytest.mark.parametrize(
        ("order", "step", "says"),
        [
            (("fail", "pakc"), "pakc", "ordered to fail at step"),
            (("crash_before", "pakc"), "pakc", "ordered to crash before at step"),
            (("crash_after", "pack", 2), '"pack" (occurrence 2)', "no run of it came there"),
            (("fail", "drive"), "drive", "the step has no body that could"),
        ],
    )
    def test_an_order_that_is_not_met_is_an_error_at_the_end(
        self, order: tuple[Any, ...], step: str, says: str
    ) -> None:
        with pytest.raises(UnmetOrderError) as found:
            go_with_order(*order)

        assert step in str(found.value)
        assert says in str(found.value)

    def test_an_error_of_the_test_is_not_hidden_by_an_order_that_was_not_met(self) -> None:
        def test() -> None:
            with WorkflowSandbox() as box:
                box.fail("pakc")
                raise KeyError

        with pytest.raises(KeyError):
            test()

    def test_an_async_sandbox_tells_of_an_order_that_was_not_met(self) -> None:
        async def test() -> None:
            async with WorkflowSandbox() as box:
                box.fail("pakc")
                await trip.atrigger()

        with pytest.raises(UnmetOrderError):
            async_to_sync(test)()

    def test_fail_takes_a_class_of_errors(self) -> None:
        with WorkflowSandbox() as box:
            box.fail("pack", error=KeyError)
            run = trip.trigger()

            assert run.waiting_for[0].failure.error_class == "KeyError"

    @BOTH
    def test_crash_after_loses_the_record_and_the_next_settle_recovers(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            box.crash_after("pack")
            run = journey.trigger()
            after_crash = (list(calls), box.steps(run))
            box.settle()

            assert after_crash == (["pack"], [])
            assert calls == ["pack", "pack"]
            assert box.waiting_on(run) == ["drive"]
            assert not run.attempts.exists()

    @BOTH
    def test_crash_before_runs_no_body(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            box.crash_before("pack")
            journey.trigger()
            after_crash = list(calls)
            box.settle()

        assert after_crash == []
        assert calls == ["pack"]

    @BOTH
    def test_crash_after_leaves_nothing_of_an_atomic_step(self, journey: Any) -> None:
        with WorkflowSandbox() as box:
            box.crash_after("check in")
            run = journey.trigger()
            box.advance("2d")
            after_crash = (Note.objects.count(), list(calls))
            box.settle()

        assert after_crash == (0, ["pack"])
        assert run.refresh().status == "completed"
        assert Note.objects.count() == 1
        assert calls == ["pack", "committed check in", "unpack"]

    def test_code_of_the_function_sees_no_crash(self) -> None:
        seen: list[BaseException] = []

        @workflow(name="sandbox.curious")
        def curious(ctx: WorkflowContext[Any]) -> None:
            try:
                ctx.run("one", note, "one")
            except Exception as error:
                seen.append(error)
            finally:
                ctx.run("clean", note, "clean")

        with WorkflowSandbox() as box:
            box.crash_after("one")
            curious.trigger()
            box.settle()

        assert seen == []
        assert calls == ["one", "one", "clean"]

    def test_dead_lease_also_ends_by_itself(self) -> None:
        with WorkflowSandbox() as box:
            box.crash_after("check in")
            run = trip.trigger()
            box.advance("3d")

        assert run.refresh().status == "completed"

    def test_third_death_in_a_row_blocks_the_run(self) -> None:
        with WorkflowSandbox() as box:
            for _ in range(4):
                box.crash_after("pack")
            run = trip.trigger()
            for _ in range(4):
                box.settle()

        assert run.refresh().status == "blocked"
        assert run.failure.error_class.endswith("CrashLoopError")

    def test_occurrence_picks_one_of_several_steps_of_a_name(self) -> None:
        @workflow(name="sandbox.loop", retries=0)
        def loop(ctx: WorkflowContext[Any]) -> None:
            for index in range(3):
                ctx.run("again", note, str(index))

        with WorkflowSandbox() as box:
            box.fail("again", occurrence=2)
            run = loop.trigger()

        assert calls == ["0"]
        assert run.failed_step == "again#2"

    @pytest.mark.parametrize(
        "wrong", [{"step": ""}, {"step": "a", "times": 0}, {"step": "a", "occurrence": "2"}]
    )
    def test_orders_that_cannot_work_are_refused(self, wrong: Any) -> None:
        with pytest.raises(InvalidOptionError):
            WorkflowSandbox().fail(**wrong)


@pytest.mark.django_db
class TestVerbs:
    def test_cancel_is_settled(self) -> None:
        with WorkflowSandbox() as box:
            run = trip.trigger()
            run.cancel()
            box.advance("3d")

        assert run.status == "cancelled"
        assert calls == ["pack"]

    def test_resume_goes_on_at_once(self) -> None:
        with WorkflowSandbox() as box:
            box.fail("pack", error=NonRetryableError("No bags."))
            run = trip.trigger()
            run.resume()

            assert box.waiting_on(run) == ["drive"]

    def test_pause_holds_the_run_and_resume_lets_it_go_on(self) -> None:
        with WorkflowSandbox() as box:
            run = trip.trigger().pause()
            box.advance("3d")
            held = (run.refresh().status, list(calls))
            run.resume()

        assert held == ("paused", ["pack"])
        assert run.status == "completed"

    def test_restarted_run_belongs_to_the_box(self) -> None:
        with WorkflowSandbox() as box:
            again = trip.trigger().cancel().restart()

            assert box.waiting_on(again) == ["drive"]

    def test_many_runs_are_driven(self) -> None:
        with WorkflowSandbox():
            found = trip.trigger_many([{"n": 1}, {"n": 2}])

        assert [run.status for run in found] == ["running", "running"]
        assert calls == ["pack", "pack"]

    def test_verb_inside_a_body_is_settled_too(self) -> None:
        @workflow(name="sandbox.parent")
        def parent(ctx: WorkflowContext[Any]) -> Any:
            return ctx.run("child", lambda: trip.trigger().id)

        with WorkflowSandbox() as box:
            run = parent.trigger()

            assert box.waiting_on(get_run(run.result)) == ["drive"]

    def test_cancel_runs_is_settled(self) -> None:
        with WorkflowSandbox():
            run = trip.trigger(label="x")

            assert cancel_runs(label="x") == 1

        assert run.refresh().status == "cancelled"

    def test_wait_returns_an_ended_run_and_never_waits(self) -> None:
        with WorkflowSandbox() as box:
            run = trip.trigger()
            with pytest.raises(RunNotFinishedError, match=r"box\.advance"):
                run.wait(timeout=60)
            box.advance("2d")

            assert run.wait().result == "there"

    def test_workflow_over_http_runs_in_the_box(self) -> None:
        with WorkflowSandbox():
            run = over_http.trigger()

        assert run.result == "pack"


@pytest.mark.django_db
class TestClock:
    def test_work_is_done_at_its_own_time_and_in_order(self) -> None:
        @workflow(name="sandbox.late")
        def late(ctx: WorkflowContext[Any]) -> None:
            for hours in ctx.request_payload:
                ctx.sleep("nap", timedelta(hours=hours))
                ctx.run("wake", note, str(ctx.now()))

        with WorkflowSandbox() as box:
            begun = box.now
            late.trigger([3, 3])
            late.trigger([4])
            box.advance("1d")

        assert calls == [str(begun + timedelta(hours=hours)) for hours in (3, 4, 6)]

    def test_delayed_run_begins_at_its_time(self) -> None:
        with WorkflowSandbox() as box:
            run = trip.trigger(delay="1h")
            before = run.status
            box.advance("1h")

        assert before == "pending"
        assert run.refresh().status == "running"

    def test_body_that_moves_the_clock_has_taken_that_long(self) -> None:
        with WorkflowSandbox() as box:

            @workflow(name="sandbox.slow", retries=0)
            def slow(ctx: WorkflowContext[Any]) -> None:
                ctx.using(timeout="30s").run("slow", box.advance, "1m")

            run = slow.trigger()

        assert run.status == "failed"
        assert run.failure.error_class.endswith("StepTimeoutError")
        assert sorted(run.attempts.values_list("outcome", flat=True)) == ["late", "timed_out"]

    def test_drifting_arguments_are_an_error(self) -> None:
        @workflow(name="sandbox.drift")
        def drift(ctx: WorkflowContext[Any]) -> None:
            ctx.sleep("nap", 100 + len(calls))
            calls.append("woken")
            ctx.sleep("again", 100)

        with WorkflowSandbox() as box:
            run = drift.trigger()
            box.advance("1d")

        assert run.refresh().status == "blocked"
        assert run.failure.error_class.endswith("ArgumentDriftError")


@pytest.mark.django_db
class TestItsOwnRunsOnly:
    def test_two_boxes_do_not_see_each_others_runs(self) -> None:
        with WorkflowSandbox():
            first = trip.trigger()
        with WorkflowSandbox() as box:
            second = trip.trigger()
            box.advance("3d")

        assert first.refresh().status == "running"
        assert second.refresh().status == "completed"

    def test_box_in_a_box_has_its_own_clock(self) -> None:
        with WorkflowSandbox() as outer:
            first = trip.trigger()
            with WorkflowSandbox() as inner:
                second = trip.trigger()
                inner.advance("3d")
                outer.advance("1h")

            assert first.refresh().status == "running"
            assert second.refresh().status == "completed"
            outer.advance("3d")
            assert first.refresh().status == "completed"

    def test_nothing_of_the_box_is_left_behind(self) -> None:
        before = (get_runtime(), get_clock(), get_dispatcher(), transaction.Atomic.__exit__)

        with WorkflowSandbox():
            during = (get_runtime(), get_clock(), get_dispatcher(), transaction.Atomic.__exit__)

        assert (get_runtime(), get_clock(), get_dispatcher(), transaction.Atomic.__exit__) == before
        assert all(a is not b for a, b in zip(before, during, strict=True))

    def test_failed_record_leaves_the_tests_transaction_whole(self) -> None:
        @workflow(name="sandbox.suicide")
        def suicide(ctx: WorkflowContext[Any]) -> None:
            ctx.run("end", lambda: get_run(ctx.workflow_run_id).cancel())

        with WorkflowSandbox():
            run = suicide.trigger()

        assert run.status == "cancelled"
        assert [attempt.outcome for attempt in run.attempts.all()] == ["late"]

    def test_clock_may_begin_at_any_moment(self) -> None:
        born = datetime(2030, 1, 1, tzinfo=UTC)

        with WorkflowSandbox(now=born) as box:
            run = trip.trigger()
            box.advance("2d")

        assert run.created_at == born
        assert run.refresh().finished_at == datetime(2030, 1, 3, tzinfo=UTC)

    def test_naive_moment_is_refused(self) -> None:
        with pytest.raises(InvalidOptionError, match="has no time zone"):
            WorkflowSandbox(now=datetime(2030, 1, 1))  # noqa: DTZ001  what is refused

    def test_run_of_before_is_none_of_the_boxs_business(self) -> None:
        run = trip.trigger()

        with WorkflowSandbox() as box:
            box.settle()

        assert run.refresh().status == "pending"
        assert Delivery.objects.get().tries == 0


@pytest.mark.django_db
def test_every_pass_executes_one_body_by_default() -> None:
    passes: list[str] = []

    @workflow(name="sandbox.passes")
    def counted(ctx: WorkflowContext[Any]) -> int:
        passes.append("pass")
        return sum(ctx.run(name, lambda: current_step().attempt) for name in "abc")

    with WorkflowSandbox():
        counted.trigger()
    one_by_one = len(passes)
    with WorkflowSandbox(steps_per_pass=None):
        counted.trigger()

    assert one_by_one == 3
    assert len(passes) - one_by_one == 1


@pytest.mark.django_db
def test_run_that_never_rests_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @workflow(name="sandbox.restless")
    def restless(ctx: WorkflowContext[Any]) -> None:
        while True:
            ctx.run("again", int)

    monkeypatch.setattr("django_workflow.testing.sandbox.MOST_PASSES", 20)
    with WorkflowSandbox(), pytest.raises(Exception, match="After 20 passes"):
        restless.trigger()


@pytest.mark.django_db(transaction=True)
def test_run_of_the_box_goes_on_in_a_worker_afterwards() -> None:
    with WorkflowSandbox() as box:
        run = trip.trigger()
        box.advance("2d")
        again = run.restart()
        again.cancel()
    other = over_http.trigger()
    other.cancel()

    assert drain() == 0


# Events


@workflow(name="sandbox.parcel")
def parcel(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("pickup", "pickup", timeout="1d").event_data


@workflow(name="sandbox.sender")
def sender(ctx: WorkflowContext[Any]) -> None:
    ctx.run("call", notify, "pickup", "from a body")


@pytest.mark.django_db
def test_notify_is_followed_by_what_it_wakes() -> None:
    with WorkflowSandbox():
        run = parcel.trigger()

        event = notify("pickup", "here")

        assert event.reached == 1
        assert run.refresh().result == "here"


@pytest.mark.django_db
def test_notify_in_a_transaction_wakes_when_it_commits() -> None:
    with WorkflowSandbox() as box:
        run = parcel.trigger()

        with transaction.atomic():
            notify("pickup", "here")
            assert box.waiting_on(run) == ["pickup"]

        assert run.refresh().result == "here"


@pytest.mark.django_db
def test_notify_in_a_transaction_that_is_rolled_back_wakes_nobody() -> None:
    with WorkflowSandbox() as box:
        run = parcel.trigger()

        with transaction.atomic():
            notify("pickup", "here")
            transaction.set_rollback(True)

        assert box.waiting_on(run) == ["pickup"]


@pytest.mark.django_db
def test_body_that_notifies_wakes_the_other_run() -> None:
    with WorkflowSandbox():
        run = parcel.trigger()
        sender.trigger()

        assert run.refresh().result == "from a body"


@pytest.mark.django_db
def test_async_notify() -> None:
    async def play() -> Any:
        async with WorkflowSandbox():
            run = await parcel.atrigger()
            event = await anotify("pickup", "here")
            return event.reached, (await run.arefresh()).result

    assert async_to_sync(play)() == (1, "here")
