"""Stored values as people and other programs read them: plain JSON, the tags of types gone."""

from __future__ import annotations

import json
from typing import Any

from django_workflow.core.at_rest import SPILLED, is_kept, mark_of, opened, size_of, unsealed
from django_workflow.core.codec import TAG, VALUE
from django_workflow.core.exceptions import AtRestError
from django_workflow.core.types import Failure, JSONValue
from django_workflow.core.webhooks import REQUEST_KEYS, masked

#: Where the headers of a webhook's call begin; they are the last of what is stored of it.
HEADERS = '"headers":{'


def plain(text: str | None, *, whole: bool = False) -> JSONValue:
    """Return a stored value as plain JSON; None where there is none.

    Types need not be registered here: a datetime is its text, a dataclass its fields. What is not the codec's is
    returned as the text it is, so that there is always something to show. Headers of a webhook's call that may open
    something are masked. What is encrypted is opened; of what is in a file,
    only its size is told unless it is to be ``whole``.
    """
    if text is None:
        return None
    if is_kept(text):
        text = unsealed(text, _content if whole else _size)
    try:
        value: JSONValue = json.loads(text, object_hook=_untagged)
    except (ValueError, TypeError, RecursionError):
        # Perhaps the beginning of a long text: what may be secret in it cannot be told apart.
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
        return node | {"headers": masked(node["headers"])}
    if node.keys() != {TAG, VALUE}:
        return node
    # A user's dict that holds the tag's key is stored as pairs.
    return dict(node[VALUE]) if node[TAG] == "dict" else node[VALUE]
