"""New prices for all that is sold: each takes a moment to find."""

from __future__ import annotations

import time
from typing import TypedDict

SECONDS = 0.03


class Article(TypedDict):
    """What is sold, and for how many cents."""

    sku: str
    cents: int


def articles(count: int) -> list[Article]:
    """Return so many articles."""
    return [{"sku": f"tea-{number:03}", "cents": 400 + number} for number in range(count)]


def reprice(article: Article) -> int:
    """Return the new price of an article, in cents."""
    time.sleep(SECONDS)
    return article["cents"] * 110 // 100
