"""The catalogues: everything is translated, in words that fit, and what is shipped is what was written."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import override
from django.utils.translation.template import templatize

from django_workflow.admin.schedule_words import fires_in_words
from django_workflow.core import types
from django_workflow.core.crons import Cron
from django_workflow.core.telling import LEVELS
from django_workflow.models import Schedule, words
from django_workflow.models.reasons import in_english

PACKAGE = Path(__file__).resolve().parent.parent / "django_workflow"
LANGUAGES = ["de", "es"]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")
#: Functions that mark text, with the places of context, text and plural among their arguments.
MARKS: dict[str, tuple[int | None, int]] = {
    "_": (None, 0),
    "gettext": (None, 0),
    "gettext_lazy": (None, 0),
    "gettext_noop": (None, 0),
    "ngettext": (None, 0),
    "ngettext_lazy": (None, 0),
    "pgettext": (0, 1),
    "pgettext_lazy": (0, 1),
}

Key = tuple[str, str]


def entries(language: str) -> dict[Key, dict[str, Any]]:
    """Return what a catalogue holds, by context and text."""
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"
    found = {}
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        entry: dict[str, Any] = {"fuzzy": "#, fuzzy" in block, "msgctxt": "", "at": ""}
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            name, text = re.fullmatch(r"(?:(\S+) )?(\".*\")", line).groups()  # type: ignore[union-attr]
            entry["at"] = name or entry["at"]
            entry[entry["at"]] = entry.get(entry["at"], "") + ast.literal_eval(text)
        if entry.get("msgid"):
            found[entry["msgctxt"], entry["msgid"]] = entry
    return found


def forms(entry: dict[str, Any]) -> list[str]:
    return [text for name, text in entry.items() if name.startswith("msgstr")]


def marked() -> Iterator[Key]:
    """Yield what the code and the templates mark for translation."""
    for path in PACKAGE.rglob("*.py"):
        yield from _marked_in(path.read_text(encoding="utf-8"))
    for path in (PACKAGE / "templates").rglob("*.*"):
        found = re.findall(
            r"(?:_|n?p?gettext)\((?:u?'(?:\\.|[^'\\])*'|u?\"(?:\\.|[^\"\\])*\")[^)]*\)",
            templatize(path.read_text(encoding="utf-8")),
        )
        for call in found:
            yield from _marked_in(call if call.count("(") == call.count(")") else f"{call})")


def _marked_in(source: str) -> Iterator[Key]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in MARKS:
            continue
        context, at = MARKS[node.func.id]  # type: ignore[attr-defined]
        texts = [getattr(one, "value", None) for one in node.args]
        if at < len(texts) and isinstance(texts[at], str):
            yield ("" if context is None else str(texts[context]), texts[at])


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_that_is_marked_is_translated(language: str) -> None:
    catalogue = entries(language)
    wanted = set(marked())

    assert len(wanted) > 800
    assert sorted(wanted - set(catalogue)) == []
    assert [key for key, entry in catalogue.items() if not all(forms(entry))] == []
    assert [key for key, entry in catalogue.items() if entry["fuzzy"]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_and_edges_agree(language: str) -> None:
    for entry in entries(language).values():
        asked = set(PLACEHOLDER.findall(entry["msgid"] + entry.get("msgid_plural", "")))
        plural = set(PLACEHOLDER.findall(entry.get("msgid_plural", entry["msgid"])))
        for text in forms(entry):
            given = set(PLACEHOLDER.findall(text))
            assert given <= asked, entry
            assert given >= plural & set(PLACEHOLDER.findall(entry["msgid"])), entry
            assert text[:1].isspace() == entry["msgid"][:1].isspace(), entry
            assert text[-1:].isspace() == entry["msgid"][-1:].isspace(), entry
        assert ("msgid_plural" in entry) == (len(forms(entry)) == 2), entry


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_shipped_is_what_was_written(language: str) -> None:
    path = PACKAGE / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    told = {key: text for key, text in shipped._catalog.items() if key}  # type: ignore[attr-defined]

    written = {}
    for (context, msgid), entry in entries(language).items():
        key = f"{context}\x04{msgid}" if context else msgid
        if "msgid_plural" in entry:
            written[key, 0], written[key, 1] = entry["msgstr[0]"], entry["msgstr[1]"]
        else:
            written[key] = entry["msgstr"]

    assert told == written, "make messages"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_that_rows_keep_are_translated(language: str) -> None:
    catalogue = entries(language)
    kept = {*types.RunStatus, *types.StepStatus, *LEVELS}

    assert {str(one) for one in kept} <= set(words.WORDS)
    assert {("", one) for one in words.WORDS} <= set(catalogue)


@pytest.mark.parametrize(
    ("cron", "german", "spanish"),
    [
        ("0 9 * * *", "jeden Tag um 09:00 UTC", "cada día a las 09:00 UTC"),
        ("0 9 * * MON-FRI", "jeden Werktag um 09:00 UTC", "cada día laborable a las 09:00 UTC"),
        ("30 18 * * 1", "jeden Montag um 18:30 UTC", "cada lunes a las 18:30 UTC"),
        ("30 18 * * 0", "jeden Sonntag um 18:30 UTC", "cada domingo a las 18:30 UTC"),
        ("* * * * *", "jede Minute, UTC", "cada minuto, UTC"),
        ("*/5 * * * *", "alle 5 Minuten, UTC", "cada 5 minutos, UTC"),
        ("0 9 1 * *", "0 9 1 * *, UTC", "0 9 1 * *, UTC"),
    ],
)
def test_a_schedule_says_when_it_fires(cron: str, german: str, spanish: str) -> None:
    schedule = Schedule(
        cron=cron, timezone="UTC", overlap="allow", catch_up="last", jitter=timedelta(0)
    )

    told = {}
    for language in ("en", *LANGUAGES):
        with override(language):
            told[language] = fires_in_words(schedule)

    assert told == {"en": Cron(cron, "UTC").describe(), "de": german, "es": spanish}


def test_what_programs_compare_stays_english() -> None:
    with override("de"):
        assert in_english(lambda row: str(Schedule._meta.verbose_name), None) == "schedule"
        assert str(Schedule._meta.verbose_name) == "Zeitplan"
