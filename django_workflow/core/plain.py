"""Stored values as people and other programs read them: plain JSON, the tags of types gone."""

from __future__ import annotations

import json
import re
from typing import Any

from django_workflow.core.at_rest import SPILLED, is_kept, mark_of, opened, size_of, unsealed
from django_workflow.core.calls import is_secret
from django_workflow.core.codec import TAG, VALUE
from django_workflow.core.exceptions import AtRestError
from django_workflow.core.types import Failure, JSONValue
from django_workflow.core.webhooks import MASK, REQUEST_KEYS, masked

#: Where the headers of a webhook's call begin; they are the last of what is stored of it.
HEADERS = '"headers":{'
#: How the answer to a call begins, up to its headers.
ANSWER = re.compile(r'\{"status":\d+,"headers":')
ANSWER_KEYS = frozenset({"status", "headers", "body", "form"})
WEBHOOK_KEYS = frozenset({"webhook_url", "event_id", "workflow_run_id"})


def plain(text: str | None, *, whole: bool = False) -> JSONValue:
    """Return a stored value as plain JSON; None where there is none.

    Types need not be registered here: a datetime is its text, a dataclass its fields. What is not the codec's is
    returned as the text it is, so that there is always something to show. What opens something is masked: headers of
    a webhook's call and of the answer to a call, and the token in a webhook's URL. What is encrypted is opened; of what
    is in a file, only its size is told unless it is to be ``whole``.
    """
    if text is None:
        return None
    if is_kept(text):
        text = unsealed(text, _content if whole else _size)
    try:
        value: JSONValue = json.loads(text, object_hook=_untagged)
    except (ValueError, TypeError, RecursionError):
        # Perhaps the beginning of a long text: what may be secret in it cannot be told apart.
        answer = ANSWER.match(text)
        if answer is not None:
            return answer[0]
        return text.partition(HEADERS)[0] if '"is_base64":' in text else text
    return value


def failure_in(text: str | None) -> Failure | None:
    """Return a stored failure, or None; one that cannot be read at this moment is told as such."""
    if not text:
        return None
    stored = plain(text)
    if isinstance(stored, dict):
        return Failure.from_json(stored)
    path = f"{AtRestError.__module__}.{AtRestError.__qualname__}"
    return Failure(message=str(stored), error_class=path, traceback="", step=None, attempts=0)


def _size(value: str) -> str:
    return json.dumps(f"({size_of(value):,} bytes in a file)")


def _content(value: str) -> str:
    return opened(mark_of(SPILLED, value))


def _untagged(node: dict[str, Any]) -> Any:
    if node.keys() == REQUEST_KEYS and isinstance(node["headers"], dict):
        return node | {"headers": masked(node["headers"]), "url": _without_token(node["url"])}
    if node.keys() == ANSWER_KEYS and isinstance(node["headers"], list):
        return node | {"headers": [_masked_pair(pair) for pair in node["headers"]]}
    if node.keys() == WEBHOOK_KEYS:
        return node | {"webhook_url": _without_token(node["webhook_url"])}
    if node.keys() != {TAG, VALUE}:
        return node
    # A user's dict that holds the tag's key is stored as pairs.
    return dict(node[VALUE]) if node[TAG] == "dict" else node[VALUE]


def _masked_pair(pair: Any) -> Any:
    if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
        return [pair[0], MASK if is_secret(pair[0]) else pair[1]]
    return pair


def _without_token(url: Any) -> Any:
    """Return the URL of a webhook without what makes it unguessable."""
    if not isinstance(url, str):
        return url
    address, mark, query = url.partition("?")
    head, slash, tail = address.rstrip("/").rpartition("/")
    rest = address[len(address.rstrip("/")) :]
    return f"{head}{slash}{MASK if tail else tail}{rest}{mark}{query}"
