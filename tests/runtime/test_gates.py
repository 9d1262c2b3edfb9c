"""Triggers of which not each one makes a run: singleton, debounce, throttle, ttl."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from django_workflow import (
    Debounce,
    FlowControl,
    InvalidOptionError,
    RunFailedError,
    Singleton,
    Throttle,
    WorkflowContext,
    flow_control,
    workflow,
)
from django_workflow.models import Run, TriggerKey
from django_workflow.testing import WorkflowSandbox


def wait(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("wait", "1h")
    return ctx.request_payload


def by_customer(payload: Any) -> str:
    return str(payload["customer"])


returning = workflow(name="gates_return", singleton=Singleton(by_customer))(wait)
skipping = workflow(name="gates_skip", singleton=Singleton(on_conflict="skip"))(wait)
replacing = workflow(name="gates_replace", singleton=Singleton(on_conflict="replace"))(wait)
plain = workflow(name="gates_plain")(wait)
limited = workflow(name="gates_limited", flow_control=FlowControl("gates", parallelism=1))(
    lambda ctx: ctx.run("body", str, ctx.request_payload)
)

ANN, BOB = {"customer": "ann"}, {"customer": "bob"}


@pytest.mark.django_db
def test_singleton_returns_the_unfinished_run_of_its_key() -> None:
    with WorkflowSandbox() as box:
        first = returning.trigger(ANN)
        again = returning.trigger({**ANN, "more": 1})
        other = returning.trigger(BOB)
        assert (again.id, again.created) == (first.id, False)
        assert other.id != first.id

        box.advance("1h")
        assert returning.trigger(ANN).created


@pytest.mark.django_db
def test_singleton_skips() -> None:
    with WorkflowSandbox():
        first = skipping.trigger()
        assert skipping.trigger() is None
        assert skipping.trigger_many([None, None]) == [None, None]
        first.cancel()
        assert skipping.trigger().created


@pytest.mark.django_db
def test_singleton_replaces() -> None:
    with WorkflowSandbox() as box:
        first, second = replacing.trigger(1), replacing.trigger(2)
        assert first.refresh().status == "cancelled"
        box.advance("1h")
        assert second.refresh().result == 2


@pytest.mark.django_db
def test_rolled_back_trigger_holds_no_key() -> None:
    with WorkflowSandbox():
        with transaction.atomic():
            returning.trigger(ANN)
            transaction.set_rollback(True)

        assert not TriggerKey.objects.exists()
        assert returning.trigger(ANN).created


@pytest.mark.django_db
def test_key_of_a_singleton_that_the_payload_does_not_tell_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="could not be told from the payload: KeyError"):
        returning.trigger({})
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_debounce_makes_one_run_with_the_last_payload_when_it_is_quiet() -> None:
    with WorkflowSandbox() as box:
        first = plain.trigger(1, debounce=Debounce("doc", "10s"))
        box.advance("6s")
        second = plain.trigger(2, debounce=Debounce("doc", "10s"))
        box.advance("6s")
        assert (second.id, second.created, second.status) == (first.id, False, "pending")
        box.advance("4s")
        assert first.refresh().status == "running"
        assert first.payload == 2

        third = plain.trigger(3, debounce=Debounce("doc", "10s"))
        assert third.id != first.id


@pytest.mark.django_db
def test_debounce_does_not_wait_longer_than_its_longest_wait() -> None:
    calls = Debounce("doc", "10s", max_wait="25s")
    with WorkflowSandbox() as box:
        first = plain.trigger(0, debounce=calls)
        for number in (1, 2, 3):
            box.advance("8s")
            plain.trigger(number, debounce=calls)
        assert first.refresh().status == "pending"
        box.advance("1s")
        assert first.refresh().status == "running"
        assert first.payload == 3


@pytest.mark.django_db
def test_throttle_makes_one_run_in_its_period() -> None:
    with WorkflowSandbox() as box:
        first = plain.trigger(1, throttle=Throttle("mail", "1m"))
        assert plain.trigger(2, throttle=Throttle("mail", "1m")).id == first.id
        assert plain.trigger(3, throttle=Throttle("other", "1m")).created
        box.advance("1m")
        assert plain.trigger(4, throttle=Throttle("mail", "1m")).created


@pytest.mark.django_db
def test_run_that_has_not_begun_when_its_ttl_is_over_is_cancelled_and_says_why() -> None:
    with WorkflowSandbox() as box:
        flow_control("gates").pause()
        run = limited.trigger("late", ttl="1h")
        box.advance("59m")
        assert run.refresh().status == "pending"
        box.advance("1m")

        assert run.refresh().status == "cancelled"
        assert run.failure is not None
        assert run.failure.error_class.endswith("RunExpiredError")
        with pytest.raises(RunFailedError, match=r"had not begun by .* when its ttl was over"):
            _ = run.result
        assert flow_control("gates").waiting == 0


@pytest.mark.django_db
def test_run_that_has_begun_is_not_concerned_by_its_ttl() -> None:
    with WorkflowSandbox() as box:
        run = plain.trigger(ttl="10m", delay="5m")
        box.advance("2h")
        assert run.refresh().status == "completed"


@pytest.mark.django_db
def test_paused_run_in_line_keeps_its_place_and_begins_when_it_is_resumed() -> None:
    with WorkflowSandbox():
        key = flow_control("gates").pause()
        run, other = limited.trigger(1, ttl="1h"), limited.trigger(2)
        run.pause()
        key.resume()
        assert other.refresh().result == "2"
        assert run.refresh().status == "paused"
        run.resume()
        assert run.refresh().result == "1"


@pytest.mark.django_db
def test_restart_stands_in_line_too() -> None:
    with WorkflowSandbox():
        run = limited.trigger(1)
        flow_control("gates").pause()
        again = run.restart()
        assert again.reason.startswith('waits for a slot of flow control "gates" (paused; place 1')
        flow_control("gates").resume()
        assert again.refresh().result == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": 101}, "priority is a whole number from -100 to 100"),
        ({"priority": "high"}, "priority is a whole number"),
        ({"flow_control": "reports"}, "flow_control of a trigger is a FlowControl"),
        ({"debounce": "10s"}, "debounce is a Debounce"),
        ({"throttle": 3}, "throttle is a Throttle"),
        ({"ttl": 0}, "ttl must be longer than zero"),
        ({"ttl": "1m", "delay": "2m"}, "ttl is over before the run may begin"),
        ({"debounce": Debounce("a", 1), "delay": "1s"}, "does not go together with delay"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        plain.trigger(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FlowControl("k" * 10_000, rate=1),
            r"1 to 200 characters, not .*10,000 characters",
        ),
        (lambda: FlowControl("", rate=1), "1 to 200 characters, not ''"),
        (lambda: FlowControl("a\nb", rate=1), "printable"),
        (lambda: FlowControl("a"), "limits nothing"),
        (lambda: FlowControl("a", rate=0), "rate is a whole number from 1"),
        (lambda: FlowControl("a", parallelism=True), "parallelism is a whole number"),
        (lambda: FlowControl("a", rate=1, period=0), "period is from a millisecond"),
        (lambda: FlowControl("a", rate=1, period="1y"), "period is from a millisecond to 31 days"),
        (lambda: Singleton(on_conflict="wait"), "on_conflict is one of"),  # type: ignore[arg-type]
        (lambda: Debounce("a", "10s", max_wait="5s"), "not shorter than its quiet time"),
        (lambda: Throttle("a", timedelta(0)), "longer than zero"),
        (lambda: flow_control("k" * 201), "1 to 200"),
        (lambda: flow_control("a").set(speed=3), "set.. takes parallelism, rate and period"),
        (lambda: workflow(flow_control="a"), "flow_control of a workflow is a FlowControl"),
    ],
)
def test_wrong_limits_are_refused_where_they_are_written(make: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        make()


@pytest.mark.django_db
def test_key_that_the_payload_makes_too_long_is_refused_at_the_trigger() -> None:
    long = workflow(
        name="gates_long", flow_control=FlowControl(lambda payload: "k" * payload, rate=1)
    )(wait)
    with pytest.raises(InvalidOptionError, match="1 to 200 characters"):
        long.trigger(10_000)
    assert not Run.objects.exists()


@workflow(name="gates_invokes")
def invokes(ctx: WorkflowContext[Any]) -> Any:
    return ctx.invoke("child", limited, ctx.request_payload)


@workflow(name="gates_invokes_singleton")
def invokes_singleton(ctx: WorkflowContext[Any]) -> Any:
    return ctx.invoke("child", skipping)


@pytest.mark.django_db
def test_child_of_a_limited_workflow_is_given_its_turn() -> None:
    with WorkflowSandbox():
        assert invokes.trigger(7).refresh().result == "7"


@pytest.mark.django_db
def test_singleton_cannot_be_invoked() -> None:
    with WorkflowSandbox() as box:
        run = invokes_singleton.trigger()
        box.advance("1d")
        assert "is a singleton" in run.refresh().failure.message
        assert not Run.objects.filter(workflow="gates_skip").exists()
