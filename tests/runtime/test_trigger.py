"""A trigger is a row in the caller's transaction; what cannot work is refused there and then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.contrib.admin.utils import unquote
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from django_workflow import (
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
    RetryPolicy,
    RunExistsError,
    RunNotFinishedError,
    RunNotFoundError,
    TransactionOpenError,
    WorkflowContext,
    aget_run,
    cancel_runs,
    get_run,
    workflow,
)
from django_workflow.models import Delivery, Run
from django_workflow.runtime.invoking import derived_run_id
from django_workflow.runtime.triggering import new_run_id
from django_workflow.runtime.worker import drain


@workflow(name="trigger_echo", transport="inline")
def echo(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("echo", lambda: ctx.request_payload)


@pytest.mark.parametrize("make", [lambda _: new_run_id(), derived_run_id], ids=["new", "derived"])
def test_an_id_stays_itself_in_the_urls_of_the_admin(make: Any) -> None:
    made = {make(number) for number in range(2_000)}

    # unquote() reads an underscore and two digits as a character: one id in 190 would have no page.
    assert {unquote(run_id) for run_id in made} == made
    assert {len(run_id) for run_id in made} == {25}
    assert len(made) == 2_000


class OrderForm(forms.Form):
    order_id = forms.IntegerField()


class OrderSerializer(serializers.Serializer[Any]):
    order_id = serializers.IntegerField()


def positive(payload: Any) -> Any:
    if payload["order_id"] < 1:
        raise ValueError("order_id must be positive")
    return payload


by_form = workflow(name="trigger_by_form", payload_schema=OrderForm)(
    lambda ctx: ctx.request_payload
)
by_serializer = workflow(name="trigger_by_serializer", payload_schema=OrderSerializer)(
    lambda ctx: ctx.request_payload
)
by_callable = workflow(name="trigger_by_callable", payload_schema=positive)(
    lambda ctx: ctx.request_payload
)


@pytest.mark.django_db(transaction=True)
def test_committed_trigger_will_run() -> None:
    with transaction.atomic():
        run = echo.trigger({"n": 1})

    drain()

    assert run.refresh().result == {"n": 1}


@pytest.mark.django_db(transaction=True)
def test_trigger_in_a_rolled_back_transaction_leaves_nothing() -> None:
    with transaction.atomic():
        echo.trigger({"n": 1}, label="x")
        transaction.set_rollback(True)

    assert (Run.objects.count(), Delivery.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_used_id_with_the_same_payload_returns_the_existing_run() -> None:
    first = echo.trigger({"n": 1}, workflow_run_id="order-1")

    second = echo.trigger({"n": 1}, workflow_run_id="order-1")

    assert (first.created, second.created, second.id) == (True, False, "order-1")
    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("other", [{"n": 2}, None])
def test_used_id_with_another_payload_is_refused(other: Any) -> None:
    echo.trigger({"n": 1}, workflow_run_id="order-1")

    with pytest.raises(RunExistsError, match='"order-1" is taken') as caught:
        echo.trigger(other, workflow_run_id="order-1")

    assert caught.value.run_id == "order-1"


@pytest.mark.django_db(transaction=True)
def test_used_id_does_not_poison_the_callers_transaction() -> None:
    echo.trigger({"n": 1}, workflow_run_id="order-1")

    with transaction.atomic():
        echo.trigger({"n": 1}, workflow_run_id="order-1")
        echo.trigger({"n": 2}, workflow_run_id="order-2")

    assert Run.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_run_ids_are_made_where_none_is_given() -> None:
    run = echo.trigger()

    assert run.id.startswith("wfr_")
    assert len(run.id) == 25


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run_id", ["", "   ", "x" * 129, 7, "a\nb"])
def test_impossible_run_ids_are_refused(run_id: Any) -> None:
    with pytest.raises(InvalidOptionError, match="workflow_run_id must be"):
        echo.trigger({}, workflow_run_id=run_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"a": [1, {2, 3}]}, r"payload\[\"a\"\]\[1\]"),
        ({"a": float("nan")}, "payload"),
        ({1: 2}, "payload"),
        (object(), "payload"),
    ],
)
def test_payload_that_cannot_be_stored_is_refused_with_its_path(payload: Any, path: str) -> None:
    with pytest.raises(NotSerializableError, match=path):
        echo.trigger(payload)

    assert Run.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_payload_beyond_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        echo.trigger({"x": "x" * 50_000_000})

    assert caught.value.limit == 10_000_000
    assert Run.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_five_megabytes_are_carried() -> None:
    run = echo.trigger({"x": "x" * 5_000_000})

    drain()

    assert len(run.refresh().result["x"]) == 5_000_000


@pytest.mark.django_db(transaction=True)
@override_settings(WORKFLOW={"MAX_PAYLOAD_BYTES": 100})
def test_payload_limit_is_a_setting() -> None:
    with pytest.raises(PayloadTooLargeError):
        echo.trigger({"x": "x" * 200})


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_trigger_inside_a_transaction_on_another_alias_is_refused() -> None:
    with (
        pytest.raises(InvalidOptionError, match='on "other", but runs are kept on "default"'),
        transaction.atomic(using="other"),
    ):
        echo.trigger({})

    assert Run.objects.count() == 0


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_detached_trigger_is_allowed_inside_a_transaction_on_another_alias() -> None:
    with transaction.atomic(using="other"):
        run = echo.trigger({}, detached=True)

    assert Run.objects.get().id == run.id


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delai": "1s"}, "no option 'delai'"),
        ({"delay": "soon"}, "soon"),
        ({"delay": -1}, "-1"),
        ({"not_before": datetime(2026, 1, 1)}, "naive|offset|zone"),  # noqa: DTZ001  that is the point
        ({"label": 3}, "iterable|label"),
        ({"label": ["x" * 101]}, "label"),
        ({"headers": {"A": 1}}, "headers"),
        ({"retries": -1}, "-1"),
        ({"version": "9"}, 'no version "9"'),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidOptionError, TypeError), match=message):
        echo.trigger({}, **options)

    assert Run.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_delay_keeps_the_run_pending() -> None:
    run = echo.trigger({}, delay="1h")

    drain()

    assert run.refresh().status == "pending"
    assert Delivery.objects.get().due_at == run.created_at + timedelta(hours=1)


@pytest.mark.django_db(transaction=True)
def test_not_before_in_the_past_does_not_wait() -> None:
    run = echo.trigger({}, not_before=datetime(2020, 1, 1, tzinfo=UTC))

    drain()

    assert run.refresh().status == "completed"


@pytest.mark.django_db(transaction=True)
def test_labels_can_be_asked_for() -> None:
    run = echo.trigger({}, label=["vip", "eu"])
    echo.trigger({}, label="vip")

    assert run.labels == ["eu", "vip"]
    assert Run.objects.labelled("vip").count() == 2
    assert Run.objects.labelled("vip", "eu").get() == run


@pytest.mark.django_db(transaction=True)
def test_retries_of_the_trigger_win_over_the_workflow() -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise ValueError("no")

    patient = workflow(name="trigger_patient", retries=5, transport="inline")(
        lambda ctx: ctx.run("fails", fails)
    )

    run = patient.trigger(
        {}, retries=RetryPolicy(max_retries=1, first_delay=timedelta(0), jitter=0)
    )
    drain()

    assert run.refresh().status == "failed"
    assert len(calls) == 2


@pytest.mark.django_db(transaction=True)
def test_many_runs_are_all_or_nothing() -> None:
    with pytest.raises(NotSerializableError):
        echo.trigger_many([{"n": 1}, {"n": {2}}])

    assert Run.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_many_runs_come_back_in_order() -> None:
    runs = echo.trigger_many([{"n": number} for number in range(250)], label="many")

    drain()

    assert [run.refresh().result["n"] for run in runs] == list(range(250))


@pytest.mark.django_db(transaction=True)
def test_a_hundred_runs_cost_a_constant_number_of_statements() -> None:
    with CaptureQueriesContext(connection) as few:
        echo.trigger_many([{}] * 2)
    with CaptureQueriesContext(connection) as many:
        echo.trigger_many([{}] * 100)

    assert len(many) == len(few) <= 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_ids_of_many_runs_name_each_payload_once(ids: list[str]) -> None:
    with pytest.raises(InvalidOptionError, match="name each of the 2 payloads once"):
        echo.trigger_many([{}, {}], workflow_run_ids=ids)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", [by_form, by_serializer, by_callable])
def test_payload_is_checked_against_the_schema_at_the_trigger(by: Any) -> None:
    with pytest.raises(InvalidOptionError, match="order_id"):
        by.trigger({"order_id": -1} if by is by_callable else {"order_id": "x"})

    assert by.trigger({"order_id": 5}).payload == {"order_id": 5}


@pytest.mark.django_db(transaction=True)
def test_wait_inside_the_triggering_transaction_raises_at_once() -> None:
    with transaction.atomic():
        run = echo.trigger({})

        with pytest.raises(TransactionOpenError, match=r"run\.wait\(\)"):
            run.wait(timeout=60)


@pytest.mark.django_db(transaction=True)
def test_wait_tells_what_the_run_is_doing_when_time_is_over() -> None:
    run = echo.trigger({}, delay="1h")

    with pytest.raises(RunNotFinishedError, match="it is pending"):
        run.wait(timeout=0.01)


@pytest.mark.django_db(transaction=True)
def test_result_of_an_unfinished_run_is_refused() -> None:
    run = echo.trigger({}, delay="1h")

    with pytest.raises(RunNotFinishedError):
        _ = run.result


@pytest.mark.django_db(transaction=True)
def test_unknown_run_is_an_error_of_its_own() -> None:
    with pytest.raises(RunNotFoundError, match='no run "nobody"'):
        get_run("nobody")


@pytest.mark.django_db(transaction=True)
def test_runs_are_cancelled_by_label() -> None:
    run = echo.trigger({}, label="vip", delay="1h")
    other = echo.trigger({}, delay="1h")

    count = cancel_runs(label="vip")

    assert (count, run.refresh().status, other.refresh().status) == (1, "cancelled", "pending")


@pytest.mark.django_db(transaction=True)
def test_cancelling_nothing_in_particular_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="all=True"):
        cancel_runs()


@pytest.mark.django_db(transaction=True)
def test_async_twins_do_the_same() -> None:
    async def story() -> Any:
        run = await echo.atrigger({"n": 1}, workflow_run_id="order-a", delay="1h")
        await run.apause()
        await run.aresume()
        await run.acancel()
        found = await aget_run("order-a")
        return (await found.arefresh()).status

    assert async_to_sync(story)() == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_handle_of_a_run_that_is_not_there_says_so() -> None:
    with transaction.atomic():
        run = echo.trigger("x")
        transaction.set_rollback(True)

    for ask in (run.refresh, async_to_sync(run.arefresh), run.wait):
        with pytest.raises(
            RunNotFoundError, match="or the transaction of its trigger rolled back"
        ) as found:
            ask()
        assert found.value.run_id == run.id
