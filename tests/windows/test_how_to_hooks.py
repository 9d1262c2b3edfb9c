"""The how-tos about schedules, retries and hooks do what they say, and the reference names every signal."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import signals
from django_workflow.core.middleware import Middleware
from django_workflow.core.workflow import registry
from django_workflow.runtime import announcing
from django_workflow.testing import WorkflowSandbox

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the pages have their own workflows and receivers."""
    monkeypatch.setattr(registry, "_workflows", {})
    yield
    signals.run_completed.receivers = []


def page(name: str) -> dict[str, Any]:
    """Run the examples of a page."""
    namespace: dict[str, Any] = {"__name__": f"how_to_{name}"}
    text = (DOCS / "how-to" / f"{name}.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(compile(code, name, "exec"), namespace)  # noqa: S102  our own page
    return namespace


@pytest.mark.django_db
def test_schedules() -> None:
    found = page("schedules")
    found["test_digest"]()
    with WorkflowSandbox() as box:
        # A working day is among them. Another schedule of the page fires every quarter of an hour.
        box.advance("3d")
        runs = found["get_schedule"]("morning_report").next_fires(2)
        last = found["get_schedule"]("morning_report").last_run_id

    assert len(runs) == 2
    assert last.startswith("morning_report@")


@pytest.mark.django_db
def test_retries() -> None:
    found = page("retries")
    found["test_deliver_order"]()
    found["test_other_errors_end_the_step"]()


@pytest.mark.django_db
def test_hooks(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "shop.steps")
    found = page("hooks")
    monkeypatch.setattr(announcing, "_made", lambda paths: (found["Timing"](),))
    with override_settings(WORKFLOW={"MIDDLEWARE": ["shop.hooks.Timing"]}), WorkflowSandbox():
        found["billing"].trigger([1, 2])
        found["billing"].trigger(5, retries=0)

    assert found["finished"] == [("billing", 2)]
    assert "billing count #1 took" in caplog.text
    assert "has no len()" in caplog.text


def test_reference_names_every_signal_and_every_hook() -> None:
    reference = (DOCS / "reference" / "signals.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)
    hooks = {name for name in vars(Middleware) if not name.startswith("_")}
    how_to = (DOCS / "how-to" / "hooks.md").read_text()

    assert sorted(named) == sorted(signals.__all__)
    assert {name for name in hooks if f"`{name}(run" in how_to} == hooks
