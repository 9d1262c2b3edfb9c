"""Bars as SVG, drawn here: no script, no style of their own, and figures that no locale changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_workflow.core.types import DEAD_LETTER
from django_workflow.models.run_rates import Ended

#: By span: the unit that the database counts in, and how many of these make a bar.
UNITS: Final[Mapping[str, tuple[str, timedelta, int]]] = {
    "1h": ("minute", timedelta(minutes=1), 1),
    "24h": ("hour", timedelta(hours=1), 1),
    "7d": ("hour", timedelta(hours=1), 4),
    "30d": ("day", timedelta(days=1), 1),
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: what went well below, what did not on top of it; all in whole units of the picture."""

    x: str
    width: str
    good_y: str
    good_height: str
    bad_y: str
    bad_height: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture and what it says in words."""

    width: str
    height: str
    bars: list[Bar]
    #: The highest bar.
    most: int
    words: str


@dataclass(kw_only=True)
class Flow:
    """What has ended of one workflow, or of all."""

    workflow: str
    good: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    bad: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    chart: Chart | None = None

    @property
    def count(self) -> int:
        """How many ended."""
        return sum(self.good.values()) + self.failed

    @property
    def failed(self) -> int:
        """How many of them badly."""
        return sum(self.bad.values())

    @property
    def failure_rate(self) -> str:
        """The share of these, for people."""
        share = 100 * self.failed / self.count if self.count else 0.0
        return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The bars of a span: when the first one begins, how long each is, how many there are."""

    begin: datetime
    step: timedelta
    bars: int

    @classmethod
    def of(cls, span: str, length: timedelta, now: datetime) -> Scale:
        """Return the bars that end with the one that contains this moment."""
        unit, width, many = UNITS[span]
        local = timezone.localtime(now).replace(second=0, microsecond=0)
        if unit != "minute":
            local = local.replace(minute=0)
        if unit == "day":
            local = local.replace(hour=0)
        step = width * many
        bars = round(length / step)
        return cls(begin=local + width - step * bars, step=step, bars=bars)

    def place(self, moment: datetime) -> int:
        """Return which bar a moment belongs to."""
        return min(max(int((moment - self.begin) / self.step), 0), self.bars - 1)


def flows_of(ended: Iterable[Ended], scale: Scale) -> tuple[Flow, list[Flow]]:
    """Return all together, and each workflow, the busiest first."""
    everything = Flow(workflow="")
    flows: dict[str, Flow] = {}
    for one in ended:
        place = scale.place(one.begin)
        flow = flows.setdefault(one.workflow, Flow(workflow=one.workflow))
        for each in (everything, flow):
            (each.bad if one.status in DEAD_LETTER else each.good)[place] += one.count
    return everything, sorted(flows.values(), key=lambda flow: (-flow.count, flow.workflow))


def chart_of(flow: Flow, scale: Scale, *, width: int, height: int) -> Chart:
    """Draw it."""
    most = max((flow.good[at] + flow.bad[at] for at in range(scale.bars)), default=0)
    slot = width / scale.bars
    bars = []
    for at in range(scale.bars):
        good, bad = flow.good[at], flow.bad[at]
        if not good + bad:
            continue
        # What has failed is seen, however little it is.
        top = max(height * bad / most, 2.0 if bad else 0.0)
        under = min(max(height * good / most, 1.0 if good else 0.0), height - top)
        bars.append(
            Bar(
                x=f"{at * slot:.2f}",
                width=f"{max(slot - 1, slot * 0.7):.2f}",
                good_y=f"{height - under:.2f}",
                good_height=f"{under:.2f}",
                bad_y=f"{height - under - top:.2f}",
                bad_height=f"{top:.2f}",
                title=_bar_in_words(scale.begin + at * scale.step, good, bad),
            )
        )
    return Chart(width=str(width), height=str(height), bars=bars, most=most, words=in_words(flow))


def in_words(flow: Flow) -> str:
    """Return what a chart shows, for those who do not see it."""
    text: Any = ngettext(
        "%(count)s run ended, %(failed)s of them badly (%(rate)s)",
        "%(count)s runs ended, %(failed)s of them badly (%(rate)s)",
        flow.count,
    )
    figures = {"count": f"{flow.count:,}", "failed": f"{flow.failed:,}", "rate": flow.failure_rate}
    return str(text % figures)


def _bar_in_words(begin: datetime, good: int, bad: int) -> str:
    return _("%(at)s: %(good)s ended well, %(bad)s badly") % {
        "at": f"{begin:%Y-%m-%d %H:%M}",
        "good": f"{good:,}",
        "bad": f"{bad:,}",
    }
