"""When a schedule fires, in the language of who looks: the core says it in English."""

from __future__ import annotations

from typing import Any

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_workflow.core.crons import DAYS, EVERY_DAY, EVERY_MINUTE, EVERY_MINUTES
from django_workflow.models import Schedule

# What stands in core/crons.py, marked for translation.
MESSAGES = {
    EVERY_DAY: gettext_noop("every %(day)s at %(time)s"),
    EVERY_MINUTE: gettext_noop("every minute,"),
    EVERY_MINUTES: gettext_noop("every %(count)d minutes,"),
}


def fires_in_words(schedule: Schedule) -> str:
    """Return when it fires; where there are no words for it but English prose, the cron itself in other languages."""
    message, words = schedule.plan.said()
    if message == EVERY_DAY and words["day"] in ("day", "weekday"):
        each = (
            _("every weekday at %(time)s")
            if words["day"] == "weekday"
            else _("every day at %(time)s")
        )
        said = each % words
    elif message in MESSAGES:
        said = _(message) % _translated(words)
    else:
        # Nothing of the prose is in a catalogue: the reader of another language has the cron.
        is_english = _("every minute,") == EVERY_MINUTE
        said = str(message % words) if is_english else f"{schedule.cron},"
    return f"{said} {schedule.timezone or 'UTC'}"


def _translated(words: dict[str, Any]) -> dict[str, Any]:
    if "day" not in words:
        return words
    # Django counts from Monday.
    return {**words, "day": WEEKDAYS[(DAYS.index(words["day"]) - 1) % 7]}
