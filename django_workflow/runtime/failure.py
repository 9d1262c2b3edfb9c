"""What becomes of an error: tried again, or given up. The workflow's own trouble, kept apart from a delivery's."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import lru_cache
from random import Random
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import StepError
from django_workflow.core.flow import FlowControl
from django_workflow.core.retry import (
    RetryPolicy,
    is_retryable,
    is_worth_it,
    parse_retry_delay,
    requested_delay,
)
from django_workflow.core.steps import StepOptions
from django_workflow.core.types import Failure
from django_workflow.core.workflow import Workflow
from django_workflow.models import Run
from django_workflow.store.rows import RunRow

logger = logging.getLogger(__name__)

MAX_TROUBLE_SECONDS = 60
DEATHS_ALLOWED = 3

_random = Random()  # noqa: S311  spreads retries, guards nothing


@lru_cache(maxsize=1024)
def stored_options(text: str) -> dict[str, Any]:
    """Return the options of a trigger as stored; nearly all runs of a project share a few texts."""
    options: dict[str, Any] = codec.loads(text)
    return options


def run_options(
    run: RunRow | Run, workflow: Workflow[Any, Any], flow_control: FlowControl | None
) -> StepOptions:
    """Return the options that hold for the run's steps: the trigger's over the workflow's."""
    stored = stored_options(run.options_text)
    retries = stored.get("retries")
    delay = stored.get("retry_delay")
    given = StepOptions(
        retries=RetryPolicy.from_json(retries) if isinstance(retries, dict) else retries,
        retry_delay=None if delay is None else parse_retry_delay(delay),
        flow_control=flow_control,
    )
    return given.over(workflow.options.steps)


def retry_in(error: BaseException, attempt: int, options: StepOptions) -> timedelta | None:
    """Return how long to wait after this attempt failed, or None to give up."""
    if not is_retryable(error) or not _is_worth_it(error, options):
        return None
    delay = options.policy(settings().RETRIES).delay_before(attempt, random=_random)
    if delay is None:
        return None
    asked = requested_delay(error)
    return delay if asked is None else asked


def _is_worth_it(error: BaseException, options: StepOptions) -> bool:
    try:
        return is_worth_it(error, options.retry_on)
    except Exception:  # broad: a predicate is user code; one that raises decides nothing
        logger.exception("retry_on raised; the error is retried as without it")
        return True


def failure_of(error: BaseException, *, attempts: int) -> Failure:
    """Describe what ended a run; an uncaught step error speaks for its step."""
    if isinstance(error, StepError):
        return error.failure
    return Failure.from_exception(error, step=None, attempts=attempts)


def timeout_failure(step: str, seconds: float, attempts: int) -> Failure:
    """Describe an attempt that took longer than the step's timeout."""
    return Failure(
        message=f'The body of step "{step}" took longer than its timeout of {seconds:g} s.',
        error_class="django_workflow.core.exceptions.StepTimeoutError",
        traceback="",
        step=step,
        attempts=attempts,
    )


def trouble_delay(tries: int) -> timedelta:
    """Return when a delivery that did not get through is repeated: after 1 s, doubling to 60 s, without end."""
    return timedelta(seconds=min(MAX_TROUBLE_SECONDS, 2 ** min(max(tries, 1) - 1, 10)))


def text_of(failure: Failure) -> str:
    """Return the stored form of a failure."""
    return codec.dumps(failure.to_json(), what="failure")
