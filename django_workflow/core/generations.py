"""Where the rows that belong to a step are found when its generation is over."""

from __future__ import annotations

from hashlib import sha256

from django_workflow.core.steps import KEY_LENGTH


def past_prefix(generation: int) -> str:
    """Return what stands before the keys of a generation that is over: no step's key begins with a single slash."""
    return f"/{generation}/"


def past_key(generation: int, key: str) -> str:
    """Return the key under which a step's calls, items and children are kept when its generation is over.

    A journal begins anew under the same names, and what belongs to a step is found by its key.
    """
    found = past_prefix(generation) + key
    if len(found) <= KEY_LENGTH:
        return found
    return f"{found[: KEY_LENGTH - 65]}~{sha256(key.encode()).hexdigest()}"
