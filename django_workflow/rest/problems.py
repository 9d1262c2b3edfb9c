"""Errors of the API, all in one shape: problem details (RFC 9457), and never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from django_workflow.core.exceptions import (
    ApprovalClosedError,
    AtRestError,
    DecisionRefusedError,
    InvalidDecisionError,
    InvalidEventError,
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
    RunExistsError,
    RunNotFoundError,
    RunStateError,
    ScheduleNotFoundError,
    WorkflowError,
    WorkflowNotFoundError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:django-workflow:problem:"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its status and its title, which never change for a type."""

    status: HTTPStatus
    title: str


KINDS = {
    "bad-input": Kind(HTTPStatus.BAD_REQUEST, "The request is not as it should be."),
    "malformed": Kind(HTTPStatus.BAD_REQUEST, "The body is not JSON."),
    "bad-cursor": Kind(HTTPStatus.BAD_REQUEST, "The cursor is not one of this list."),
    "refused-event": Kind(HTTPStatus.BAD_REQUEST, "Nobody who waits takes these data."),
    "not-signed-in": Kind(HTTPStatus.UNAUTHORIZED, "Credentials are missing or wrong."),
    "forbidden": Kind(HTTPStatus.FORBIDDEN, "You may not do this."),
    "not-found": Kind(HTTPStatus.NOT_FOUND, "There is no such thing."),
    "wrong-method": Kind(HTTPStatus.METHOD_NOT_ALLOWED, "The method is not for this address."),
    "not-acceptable": Kind(HTTPStatus.NOT_ACCEPTABLE, "None of the wanted media types is given."),
    "wrong-state": Kind(HTTPStatus.CONFLICT, "The state it is in does not allow this."),
    "exists": Kind(HTTPStatus.CONFLICT, "The ID is taken."),
    "not-here": Kind(HTTPStatus.CONFLICT, "The code for this is not in this process."),
    "no-length": Kind(HTTPStatus.LENGTH_REQUIRED, "The length of the body is not given."),
    "too-large": Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too long."),
    "wrong-media-type": Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON."),
    "too-often": Kind(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests."),
    "unavailable": Kind(HTTPStatus.SERVICE_UNAVAILABLE, "The database did not answer."),
    "error": Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here."),
}


class ProblemError(Exception):
    """Ends a request with a problem of this kind."""

    def __init__(self, kind: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.more = more


def problem(kind: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return the body of a problem; what is None is left out."""
    found = {
        "type": TYPE + kind,
        "title": KINDS[kind].title,
        "status": int(KINDS[kind].status),
        "detail": detail,
    }
    return found | {name: value for name, value in more.items() if value is not None}


def problem_of(error: Exception) -> dict[str, Any] | None:
    """Return the problem that an error is; None for one that nobody has foreseen."""
    if isinstance(error, ProblemError):
        return problem(error.kind, str(error), **error.more)
    if isinstance(error, WorkflowError):
        return _of_ours(error)
    if isinstance(error, drf.APIException):
        return _of_framework(error)
    if isinstance(error, Http404):
        return problem("not-found", str(error) or "There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return problem("forbidden", str(error) or "You may not do this.")
    return None


def _of_ours(error: WorkflowError) -> dict[str, Any] | None:
    for cls, kind, attributes in _OURS:
        if isinstance(error, cls):
            more = {shown: getattr(error, name) for shown, name in attributes.items()}
            if isinstance(error, InvalidDecisionError):
                more["errors"] = _listed({"data": error.errors})
            return problem(kind, str(error), **more)
    return None


_RUN = {"workflow_run_id": "run_id"}
_OURS: tuple[tuple[type[WorkflowError], str, dict[str, str]], ...] = (
    (RunStateError, "wrong-state", {**_RUN, "state": "state"}),
    (RunExistsError, "exists", _RUN),
    (RunNotFoundError, "not-found", _RUN),
    (ScheduleNotFoundError, "not-found", {}),
    (WorkflowNotFoundError, "not-found", {}),
    (ApprovalClosedError, "wrong-state", {"state": "decision"}),
    (DecisionRefusedError, "forbidden", {}),
    (InvalidDecisionError, "bad-input", {}),
    (InvalidEventError, "refused-event", {}),
    (NotSerializableError, "bad-input", {"path": "path"}),
    (PayloadTooLargeError, "too-large", {}),
    (InvalidOptionError, "bad-input", {}),
)


_BY_STATUS = {
    401: "not-signed-in",
    403: "forbidden",
    404: "not-found",
    405: "wrong-method",
    406: "not-acceptable",
    413: "too-large",
    415: "wrong-media-type",
    429: "too-often",
}


def _of_framework(error: drf.APIException) -> dict[str, Any] | None:
    if isinstance(error, drf.ParseError):
        return problem("malformed", str(error.detail))
    if isinstance(error, drf.ValidationError):
        errors = _listed(error.detail)
        first = errors[0] if errors else {"path": "", "detail": "It is refused."}
        path = first["path"]
        told = f"{path}: {first['detail']}" if path else first["detail"]
        return problem("bad-input", told, path=path or None, errors=errors)
    kind = _BY_STATUS.get(error.status_code)
    return None if kind is None else problem(kind, str(error.detail))


def _listed(detail: Any) -> list[dict[str, str]]:
    return [{"path": path, "detail": text} for path, text in _flat(detail, "")]


def _flat(detail: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            is_of_all = name in ("non_field_errors", "__all__")
            yield from _flat(inner, path if is_of_all else f"{path}.{name}" if path else str(name))
    elif isinstance(detail, (list, tuple)):
        for index, inner in enumerate(detail):
            is_nested = isinstance(inner, (Mapping, list, tuple))
            yield from _flat(inner, f"{path}[{index}]" if is_nested and inner else path)
    else:
        yield path, str(detail)


def answer(error: Exception, context: dict[str, Any]) -> Response:
    """Answer a request that has failed: the API's exception handler."""
    found = problem_of(error)
    if found is None:
        found = _unforeseen(error, context)
    set_rollback()
    response = Response(found, status=found["status"])
    if isinstance(error, drf.APIException):
        challenge = getattr(error, "auth_header", None)
        if challenge:
            response["WWW-Authenticate"] = challenge
        wait = getattr(error, "wait", None)
        if wait:
            response["Retry-After"] = str(int(wait) + 1)
    return response


def _unforeseen(error: Exception, context: dict[str, Any]) -> dict[str, Any]:
    request = context["request"]
    if isinstance(error, (InterfaceError, OperationalError)):
        logger.warning("The database did not answer %s", request.path, exc_info=error)
        return problem("unavailable", "Try again in a moment.")
    if isinstance(error, AtRestError):
        logger.error("%s cannot be answered", request.path, exc_info=error)
        return problem("unavailable", "A key or a file is missing, or its storage is away.")
    # Whoever collects the errors of the project hears of it, as of those of every other view.
    got_request_exception.send(sender=type(context["view"]), request=request._request)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem("error", "It was logged, and nothing is known of it here.")
