"""The how-to about events does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow import get_waiters, notify
from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "events.md"


def positive(amount: object) -> int:
    """Do what the page's own function does."""
    if not isinstance(amount, int) or amount < 1:
        raise ValueError("a whole number of 1 or more, please")
    return amount


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_events"}
    # The schema has to be where every process finds it.
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    code = code.replace("shop.schemas.positive", f"{__name__}.positive")
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_deliver"]()
        with WorkflowSandbox():
            run = namespace["vote"].trigger()
            notify("vote:cem")
            notify("vote:ann")

            paid = namespace["collect"].trigger()
            with pytest.raises(namespace["InvalidEventError"], match="1 or more, please"):
                notify("amount:42", -1)
            assert [waiter.run.id for waiter in get_waiters("amount:42")] == [paid.id]
            notify("amount:42", 7)
    finally:
        registry.remove("deliver")
        registry.remove("vote")
        registry.remove("collect")

    assert paid.refresh().result == 7
    assert run.refresh().result == ["vote:cem", "vote:ann"]
