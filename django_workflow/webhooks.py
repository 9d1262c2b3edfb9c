"""The door of webhooks: a call with a known token is kept for the run that the token belongs to.

The token is all that a caller needs to know, and all that the answer goes by: an unknown one is 404 whatever runs there
are. A verifier decides before anything is kept; what it needs of the body is read under the webhook's own limit.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from django_workflow.core.ports import get_runtime
from django_workflow.core.webhooks import WebhookRequest
from django_workflow.models import Webhook
from django_workflow.runtime.webhooks import (
    GONE,
    TOO_MANY,
    answer_of,
    find_webhook,
    is_gone,
    max_bytes_of,
    verifier_of,
)
from django_workflow.views import RefusedError, read_body, resolved

logger = logging.getLogger(__name__)


@login_not_required
@csrf_exempt
@never_cache
def webhook(request: HttpRequest, token: str) -> HttpResponseBase:
    """Answer a call of a webhook, by any method."""
    try:
        return _answer(request, token)
    except RefusedError as refusal:
        return refusal.response


# What a call leaves behind is written in one transaction of its own, whatever the project does with requests.
for _alias in connections:
    transaction.non_atomic_requests(using=_alias)(webhook)


def _answer(request: HttpRequest, token: str) -> HttpResponseBase:
    found = find_webhook(token)
    if found is None:
        raise RefusedError(HTTPStatus.NOT_FOUND, "There is no such webhook.")
    if is_gone(found):
        raise _gone()
    read_body(request, max_bytes_of(found))
    said = _verified(found, request)
    if isinstance(said, HttpResponseBase):
        # The provider's way to ask whether the URL is ours; no call.
        return said
    if not said:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "The call is not signed as it should be.")
    outcome = get_runtime().call_webhook(found, _stored(request))
    if outcome == GONE:
        raise _gone()
    if outcome == TOO_MANY:
        raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "Too many calls.", Retry_After="60")
    return _thanks(found, request)


def _gone() -> RefusedError:
    return RefusedError(HTTPStatus.GONE, "This webhook takes no calls any more.")


def _verified(found: Webhook, request: HttpRequest) -> Any:
    try:
        verify = verifier_of(found)
        return True if verify is None else resolved(verify(request))
    except Exception as error:  # the door of user code: a call is kept only if it was verified
        logger.exception(
            "The verifier of a webhook of run %s failed",
            found.run_id,
            extra={"run_id": found.run_id},
        )
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        raise RefusedError(status, "The call could not be verified.") from error


def _stored(request: HttpRequest) -> WebhookRequest:
    try:
        content, is_base64 = request.body.decode(), False
    except UnicodeDecodeError:
        content, is_base64 = b64encode(request.body).decode(), True
    return WebhookRequest(
        method=request.method or "",
        url=_encodable(request.build_absolute_uri()),
        headers={name: _encodable(value) for name, value in request.headers.items()},
        query={
            _encodable(name): [_encodable(one) for one in values]
            for name, values in request.GET.lists()
        },
        content_type=_encodable(request.META.get("CONTENT_TYPE", "")),
        content=content,
        is_base64=is_base64,
    )


def _encodable(text: str) -> str:
    # What a server could not decode comes as lone surrogates, which no database keeps.
    return text.encode("utf-8", "backslashreplace").decode()


def _thanks(found: Webhook, request: HttpRequest) -> HttpResponseBase:
    """Answer a call that was kept; what goes wrong from here on is no reason to repeat it."""
    try:
        answer = answer_of(found)
        if callable(answer):
            answer = resolved(answer(request))
    except Exception:  # the door of user code
        logger.exception(
            "The response of a webhook of run %s failed",
            found.run_id,
            extra={"run_id": found.run_id},
        )
        answer = None
    if isinstance(answer, HttpResponseBase):
        return answer
    content = {"received": True} if answer is None else answer
    try:
        return JsonResponse(content, safe=False)
    except (TypeError, ValueError):
        return JsonResponse({"received": True})
