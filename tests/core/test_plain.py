from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from django_workflow.core.codec import codec
from django_workflow.core.plain import plain


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        1.5,
        "text",
        [1, [2]],
        {"a": {"b": []}},
        {"$": "date", "v": 1},
        {"$": {"$": 1}},
    ],
)
def test_plain_values_are_shown_as_they_are(value: Any) -> None:
    assert plain(codec.dumps(value, what="value")) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1.20"), "1.20"),
        (UUID(int=1), str(UUID(int=1))),
        ((1, (2, "x")), [1, [2, "x"]]),
        ({"at": datetime(2030, 1, 31, 9, tzinfo=UTC)}, {"at": "2030-01-31T09:00:00+00:00"}),
    ],
)
def test_types_are_shown_by_their_values(value: Any, shown: Any) -> None:
    assert plain(codec.dumps(value, what="value")) == shown


def test_a_type_that_is_not_registered_is_shown_all_the_same() -> None:
    assert plain('{"$": "shop.Price", "v": {"cents": 5}}') == {"cents": 5}


@pytest.mark.parametrize("text", ["{", "", '{"$": "dict", "v": 5}', '{"$": "dict", "v": [1]}'])
def test_a_damaged_text_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_nothing_stored_is_none() -> None:
    assert plain(None) is None
