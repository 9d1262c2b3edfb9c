"""A queueing singleton beside all that a trigger may say, and what people do with its line."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from django_workflow import (
    Debounce,
    FlowControl,
    InvalidOptionError,
    Singleton,
    WorkflowContext,
    flow_control,
    workflow,
)
from django_workflow.core.options import WorkflowOptions
from django_workflow.core.singleton_lines import LENGTH, is_line, key_in, line_of
from django_workflow.models import FlowKey, FlowTicket, Run
from django_workflow.store import runs as store
from django_workflow.store.unused_keys import delete_unused
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db


def wait(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("wait", "1h")
    return ctx.request_payload


queueing = workflow(name="queueing", singleton=Singleton("one", on_conflict="queue"))(wait)
by_payload = workflow(name="queueing_by", singleton=Singleton(str, on_conflict="queue"))(wait)
limited = workflow(
    name="queueing_limited",
    singleton=Singleton(on_conflict="queue"),
    flow_control=FlowControl("queueing_slot", parallelism=1),
)(lambda ctx: ctx.run("body", str, ctx.request_payload))
parent = workflow(name="queueing_parent")(lambda ctx: ctx.invoke("child", queueing))

LINE = "singleton/queueing/one"


def statuses(*runs: Run) -> list[str]:
    return [run.refresh().status for run in runs]


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="return, skip, replace, queue, not 'line'"):
        Singleton(on_conflict="line")  # type: ignore[arg-type]


def test_flow_control_cannot_take_the_line_of_a_singleton() -> None:
    with pytest.raises(InvalidOptionError, match="those of singletons"):
        FlowControl(LINE, parallelism=2)
    with pytest.raises(InvalidOptionError, match="those of singletons"):
        FlowControl(lambda payload: LINE, parallelism=2).for_payload(None)


def test_debounce_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="debounce does not go together"):
        queueing.trigger(1, debounce=Debounce("doc", "10s"))
    assert not Run.objects.exists()


def test_lines_of_long_names_differ_and_fit() -> None:
    lines = [line_of("w" * 200, key) for key in ("a", "b")] + [line_of("w", "k" * 200)]

    assert len(set(lines)) == 3
    assert all(len(line) <= LENGTH and is_line(line) for line in lines)
    assert (key_in(LINE), key_in(line_of("a", "b/c"))) == ("one", "b/c")


def test_rolled_back_trigger_is_not_in_line() -> None:
    with WorkflowSandbox():
        with transaction.atomic():
            queueing.trigger(1)
            transaction.set_rollback(True)

        assert queueing.trigger(2).refresh().status == "running"


def test_triggers_of_one_transaction_stand_in_line_as_they_were_made() -> None:
    with WorkflowSandbox() as box:
        first, second, third = queueing.trigger_many([1, 2, 3])
        assert (first.created, second.created) == (True, True)
        assert statuses(first, second, third) == ["running", "pending", "pending"]
        box.advance("1h")
        assert statuses(first, second, third) == ["completed", "running", "pending"]


def test_used_id_stands_in_line_once() -> None:
    with WorkflowSandbox():
        queueing.trigger(1)
        second = queueing.trigger(2, workflow_run_id="second")
        again = queueing.trigger(2, workflow_run_id="second")

        assert (again.id, again.created, second.created) == ("second", False, True)
        assert flow_control(LINE).waiting == 1


def test_higher_priority_goes_first() -> None:
    with WorkflowSandbox() as box:
        queueing.trigger(1)
        patient, urgent = queueing.trigger(2), queueing.trigger(3, priority=5)
        box.advance("1h")
        assert statuses(patient, urgent) == ["pending", "running"]


def test_delayed_run_keeps_its_place_and_begins_at_its_time() -> None:
    with WorkflowSandbox() as box:
        delayed, behind = queueing.trigger(1, delay="30m"), queueing.trigger(2)
        assert statuses(delayed, behind) == ["pending", "pending"]
        box.advance("29m")
        assert delayed.refresh().status == "pending"
        box.advance("1m")
        assert statuses(delayed, behind) == ["running", "pending"]
        box.advance("1h")
        assert statuses(delayed, behind) == ["completed", "running"]


def test_delay_that_is_over_before_its_turn_begins_at_its_turn() -> None:
    with WorkflowSandbox() as box:
        queueing.trigger(1)
        delayed = queueing.trigger(2, delay="30m")
        box.advance("59m")
        assert delayed.refresh().status == "pending"
        box.advance("1m")
        assert delayed.refresh().status == "running"


def test_run_whose_ttl_is_over_in_line_is_cancelled_and_the_next_one_keeps_its_place() -> None:
    with WorkflowSandbox() as box:
        first = queueing.trigger(1)
        late, patient = queueing.trigger(2, ttl="10m"), queueing.trigger(3)
        box.advance("10m")
        assert statuses(first, late, patient) == ["running", "cancelled", "pending"]
        box.advance("50m")
        assert patient.refresh().status == "running"


def test_run_that_is_woken_before_its_turn_stands_back() -> None:
    with WorkflowSandbox() as box:
        first, second = queueing.trigger(1), queueing.trigger(2)
        store.wake(second.id)
        box.settle()

        second.refresh()
        assert (second.status, second.started_at) == ("pending", None)
        assert second.reason == f'behind run {first.id} of singleton key "one" (place 1 of 1)'
        assert not Run.objects.stuck().exists()
        box.advance("1h")
        assert second.refresh().status == "running"


def test_fork_stands_in_the_line_of_its_own_payload() -> None:
    with WorkflowSandbox():
        by_payload.trigger("a")
        of_b = by_payload.trigger("b")
        fork = of_b.fork("wait", payload="a")
        other = of_b.fork("wait", payload="c")

        assert statuses(fork, other) == ["pending", "running"]
        assert fork.reason.endswith('singleton key "a" (place 1 of 1)')


def test_restart_stands_in_line_too() -> None:
    with WorkflowSandbox() as box:
        first = queueing.trigger(1)
        first.cancel()
        second = queueing.trigger(2)
        again = first.restart()
        assert statuses(second, again) == ["running", "pending"]
        box.advance("1h")
        assert statuses(second, again) == ["completed", "running"]


def test_run_of_an_earlier_policy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkflowSandbox() as box:
        with monkeypatch.context() as before:
            before.setattr(queueing, "options", WorkflowOptions(singleton=Singleton("one")))
            old = queueing.trigger(1)
        new = queueing.trigger(2)
        assert statuses(old, new) == ["running", "pending"]
        box.advance("1h")
        assert statuses(old, new) == ["completed", "running"]


def test_slots_of_a_schedule_stand_in_line() -> None:
    with WorkflowSandbox() as box:
        queueing.schedule("*/10 * * * *", schedule_id="often", payload="slot", overlap="allow")
        box.advance("30m")
        found = list(Run.objects.order_by("created_at").values_list("status", flat=True))
        assert found == ["running", "pending", "pending"]
        assert flow_control(LINE).waiting == 2


def test_flow_control_of_its_steps_is_asked_beside_the_line() -> None:
    with WorkflowSandbox():
        flow_control("queueing_slot").pause()
        first, second = limited.trigger(1), limited.trigger(2)
        assert (first.refresh().status, second.refresh().status) == ("running", "pending")
        assert "flow control" in first.reason
        assert second.reason.startswith(f"behind run {first.id}")
        flow_control("queueing_slot").resume()
        assert [first.refresh().result, second.refresh().result] == ["1", "2"]


def test_invoke_refuses_it() -> None:
    with WorkflowSandbox():
        run = parent.trigger()
        assert "is a singleton" in run.refresh().reason or "is a singleton" in str(run.failure)


def test_line_can_be_paused_and_has_no_other_limits() -> None:
    with WorkflowSandbox() as box:
        line = flow_control(LINE).pause()
        run = queueing.trigger(1)
        assert run.reason == 'waits for singleton key "one" (paused; place 1 of 1)'
        assert (line.parallelism, line.waiting, line.holding) == (1, 1, 0)
        assert not Run.objects.stuck().exists()
        for verb in ("pin", "unpin", "reset"):
            with pytest.raises(InvalidOptionError, match="line of a singleton"):
                getattr(line, verb)()
        with pytest.raises(InvalidOptionError, match="line of a singleton"):
            line.set(parallelism=2)

        line.resume()
        assert run.refresh().status == "running"
        assert (line.waiting, line.holding) == (0, 1)
        box.advance("1h")
        assert (line.waiting, line.holding) == (0, 0)


def test_line_that_nobody_uses_is_deleted() -> None:
    with WorkflowSandbox() as box:
        queueing.trigger(1)
        delete_unused(100)
        assert FlowKey.objects.filter(pk=LINE).exists()
        box.advance("1h")
        assert not FlowTicket.objects.exists()
        delete_unused(100)
        assert not FlowKey.objects.exists()


def test_run_that_failed_before_it_began_leaves_the_line() -> None:
    with WorkflowSandbox() as box:
        first = queueing.trigger(1)
        late, patient = queueing.trigger(2, timeout="10m"), queueing.trigger(3)
        box.advance("30m")
        store.wake(late.id)
        box.settle()
        assert statuses(first, late, patient) == ["running", "failed", "pending"]
        assert patient.reason.endswith("(place 1 of 1)")
        box.advance("30m")
        assert patient.refresh().status == "running"
