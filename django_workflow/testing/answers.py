"""What a test answers to ``ctx.call``: in a sandbox nothing goes over the network."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django_workflow.core.calls import CallRequest, Headers, check_url
from django_workflow.core.exceptions import InvalidOptionError, WorkflowError
from django_workflow.runtime.calling import Answer, NoAnswerError


class UnexpectedCallError(WorkflowError):
    """Raised when a run calls what the test has no answer for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeCall:
    """A request that a run has made in the sandbox."""

    step: str
    attempt: int
    method: str
    url: str
    headers: Headers
    #: The body as it was sent.
    content: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json_module.loads(self.content)

    @property
    def text(self) -> str:
        """The body, read as text."""
        return self.content.decode()


@dataclass(slots=True)
class _Rule:
    method: str
    url: str
    outcome: Answer | NoAnswerError
    left: int | None
    attempt: int | None

    def fits(self, request: CallRequest, attempt: int) -> bool:
        """Tell whether this attempt of a request is meant."""
        return (
            self.left != 0
            and (self.method, self.url) == (request.method, request.url)
            and self.attempt in (None, attempt)
        )


class Answers:
    """The answers of a box: of those that fit, the oldest that is not used up."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(
        self,
        method: Any,
        url: Any,
        *,
        status: Any,
        json: Any,
        body: Any,
        headers: Mapping[str, str] | None,
        times: int | None,
        attempt: int | None,
        error: Any,
    ) -> None:
        """Keep an answer.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        for name, value in (("times", times), ("attempt", attempt)):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise InvalidOptionError(
                    f"{name} must be a whole number of 1 or more, not {value!r}."
                )
        asked = CallRequest.of(url, method=method, json=None, form=None, body=None, headers=None)
        if error is not None:
            outcome: Answer | NoAnswerError = NoAnswerError(str(error) or type(error).__name__)
        else:
            outcome = _answer(status, json, body, headers)
        self._rules.append(_Rule(asked.method, check_url(url), outcome, times, attempt))

    def clear(self) -> None:
        """Forget all."""
        self._rules.clear()

    def take(
        self, request: CallRequest, step: str, run_id: str, attempt: int
    ) -> Answer | NoAnswerError:
        """Return the answer to a request.

        Raises:
            UnexpectedCallError: there is none.
        """
        for rule in self._rules:
            if rule.fits(request, attempt):
                if rule.left is not None:
                    rule.left -= 1
                return rule.outcome
        known = ", ".join(f"{rule.method} {rule.url}" for rule in self._rules if rule.left != 0)
        raise UnexpectedCallError(
            f'Step "{step}" of run {run_id} calls {request.method} {request.url}, and the sandbox has no answer. '
            f'Give one before: box.respond("{request.method}", "{request.url}", json=…). '
            f"Known: {known or 'none'}."
        )


def _answer(status: Any, json: Any, body: Any, headers: Mapping[str, str] | None) -> Answer:
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        raise InvalidOptionError(f"status is a number from 100 to 599, not {status!r}.")
    # Checked, and given its type, as the body of a request is.
    made = CallRequest.of(
        "http://answer", method="POST", json=json, form=None, body=body, headers=headers
    )
    return Answer(status, made.headers, made.body)
