"""Decisions, timeouts and calls that meet: one outcome each, and the run is told of the same one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from django.db import transaction

from django_workflow import ApprovalClosedError, WorkflowContext, decide_approval, workflow
from django_workflow.core.webhooks import WebhookRequest
from django_workflow.models import Approval, Delivery, Event, Run, Step
from django_workflow.runtime.approval_mail import AGAIN, send_due
from django_workflow.runtime.sweeper import free_dead_workers, sweep
from django_workflow.runtime.webhooks import GONE, TAKEN, digest_of, keep_call
from django_workflow.runtime.worker import drain
from django_workflow.runtime.workers import worker_name
from django_workflow.store import claims
from django_workflow.store.approvals import NOBODY
from tests.concurrency.together import Gate, Threads
from tests.store.made import PAST
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BEN = "ann@example.org", "ben@example.org"


@workflow(name="approvals_race", transport="inline")
def asks(ctx: WorkflowContext[Any]) -> str:
    found = ctx.wait_for_approval("sign", assignees=[ANN, BEN], timeout="1h")
    return f"{found.decision} {found.decided_by}".strip()


@workflow(name="webhooks_race", transport="inline")
def hears(ctx: WorkflowContext[Any]) -> Any:
    hook = ctx.create_webhook("hook", single_use=True)
    ctx.sleep("rest", "1h")
    call = ctx.wait_for_webhook("call", hook, timeout="1h")
    return call.request and call.request.body


def waiting() -> Approval:
    run = asks.trigger()
    drain()
    return Approval.objects.get(run_id=run.id)


def is_over(approval: Approval) -> None:
    """Let the time of the wait be over, for the engine; who decides looks at the approval."""
    Step.objects.filter(run_id=approval.run_id).update(wake_at=PAST)
    Delivery.objects.filter(run_id=approval.run_id).update(due_at=PAST)


def try_to_decide(approval: Approval, by: str, *, approve: bool = True) -> bool:
    try:
        decide_approval(approval, approve=approve, by=by)
    except ApprovalClosedError:
        return False
    return True


def outcome_of(approval: Approval) -> str:
    """Return what the run was told, after all are at rest; it is what the row says."""
    sweep(force=True)
    drain()
    approval.refresh_from_db()
    result: str = Run.objects.get(pk=approval.run_id).result
    assert result == f"{approval.decision} {approval.decided_by}".strip()
    assert not Run.objects.stuck().exists()
    return result


def test_of_two_deciders_one_decides(crew: Threads) -> None:
    for _ in range(15):
        approval = waiting()

        won = crew.together(
            partial(try_to_decide, approval, ANN),
            partial(try_to_decide, approval, BEN, approve=False),
        )

        assert sorted(won) == [False, True]
        assert outcome_of(approval) in (f"approved {ANN}", f"rejected {BEN}")
        assert Event.objects.filter(run_id=approval.run_id).count() == 1


def test_a_decision_and_a_timeout_end_it_once(crew: Threads) -> None:
    found = set()
    chance = Random(7)
    for _ in range(25):
        approval = waiting()
        order: list[Callable[[], Any]] = [partial(try_to_decide, approval, ANN), drain]
        is_over(approval)
        chance.shuffle(order)

        crew.together(*order)

        found.add(outcome_of(approval))
    assert found <= {f"approved {ANN}", "timed_out"}


@pytest.mark.pg_only
def test_a_timeout_waits_for_a_decision_that_is_not_committed(crew: Threads) -> None:
    approval = waiting()
    gate = Gate()

    def decide_slowly() -> None:
        with transaction.atomic():
            decide_approval(approval, approve=True, by=ANN)
            gate.hold()

    deciding = crew.start(decide_slowly)
    gate.await_arrival()
    is_over(approval)
    elapsing = crew.start(drain)
    gate.open()
    deciding.result(30)
    elapsing.result(30)

    assert outcome_of(approval) == f"approved {ANN}"


@pytest.mark.pg_only
def test_a_decision_that_is_rolled_back_leaves_the_timeout(crew: Threads) -> None:
    approval = waiting()
    gate = Gate()

    def decide_in_vain() -> None:
        with transaction.atomic():
            decide_approval(approval, approve=True, by=ANN)
            gate.hold()
            transaction.set_rollback(True)

    deciding = crew.start(decide_in_vain)
    gate.await_arrival()
    is_over(approval)
    elapsing = crew.start(drain)
    gate.open()
    deciding.result(30)
    elapsing.result(30)

    assert outcome_of(approval) == "timed_out"


def test_of_two_calls_of_a_webhook_for_one_call_one_is_kept(crew: Threads) -> None:
    with served_at("http://testserver"):
        for _ in range(10):
            run = hears.trigger()
            drain()
            webhook = run.webhooks.get()
            url = run.steps.get(name="hook").result["webhook_url"]
            assert webhook.digest == digest_of(url.rstrip("/").rpartition("/")[2])
            calls = [
                WebhookRequest(
                    method="POST",
                    url=url,
                    headers={},
                    query={},
                    content_type="text/plain",
                    content=str(number),
                )
                for number in range(2)
            ]

            said = crew.together(*(partial(keep_call, webhook, call) for call in calls))

            assert sorted(said) == [GONE, TAKEN]
            is_over(Approval(run_id=run.id))
            drain()
            assert Run.objects.get(pk=run.id).result == str(said.index(TAKEN))


def test_a_mail_is_taken_by_one_process(crew: Threads, mailoutbox: list[Any]) -> None:
    waiting()
    Approval.objects.update(next_mail_at=claims.now())

    crew.together(send_due, send_due)

    assert sorted(one.to[0] for one in mailoutbox) == [ANN, BEN]


def test_a_mail_whose_sender_was_killed_is_sent_by_the_next_that_starts(
    child_env: dict[str, str], mailoutbox: list[Any]
) -> None:
    approval = waiting()
    Approval.objects.update(next_mail_at=claims.now())
    command = [sys.executable, "-m", "tests.concurrency.mail_child"]

    assert subprocess.run(command, env=child_env, timeout=60).returncode == -signal.SIGKILL

    approval.refresh_from_db()
    assert approval.mail_taken_by
    assert send_due() == 0
    free_dead_workers()
    assert send_due() == 1
    assert sorted(one.to[0] for one in mailoutbox) == [ANN, BEN]
    approval.refresh_from_db()
    assert approval.mail_taken_by == NOBODY


def test_a_mail_that_a_living_process_sends_is_left_to_it(mailoutbox: list[Any]) -> None:
    approval = waiting()
    taken = Approval.objects.filter(pk=approval.pk)
    taken.update(mails=0, mail_taken_by=worker_name(), next_mail_at=claims.now() + AGAIN)
    mailoutbox.clear()

    free_dead_workers()

    assert send_due() == 0
    assert mailoutbox == []
