"""Tracebacks as people read them: the frames of libraries folded, their own left open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FRAME = re.compile(r'^  File "(?P<path>.*)", line \d+')
#: Where the code of others lives: packages, the standard library, and the engine itself.
_OTHERS = re.compile(
    r"[/\\](site-packages|dist-packages|django_workflow|lib[/\\]python[\d.]+)[/\\]|^<"
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines of a traceback that belong together."""

    text: str
    #: How many frames of others it holds; 0 for what is shown.
    folded: int = 0


def parts_of(traceback: str) -> list[Part]:
    """Return a traceback in parts: frames of the user's own code, and those of others between them.

    Where no frame is the user's own, nothing is folded.
    """
    found = list(_chunks(traceback))
    if not any(is_frame and not is_other for _, is_frame, is_other in found):
        return [Part(text=traceback)] if traceback else []
    parts: list[Part] = []
    for text, _, is_other in found:
        last = parts[-1] if parts else None
        if last is not None and bool(last.folded) == is_other:
            parts[-1] = Part(text=last.text + text, folded=last.folded + is_other)
        else:
            parts.append(Part(text=text, folded=int(is_other)))
    return parts


def _chunks(traceback: str) -> Iterator[tuple[str, bool, bool]]:
    """Yield each frame with its lines, and what stands between frames; tell which are frames, and whose."""
    lines: list[str] = []
    is_frame = is_other = False
    for line in traceback.splitlines(keepends=True):
        match = _FRAME.match(line)
        # A frame's own lines are indented further; what is not ends it.
        if match is None and (not is_frame or line.startswith("    ")):
            lines.append(line)
            continue
        if lines:
            yield "".join(lines), is_frame, is_other
        lines, is_frame = [line], match is not None
        is_other = match is not None and bool(_OTHERS.search(match["path"]))
    if lines:
        yield "".join(lines), is_frame, is_other
