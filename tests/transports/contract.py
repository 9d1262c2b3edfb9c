"""What every transport keeps, whichever way it reaches the function. Subclassed once per transport."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from django_workflow.core.exceptions import TransactionOpenError
from django_workflow.core.ports import get_transport
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow
from django_workflow.models import Delivery, Run
from django_workflow.runtime.trouble import DeliveryTroubleError
from django_workflow.runtime.worker import carry, drain
from django_workflow.store import claims
from tests.transports import runs
from tests.transports.runs import claimed, driven, recorded


@pytest.mark.django_db(transaction=True)
class TransportContract:
    """The contract. A subclass names its transport, and sees that workflows are run over it."""

    name: str

    def deliver(self, run: Run) -> None:
        get_transport(self.name).deliver(claimed(run))

    @pytest.mark.parametrize("workflow", [runs.steps, runs.async_steps], ids=["sync", "async"])
    def test_steps_are_executed_and_recorded_once_in_order(
        self, workflow: Workflow[list[str], str]
    ) -> None:
        run = workflow.trigger(["a", "b", "c"])

        drain()

        assert run.refresh().result == "a-b-c"
        assert (runs.done, recorded(run)) == (["a", "b", "c"], ["a", "b", "c"])

    @pytest.mark.parametrize(
        "workflow", [runs.branches, runs.async_branches], ids=["sync", "async"]
    )
    def test_parallel_branches_are_joined_once(self, workflow: Workflow[None, str]) -> None:
        run = workflow.trigger()

        driven(run)

        assert run.result == "left1left2right1right2"
        assert sorted(runs.done) == ["left1", "left2", "right1", "right2"]

    def test_run_without_steps_completes(self) -> None:
        run = runs.steps.trigger([])

        drain()

        assert run.refresh().status == RunStatus.COMPLETED

    def test_ended_run_leaves_no_delivery(self) -> None:
        driven(runs.branches.trigger())

        assert not Delivery.objects.exists()

    def test_claim_has_ended_when_the_run_waits(self) -> None:
        run = runs.rests.trigger()

        self.deliver(run)

        turn = Delivery.objects.get()
        assert (turn.leased_by, turn.trouble) == ("", "")
        assert turn.due_at is not None
        assert run.refresh().waiting_for[0].name == "rest"

    def test_failing_step_is_an_attempt_of_the_workflow(self) -> None:
        run = runs.recovers.trigger()

        driven(run)

        assert run.result == "shaky"
        assert [(a.step_key, a.number, a.outcome) for a in run.attempts.all()] == [
            ("shaky", 1, "failed")
        ]

    def test_failing_code_between_steps_is_an_attempt_of_the_workflow(self) -> None:
        run = runs.between.trigger()

        driven(run)

        assert run.result == "two"
        assert [(a.step_key, a.number, a.outcome) for a in run.attempts.all()] == [
            ("", 1, "failed")
        ]

    def test_step_that_gave_up_fails_the_run_and_its_handler_runs(self) -> None:
        run = runs.fails.trigger()

        drain()

        assert run.refresh().status == RunStatus.FAILED
        assert runs.done == ["doomed", "clean after doomed"]

    def test_divergence_blocks_the_run(self) -> None:
        run = runs.diverges.trigger()

        driven(run)

        assert run.status == RunStatus.BLOCKED
        assert run.failure is not None
        assert run.failure.error_class.endswith("NonDeterminismError")

    def test_turn_is_given_back_when_the_budget_is_over(self) -> None:
        run = runs.steps.trigger(["a", "b", "c"])

        hasty = {**settings.WORKFLOW, "PASS_BUDGET": timedelta(microseconds=1)}
        with override_settings(WORKFLOW=hasty):
            self.deliver(run)

        turn = Delivery.objects.get()
        assert (runs.done, turn.leased_by) == (["a"], "")
        assert driven(run).result == "a-b-c"

    def test_unknown_version_is_the_deliverys_trouble(self) -> None:
        run = runs.steps.trigger(["a"])
        Run.objects.update(version="from tomorrow")

        with pytest.raises(DeliveryTroubleError, match='no version "from tomorrow"'):
            self.deliver(run)

        assert run.refresh().status == RunStatus.RUNNING
        assert not run.attempts.exists()

    def test_run_goes_on_when_its_version_is_known_again(self) -> None:
        run = runs.steps.trigger(["a"])
        Run.objects.update(version="from tomorrow")
        drain()
        assert "from tomorrow" in run.refresh().reason

        Run.objects.update(version="1")
        driven(run)

        assert (run.result, run.reason) == ("a", "")
        assert not run.attempts.exists()

    def test_claim_that_was_taken_over_records_nothing(self) -> None:
        run = runs.steps.trigger(["a"])
        stale = claimed(run)
        claims.release([(stale.delivery_id, stale.token)])

        carry(stale, "a worker")

        assert recorded(run) == []
        assert driven(run).result == "a"

    def test_cancelled_run_is_left_alone(self) -> None:
        run = runs.steps.trigger(["a"])
        run.cancel()

        drain()

        assert (run.refresh().status, runs.done) == (RunStatus.CANCELLED, [])

    def test_open_transaction_is_refused(self) -> None:
        runs.steps.trigger(["a"])

        with transaction.atomic(), pytest.raises(TransactionOpenError):
            drain()

        assert runs.done == []
