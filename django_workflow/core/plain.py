"""Stored values as people and other programs read them: plain JSON, the tags of types gone."""

from __future__ import annotations

import json
from typing import Any

from django_workflow.core.codec import TAG, VALUE
from django_workflow.core.types import JSONValue
from django_workflow.core.webhooks import REQUEST_KEYS, masked

#: Where the headers of a webhook's call begin; they are the last of what is stored of it.
HEADERS = '"headers":{'


def plain(text: str | None) -> JSONValue:
    """Return a stored value as plain JSON; None where there is none.

    Types need not be registered here: a datetime is its text, a dataclass its fields. What is not the codec's is
    returned as the text it is, so that there is always something to show. Headers of a webhook's call that may open
    something are masked.
    """
    if text is None:
        return None
    try:
        value: JSONValue = json.loads(text, object_hook=_untagged)
    except (ValueError, TypeError, RecursionError):
        # Perhaps the beginning of a long text: what may be secret in it cannot be told apart.
        return text.partition(HEADERS)[0] if '"is_base64":' in text else text
    return value


def _untagged(node: dict[str, Any]) -> Any:
    if node.keys() == REQUEST_KEYS and isinstance(node["headers"], dict):
        return node | {"headers": masked(node["headers"])}
    if node.keys() != {TAG, VALUE}:
        return node
    # A user's dict that holds the tag's key is stored as pairs.
    return dict(node[VALUE]) if node[TAG] == "dict" else node[VALUE]
