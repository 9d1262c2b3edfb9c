"""Alerts: each rule finds what it says, and is told once per cool-down, whoever and however many ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_workflow import NonRetryableError, WorkflowContext, signals, workflow
from django_workflow.conf import problems
from django_workflow.core.alerts import Alert
from django_workflow.models import AlertState, Delivery, Run, Step, Sweep
from django_workflow.runtime import alerting
from django_workflow.runtime.alerting import alert_due, alert_due_apart
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.worker import drain
from tests.runtime.test_http_call import reply, served

pytestmark = pytest.mark.django_db(transaction=True)

told: list[Alert] = []


def refuse() -> None:
    raise NonRetryableError("no")


@workflow(name="alerted")
def alerted(ctx: WorkflowContext[Any]) -> None:
    if ctx.request_payload == "wait":
        ctx.wait_for_event("pickup", "alerted:pickup", timeout="30d")
    if ctx.request_payload == "fail":
        ctx.run("refuse", refuse)


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    def hear(sender: str, alert: Alert, **_: Any) -> None:
        told.append(alert)

    told.clear()
    signals.alert_raised.connect(hear)
    yield
    signals.alert_raised.disconnect(hear)


def rules(*entries: dict[str, Any], **more: Any) -> Any:
    return override_settings(WORKFLOW={"DISPATCHER": "embedded", "ALERTS": list(entries), **more})


def ends(*payloads: str) -> None:
    """Let runs end, long enough ago to be settled."""
    runs = [alerted.trigger(payload) for payload in payloads]
    drain()
    ago = timezone.now() - alerting.SETTLED - timedelta(seconds=1)
    Run.objects.filter(pk__in=[run.id for run in runs], finished_at__isnull=False).update(
        finished_at=ago
    )


def cooled(**by: Any) -> None:
    """Let the cool-down pass."""
    for state in AlertState.objects.exclude(raised_at=None):
        assert state.raised_at is not None
        AlertState.objects.filter(pk=state.pk).update(raised_at=state.raised_at - timedelta(**by))


def known() -> None:
    """Let the rules be known for a while, so that what falls from now on is new."""
    assert alert_due() == 0
    AlertState.objects.update(seen_until=timezone.now() - timedelta(minutes=1))


DEAD = {"rule": "dead_letter", "mail": ["ops@example.org"]}


def test_dead_letter_is_told_once_by_mail_and_signal() -> None:
    with rules(DEAD):
        known()
        ends("fail", "done", "fail")
        for _ in range(5):
            alert_due()

    [alert] = told
    assert alert.value == 2
    assert alert.message.startswith("2 runs have failed or been blocked since")
    assert "alerted" in alert.message
    [sent] = mail.outbox
    assert sent.to == ["ops@example.org"]
    assert sent.subject.startswith("[workflows] dead_letter: 2 runs have failed")
    assert set(alert.workflow_run_ids) <= set(sent.body.split())


def test_what_had_failed_before_the_rule_was_there_is_not_told() -> None:
    ends("fail")
    with rules(DEAD):
        alert_due()
        alert_due()

    assert told == []


def test_dead_letters_within_the_cool_down_are_told_after_it_and_old_ones_not_again() -> None:
    with rules({**DEAD, "cooldown": "1h"}):
        known()
        ends("fail")
        alert_due()
        ends("fail", "fail")
        Run.objects.filter(status="failed", pk__in=told[0].workflow_run_ids).update(
            finished_at=timezone.now() - timedelta(seconds=30)
        )
        alert_due()
        assert len(told) == 1
        # The watermark stands where the first alert was told.
        AlertState.objects.update(seen_until=timezone.now() - timedelta(seconds=20))
        cooled(hours=1)
        alert_due()
        cooled(hours=1)
        AlertState.objects.update(seen_until=timezone.now())
        alert_due()

    assert [alert.value for alert in told] == [1, 2]


def test_rule_of_one_workflow_does_not_hear_of_others() -> None:
    with rules({**DEAD, "workflow": "another"}):
        known()
        ends("fail")
        alert_due()

    assert told == []


def test_lag_of_due_work() -> None:
    with rules({"rule": "due_lag", "above": "1m"}):
        alerted.trigger("done")
        alert_due()
        assert told == []
        Delivery.objects.update(due_at=timezone.now() - timedelta(minutes=2, milliseconds=500))
        alert_due()

    [alert] = told
    assert alert.message == "What is due has waited 0:02:00 for a worker, more than 1m."
    assert 119 < alert.value < 150


def test_failure_rate_over_enough_runs() -> None:
    rule = {"rule": "failure_rate", "above": 0.3, "at_least": 4, "window": "1h"}
    with rules(rule):
        ends("fail", "done", "done")
        alert_due()
        assert told == []
        ends("fail")
        alert_due()

    [alert] = told
    assert alert.value == 0.5
    assert "2 of 4 runs that began and ended within 1h have failed: 50%, more than 30%." in (
        alert.message
    )


def test_failure_rate_does_not_look_beyond_its_window() -> None:
    ends(*["fail"] * 5)
    Run.objects.update(created_at=timezone.now() - timedelta(hours=2))
    with rules({"rule": "failure_rate", "above": 0, "at_least": 1}):
        alert_due()

    assert told == []


def test_run_that_waits_too_long() -> None:
    with rules({"rule": "waiting", "above": "2d", "workflow": "alerted"}):
        run = alerted.trigger("wait")
        drain()
        alert_due()
        assert told == []
        moment = timezone.now() - timedelta(days=3)
        Run.objects.update(created_at=moment)
        alert_due()
        assert told == [], "an old run, but it has not waited long"
        Step.objects.update(created_at=moment)
        alert_due()

    [alert] = told
    assert alert.workflow_run_ids == (run.id,)
    assert alert.message == "1 run has been waiting for more than 2d: pickup."
    assert alert.name == "waiting of alerted"


def test_many_beats_at_one_moment_tell_once() -> None:
    """The race itself: all have found the rule to hold, and know the same row, before any takes it."""
    before, found = Barrier(6), []
    take = alerting.store.take

    def together(*args: Any) -> bool:
        before.wait(20)
        won = take(*args)
        found.append(won)
        return won

    with rules({"rule": "due_lag", "above": "1m"}):
        alert_due()
        alerted.trigger("done")
        Delivery.objects.update(due_at=timezone.now() - timedelta(minutes=2, milliseconds=500))
        patch = pytest.MonkeyPatch()
        patch.setattr(alerting.store, "take", together)

        def beat() -> None:
            try:
                alert_due()
            finally:
                connections.close_all()

        beats = [Thread(target=beat) for _ in range(6)]
        try:
            for one in beats:
                one.start()
            for one in beats:
                one.join(30)
        finally:
            patch.undo()

    assert sorted(found) == [False] * 5 + [True]
    assert len(told) == 1


def test_sweeps_of_the_whole_system_ask_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(alerting, "alert_due", lambda: asked.append(1))
    with rules(DEAD):
        for _ in range(5):
            thread = alert_due_apart()
            if thread is not None:
                thread.join(20)

    assert asked == [1]


def test_the_tick_tells() -> None:
    with rules(DEAD):
        known()
        ends("fail")
        sweep(force=True)

    assert len(told) == len(mail.outbox) == 1


def test_nothing_is_asked_without_rules(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert alert_due() == 0
        assert alert_due_apart() is None
    assert not Sweep.objects.filter(pk=3).exists()


def test_webhook_gets_the_alert_as_json() -> None:
    with served(reply) as (url, seen):
        rule = {"rule": "due_lag", "above": "1m", "name": "slow", "webhook": f"{url}/hook"}
        with rules({**rule, "headers": {"Authorization": "shh"}}, CALL_ALLOW=["127.0.0.0/8"]):
            alerted.trigger("done")
            Delivery.objects.update(due_at=timezone.now() - timedelta(minutes=2, milliseconds=500))
            alert_due()
            alert_due()

    [(method, path, headers, body)] = seen
    assert (method, path, headers["Authorization"]) == ("POST", "/hook", "shh")
    said = json.loads(body)
    assert (said["name"], said["rule"]) == ("slow", "due_lag")
    assert said["message"].startswith("What is due has waited")


def test_what_cannot_be_sent_is_tried_again_and_the_other_channels_not() -> None:
    def busy(handler: Any) -> None:
        reply(handler, 503)

    with served(busy) as (url, seen):
        rule = {**DEAD, "webhook": url}
        with rules(rule, CALL_ALLOW=["127.0.0.0/8"]):
            known()
            ends("fail")
            alert_due()
            alert_due()
            assert len(seen) == 1
            state = AlertState.objects.get(pk="dead_letter/webhook")
            assert "answered 503" in state.trouble
            AlertState.objects.update(busy_until=None)
            alert_due()

    assert len(seen) == 2
    assert len(told) == len(mail.outbox) == 1


def test_sender_that_dies_leaves_the_alert_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Death

    with rules(DEAD):
        known()
        ends("fail")
        with monkeypatch.context() as patch:
            patch.setitem(alerting.SENDERS, "signal", die)
            with pytest.raises(Death):
                alert_due()
        alert_due()
        assert told == []
        AlertState.objects.filter(pk="dead_letter/signal").update(
            busy_until=timezone.now() - timedelta(seconds=1)
        )
        alert_due()

    assert len(told) == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("dead_letter", "must be a dict"),
        ({}, "must be one of 'dead_letter'"),
        ({"rule": "due_lag"}, 'needs "above"'),
        ({"rule": "due_lag", "above": 0}, "longer than zero"),
        ({"rule": "due_lag", "above": "soon"}, '["above"]'),
        ({"rule": "due_lag", "above": "1m", "workflow": "w"}, "no option 'workflow'"),
        ({"rule": "failure_rate", "above": "10%"}, "must be a share"),
        ({"rule": "failure_rate", "above": 1}, "must be a share"),
        ({"rule": "failure_rate", "above": 0.1, "at_least": 0}, "1 or more"),
        ({"rule": "dead_letter", "mails": []}, 'Did you mean "mail"?'),
        ({"rule": "dead_letter", "mail": "ops@example.org"}, "must be a list of addresses"),
        ({"rule": "dead_letter", "mail": ["ops"]}, "is no address"),
        ({"rule": "dead_letter", "webhook": "example.org"}, "must start with http"),
        ({"rule": "dead_letter", "headers": ["a"]}, "must be a dict of texts"),
        ({"rule": "dead_letter", "name": "n" * 101}, "at most 100 characters"),
        ({"rule": "dead_letter", "workflow": 7}, "must be a text"),
        ({"rule": "dead_letter", "cooldown": 0}, "longer than zero"),
    ],
)
def test_rule_that_cannot_work_is_said_by_the_check(entry: Any, message: str) -> None:
    with override_settings(WORKFLOW={"ALERTS": [entry]}):
        [(name, said)] = problems()

    assert name == "ALERTS"
    assert message in said


@pytest.mark.parametrize("value", ["dead_letter", {"rule": "dead_letter"}, 7])
def test_alerts_are_a_list(value: Any) -> None:
    with override_settings(WORKFLOW={"ALERTS": value}):
        assert "must be a list of dicts" in problems()[0][1]


def test_two_rules_of_one_name_are_refused() -> None:
    with override_settings(WORKFLOW={"ALERTS": [DEAD, DEAD]}):
        assert 'two rules called "dead_letter"' in problems()[0][1]


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with override_settings(WORKFLOW={"METRICS_TOKEN": "short"}):
        assert "16 characters or more" in problems()[0][1]


def test_admin_shows_what_could_not_be_sent(admin_client: Any) -> None:
    AlertState.objects.create(
        key="slow/webhook", seen_until=timezone.now(), trouble="OSError: It was answered 503."
    )
    page = admin_client.get("/admin/django_workflow/alertstate/")

    assert page.status_code == 200
    assert "It was answered 503." in page.content.decode()
