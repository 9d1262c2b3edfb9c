from __future__ import annotations

import copy
import inspect
import pickle
from typing import TypeVar

import pytest

from django_workflow.core import exceptions
from django_workflow.core.exceptions import (
    ApprovalClosedError,
    ArgumentDrift,
    ArgumentDriftError,
    AtRestError,
    CallError,
    CancelInterrupt,
    ChildRunError,
    CrashLoopError,
    DecisionRefusedError,
    DeliveryFencedError,
    InvalidDecisionError,
    InvalidEventError,
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    NonRetryableError,
    NotReadyError,
    NotSerializableError,
    PayloadTooLargeError,
    RetryAfterError,
    RunExistsError,
    RunExpiredError,
    RunFailedError,
    RunNotFinishedError,
    RunNotFoundError,
    RunStateError,
    RunTimeoutError,
    ScheduleNotFoundError,
    SignatureError,
    StepError,
    StepTimeoutError,
    SuspendInterrupt,
    SwallowedInterruptError,
    TooManyStepsError,
    TransactionOpenError,
    UndecodableValueError,
    WorkflowError,
    WorkflowNotFoundError,
)
from django_workflow.core.types import Failure

BaseErrorT = TypeVar("BaseErrorT", bound=BaseException)

FAILURE = Failure(
    message="card declined", error_class="shop.Declined", traceback="…", step="charge", attempts=4
)

ERRORS = [
    NotReadyError("m"),
    InvalidOptionError("m"),
    WorkflowNotFoundError("m", name="fulfil_order"),
    RunNotFoundError("m", run_id="order-42"),
    ScheduleNotFoundError("m", schedule_id="nightly"),
    RunExistsError("m", run_id="order-42"),
    RunNotFinishedError("m", run_id="order-42", state="running"),
    RunStateError("m", run_id="order-42", state="completed"),
    RunExpiredError("late"),
    RunTimeoutError("late"),
    RunFailedError(FAILURE, run_id="order-42"),
    StepError("m", step="charge", attempts=4, failure=FAILURE),
    ChildRunError("m", step="charge", attempts=4, failure=FAILURE, run_id="wfr_1"),
    CallError("m", step="charge", attempts=4, failure=FAILURE),
    StepTimeoutError("m", step="charge", attempts=4, failure=FAILURE),
    NonDeterminismError("m", step="charge", expected="run", found="sleep"),
    ArgumentDriftError("m", step="charge"),
    SwallowedInterruptError("m", step="charge"),
    MisplacedStepError("m", step="charge"),
    NotSerializableError("m", path="result.born", step="charge"),
    PayloadTooLargeError("m", size=20, limit=10),
    UndecodableValueError("m", type_name="Money", path="result"),
    AtRestError("m", key="k1", file="a/b"),
    AtRestError("m", key="a1b2c3d4", file="2030-01-01/x.json"),
    TransactionOpenError("m"),
    ApprovalClosedError("m", decision="approved"),
    DecisionRefusedError("m"),
    InvalidDecisionError("m", errors={"amount": ["too much"]}),
    InvalidEventError("m", reasons=["too much"]),
    DeliveryFencedError("m", delivery_id=7, token=3),
    CrashLoopError("m", step="charge"),
    TooManyStepsError("m", limit=5),
    SignatureError("m"),
    NonRetryableError("m"),
    RetryAfterError("m", "10s"),
]

by_class = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def pickled(error: BaseErrorT) -> BaseErrorT:
    restored: BaseErrorT = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    return restored


def test_every_error_of_the_module_is_among_the_cases() -> None:
    defined = {
        cls
        for _, cls in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(cls, WorkflowError) and cls.__module__ == exceptions.__name__
    }

    assert defined - {WorkflowError} == {type(error) for error in ERRORS}


@by_class
def test_every_error_is_drawn_in_the_module_docstring(error: WorkflowError) -> None:
    assert exceptions.__doc__ is not None
    assert f"── {type(error).__name__}" in exceptions.__doc__


@by_class
def test_error_survives_pickling_with_its_data(error: WorkflowError) -> None:
    restored = pickled(error)

    assert type(restored) is type(error)
    assert (str(restored), vars(restored)) == (str(error), vars(error))


@by_class
def test_error_can_be_copied(error: WorkflowError) -> None:
    restored = copy.copy(error)

    assert (str(restored), vars(restored)) == (str(error), vars(error))


def test_notes_survive_pickling() -> None:
    error = CrashLoopError("m", step="charge")
    error.add_note("seen on two machines")

    restored = pickled(error)

    assert restored.__notes__ == ["seen on two machines"]


def test_users_subclass_with_its_own_arguments_survives_pickling() -> None:
    restored = pickled(Declined(card="4242"))

    assert (str(restored), restored.card) == ("declined: 4242", "4242")


class Declined(NonRetryableError):  # noqa: N818 - a user's error, named as users do
    def __init__(self, *, card: str) -> None:
        super().__init__(f"declined: {card}")
        self.card = card


def test_wrong_option_is_a_value_error_too() -> None:
    assert issubclass(InvalidOptionError, ValueError)


@pytest.mark.parametrize("error_class", [ChildRunError, CallError, StepTimeoutError])
def test_errors_of_steps_are_caught_as_step_errors(error_class: type[WorkflowError]) -> None:
    assert issubclass(error_class, StepError)


def test_failed_run_tells_run_step_and_cause() -> None:
    error = RunFailedError(FAILURE, run_id="order-42")

    assert str(error) == 'Run order-42 failed in step "charge": shop.Declined: card declined'


def test_failure_between_steps_names_no_step() -> None:
    failure = Failure(message="x", error_class="KeyError", traceback="", step=None, attempts=1)

    assert str(RunFailedError(failure)) == "The run failed: KeyError: x"


def test_message_of_a_failed_run_can_be_given() -> None:
    error = RunFailedError(FAILURE, run_id="order-42", message="Run order-42 was cancelled.")

    assert str(error) == "Run order-42 was cancelled."


def test_delay_to_retry_after_is_kept_as_it_was_given() -> None:
    assert RetryAfterError("busy", "1d12h").delay == "1d12h"


interrupts = pytest.mark.parametrize("interrupt_class", [SuspendInterrupt, CancelInterrupt])


@interrupts
def test_interrupt_passes_through_except_exception(
    interrupt_class: type[SuspendInterrupt | CancelInterrupt],
) -> None:
    assert not issubclass(interrupt_class, Exception)


@interrupts
def test_interrupt_tells_how_to_catch_errors_without_it(
    interrupt_class: type[SuspendInterrupt | CancelInterrupt],
) -> None:
    assert "write `except Exception:`" in str(interrupt_class())


def test_interrupt_names_its_step() -> None:
    interrupt = SuspendInterrupt(step="nap")

    assert interrupt.step == "nap"
    assert 'at step "nap"' in str(interrupt)


@interrupts
def test_interrupt_survives_pickling(
    interrupt_class: type[SuspendInterrupt | CancelInterrupt],
) -> None:
    interrupt = interrupt_class(step="nap")

    restored = pickled(interrupt)

    assert type(restored) is interrupt_class
    assert (str(restored), restored.step) == (str(interrupt), "nap")


def test_argument_drift_is_a_warning_that_users_can_filter() -> None:
    assert issubclass(ArgumentDrift, UserWarning)
