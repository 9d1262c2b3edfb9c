from __future__ import annotations

import pytest

from tests.transports import runs


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    runs.done.clear()
