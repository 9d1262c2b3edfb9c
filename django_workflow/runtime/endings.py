"""How a pass ends its run, for good or for now: completed, tried again, failed, blocked."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import UndecodableValueError, WorkflowError
from django_workflow.core.steps import StepOptions
from django_workflow.core.types import Failure, RunStatus
from django_workflow.core.workflow import Workflow
from django_workflow.models import Attempt
from django_workflow.runtime.announcing import run_completed, run_failed
from django_workflow.runtime.failure import failure_of, retry_in, text_of
from django_workflow.runtime.invoking import tell_parent
from django_workflow.runtime.payloads import check_payload
from django_workflow.store import claims, completions, generations, runs
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Claim

logger = logging.getLogger(__name__)


class Ending:
    """What may become of the run of one claim, or of its failure handler."""

    def __init__(
        self, claim: Claim, workflow: Workflow[Any, Any], options: StepOptions, *, in_handler: bool
    ) -> None:
        self.claim = claim
        self.workflow = workflow
        self.options = options
        self.in_handler = in_handler
        #: Whether the run is completed, or soon will be: nobody passes it again.
        self.is_last = False

    def completed(self, value: Any, *, leaves_open: bool) -> None:
        """The function returned; ``leaves_open`` tells of steps that it gave up."""
        if self.in_handler:
            runs.end_handler(self.claim, None)
            self._tell()
            return
        try:
            text = (
                None
                if value is None
                else codec.dumps(value, what="result", max_bytes=settings().MAX_RESULT_BYTES)
            )
        except WorkflowError as error:
            self.raised(error)
            return
        self.is_last = True
        self.complete(text, leaves_open=leaves_open)

    def complete(self, text: str | None, *, leaves_open: bool) -> None:
        """Write the end of the run, with its result as it is stored."""
        self.was_completed(completions.complete(self.claim, text, leaves_open=leaves_open))

    def was_completed(self, done: bool) -> None:
        """Say that the run has completed, or give the claim back: the run has moved on."""
        if not done:
            claims.give_back(self.claim, due_in=timedelta(0))
            return
        logger.info("Run %s completed", self.claim.run_id, extra={"run_id": self.claim.run_id})
        run_completed(self.claim)
        self._tell()

    def continued(self, payload_text: str | None) -> None:
        """The function continues as new: the next generation begins with this payload, under the latest version."""
        try:
            payload = None if payload_text is None else codec.loads(payload_text)
            checked = check_payload(self.workflow, payload)
            text = (
                None
                if checked is None
                else codec.dumps(checked, what="payload", max_bytes=settings().MAX_PAYLOAD_BYTES)
            )
        except WorkflowError as error:
            self.raised(error)
            return
        version = self.workflow.latest_version
        if generations.continue_as_new(self.claim, text, version):
            logger.info(
                "Run %s continued as new: generation %d",
                self.claim.run_id,
                self.claim.run.generation + 1,
                extra={"run_id": self.claim.run_id},
            )

    def raised(self, error: BaseException) -> None:
        """The function raised: another try later, or the run fails."""
        run = self.claim.run
        attempts = run.code_attempts + 1 if run.code_failed_at == self.claim.wakes else 1
        failure = failure_of(error, attempts=attempts)
        if isinstance(error, UndecodableValueError):
            self.block(error)
            return
        delay = None if failure.step is not None else retry_in(error, attempts, self.options)
        attempt = AttemptRow("", attempts, Attempt.Outcome.FAILED, text_of(failure))
        extra = {"run_id": run.id, "attempt": attempts}
        if delay is not None:
            logger.warning(
                "The code between steps of run %s is tried again in %s: %s",
                run.id,
                delay,
                failure.message,
                extra=extra,
            )
            runs.retry_code(self.claim, attempts=attempts, delay=delay, attempt=attempt)
            return
        logger.error("Run %s failed: %s", run.id, failure.message, extra=extra)
        if failure.step is None:
            self.fail(failure, "", attempt)
        else:
            self.fail(failure, getattr(error, "key", ""))

    def fail(self, failure: Failure, failed_step: str, attempt: AttemptRow | None = None) -> None:
        """Make the run a dead letter; its failure handler is due."""
        text = text_of(failure)
        if self.in_handler:
            runs.end_handler(self.claim, text)
            self._tell()
            return
        ended = runs.end_badly(
            self.claim,
            RunStatus.FAILED,
            text,
            failed_step=failed_step,
            with_handler=self.workflow.failure_handler is not None,
            attempt=attempt,
        )
        if ended:
            run_failed(self.claim, text)
        self._tell()

    def _tell(self) -> None:
        if self.claim.run.parent_waits:
            tell_parent(self.claim.run_id)

    def block(self, error: WorkflowError) -> None:
        """Stop the run by the engine's own verdict, until a person decides."""
        failure = Failure.from_exception(error, step=getattr(error, "step", None), attempts=0)
        logger.error(
            "Run %s is blocked: %s", self.claim.run_id, error, extra={"run_id": self.claim.run_id}
        )
        if self.in_handler:
            runs.end_handler(self.claim, text_of(failure))
            self._tell()
        elif runs.end_badly(self.claim, RunStatus.BLOCKED, text_of(failure)):
            run_failed(self.claim, text_of(failure))
