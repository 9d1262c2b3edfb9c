"""Two transactions that wait for each other: the database ends one, and the engine makes its own again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Event as Flag
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction

from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run
from django_workflow.store import claims, completions, records, repeating, runs, triggers, waits
from django_workflow.store.rows import Claim
from tests.concurrency.together import PATIENCE_SECONDS, Threads
from tests.store.made import FAILED_TRY, FAILURE, claimed, completed, new_run, pending, retrying

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.no_sqlite]


class Meeting:
    """The project's transaction holds the run, and waits for the deliveries that the engine's has locked."""

    def __init__(self, crew: Threads) -> None:
        triggers.insert([new_run("run-1")])
        self.locked, self.go_on = Flag(), Flag()
        self.theirs = crew.start(self._lock)
        assert self.locked.wait(PATIENCE_SECONDS)

    def _lock(self) -> None:
        with transaction.atomic():
            # Much is written, so that the database rather rolls the other one back.
            triggers.insert([new_run(f"other-{number}") for number in range(50)])
            Run.objects.select_for_update().get(pk="run-1")
            self.locked.set()
            assert self.go_on.wait(PATIENCE_SECONDS)
            # The engine has begun to wait for the run by now: on PostgreSQL who has waited longest gives way.
            Flag().wait(0.3)
            list(Delivery.objects.filter(run_id="run-1").select_for_update())

    def pause(self) -> Any:
        with connection.execute_wrapper(self._meet):
            return runs.pause("run-1")

    def _meet(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if str(sql).startswith("UPDATE") and Run._meta.db_table in str(sql):
            self.go_on.set()
        return execute(sql, params, many, context)


def test_engines_own_transaction_is_made_again(
    crew: Threads, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "TRIES", 6)
    caplog.set_level("INFO", "django_workflow.store.repeating")
    meeting = Meeting(crew)

    assert crew.start(meeting.pause).result(PATIENCE_SECONDS) is None

    meeting.theirs.result(PATIENCE_SECONDS)
    assert Run.objects.get(pk="run-1").status == "paused"
    assert "made again" in caplog.text


def test_within_the_projects_transaction_the_project_is_told(crew: Threads) -> None:
    meeting = Meeting(crew)

    def pause() -> None:
        with transaction.atomic():
            meeting.pause()

    with pytest.raises(OperationalError):
        crew.start(pause).result(PATIENCE_SECONDS)

    meeting.theirs.result(PATIENCE_SECONDS)
    assert Run.objects.get(pk="run-1").status == "pending"


VERBS: list[Callable[[Claim], Any]] = [
    lambda claim: runs.pause(claim.run_id),
    lambda claim: runs.cancel(claim.run_id),
    lambda claim: completions.complete(claim, "1", leaves_open=False),
    lambda claim: runs.end_badly(claim, RunStatus.FAILED, FAILURE),
    lambda claim: records.record(claim, completed("a")),
    lambda claim: waits.wait(claim, [pending("a")], fan_out=["a"]),
    lambda claim: records.put_off(claim, retrying("a", timedelta(hours=1)), FAILED_TRY),
    lambda claim: claims.give_back(claim),
    lambda claim: claims.claim("another", 8),
    lambda claim: runs.resume(claim.run_id, force=False),
    lambda claim: runs.unpause(claim.run_id),
]


@pytest.mark.parametrize("act", VERBS)
def test_nothing_waits_for_a_trigger_that_is_not_committed(
    act: Callable[[Claim], Any], crew: Threads
) -> None:
    # Never used before: an index still holds what was deleted a moment ago, and InnoDB locks what is around that.
    own, other = uuid4().hex, uuid4().hex
    claim = claimed(own)
    triggered, go_on = Flag(), Flag()

    def trigger() -> None:
        with transaction.atomic():
            triggers.insert([new_run(other)])
            triggered.set()
            assert go_on.wait(PATIENCE_SECONDS)

    theirs = crew.start(trigger)
    assert triggered.wait(PATIENCE_SECONDS)
    try:
        crew.start(act, claim).result(5)
    finally:
        go_on.set()
        theirs.result(PATIENCE_SECONDS)
