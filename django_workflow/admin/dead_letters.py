"""How often an error was seen of late, as bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django_workflow.runtime.dead_letters import Group

#: Of every group: the last week, in bars of six hours.
SHOWN = timedelta(days=7)
BARS = 28
BAR_WIDTH = 5
SPARK_HEIGHT = 28


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """Bars of one figure: left, top and height of each."""

    bars: list[tuple[int, int, int]]
    total: int
    most: int
    width: int = BARS * BAR_WIDTH
    height: int = SPARK_HEIGHT
    bar_width: int = BAR_WIDTH - 1


def sparkline(group: Group, now: datetime) -> Sparkline:
    """Return how many were seen when, in the time that is shown of every group."""
    counts = [0] * BARS
    for seen in group.seen:
        age = (now - seen) / SHOWN
        if age < 1:
            counts[BARS - 1 - max(0, int(age * BARS))] += 1
    most = max(counts)
    bars = [
        (place * BAR_WIDTH, SPARK_HEIGHT - _height(count, most), _height(count, most))
        for place, count in enumerate(counts)
    ]
    return Sparkline(bars=bars, total=sum(counts), most=most)


def _height(count: int, most: int) -> int:
    # What happened once is seen beside what happened a thousand times.
    return max(2, round(SPARK_HEIGHT * count / most)) if count else 0
