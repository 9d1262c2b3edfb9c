"""Atomic steps: their writes and their record are one commit, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import IntegrityError

from django_workflow import TransactionOpenError, WorkflowContext, workflow
from django_workflow.models import Attempt, Delivery, Run, RunLabel, Step
from django_workflow.runtime.executor import enter
from django_workflow.runtime.performer import Allowance
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from tests.app.models import Note
from tests.concurrency.together import bodies, finished

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(name="atomics_note", retry_delay=0)
def with_note(ctx: WorkflowContext[Any]) -> list[int]:
    def body() -> int:
        Note.objects.create(text="from the atomic step")
        return bodies("note")

    return [ctx.run("before", bodies, "before"), ctx.atomic("note", body)]


class LostCommit:
    """Makes one COMMIT of the journal's connection end without an answer."""

    def __init__(self, *, takes_place: bool, error: type[Exception] = OperationalError) -> None:
        self.takes_place = takes_place
        self.error = error
        self.left = 1

    @contextmanager
    def installed(self) -> Iterator[None]:
        of: BaseDatabaseWrapper = connections["default"]
        commit = of._commit

        def lost() -> None:
            if not self.left or not bodies.calls["note"]:
                commit()
                return
            self.left -= 1
            if self.takes_place:
                commit()
            raise self.error("server closed the connection unexpectedly")

        of._commit = lost
        try:
            yield
        finally:
            del of._commit


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_commit_that_took_place_without_an_answer_is_found_in_the_journal(
    error: type[Exception],
) -> None:
    run = with_note.trigger()

    with LostCommit(takes_place=True, error=error).installed():
        drain()

    assert finished(run).result == [1, 1]
    assert (bodies.calls, Note.objects.count()) == ({"before": 1, "note": 1}, 1)
    assert Attempt.objects.get().outcome == "hook_failed"


def test_commit_that_did_not_take_place_is_the_deliverys_trouble() -> None:
    run = with_note.trigger()

    with LostCommit(takes_place=False).installed():
        drain()

    assert "The database did not answer" in run.refresh().reason
    assert (Note.objects.count(), Attempt.objects.count()) == (0, 0)
    Delivery.objects.update(due_at=claims.now())
    assert finished(run).result == [1, 2]
    assert (bodies.calls["note"], Note.objects.count()) == (2, 1)
    assert not Attempt.objects.exists()


def test_trouble_of_the_database_uses_up_no_attempt_and_is_no_death() -> None:
    run = with_note.trigger()
    Delivery.objects.update(tries=5)

    with LostCommit(takes_place=False).installed():
        drain()
    Delivery.objects.update(due_at=claims.now())
    finished(run)

    assert not Attempt.objects.exists()


def test_numbers_of_a_commit_that_did_not_take_place_are_given_again() -> None:
    run = with_note.trigger()

    with LostCommit(takes_place=False).installed():
        drain()
    Delivery.objects.update(due_at=claims.now())
    finished(run)

    assert list(Step.objects.order_by("sequence").values_list("name", "sequence")) == [
        ("before", 1),
        ("note", 2),
    ]


def test_constraint_that_fails_at_commit_is_a_failed_attempt() -> None:
    @workflow(name="atomics_deferred", retries=1, retry_delay=0)
    def deferred(ctx: WorkflowContext[Any]) -> None:
        def body() -> None:
            bodies("body")
            RunLabel.objects.create(run_id="nobody", label="x")

        ctx.atomic("dangling", body)

    run = deferred.trigger()
    drain()

    run.refresh()
    assert run.status == "failed"
    assert run.failure.error_class.endswith("IntegrityError")
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["failed", "failed"]
    assert bodies.calls == {"body": 2}
    assert not RunLabel.objects.exists()


def test_body_that_swallowed_a_database_error_is_a_failed_attempt() -> None:
    @workflow(name="atomics_swallowed", retries=0)
    def swallowed(ctx: WorkflowContext[Any]) -> None:
        def body() -> None:
            try:
                with transaction.atomic(savepoint=False):
                    Run.objects.create(id=ctx.workflow_run_id, created_at=claims.now())
            except IntegrityError:
                return

        ctx.atomic("swallowing", body)

    run = swallowed.trigger()
    drain()

    run.refresh()
    assert run.status == "failed"
    assert run.failure.step == "swallowing"


def hooked(hook: Callable[[], None]) -> Any:
    @workflow(name="atomics_hooked")
    def hooked_workflow(ctx: WorkflowContext[Any]) -> int:
        def body() -> int:
            transaction.on_commit(hook)
            Note.objects.create(text="kept")
            return bodies("note")

        return ctx.atomic("note", body)

    return hooked_workflow


@pytest.mark.parametrize("error", [ValueError("hook"), OperationalError("hook")])
def test_hook_that_raises_neither_undoes_nor_repeats_its_step(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def hook() -> None:
        bodies("hook")
        raise error

    run = hooked(hook).trigger()

    assert finished(run).result == 1
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.step_key) == ("hook_failed", "note")
    assert attempt.failure is not None
    assert attempt.failure.message == "hook"
    assert (bodies.calls, Note.objects.count()) == ({"note": 1, "hook": 1}, 1)
    assert 'An on_commit hook of step "note" raised' in caplog.text


def test_hook_of_a_step_that_was_rolled_back_does_not_run() -> None:
    @workflow(name="atomics_hook_rolled_back", retries=1, retry_delay=0)
    def fails_once(ctx: WorkflowContext[Any]) -> None:
        def body() -> None:
            transaction.on_commit(partial(bodies, "hook"))
            assert bodies("body") == 2

        ctx.atomic("note", body)

    finished(fails_once.trigger())

    assert bodies.calls == {"body": 2, "hook": 1}


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_write_on_another_alias_is_refused_and_both_are_named() -> None:
    @workflow(name="atomics_other_alias", retries=3)
    def other_alias(ctx: WorkflowContext[Any]) -> None:
        ctx.atomic("elsewhere", lambda: connections["other"].cursor().execute("CREATE TABLE t (i)"))

    run = other_alias.trigger()
    drain()

    run.refresh()
    assert run.status == "failed"
    assert '"other"' in run.failure.message
    assert '"default"' in run.failure.message
    assert run.failure.attempts == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_other_alias_may_be_read_and_is_free_again_afterwards() -> None:
    @workflow(name="atomics_other_alias_read")
    def other_alias(ctx: WorkflowContext[Any]) -> int:
        def read() -> int:
            with connections["other"].cursor() as cursor:
                cursor.execute("SELECT 7")
                return int(cursor.fetchone()[0])

        return ctx.atomic("read", read)

    assert finished(other_alias.trigger()).result == 7
    with connections["other"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE atomics_free (i INTEGER)")
        cursor.execute("DROP TABLE atomics_free")


def test_trigger_in_an_atomic_step_commits_with_it() -> None:
    @workflow(name="atomics_trigger", retry_delay=0)
    def triggers(ctx: WorkflowContext[Any]) -> None:
        def body() -> None:
            with_note.trigger()
            assert bodies("body") == 2

        ctx.atomic("start", body)

    run = triggers.trigger()
    finished(run)

    assert Run.objects.filter(workflow="atomics_note").count() == 1


def test_pass_inside_an_open_transaction_is_refused() -> None:
    with_note.trigger()
    [claim] = claims.claim("worker", 1)

    with (
        transaction.atomic(),
        pytest.raises(TransactionOpenError, match='an open transaction on "default"'),
    ):
        enter(claim, worker="worker", allowance=Allowance(budget=None, steps=None))

    assert not bodies.calls


def test_worker_inside_an_open_transaction_is_refused() -> None:
    with transaction.atomic(), pytest.raises(TransactionOpenError):
        drain()


def test_no_transaction_is_open_while_an_ordinary_body_runs() -> None:
    seen = []

    @workflow(name="atomics_none")
    def ordinary(ctx: WorkflowContext[Any]) -> None:
        ctx.run("look", lambda: seen.append(connection.in_atomic_block))

    finished(ordinary.trigger())

    assert seen == [False]
