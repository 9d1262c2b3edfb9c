"""Words that rows keep and pages say: marked here for translation, and said with ``gettext`` of what the row holds.

Kinds of steps are not among them: they are the names of the context's verbs.
"""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_noop, pgettext_lazy

#: States of runs and steps, and levels of log lines.
WORDS: Final = (
    gettext_noop("pending"),
    gettext_noop("running"),
    gettext_noop("paused"),
    gettext_noop("cancelling"),
    gettext_noop("failed"),
    gettext_noop("blocked"),
    gettext_noop("completed"),
    gettext_noop("cancelled"),
    gettext_noop("executing"),
    gettext_noop("retrying"),
    gettext_noop("sleeping"),
    gettext_noop("waiting"),
    gettext_noop("abandoned"),
    gettext_noop("debug"),
    gettext_noop("info"),
    gettext_noop("warning"),
    gettext_noop("error"),
)

#: What is done to runs and the rest, as `Action` keeps it.
ACTIONS: Final = (
    pgettext_lazy("action", "cancel"),
    pgettext_lazy("action", "delegate"),
    pgettext_lazy("action", "delete"),
    pgettext_lazy("action", "edit"),
    pgettext_lazy("action", "export"),
    pgettext_lazy("action", "extend"),
    pgettext_lazy("action", "fork"),
    pgettext_lazy("action", "ignore"),
    pgettext_lazy("action", "import"),
    pgettext_lazy("action", "note"),
    pgettext_lazy("action", "notify"),
    pgettext_lazy("action", "pause"),
    pgettext_lazy("action", "pin"),
    pgettext_lazy("action", "prioritise"),
    pgettext_lazy("action", "prune"),
    pgettext_lazy("action", "rerun_handler"),
    pgettext_lazy("action", "reset"),
    pgettext_lazy("action", "restart"),
    pgettext_lazy("action", "resume"),
    pgettext_lazy("action", "retry"),
    pgettext_lazy("action", "run_now"),
    pgettext_lazy("action", "set"),
    pgettext_lazy("action", "skip"),
    pgettext_lazy("action", "trigger"),
    pgettext_lazy("action", "unignore"),
    pgettext_lazy("action", "unpin"),
)

#: The ways in, by which somebody acted.
DOORS: Final = (
    pgettext_lazy("door", "admin"),
    pgettext_lazy("door", "code"),
    pgettext_lazy("door", "command"),
    pgettext_lazy("door", "http"),
    pgettext_lazy("door", "redrive"),
    pgettext_lazy("door", "rest"),
    pgettext_lazy("door", "retention"),
)
