"""What is fetched with runs so that they can tell why they are not going on."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import WorkflowContext, workflow
from django_workflow.models import Run
from django_workflow.models.around import AROUND, fetched
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db


@workflow(name="around_child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("nap", "1h")


@workflow(name="around_parent")
def parent(ctx: WorkflowContext[Any]) -> None:
    ctx.run("begin", lambda: 1)
    ctx.invoke("child", child, None)


def told(run: Run) -> tuple[Any, ...]:
    steps = [(step.name, step.reason, step.child and step.child.id) for step in run.waiting_for]
    return run.reason, run.labels, steps


@pytest.fixture
def box() -> Any:
    with WorkflowSandbox() as box:
        yield box


@pytest.mark.parametrize("count", [1, 3])
def test_it_is_as_if_each_had_been_asked_by_itself(
    box: WorkflowSandbox, count: int, django_assert_num_queries: Any
) -> None:
    runs = [parent.trigger({}, label=f"n-{number}") for number in range(count)]
    alone = [told(Run.objects.get(pk=run.id)) for run in runs]

    with django_assert_num_queries(1 + len(AROUND)):
        together = [
            told(run) for run in Run.objects.with_reason().filter(pk__in=[run.id for run in runs])
        ]

    assert sorted(together) == sorted(alone)
    assert "waiting" in alone[0][0]
    assert alone[0][2][0][2].startswith("wfr_")


def test_a_refreshed_run_forgets_what_was_fetched_with_it(box: WorkflowSandbox) -> None:
    run_id = parent.trigger({}).id
    run = Run.objects.with_reason().get(pk=run_id)
    assert [step.name for step in run.waiting_for] == ["child"]

    box.advance("2h")
    run.refresh()

    assert run.waiting_for == []
    assert run.reason == ""


def test_a_column_that_is_read_later_leaves_it_alone(box: WorkflowSandbox) -> None:
    run = Run.objects.with_reason().defer("payload_text").get(pk=parent.trigger({"a": 1}).id)

    assert run.payload == {"a": 1}
    assert all(fetched(run, name) is not None for name in AROUND)
