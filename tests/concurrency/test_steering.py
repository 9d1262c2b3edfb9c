"""What people do by hand at the same moment: one outcome each, and nothing is kept of what was not done."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User

from django_workflow import (
    ApprovalClosedError,
    DecisionRefusedError,
    NonRetryableError,
    WorkflowContext,
    WorkflowError,
    decide_approval,
    flow_control,
    workflow,
)
from django_workflow.models import Action, Approval, DeadLetterNote, Run, Schedule
from django_workflow.runtime.delegating import delegate
from django_workflow.runtime.handler_again import rerun_handler
from django_workflow.runtime.redriving import act_on
from django_workflow.runtime.steering import note_error, steer_key, steer_schedule
from django_workflow.runtime.worker import drain
from tests.concurrency.together import Threads

pytestmark = pytest.mark.django_db(transaction=True)


def refuse() -> None:
    raise NonRetryableError("no")


@workflow(name="steer_race", transport="inline")
def steered(ctx: WorkflowContext[Any]) -> str:
    if ctx.request_payload == "fail":
        ctx.run("refuse", refuse)
    return ctx.wait_for_approval("sign", assignees=["user:ann"], timeout="1h").decided_by


@pytest.fixture(autouse=True)
def no_mails(settings: Any) -> None:
    settings.WORKFLOW = {**settings.WORKFLOW, "APPROVAL_MAILER": None}


def tried(function: Any, *args: Any, **options: Any) -> bool:
    try:
        function(*args, **options)
    except (ApprovalClosedError, DecisionRefusedError):
        return False
    return True


def test_a_decision_and_a_delegation_meet(crew: Threads) -> None:
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    for _ in range(12):
        run = steered.trigger()
        drain()
        approval = Approval.objects.get(run_id=run.pk)

        decided, handed_on = crew.together(
            partial(tried, decide_approval, approval.pk, approve=True, by=ann),
            partial(tried, delegate, Approval.objects.get(pk=approval.pk), to=bob, by=ann),
        )

        named = {one.value for one in approval.assignees.all()}
        assert named == ({str(bob.pk)} if handed_on else {"ann"})
        assert Action.objects.filter(run_id=run.pk, verb="delegate").count() == handed_on
        if not decided:
            decide_approval(approval, approve=True, by=bob)
        drain()
        assert run.refresh().result == ("ann" if decided else "bob")
        assert not Run.objects.stuck().exists()


def test_two_delegations_leave_somebody_who_decides(crew: Threads) -> None:
    ann, bob, eve = (User.objects.create_user(name) for name in ("ann", "bob", "eve"))
    for _ in range(10):
        run = steered.trigger()
        drain()
        approval = Approval.objects.get(run_id=run.pk)

        done = crew.together(
            partial(tried, delegate, Approval.objects.get(pk=approval.pk), to=bob, by=ann),
            partial(tried, delegate, Approval.objects.get(pk=approval.pk), to=eve, by=ann),
        )

        assert any(done)
        assert approval.assignees.count() == sum(done)


def test_notes_of_two_make_one_row(crew: Threads) -> None:
    for number in range(10):
        mark = f"mark{number}"

        crew.together(
            *(
                partial(note_error, mark, note=text, assignee="", is_ignored=False, actor=text)
                for text in ("one", "two", "three")
            )
        )

        note = DeadLetterNote.objects.get(pk=mark)
        assert note.note == note.changed_by
        assert Action.objects.filter(subject=f"error {mark}").count() == 3


def test_a_dead_letter_is_resumed_once(crew: Threads) -> None:
    for _ in range(10):
        run = steered.trigger("fail")
        drain()

        def by_hand(run: Run = run) -> bool:
            try:
                Run.objects.get(pk=run.pk).resume()
            except WorkflowError:
                return False
            return True

        [[_id, _made, why]], resumed = crew.together(
            partial(act_on, "resume", [run.pk], ["ann", ""], "", False), by_hand
        )

        assert (why == "") != resumed
        assert Action.objects.filter(run_id=run.pk, verb="resume").count() == 1
        assert not Run.objects.stuck().exists()


def test_keys_and_schedules_are_steered_by_many(crew: Threads) -> None:
    flow_control("k").set(parallelism=1)
    steered.schedule("0 3 * * *", schedule_id="s")
    for _ in range(8):
        crew.together(
            partial(steer_key, "k", "pause"),
            partial(steer_key, "k", "resume"),
            partial(steer_key, "k", "set", parallelism=3),
            partial(steer_schedule, "s", "pause"),
            partial(steer_schedule, "s", "resume"),
        )

    assert flow_control("k").parallelism == 3
    assert Action.objects.filter(subject="flow control k").count() == 24
    assert Action.objects.filter(subject="schedule s").count() == 16
    schedule = Schedule.objects.get()
    assert (schedule.due_at is None) == schedule.is_paused


def test_a_handler_is_run_again_once(crew: Threads) -> None:
    seen = []

    def handle(ctx: WorkflowContext[Any], failure: Any) -> None:
        ctx.run("note", lambda: seen.append(1))

    run = steered.trigger("fail")
    drain()
    steered.on_failure(handle)

    def again() -> bool:
        try:
            rerun_handler(run.pk)
        except WorkflowError:
            return False
        return True

    assert sorted(crew.together(again, again, again)) == [False, False, True]
    drain()
    assert seen == [1]
    assert run.refresh().handler_status == "completed"
    assert Action.objects.filter(verb="rerun_handler").count() == 1
    assert not Run.objects.stuck().exists()
