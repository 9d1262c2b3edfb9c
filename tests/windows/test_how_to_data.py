"""The how-to about a run's data does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import override_settings

from django_workflow.conf import settings
from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "data.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_data"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    group, ann = Group.objects.create(name="g"), User.objects.create_user("ann")
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        with WorkflowSandbox() as box:
            run = namespace["pay_for"](group, ann)
            held = namespace["pay"].trigger({"card": {"number": "4"}}, delay="1h")
            told = namespace["hold"](held, ann)
            assert run.refresh().result == "5 by card 1111"
            assert box.steps(run) == ["charge"]
    finally:
        registry.remove("pay")

    assert namespace["payments_of"](group) == [run]
    assert told == ["ann: pause, pending to paused"]
    assert (run.about, run.triggered_by, run.triggered_by_id) == (group, "ann", str(ann.pk))
    with override_settings(WORKFLOW=namespace["WORKFLOW"]):
        assert set(settings().RETENTION or ()) == {"completed", "cancelled", "failed"}
