"""The timeline of a run: a line for each step, with bars on one scale of time in which idle gaps are folded.

Pure: rows with moments come in, rows with bars in percent go out. A page draws them as SVG, without a script.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from django_workflow.core.durations import format_duration

#: A gap is folded that takes more than this share of what is shown, and then takes that much less.
FOLDED_FROM = 0.15
FOLDED_TO = 0.06
LEAST_FOLDED = 1.0
TICKS = 5
LEAST_WIDTH = 0.35
#: What takes no time still has to be seen among what is folded.
MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a row did from one moment to another; it still does where there is no end."""

    kind: str
    start: datetime
    end: datetime | None
    #: What it is, for who points at it.
    title: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing was executed meanwhile."""
        return self.kind == "wait"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A span as it is drawn, in percent of the width."""

    kind: str
    x: str
    width: str
    title: str
    is_open: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row as it is drawn."""

    label: str
    key: str
    depth: int
    status: str
    took: str
    bars: list[Bar]
    #: The run that the row stands for, where it is a child, and its page.
    run_id: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row to be drawn."""

    label: str
    key: str
    status: str
    took: str
    depth: int = 0
    run_id: str = ""
    url: str = ""
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A moment on the axis."""

    x: str
    #: How long after the beginning of what is shown.
    label: str
    #: Where it stands against its mark, so that it stays within the picture.
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A gap that is drawn shorter than it was."""

    x: str
    width: str
    #: How long it was.
    label: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """All of it."""

    lines: list[Line]
    ticks: list[Tick]
    folds: list[Fold]
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class _Piece:
    start: float
    end: float
    weight: float
    is_folded: bool


class Scale:
    """Moments to percent of the width, gaps folded."""

    def __init__(self, start: datetime, end: datetime, busy: Iterable[tuple[float, float]]) -> None:
        self.origin = start
        self.length = max((end - start).total_seconds(), MOMENT.total_seconds())
        self.pieces = _folded(self.length, _union(busy, self.length))
        self._starts = [piece.start for piece in self.pieces]
        total = sum(piece.weight for piece in self.pieces)
        self._before: list[float] = []
        passed = 0.0
        for piece in self.pieces:
            self._before.append(passed)
            passed += piece.weight / total
        self._total = total

    def seconds(self, moment: datetime) -> float:
        """Return how far a moment is from the beginning, within what is shown."""
        return min(max((moment - self.origin).total_seconds(), 0.0), self.length)

    def at(self, seconds: float) -> float:
        """Return the place of a moment, from 0 to 100."""
        place = max(bisect_right(self._starts, seconds) - 1, 0)
        piece = self.pieces[place]
        share = (seconds - piece.start) / ((piece.end - piece.start) or 1.0)
        return 100 * (self._before[place] + min(share, 1.0) * piece.weight / self._total)

    def moment(self, percent: float) -> datetime:
        """Return the moment at a place."""
        wanted = percent / 100
        place = max(bisect_right(self._before, wanted) - 1, 0)
        piece = self.pieces[place]
        share = (wanted - self._before[place]) / ((piece.weight / self._total) or 1.0)
        return self.origin + timedelta(
            seconds=piece.start + min(share, 1.0) * (piece.end - piece.start)
        )


def _union(spans: Iterable[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    least = min(length / 1000, 0.05)
    for start, end in sorted(spans):
        end = max(end, min(start + least, length))
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _folded(length: float, busy: Sequence[tuple[float, float]]) -> list[_Piece]:
    """Return the pieces of the scale: the longest gaps are folded, as long as they take a large share."""
    bounds = [(0.0, 0.0), *busy, (length, length)]
    gaps = [(one[1], two[0]) for one, two in pairwise(bounds) if two[0] > one[1]]
    left = length
    folded = set()
    for gap in sorted(gaps, key=lambda gap: gap[0] - gap[1]) if busy else []:
        size = gap[1] - gap[0]
        if size < max(FOLDED_FROM * left, LEAST_FOLDED) or left - size <= 0:
            break
        folded.add(gap)
        left -= size
    marks = sorted({0.0, length, *(bound for gap in folded for bound in gap)})
    return [
        _Piece(
            start=start,
            end=end,
            weight=FOLDED_TO * left if (start, end) in folded else end - start,
            is_folded=(start, end) in folded,
        )
        for start, end in pairwise(marks)
    ]


def drawn(
    rows: Sequence[Row],
    *,
    start: datetime,
    end: datetime,
    fold: bool = True,
    zoom: tuple[float, float] | None = None,
) -> Timeline:
    """Draw rows from one moment to another; ``zoom`` shows a part of that, in percent of its time."""
    if zoom is not None:
        length = end - start
        start, end = start + length * (zoom[0] / 100), start + length * (zoom[1] / 100)
    origin = start

    def seconds(moment: datetime) -> float:
        return (moment - origin).total_seconds()

    length_shown = max(seconds(end), MOMENT.total_seconds())
    busy = [
        (max(seconds(span.start), 0.0), min(seconds(span.end or end), length_shown))
        for row in rows
        for span in row.spans
        if not span.is_idle and span.start <= end and (span.end or end) >= start
    ]
    scale = Scale(start, end, busy if fold else [])
    return Timeline(
        lines=[_line(row, scale, start, end) for row in rows],
        ticks=_ticks(scale),
        folds=[
            Fold(
                x=_percent(scale.at(piece.start)),
                width=_percent(scale.at(piece.end) - scale.at(piece.start)),
                label=format_duration(timedelta(seconds=round(piece.end - piece.start)), parts=2),
            )
            for piece in scale.pieces
            if piece.is_folded
        ],
        start=start,
        end=end,
    )


def _line(row: Row, scale: Scale, start: datetime, end: datetime) -> Line:
    bars = [
        _bar(span, scale, end)
        for span in row.spans
        if span.start <= end and (span.end or end) >= start
    ]
    return Line(
        label=row.label,
        key=row.key,
        depth=min(row.depth, 5),
        status=row.status,
        took=row.took,
        bars=bars,
        run_id=row.run_id,
        url=row.url,
    )


def _bar(span: Span, scale: Scale, end: datetime) -> Bar:
    left = scale.at(scale.seconds(span.start))
    right = scale.at(scale.seconds(span.end or end))
    width = max(right - left, LEAST_WIDTH)
    return Bar(
        kind=span.kind,
        x=_percent(min(left, 100 - width)),
        width=_percent(width),
        title=span.title,
        is_open=span.end is None,
    )


def _percent(value: float) -> str:
    return f"{value:.3f}%"


def _ticks(scale: Scale) -> list[Tick]:
    places = [100 * place / (TICKS - 1) for place in range(TICKS)]
    anchors = ["start", *["middle"] * (TICKS - 2), "end"]
    return [
        Tick(x=_percent(place), label=_since(scale.moment(place) - scale.origin), anchor=anchor)
        for place, anchor in zip(places, anchors, strict=True)
    ]


def _since(passed: timedelta) -> str:
    rounded = timedelta(milliseconds=round(passed.total_seconds() * 1000))
    return f"+{format_duration(rounded, parts=2)}"


def zoomed(text: str | None) -> tuple[float, float] | None:
    """Read what the address asks for, as ``25-50``; None where that is nothing."""
    first, dash, last = (text or "").partition("-")
    try:
        low, high = float(first), float(last)
    except ValueError:
        return None
    # Comparisons with NaN are False, too.
    return (low, high) if dash and 0 <= low < high <= 100 and high - low >= 0.01 else None


def closer(zoom: tuple[float, float] | None) -> dict[str, str]:
    """Return where zooming and moving leads from here, by name."""
    low, high = zoom or (0.0, 100.0)
    width = high - low
    found = {"in": _text(low + width / 4, high - width / 4)}
    if zoom is None:
        return found
    wide = min(2 * width, 100.0)
    begin = min(max(low - width / 2, 0.0), 100 - wide)
    found["out"] = "" if wide >= 100 else _text(begin, begin + wide)
    step = width / 2
    if low > 0:
        back = max(low - step, 0.0)
        found["earlier"] = _text(back, back + width)
    if high < 100:
        ahead = min(high + step, 100.0)
        found["later"] = _text(ahead - width, ahead)
    return found


def _text(low: float, high: float) -> str:
    return f"{low:.2f}-{high:.2f}"
