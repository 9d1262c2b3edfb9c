"""Every interleaving of the model keeps the promise; with a rule taken away, the same search finds the fault."""

from __future__ import annotations

import pytest

from tests.explorer.model import Model, Rule, State, ViolationError, explore

# No database is asked, so one run of the suite is enough.
pytestmark = pytest.mark.sqlite_only

# Crashes, zombies and a cancellation; a pause with one of them.
STARTS = {
    "two faults and a cancellation": State(faults=2, cancels=1),
    "a pause and a fault": State(faults=1, pauses=1),
    "two pauses": State(pauses=2),
}
# What a change of the model must be looked at for: an interleaving that is gone, or a new one.
STATES = {
    "two faults and a cancellation": 145_577,
    "a pause and a fault": 173_472,
    "two pauses": 36_701,
}


@pytest.mark.parametrize("name", STARTS)
def test_no_interleaving_breaks_the_promise(name: str) -> None:
    found = explore(Model(), STARTS[name])

    assert "completed" in found.ends
    assert found.states == STATES[name]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(Rule.NONE, id="without the rule of the wake counter"),
        pytest.param(Rule.LATE_COUNTER, id="with the counter read after the journal"),
    ],
)
def test_without_the_rule_a_run_stops_for_ever(rule: Rule) -> None:
    with pytest.raises(ViolationError, match="nobody will wake the run"):
        explore(Model(rule), State())


def test_without_the_rule_a_resumed_step_delivery_stays_parked() -> None:
    with pytest.raises(ViolationError):
        explore(Model(Rule.NONE), State(pauses=1))
