"""The transport ``inline`` keeps the contract, and stays on the stack."""

from __future__ import annotations

import pytest

from django_workflow.runtime.worker import drain
from tests.transports import runs
from tests.transports.contract import TransportContract


class TestInline(TransportContract):
    name = "inline"


@pytest.mark.django_db(transaction=True)
def test_ready_steps_are_executed_in_one_claim() -> None:
    run = runs.steps.trigger(["a", "b", "c"])

    claimed = drain()

    assert (claimed, run.refresh().result) == (1, "a-b-c")
