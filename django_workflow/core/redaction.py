"""Redaction: parts of payloads, headers and results that every window shows as a mark.

A mark is a keyed hash: equal values have equal marks, and nobody without the key can find a value by trying. What is
stored, and what the function gets, is whole.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError

Path = tuple[str, ...]

AREAS = ("payload", "headers", "result", "steps", "state", "progress", "logs", "events")
#: What a run tells and is told. A payload may have fields of these names, so a path hides both.
TOLD = ("state", "progress", "logs", "events")
#: What is stored of a map: its results are hidden as if the list stood there by itself.
MAP_KEYS = frozenset({"results", "failures"})
#: What is stored of a wait for events, a webhook's call or a decision, and of ``ctx.notify``.
WAIT_KEYS = frozenset({"timed_out", "events"})
NOTIFY_KEYS = frozenset({"event_id", "event_data", "reached"})
ANY, ANY_DEPTH = "*", "**"
MOST_PATHS = 100
LONGEST_PATH = 400
MARK = "REDACTED:"
MARK_LENGTH = 16

# Headers whose names say that they are secret, whatever the rest of the name is.
SECRET_HEADER = re.compile(
    r"authorization|cookie|token|secret|password|signature|credential|api-?key|access-?key|session",
    re.IGNORECASE,
)
_DOT = re.compile(r"(?<!\\)\.")


def checked_paths(given: Any) -> tuple[str, ...]:
    """Return the paths of ``redact=``, each known to be one.

    Raises:
        InvalidOptionError: a path can mean nothing.
    """
    if given is None:
        return ()
    paths = [given] if isinstance(given, str) else given
    if not isinstance(paths, Iterable) or isinstance(paths, (Mapping, bytes)):
        raise InvalidOptionError(f"redact must be a list of paths, not {given!r}.")
    paths = list(paths)
    if len(paths) > MOST_PATHS:
        raise InvalidOptionError(f"redact takes {MOST_PATHS} paths at most, not {len(paths)}.")
    for path in paths:
        _parse(path)
    return tuple(dict.fromkeys(paths))


def _parse(path: Any) -> tuple[str, Path]:
    """Return the area and what follows it."""
    if not isinstance(path, str) or not path.isprintable() or len(path) > LONGEST_PATH:
        raise _wrong(path, f"It must be a printable text of at most {LONGEST_PATH} characters.")
    parts = tuple(part.replace("\\.", ".") for part in _DOT.split(path))
    if not all(part.strip() for part in parts):
        raise _wrong(path, "A part between its dots is empty.")
    if any(pair == (ANY_DEPTH, ANY_DEPTH) for pair in pairwise(parts)):
        raise _wrong(path, 'One "**" stands for any depth already.')
    if parts[0] not in AREAS:
        return "payload", parts
    area, rest = parts[0], parts[1:]
    if area == "steps" and not rest:
        raise _wrong(path, 'Name the step: "steps.charge card", or "steps.*" for all of them.')
    if area == "headers" and len(rest) > 1:
        raise _wrong(path, 'A header has no fields; write a dot in its name as "\\.".')
    return area, rest


def _wrong(path: Any, why: str) -> InvalidOptionError:
    return InvalidOptionError(
        f"redact has the path {path!r}, which can mean nothing. {why} Paths look like "
        '"card.number", "*.password", "headers.X-Card", "result.token" or "steps.charge card.token".'
    )


class Mask:
    """What is to be hidden of one run."""

    def __init__(self, paths: Iterable[str], key: bytes) -> None:
        self._key = key
        self._paths: dict[str, list[Path]] = {area: [] for area in AREAS}
        for path in paths:
            area, rest = _parse(path)
            self._paths[area].append(rest)
            if area in TOLD:
                self._paths["payload"].append((area, *rest))

    def payload(self, value: Any) -> Any:
        """Return the payload as it is shown."""
        return self._masked(value, self._paths["payload"])

    def result(self, value: Any) -> Any:
        """Return the run's result as it is shown."""
        return self._masked(value, self._paths["result"])

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers as they are shown: known secrets are hidden without being asked for."""
        named = {path[0].lower() for path in self._paths["headers"] if path}
        is_all = () in self._paths["headers"] or not named.isdisjoint((ANY, ANY_DEPTH))
        return {
            name: self.mark(value)
            if is_all or name.lower() in named or SECRET_HEADER.search(name)
            else value
            for name, value in headers.items()
        }

    def hides_of(self, step: str) -> bool:
        """Tell whether something of this step's result is hidden."""
        return bool(self._of_step(step) or self._paths["events"])

    def step(self, step: str, value: Any) -> Any:
        """Return the result of a step as it is shown."""
        paths = self._of_step(step)
        if not isinstance(value, dict) or any(not path or path == (ANY_DEPTH,) for path in paths):
            return self._masked(value, paths)
        if value and value.keys() <= MAP_KEYS:
            return {**value, "results": self._masked(value.get("results"), paths)}
        if value.keys() == WAIT_KEYS and isinstance(value["events"], list):
            return {**value, "events": [self._arrived(one, paths) for one in value["events"]]}
        if value.keys() == NOTIFY_KEYS:
            value = {**value, "event_data": self.event(value["event_data"])}
        return self._masked(value, paths)

    def _arrived(self, event: Any, paths: list[Path]) -> Any:
        """Return an event that a step has waited for, hidden by how its verb calls what came with it."""
        if not isinstance(event, dict) or "event_data" not in event:
            return self._masked(event, paths)
        below = [*paths, *_below(paths, "event_data"), *_below(paths, "request")]
        return {**event, "event_data": self._masked(self.event(event["event_data"]), below)}

    def state(self, value: Any) -> Any:
        """Return what the run has set as its state, as it is shown."""
        return self._masked(value, self._paths["state"])

    def event(self, value: Any) -> Any:
        """Return the data of an event that was sent to the run, as they are shown."""
        return self._masked(value, self._paths["events"])

    def progress(self, message: str) -> str:
        """Return the message of the run's progress as it is shown."""
        return self.mark(message) if self._paths["progress"] else message

    def log(self, message: str, fields: Any) -> tuple[str, Any]:
        """Return message and fields of a log line as they are shown."""
        paths = self._paths["logs"]
        hides = any(path in ((), ("message",), (ANY,), (ANY_DEPTH,)) for path in paths)
        return self.mark(message) if hides else message, self._masked(fields, paths)

    def _of_step(self, step: str) -> list[Path]:
        return [path[1:] for path in self._paths["steps"] if path[0] in (ANY, ANY_DEPTH, step)]

    def mark(self, value: Any) -> str:
        """Return what stands for a hidden value."""
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return MARK + hmac.digest(self._key, text.encode(), "sha256").hex()[:MARK_LENGTH]

    def _masked(self, value: Any, paths: Sequence[Path]) -> Any:
        if value is None or not paths:
            return value
        # "a.**" hides all below a.
        if any(not path or path == (ANY_DEPTH,) for path in paths):
            return self.mark(value)
        if isinstance(value, dict):
            return {key: self._masked(item, _below(paths, key)) for key, item in value.items()}
        if isinstance(value, list):
            # A list is walked through: "items.price" is the price of each; "items.0.price" that of the first.
            return [
                self._masked(item, [*paths, *_below(paths, str(index))])
                for index, item in enumerate(value)
            ]
        return value


def _below(paths: Iterable[Path], key: str) -> list[Path]:
    """Return what is left of the paths that lead through this key."""
    found: list[Path] = []
    for path in paths:
        if path[0] == ANY_DEPTH:
            found.append(path)
            if path[1] in (key, ANY):
                found.append(path[2:])
        elif path[0] in (key, ANY):
            found.append(path[1:])
    return found
