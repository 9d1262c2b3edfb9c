"""The columns of the list of runs, of which each user chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.base import badge, object_link
from django_workflow.admin.seeing import linked
from django_workflow.admin.story import took
from django_workflow.models import Run
from django_workflow.models.around import around
from django_workflow.runtime.veils import Veil

LONGEST_REASON: Final = 200
KEPT_IN_SESSION: Final = "django_workflow_run_columns"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How rows are looked at: on which site, and with which permission."""

    site: str
    may_see_payloads: bool
    veil: Veil


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: what stands above it and in it."""

    name: str
    label: Any
    cell: Callable[[Run, Look], SafeString | str]
    #: Left out for those who may not see errors.
    is_guarded: bool = False


def _cut(text: str, most: int = LONGEST_REASON) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _moment(moment: datetime | None) -> SafeString | str:
    if moment is None:
        return "-"
    shown = f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), shown)


def _state(run: Run, look: Look) -> SafeString:
    mark = badge(run.status, run.get_status_display())
    if look.may_see_payloads:
        reason = look.veil.text(run.translated_reason)
        reason = "" if reason == run.get_status_display() else reason
    else:
        # Without what errors say.
        steps = (f"{step.name}: {step.get_status_display()}" for step in run.waiting_for)
        reason = "; ".join(steps)
    if not reason:
        return mark
    return format_html('{}<span class="dw-why">{}</span>', mark, _cut(reason))


def _labels(run: Run, look: Look) -> SafeString | str:
    return format_html_join(" ", '<span class="dw-label">{}</span>', ((one,) for one in run.labels))


def _about(run: Run, look: Look) -> SafeString | str:
    if run.about_type is None or run.about_id is None:
        return "-"
    return object_link(run.about_type, run.about_id, look.site)


def _steps(run: Run, look: Look) -> str:
    return _cut(", ".join(step.name for step in run.waiting_for)) or "-"


def _attempt(run: Run, look: Look) -> str:
    return str(max((step.attempts for step in run.waiting_for), default=0) or "-")


def _next(run: Run, look: Look) -> SafeString | str:
    due = [one.due_at for one in around(run, "deliveries") if one.due_at and not one.leased_by]
    return _moment(min(due, default=None))


def _error(run: Run, look: Look) -> str:
    failure = run.failure
    return "-" if failure is None else _cut(f"{failure.error_class}: {failure.message}", 120)


def _parent(run: Run, look: Look) -> SafeString | str:
    return linked(run.parent_id, look.veil, look.site) if run.parent_id else "-"


COLUMNS: Final = (
    Column(name="state", label=_("status"), cell=_state),
    Column(name="workflow", label=_("workflow"), cell=lambda run, look: run.workflow),
    Column(name="version", label=_("version"), cell=lambda run, look: run.version),
    Column(name="labels", label=_("labels"), cell=_labels),
    Column(name="about", label=_("about"), cell=_about),
    Column(name="steps", label=_("open steps"), cell=_steps),
    Column(name="attempt", label=_("attempt"), cell=_attempt),
    Column(name="created", label=_("created"), cell=lambda run, look: _moment(run.created_at)),
    Column(name="started", label=_("started"), cell=lambda run, look: _moment(run.started_at)),
    Column(name="finished", label=_("finished"), cell=lambda run, look: _moment(run.finished_at)),
    Column(
        name="took", label=_("took"), cell=lambda run, look: took(run.started_at, run.finished_at)
    ),
    Column(name="next", label=_("next wake-up"), cell=_next),
    Column(name="error", label=_("error"), cell=_error, is_guarded=True),
    Column(name="parent", label=_("parent"), cell=_parent),
    Column(name="by", label=_("triggered by"), cell=lambda run, look: run.triggered_by or "-"),
)
USUAL: Final = ("state", "workflow", "labels", "created", "took")


def chosen_columns(request: HttpRequest, *, may_see_payloads: bool) -> list[Column]:
    """Return the columns that this user has chosen, or the usual ones, in their order."""
    session = getattr(request, "session", None)
    kept = session.get(KEPT_IN_SESSION) if session is not None else None
    names = kept if isinstance(kept, list) else USUAL
    return [one for one in offered_columns(may_see_payloads=may_see_payloads) if one.name in names]


def offered_columns(*, may_see_payloads: bool) -> list[Column]:
    """Return the columns that this user may choose."""
    return [one for one in COLUMNS if may_see_payloads or not one.is_guarded]


def keep_columns(request: HttpRequest, names: Sequence[str]) -> None:
    """Keep a choice for as long as the session lasts; none chosen: the usual ones again."""
    known = [one.name for one in COLUMNS if one.name in names]
    if known:
        request.session[KEPT_IN_SESSION] = known
    else:
        request.session.pop(KEPT_IN_SESSION, None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in the list."""

    run: Run
    url: str
    cells: list[tuple[Column, SafeString | str]]


def row_of(run: Run, url: str, columns: Sequence[Column], look: Look) -> Row:
    """Return a run with its cells."""
    return Row(run=run, url=url, cells=[(column, column.cell(run, look)) for column in columns])
