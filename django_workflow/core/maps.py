"""One function over many items: what is recorded of it, and how the items are divided."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidOptionError

#: How many items are executed at once where the workflow does not say.
MAX_PARALLEL: Final = 50
#: As many slices at most, whatever the workflow says: each is a row that is claimed.
MOST_SLICES: Final = 1000

_SLICE: Final = re.compile(r"(.+)//\[(\d+):(\d+)\]", re.DOTALL)


def map_fields(
    fn: Any, items: Any, max_parallel: Any, return_errors: Any
) -> tuple[Callable[[Any], Any], str, int, int, bool]:
    """Check what a map is asked for; return the function, the items as stored, how many, in how many slices.

    Raises:
        InvalidOptionError: an argument cannot work.
        NotSerializableError: an item cannot be stored.
    """
    if not callable(fn):
        raise InvalidOptionError(
            f"ctx.map calls a function with each item, and {fn!r} cannot be called."
        )
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise InvalidOptionError(
            f"ctx.map needs items one after the other, as in a list, not {items!r}."
        )
    most = MAX_PARALLEL if max_parallel is None else max_parallel
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_SLICES:
        raise InvalidOptionError(
            f"max_parallel must be a whole number from 1 to {MOST_SLICES}, not {max_parallel!r}."
        )
    if not isinstance(return_errors, bool):
        raise InvalidOptionError(f"return_errors is True or False, not {return_errors!r}.")
    given = list(items)
    text = codec.dumps(given, what="items")
    return fn, text, len(given), max(1, min(len(given), most)), return_errors


def slice_keys(key: str, count: int, slices: int) -> list[str]:
    """Return the keys of the deliveries of a map, each with the items that it executes.

    No step has such a key: a name with a slash ends in its occurrence.
    """
    bounds = [count * place // slices for place in range(slices + 1)]
    return [f"{key}//[{start}:{stop}]" for start, stop in pairwise(bounds)]


def slice_of(delivery_key: str) -> tuple[str, range] | None:
    """Return the map and the items that a delivery is for; None where it is for a step."""
    found = _SLICE.fullmatch(delivery_key)
    return None if found is None else (found[1], range(int(found[2]), int(found[3])))
