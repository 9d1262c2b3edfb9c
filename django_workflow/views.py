"""The door of a workflow: a signed POST is a delivery, any other POST triggers a run.

Closed by default. A delivery is believed for its signature, before the database is asked anything, and then only as
far as the database agrees. A trigger needs the permission ``django_workflow.trigger_run``, or what the workflow's
``trigger_permission`` says; whoever comes with a session is checked for CSRF here, since middlewares are told to let
deliveries through.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable
from http import HTTPStatus
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import (
    AtRestError,
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
    RunExistsError,
    SignatureError,
)
from django_workflow.core.workflow import Workflow, registry
from django_workflow.runtime.entry import carry_request
from django_workflow.runtime.messages import (
    MAX_DELIVERY_BYTES,
    OUTCOME_HEADER,
    SIGNATURE_HEADER,
    Outcome,
    read_delivery,
)

logger = logging.getLogger(__name__)

PERMISSION = "django_workflow.trigger_run"
TRIGGER_OPTIONS = frozenset({"workflow_run_id", "label", "delay"})

_SIGNATURE_KEY = "HTTP_" + SIGNATURE_HEADER.upper().replace("-", "_")
_STATUS = {
    Outcome.AGAIN: HTTPStatus.NO_CONTENT,
    Outcome.OVER: HTTPStatus.NO_CONTENT,
    Outcome.STALE: HTTPStatus.CONFLICT,
    Outcome.TROUBLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


class RefusedError(Exception):
    """Ends a request with an error answer."""

    def __init__(self, status: HTTPStatus, detail: str, *, path: str = "", **headers: str) -> None:
        super().__init__(detail)
        content = {"detail": detail, "path": path} if path else {"detail": detail}
        self.response = JsonResponse(content, status=status)
        for name, value in headers.items():
            self.response.headers[name.replace("_", "-")] = value


def door(workflow: Workflow[Any, Any], request: HttpRequest) -> Any:
    """Answer a request to a workflow; for an async one, return the coroutine that does.

    A pass works on the database, so it runs in the request's own thread either way.
    """
    if workflow.is_async:
        return sync_to_async(answer, thread_sensitive=True)(workflow, request)
    return answer(workflow, request)


@login_not_required
@csrf_exempt
def by_name(request: HttpRequest, name: str) -> HttpResponse:
    """Answer for the registered workflow of this name, a sync or an async one."""
    workflow = registry.find(name)
    if workflow is None:
        detail = "No workflow of this name is registered here."
        return RefusedError(HTTPStatus.NOT_FOUND, detail).response
    return answer(workflow, request)


for _alias in connections:
    transaction.non_atomic_requests(using=_alias)(by_name)


def answer(workflow: Workflow[Any, Any], request: HttpRequest) -> HttpResponse:
    """Answer a request to a workflow."""
    try:
        if request.method != "POST":
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, "A workflow takes POST requests only.", Allow="POST"
            )
        signature = request.META.get(_SIGNATURE_KEY)
        if signature is not None:
            return _carry(workflow, request, signature)
        return _trigger(workflow, request)
    except RefusedError as refusal:
        return refusal.response


def _carry(workflow: Workflow[Any, Any], request: HttpRequest, signature: str) -> HttpResponse:
    body = read_body(request, MAX_DELIVERY_BYTES)
    try:
        ticket = read_delivery(workflow.name, signature, body)
    except SignatureError as error:
        # The reason is for the operator; whoever knocks gets the same answer whatever is wrong.
        logger.warning('A delivery for workflow "%s" was refused: %s', workflow.name, error)
        raise RefusedError(
            HTTPStatus.UNAUTHORIZED,
            "The signature is not valid.",
            WWW_Authenticate=SIGNATURE_HEADER,
        ) from None
    found = carry_request(workflow, ticket)
    response = HttpResponse(status=_STATUS[found.outcome])
    del response.headers["Content-Type"]
    response.headers[OUTCOME_HEADER] = ticket.sign_answer(workflow.name, found)
    return response


def _trigger(workflow: Workflow[Any, Any], request: HttpRequest) -> HttpResponse:
    custom = workflow.options.trigger_permission
    if custom is None:
        _refuse_anonymous(request)
    read_body(request, settings().MAX_PAYLOAD_BYTES)
    if custom is None or django_settings.SESSION_COOKIE_NAME in request.COOKIES:
        _check_csrf(request)
    try:
        is_allowed = (
            request.user.has_perm(PERMISSION) if custom is None else resolved(custom(request))
        )
        if not is_allowed:
            raise PermissionDenied
        payload = _payload(workflow, request)
    except PermissionDenied as error:
        detail = str(error) or f'You may not trigger workflow "{workflow.name}".'
        raise RefusedError(HTTPStatus.FORBIDDEN, detail) from error
    # Without a session cookie this asks the database nothing.
    by = Actor.of(getattr(request, "user", None), door="http")
    return _triggered(workflow, payload, {**_options(request), "by": by})


def _refuse_anonymous(request: HttpRequest) -> None:
    # Without a session cookie this asks the database nothing.
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        raise RefusedError(
            HTTPStatus.UNAUTHORIZED,
            "Sign in, or post with a signature.",
            WWW_Authenticate=f"Session, {SIGNATURE_HEADER}",
        )


def resolved(value: Any) -> Any:
    """Return the value, awaited if it is to be: on the server's own event loop, where there is one."""
    return async_to_sync(_awaited)(value) if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> NoReturn:
        raise RefusedError(HTTPStatus.FORBIDDEN, f"CSRF check failed: {reason}")


def _nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _check_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(_nothing)
    check.process_request(request)
    check.process_view(request, _nothing, (), {})


def read_body(request: HttpRequest, limit: int) -> bytes:
    """Read the body, and no more than the limit, which takes the place of DATA_UPLOAD_MAX_MEMORY_SIZE."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    length = int(announced) if announced.isdecimal() else 0
    if length > limit:
        raise _too_large(limit)
    if not announced and "HTTP_TRANSFER_ENCODING" in request.META and hasattr(request, "environ"):
        # Under WSGI Django sees no body at all, and a run would be triggered without its payload.
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "Send the body with a Content-Length.")
    try:
        body = request.body if hasattr(request, "_body") else request.read(limit + 1)
    except UnreadablePostError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "The body could not be read.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if len(body) < length:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            f"The body has {len(body)} of the {length} bytes it should have.",
        )
    # So that `request.body` goes on working, in a payload_parser as in the CSRF check.
    request._body = body
    return body


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body may have {limit:,} bytes at most."
    )


def _payload(workflow: Workflow[Any, Any], request: HttpRequest) -> Any:
    parse = workflow.options.payload_parser or _parse_json
    try:
        return resolved(parse(request))
    except KeyError as error:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f"The payload lacks {error}.", path="payload"
        ) from error
    except (ValueError, RecursionError) as error:
        detail = str(error) if isinstance(error, ValueError) else "The payload is nested too deep."
        raise RefusedError(HTTPStatus.BAD_REQUEST, detail, path="payload") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"The payload is not JSON: it holds {name}.")


_decoder = JSONDecoder(parse_constant=_refuse_constant)


def _parse_json(request: HttpRequest) -> Any:
    if not request.body:
        return None
    try:
        return _decoder.decode(request.body.decode())
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The payload is not UTF-8: {error.reason} at byte {error.start}."
        ) from error
    except JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"The payload is not JSON: {error.msg} at {place}.") from error


def _options(request: HttpRequest) -> dict[str, Any]:
    """Return the trigger's options from the query: ``?workflow_run_id=&label=&delay=``."""
    query = request.GET
    for name in query:
        if name not in TRIGGER_OPTIONS:
            known = ", ".join(sorted(TRIGGER_OPTIONS))
            detail = f"There is no option {name[:100]!r} here. Known: {known}."
            raise RefusedError(HTTPStatus.BAD_REQUEST, detail, path="query")
        if name != "label" and len(query.getlist(name)) > 1:
            detail = f"The option {name} is given more than once."
            raise RefusedError(HTTPStatus.BAD_REQUEST, detail, path=name)
    options: dict[str, Any] = {name: query[name] for name in query}
    if "label" in options:
        options["label"] = query.getlist("label")
    return options


def _triggered(workflow: Workflow[Any, Any], payload: Any, options: dict[str, Any]) -> HttpResponse:
    try:
        run = workflow.trigger(payload, **options)
    except NotSerializableError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error), path=error.path) from error
    except InvalidOptionError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
    except PayloadTooLargeError as error:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from error
    except RunExistsError as error:
        raise RefusedError(HTTPStatus.CONFLICT, str(error)) from error
    except AtRestError as error:
        logger.exception("A run of %s could not be triggered", workflow.name)
        detail = "The payload cannot be stored at this moment: try again later."
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error
    # A singleton that skips makes no run.
    content = {
        "workflow_run_id": None if run is None else run.id,
        "created": run is not None and run.created,
    }
    return JsonResponse(content, status=HTTPStatus.ACCEPTED)
