"""Every verb in every state of a run: only the transitions of the table, and nothing is ever stuck."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run
from django_workflow.store import claims, completions, records, runs, waits
from tests.store.made import (
    FAILURE,
    claimed,
    completed,
    everything,
    insert,
    is_due,
    pending,
    sleeping,
    the_run,
)

pytestmark = pytest.mark.django_db


def pending_run() -> None:
    insert()


def running_run() -> None:
    waits.wait(claimed(), [pending("a"), pending("b")], fan_out=["a", "b"])


def sleeping_run() -> None:
    waits.wait(claimed(), [sleeping("a", 60)])


def held_run() -> None:
    claimed()


def paused_run() -> None:
    running_run()
    runs.pause("run-1")


def paused_before_it_began() -> None:
    insert()
    runs.pause("run-1")


def failed_run() -> None:
    claim = claimed()
    records.record(claim, completed("a", status="failed", result_text=None))
    runs.end_badly(claim, RunStatus.FAILED, FAILURE, failed_step="a")


def failed_run_in_its_handler() -> None:
    runs.end_badly(claimed(), RunStatus.FAILED, FAILURE, with_handler=True)


def failed_run_after_its_handler() -> None:
    failed_run_in_its_handler()
    [claim] = claims.claim("worker", 1)
    runs.end_handler(claim, None)


def blocked_run() -> None:
    runs.end_badly(claimed(), RunStatus.BLOCKED, FAILURE)


def completed_run() -> None:
    completions.complete(claimed(), "1", leaves_open=False)


def cancelled_run() -> None:
    insert()
    runs.cancel("run-1")


def cancel() -> bool:
    return runs.cancel("run-1") is None


def pause() -> bool:
    return runs.pause("run-1") is None


def unpause() -> bool:
    return runs.unpause("run-1")


def resume() -> bool:
    return runs.resume("run-1", force=False)


def resume_by_force() -> bool:
    return runs.resume("run-1", force=True)


# What each verb makes of a run; a verb that is not named is refused.
TABLE: dict[Callable[[], None], dict[Callable[[], bool], str]] = {
    pending_run: {cancel: "cancelled", pause: "paused"},
    running_run: {cancel: "cancelled", pause: "paused"},
    sleeping_run: {cancel: "cancelled", pause: "paused"},
    held_run: {cancel: "cancelled", pause: "paused"},
    paused_run: {cancel: "cancelled", unpause: "running"},
    paused_before_it_began: {cancel: "cancelled", unpause: "pending"},
    failed_run: {cancel: "cancelled", resume: "running", resume_by_force: "running"},
    failed_run_in_its_handler: {cancel: "cancelled"},
    failed_run_after_its_handler: {cancel: "cancelled", resume_by_force: "running"},
    blocked_run: {cancel: "cancelled", resume: "running", resume_by_force: "running"},
    completed_run: {},
    cancelled_run: {},
}
VERBS = [cancel, pause, unpause, resume, resume_by_force]
ALLOWED = [(state, verb, after) for state, row in TABLE.items() for verb, after in row.items()]
REFUSED = [(state, verb) for state, row in TABLE.items() for verb in VERBS if verb not in row]


def test_the_table_is_whole() -> None:
    assert len(ALLOWED) + len(REFUSED) == len(TABLE) * len(VERBS) == 60


@pytest.mark.parametrize(("state", "verb", "after"), ALLOWED)
def test_verb_moves_the_run(
    state: Callable[[], None], verb: Callable[[], bool], after: str
) -> None:
    state()

    assert verb()

    assert the_run().status == after
    assert not Run.objects.stuck().exists()


@pytest.mark.parametrize(("state", "verb"), REFUSED)
def test_verb_that_the_state_does_not_allow_changes_nothing(
    state: Callable[[], None], verb: Callable[[], bool]
) -> None:
    state()
    before = everything()

    assert not verb()

    assert everything() == before
    assert not Run.objects.stuck().exists()


@pytest.mark.parametrize(
    ("state", "verb"), [pair for pair in REFUSED if pair[1] in (cancel, pause)]
)
def test_loser_is_told_the_state_it_found(
    state: Callable[[], None], verb: Callable[[], bool]
) -> None:
    state()
    found = the_run().status

    told = {cancel: runs.cancel, pause: runs.pause}[verb]("run-1")

    assert told == found == runs.state_of("run-1")


@pytest.mark.parametrize(
    "state", [pending_run, running_run, sleeping_run, held_run, paused_before_it_began]
)
def test_run_that_was_paused_and_unpaused_goes_on_as_before(state: Callable[[], None]) -> None:
    state()
    runs.pause("run-1")
    runs.unpause("run-1")

    assert not Run.objects.stuck().exists()
    assert all(is_due(row) or row.leased_by for row in Delivery.objects.all())
