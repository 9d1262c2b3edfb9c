"""Every error of django_workflow, and the interrupts that end a pass.

WorkflowError
├── NotReadyError              used before the app registry was ready
├── InvalidOptionError         (ValueError) an option cannot work
├── WorkflowNotFoundError      no workflow registered under that name; .name
├── RunNotFoundError           .run_id
├── ScheduleNotFoundError      .schedule_id
├── RunExistsError             the id is taken by another run; .run_id
├── RunNotFinishedError        .run_id, .state
├── RunStateError              a verb that the run's state does not allow; .run_id, .state
├── RunFailedError             .failure, .run_id
├── RunTimeoutError            the run's own timeout was over before it ended
├── RunExpiredError            the run had not begun when its ttl was over
├── StepError                  a step gave up; .step, .attempts, .failure
│   ├── ChildRunError          .run_id
│   ├── CallError              no answer at all
│   └── StepTimeoutError
├── NonDeterminismError        the code no longer follows the journal; .step, .expected, .found
├── ArgumentDriftError         a recorded step is asked for with other arguments; .step
├── SwallowedInterruptError    an interrupt was caught and not raised again; .step
├── MisplacedStepError         a verb inside a step body, or outside a pass; .step
├── NotSerializableError       a value cannot be stored; .path, .step
├── PayloadTooLargeError       .size, .limit
├── UndecodableValueError      a stored value names an unregistered type; .type_name, .path
├── AtRestError                a text cannot be kept, or read as it is kept; .key, .file
├── TransactionOpenError       a pass or a wait inside an open transaction
├── ApprovalClosedError        decided already, out of time, or its run waits no more; .decision
├── DecisionRefusedError       this user may not decide
├── InvalidDecisionError       (ValueError) what was given with a decision does not fit; .errors
├── InvalidEventError          (ValueError) the data of an event fit none of those who wait; .reasons
├── DeliveryFencedError        the delivery's token is no longer the current one
├── CrashLoopError             the process died again and again in one step; .step
├── TooManyStepsError          the run has more steps than are allowed; .limit
├── SignatureError             a door refused a message
├── NonRetryableError          raised by users: do not try again
└── RetryAfterError            raised by users: try again after .delay

ArgumentDrift (UserWarning)    the gentle form of ArgumentDriftError
_Interrupt (BaseException)     private: SuspendInterrupt, CancelInterrupt, ContinueInterrupt, AtRestInterrupt
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django_workflow.core.types import Failure


def _rebuild(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return cls.__new__(cls, *args)


def _reduced(error: BaseException) -> tuple[Any, ...]:
    # BaseException itself would call cls(*args), which fails on keyword-only arguments.
    return _rebuild, (type(error), error.args), error.__dict__


class WorkflowError(Exception):
    """Base of every error that django_workflow raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)


class NotReadyError(WorkflowError):
    """Raised when the engine is used before Django has loaded its apps."""


class InvalidOptionError(ValueError, WorkflowError):
    """Raised when an option cannot work, where it is given."""


class WorkflowNotFoundError(WorkflowError):
    """Raised when no workflow is registered under a name."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class RunNotFoundError(WorkflowError):
    """Raised when there is no run with this id."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class ScheduleNotFoundError(WorkflowError):
    """Raised when there is no schedule with this id."""

    def __init__(self, message: str, *, schedule_id: str) -> None:
        super().__init__(message)
        self.schedule_id = schedule_id


class RunExistsError(WorkflowError):
    """Raised when the id asked for belongs to a run with another workflow or payload."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunNotFinishedError(WorkflowError):
    """Raised when the result of an unfinished run is asked for."""

    def __init__(self, message: str, *, run_id: str, state: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.state = state


class RunStateError(WorkflowError):
    """Raised when a verb is not allowed in the state the run is in."""

    def __init__(self, message: str, *, run_id: str, state: str) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.state = state


class RunFailedError(WorkflowError):
    """Raised when the result of a run is asked for that ended without one.

    ``message`` replaces the text that is otherwise made from the failure.
    """

    def __init__(
        self, failure: Failure, *, run_id: str | None = None, message: str | None = None
    ) -> None:
        super().__init__(message or _failed_run_text(failure, run_id))
        self.failure = failure
        self.run_id = run_id


class RunTimeoutError(WorkflowError):
    """Names, in a run's failure, the timeout of the run itself; never raised in a workflow."""


class RunExpiredError(WorkflowError):
    """Names, in a cancelled run's failure, the ttl that was over before the run began; never raised."""


def _failed_run_text(failure: Failure, run_id: str | None) -> str:
    run = f"Run {run_id}" if run_id else "The run"
    place = f' in step "{failure.step}"' if failure.step else ""
    return f"{run} failed{place}: {failure.error_class}: {failure.message}"


class StepError(WorkflowError):
    """Raised in the workflow when a step gave up.

    It is built from the record, at the first pass as at every replay; what the body raised
    is described by ``failure``.
    """

    #: The step's place in the run; names may occur more than once.
    key: str = ""
    #: Of which item of ``ctx.map`` it is, counted from 0; None for other steps.
    index: int | None = None

    def __init__(self, message: str, *, step: str, attempts: int, failure: Failure) -> None:
        super().__init__(message)
        self.step = step
        self.attempts = attempts
        self.failure = failure


class ChildRunError(StepError):
    """Raised by ``ctx.invoke`` when the child failed or was cancelled."""

    def __init__(
        self, message: str, *, step: str, attempts: int, failure: Failure, run_id: str
    ) -> None:
        super().__init__(message, step=step, attempts=attempts, failure=failure)
        self.run_id = run_id


class CallError(StepError):
    """Raised by ``ctx.call`` when there was no answer at all."""


class StepTimeoutError(StepError):
    """Raised when a step's body took longer than its ``timeout``."""


class NonDeterminismError(WorkflowError):
    """Raised when the code asks for other steps than its run has recorded.

    ``expected`` is what was recorded, ``found`` what the code asks for now.
    """

    def __init__(
        self, message: str, *, step: str, expected: str | None = None, found: str | None = None
    ) -> None:
        super().__init__(message)
        self.step = step
        self.expected = expected
        self.found = found


class ArgumentDriftError(WorkflowError):
    """Raised, under strict arguments, when a recorded step is asked for with others."""

    def __init__(
        self, message: str, *, step: str, recorded: str | None = None, asked: str | None = None
    ) -> None:
        super().__init__(message)
        self.step = step
        self.recorded = recorded
        self.asked = asked


class ArgumentDrift(UserWarning):
    """Warns that a step's arguments differ from the recorded ones, which win."""


class SwallowedInterruptError(WorkflowError):
    """Raised when the workflow caught an interrupt and went on."""

    def __init__(self, message: str, *, step: str) -> None:
        super().__init__(message)
        self.step = step


class MisplacedStepError(WorkflowError):
    """Raised when a verb is called inside a step's body, or outside a pass."""

    def __init__(self, message: str, *, step: str) -> None:
        super().__init__(message)
        self.step = step


class NotSerializableError(WorkflowError):
    """Raised when a value cannot be stored; ``path`` leads to the part that cannot."""

    def __init__(self, message: str, *, path: str, step: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.step = step


class PayloadTooLargeError(WorkflowError):
    """Raised when a value takes more bytes than the limit."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class UndecodableValueError(WorkflowError):
    """Raised when a stored value cannot be read back, most often for want of a registration.

    ``type_name`` is None when the text is not one that the codec wrote.
    """

    def __init__(self, message: str, *, type_name: str | None, path: str) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.path = path


class AtRestError(WorkflowError):
    """Raised when a text cannot be kept, or read back, as it is kept: encrypted, or in a file.

    ``key`` names the key that is missing, ``file`` the file.
    """

    def __init__(self, message: str, *, key: str | None = None, file: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.file = file


class TransactionOpenError(WorkflowError):
    """Raised when a pass or a wait is entered inside an open transaction."""


class ApprovalClosedError(WorkflowError):
    """Raised when an approval can no longer be decided; ``decision`` is what was decided, or empty."""

    def __init__(self, message: str, *, decision: str = "") -> None:
        super().__init__(message)
        self.decision = decision


class DecisionRefusedError(WorkflowError):
    """Raised when somebody decides who may not."""


class InvalidDecisionError(ValueError, WorkflowError):
    """Raised when the form of an approval refuses what was given; ``errors`` holds texts by field."""

    def __init__(self, message: str, *, errors: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


class InvalidEventError(ValueError, WorkflowError):
    """Raised when everybody who waits for an event refuses its data; ``reasons`` tell why."""

    def __init__(self, message: str, *, reasons: list[str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class DeliveryFencedError(WorkflowError):
    """Raised when somebody else has taken the delivery over: its token is no longer current."""

    def __init__(
        self, message: str, *, delivery_id: int | str | None = None, token: int | str | None = None
    ) -> None:
        super().__init__(message)
        self.delivery_id = delivery_id
        self.token = token


class CrashLoopError(WorkflowError):
    """Raised when the process died several times in a row in the same step.

    ``step`` is None when it died in the code between steps.
    """

    def __init__(self, message: str, *, step: str | None, deaths: int = 3) -> None:
        super().__init__(message)
        self.step = step
        self.deaths = deaths


class TooManyStepsError(WorkflowError):
    """Raised when a run has more steps than ``WORKFLOW["MAX_STEPS"]`` allows."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class SignatureError(WorkflowError):
    """Raised when a door refuses a message because of its signature."""


class NonRetryableError(WorkflowError):
    """Raise this in a step or between steps to fail at once, without further attempts."""


class RetryAfterError(WorkflowError):
    """Raise this to be tried again after ``delay``; it counts as an attempt.

    ``delay`` is any duration: a timedelta, seconds, or text as ``"10s"`` and ``"1d12h"``.
    """

    def __init__(self, message: str, delay: timedelta | float | str) -> None:
        super().__init__(message)
        self.delay = delay


class _Interrupt(BaseException):
    """Base of what unwinds the workflow function; ``except Exception`` lets it through."""

    reason = "The workflow is being interrupted"

    def __init__(self, *, step: str | None = None) -> None:
        place = f' at step "{step}"' if step else ""
        super().__init__(
            f"{self.reason}{place}. This is not an error and must not be caught:"
            " write `except Exception:` instead of `except:` or `except BaseException:`."
        )
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)


class SuspendInterrupt(_Interrupt):
    """Ends a pass that has to wait; the next pass goes on from the recorded steps."""

    reason = "The workflow function is left here and goes on in a later pass"


class AtRestInterrupt(_Interrupt):
    """Ends a pass from within a step's body, for what is no attempt of it: a text that cannot be read now."""

    reason = "What the step needs cannot be read"

    def __init__(self, *, error: AtRestError, step: str | None = None) -> None:
        super().__init__(step=step)
        self.error = error


class CancelInterrupt(_Interrupt):
    """Ends a run from inside, by ``ctx.cancel()``."""

    reason = "The run is being cancelled"


class ContinueInterrupt(CancelInterrupt):
    """Ends a generation of a run, by ``ctx.continue_as_new()``."""

    reason = "The run is continued as new"

    def __init__(self, *, payload_text: str | None, step: str | None = None) -> None:
        super().__init__(step=step)
        self.payload_text = payload_text
