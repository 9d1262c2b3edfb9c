"""The how-to about fan-out does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow import WorkflowContext, notify, workflow
from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "fan-out.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_fan_out"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        with WorkflowSandbox() as box:
            compared = namespace["compare"].trigger({"article": "tea"})
            small = namespace["thumbnails"].trigger({"count": 25})
            tolerant = namespace["tolerant"].trigger()
            quick = namespace["ask_for_leave"].trigger(workflow_run_id="ann")
            slow = namespace["ask_for_leave"].trigger()
            notify("leave:ann", {"decision": "granted"})
            box.advance("2d")
    finally:
        for name in ("compare", "ask_for_leave", "thumbnails", "tolerant"):
            registry.remove(name)

    assert compared.result == {"north": 15, "south": 30}
    assert small.result[24] == "picture 24-small-24"
    assert tolerant.result == ["1.0", "failed", "0.25"]
    assert quick.refresh().result == "granted"
    assert slow.refresh().result == "escalated"


@pytest.mark.django_db
@pytest.mark.parametrize("fault", ["fail", "crash_before", "crash_after"])
def test_sandbox_makes_an_item_fail_or_die(fault: str) -> None:
    @workflow(name="sandboxed_map", retry_delay="1m")
    def mapped(ctx: WorkflowContext[Any]) -> Any:
        return ctx.map("double", lambda number: number * 2, [1, 2, 3], max_parallel=1)

    try:
        with WorkflowSandbox() as box:
            getattr(box, fault)("double")
            run = mapped.trigger()
            assert box.waiting_on(run) == ["double"]
            box.advance("2m")
    finally:
        registry.remove("sandboxed_map")

    assert run.refresh().result == [2, 4, 6]
