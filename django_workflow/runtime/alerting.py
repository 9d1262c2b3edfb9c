"""Alerts: the rules of ``WORKFLOW["ALERTS"]``, asked by the sweep, told by mail, webhook and signal.

Each channel of a rule has a row. Who finds that the rule holds takes the row and sends; if it dies, the row is taken
again after a while: at least once, and once per cool-down however many sweep. What could not be sent is tried again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import Lock, Thread
from typing import Final

from django.core.mail import EmailMessage
from django.db import connections

from django_workflow import signals
from django_workflow.conf import settings
from django_workflow.core.alerts import Alert, AlertRule
from django_workflow.core.calls import CallRequest
from django_workflow.core.durations import format_duration
from django_workflow.core.types import DEAD_LETTER, RunStatus, StepStatus
from django_workflow.models import Run, RunQuerySet, Step
from django_workflow.runtime.http_call import HttpCaller
from django_workflow.runtime.measuring import lag
from django_workflow.runtime.workers import worker_name
from django_workflow.store import alerts as store
from django_workflow.store import claims, measures

logger = logging.getLogger(__name__)

#: How often rules are asked in the whole system.
INTERVAL: Final = timedelta(seconds=10)
#: How long who has taken a channel may take to send; then another one sends.
LEASE: Final = timedelta(minutes=5)
AGAIN: Final = timedelta(minutes=1)
WEBHOOK_TIMEOUT: Final = timedelta(seconds=10)
#: A run that ended a moment ago may be written by a transaction that began earlier and is not seen yet.
SETTLED: Final = timedelta(seconds=5)
NAMED: Final = 10
#: Runs, the oldest first, of which is asked whether they wait.
OLDEST: Final = 1_000


def alert_due() -> int:
    """Ask all rules, and tell what they find; return how many alerts were sent."""
    return sum(_tell(rule, channel) for rule in settings().ALERTS for channel in rule.channels)


def _tell(rule: AlertRule, channel: str) -> bool:
    state = store.found_or_made(f"{rule.name}/{channel}")
    alert, until = find(rule, state.seen_until)
    if alert is None or not store.take(state, rule.cooldown, LEASE):
        return False
    try:
        SENDERS[channel](rule, alert)
    except Exception as error:  # broad: the mail server's door, and the network's
        logger.warning(
            'The alert "%s" could not be sent by %s; it is tried again in %s',
            rule.name,
            channel,
            AGAIN,
            exc_info=True,
        )
        store.put_off(state, AGAIN, f"{type(error).__name__}: {error}")
        return False
    store.sent(state, until)
    return True


# What the rules find.


def find(rule: AlertRule, seen_until: datetime) -> tuple[Alert | None, datetime]:
    """Return what a rule finds now, or None, and until when it has looked."""
    now = claims.now()
    until = max(seen_until, now - SETTLED)
    return FINDERS[rule.rule](rule, now, (seen_until, until)), until


def _runs(rule: AlertRule) -> RunQuerySet:
    found = Run.objects.using(settings().DATABASE).all()
    return found if rule.workflow is None else found.filter(workflow=rule.workflow)


def _alert(
    rule: AlertRule, now: datetime, message: str, value: float, run_ids: list[str] | None = None
) -> Alert:
    return Alert(
        name=rule.name,
        rule=rule.rule,
        message=message,
        value=value,
        workflow=rule.workflow,
        workflow_run_ids=tuple(run_ids or ()),
        at=now,
    )


def _dead_letters(
    rule: AlertRule, now: datetime, between: tuple[datetime, datetime]
) -> Alert | None:
    since, until = between
    fallen = _runs(rule).dead_letters().filter(finished_at__gt=since, finished_at__lte=until)
    found = list(fallen.order_by("-finished_at").values_list("pk", "workflow")[: measures.COUNTED])
    if not found:
        return None
    workflows = sorted({workflow for _, workflow in found})
    named = ", ".join(workflows[:NAMED]) + (" and others" if len(workflows) > NAMED else "")
    noun = "run has" if len(found) == 1 else "runs have"
    message = f"{len(found):,} {noun} failed or been blocked since {since:%Y-%m-%d %H:%M:%S} UTC: {named}."
    return _alert(rule, now, message, len(found), [pk for pk, _ in found[:NAMED]])


def _due_lag(rule: AlertRule, now: datetime, _: object) -> Alert | None:
    late = lag()
    if late <= rule.above:
        return None
    whole = timedelta(seconds=int(late.total_seconds()))
    message = (
        f"What is due has waited {whole} for a worker, more than {format_duration(rule.above)}."
    )
    return _alert(rule, now, message, late.total_seconds())


def _failure_rate(rule: AlertRule, now: datetime, _: object) -> Alert | None:
    since = now - rule.window
    ended = {
        status: sum(
            count
            for workflow, count in measures.runs_by_workflow(str(status), since).items()
            if rule.workflow in (None, workflow)
        )
        for status in (RunStatus.COMPLETED, *DEAD_LETTER)
    }
    total = sum(ended.values())
    bad = total - ended[RunStatus.COMPLETED]
    if total < rule.at_least or bad / total <= rule.share:
        return None
    message = (
        f"{bad:,} of {total:,} runs that began and ended within {format_duration(rule.window)} have failed: "
        f"{bad / total:.0%}, more than {rule.share:.0%}."
    )
    return _alert(rule, now, message, bad / total)


def _waiting(rule: AlertRule, now: datetime, _: object) -> Alert | None:
    before = now - rule.above
    old = _runs(rule).filter(status=RunStatus.RUNNING, created_at__lte=before)
    ids = list(old.order_by("created_at").values_list("pk", flat=True)[:OLDEST])
    # In portions: SQLite takes no more parameters than some hundreds.
    found: list[tuple[str, str]] = []
    for start in range(0, len(ids), 200):
        waits = Step.objects.using(settings().DATABASE).filter(
            run_id__in=ids[start : start + 200],
            status=StepStatus.WAITING,
            sequence=None,
            created_at__lte=before,
        )
        found += waits.order_by("created_at").values_list("run_id", "name")
    if not found:
        return None
    run_ids = list(dict.fromkeys(run_id for run_id, _ in found))
    steps = sorted({name for _, name in found})
    noun = "run has" if len(run_ids) == 1 else "runs have"
    message = (
        f"{len(run_ids):,} {noun} been waiting for more than {format_duration(rule.above)}: "
        f"{', '.join(steps[:NAMED])}."
    )
    return _alert(rule, now, message, len(run_ids), run_ids[:NAMED])


FINDERS: Final[Mapping[str, Callable[..., Alert | None]]] = {
    "dead_letter": _dead_letters,
    "due_lag": _due_lag,
    "failure_rate": _failure_rate,
    "waiting": _waiting,
}


# How they are told.


def _mail(rule: AlertRule, alert: Alert) -> None:
    lines = [alert.message, "", *alert.workflow_run_ids]
    subject = f"[workflows] {rule.name}: {alert.message}"
    subject = subject if len(subject) <= 150 else f"{subject[:149]}…"
    EmailMessage(
        subject=" ".join(subject.split()), body="\n".join(lines).strip() + "\n", to=list(rule.mail)
    ).send()


def _webhook(rule: AlertRule, alert: Alert) -> None:
    request = CallRequest(
        method="POST",
        url=rule.webhook or "",
        headers=(("Content-Type", "application/json"), *rule.headers),
        body=json.dumps(alert.to_json()).encode(),
    )
    status = asyncio.run(_ask(request))
    if not 200 <= status < 300:
        raise OSError(f"It was answered {status}.")


async def _ask(request: CallRequest) -> int:
    async with HttpCaller() as caller:
        return (await caller.ask(request, WEBHOOK_TIMEOUT)).status


def _signal(rule: AlertRule, alert: Alert) -> None:
    logger.warning("Alert %s: %s", rule.name, alert.message)
    signals.alert_raised.send_robust(sender=rule.rule, alert=alert)


SENDERS: Final[Mapping[str, Callable[[AlertRule, Alert], None]]] = {
    "mail": _mail,
    "signal": _signal,
    "webhook": _webhook,
}


# Asked by the sweep.

_asking = Lock()


def alert_due_apart() -> Thread | None:
    """Ask the rules on a thread of its own, if there are any and it is time to: a slow mail server must not hold the sweep."""
    if not settings().ALERTS or not claims.take_sweep(worker_name(), INTERVAL, claims.ALERTING):
        return None
    if not _asking.acquire(blocking=False):
        return None
    thread = Thread(target=_ask_and_close, name="django_workflow-alerts", daemon=True)
    thread.start()
    return thread


def _ask_and_close() -> None:
    try:
        alert_due()
    except Exception:  # broad: the next sweep asks again
        logger.warning("Alerts could not be asked for.", exc_info=True)
    finally:
        connections.close_all()
        _asking.release()
