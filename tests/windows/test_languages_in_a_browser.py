"""Pages in other languages, in a real browser: from right to left, and none of them scrolls sideways."""

from __future__ import annotations

from typing import Any

import pytest

from tests.windows.test_admin_pages import DEAD, PAGES, browser, open_page

__all__ = ["browser", "open_page"]

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]

LISTS = [f"/admin/django_workflow/{name}/" for name in ("schedule", "flowkey", "waiter", "action")]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", [*PAGES, DEAD, *LISTS])
def test_from_right_to_left_nothing_scrolls_sideways(
    path: str, width: int, open_page: Any, settings: Any
) -> None:
    settings.LANGUAGE_CODE = "ar"
    page, complaints = open_page(path, width=width)

    root = "document.documentElement"
    assert page.evaluate(f"{root}.dir") == "rtl"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert complaints == []


@pytest.mark.parametrize("language", ["de", "es"])
@pytest.mark.parametrize("path", [*PAGES, DEAD])
def test_longer_words_do_not_scroll_sideways(
    path: str, language: str, open_page: Any, settings: Any
) -> None:
    settings.LANGUAGE_CODE = language
    page, complaints = open_page(path, width=390)

    root = "document.documentElement"
    assert page.evaluate(f"{root}.lang") == language
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert complaints == []
