"""Living runs held against changed code, and given new names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_workflow import (
    AsyncWorkflowContext,
    NonRetryableError,
    Undone,
    WorkflowContext,
    workflow,
)
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run, Step
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db


def original(ctx: WorkflowContext[Any]) -> str:
    ctx.run("charge", str, 1)
    ctx.log("charged")
    ctx.parallel(lambda: ctx.run("print", str, 2), lambda: ctx.sleep("rest", "1h"))
    ctx.run("ship", str, 3)
    return "done"


def renamed(ctx: WorkflowContext[Any]) -> str:
    ctx.run("pay", str, 1)
    ctx.log("charged")
    ctx.parallel(lambda: ctx.run("pri/nt", str, 2), lambda: ctx.sleep("pause", "1h"))
    ctx.run("ship", str, 3)
    return "done"


def longer(ctx: WorkflowContext[Any]) -> str:
    ctx.run("charge", str, 1)
    ctx.parallel(lambda: ctx.run("print", str, 2), lambda: ctx.sleep("rest", "2h"))
    return "done"


async def in_async(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.run("charge", str, 1)
    await ctx.sleep("rest", "1h")


async def in_async_later(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.sleep("rest", "1h")


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    yield
    for name in ("changed", "changed_new", "other"):
        registry.remove(name)


@pytest.fixture
def run() -> Iterator[Run]:
    made = workflow(name="changed")(original)
    with WorkflowSandbox():
        yield made.trigger(workflow_run_id="run-1")


def deploy(function: Any, name: str = "changed") -> None:
    registry.remove("changed")
    workflow(name=name)(function)


def call(*args: str) -> Any:
    out = io.StringIO()
    call_command(*args, "--json", stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


def refused(*args: str) -> tuple[int, str, Any]:
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command(*args, "--json", stdout=out, stderr=io.StringIO())
    return raised.value.returncode, str(raised.value), json.loads(out.getvalue() or "null")


def stored() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Run, Step, Delivery)]


def test_a_living_run_that_fits_is_not_listed(run: Run) -> None:
    before = stored()

    assert call("workflow_check", "--against") == []
    assert stored() == before


def test_a_living_run_that_would_diverge_is_listed(run: Run) -> None:
    deploy(renamed)
    before = stored()

    status, text, [finding] = refused("workflow_check", "--against", "--workflow", "changed")

    assert status == 1
    assert "run-1" in text
    assert (finding["run_id"], finding["what"], finding["step"]) == ("run-1", "diverges", "pay")
    assert (finding["recorded"], finding["asked"]) == ('run "charge"', 'run "pay"')
    assert stored() == before
    assert call("workflow_check", "--against", "--workflow", "other") == []


def test_a_living_run_whose_arguments_drift_is_listed(run: Run) -> None:
    deploy(longer)

    _, _, [finding] = refused("workflow_check", "--against")

    assert (finding["what"], finding["step"]) == ("drifts", "rest")
    assert (finding["recorded"], finding["asked"]) == ('{"seconds":3600.0}', '{"seconds":7200.0}')


def test_a_living_run_of_an_unknown_workflow_is_listed(run: Run) -> None:
    registry.remove("changed")

    _, _, [finding] = refused("workflow_check", "--against")

    assert finding["what"] == "unknown"


def test_an_async_run_that_would_diverge_is_listed() -> None:
    made = workflow(name="changed")(in_async)
    with WorkflowSandbox():
        made.trigger()
        assert call("workflow_check", "--against") == []
        deploy(in_async_later)

        _, _, [finding] = refused("workflow_check", "--against")

    assert finding["what"] == "diverges"


def test_an_ended_run_is_not_looked_at() -> None:
    made = workflow(name="changed")(original)
    with WorkflowSandbox() as box:
        made.trigger()
        box.advance("1h")
        deploy(renamed)

        assert call("workflow_check", "--against") == []


NAMES = [
    "--workflow=changed=changed_new",
    "--step=changed_new:charge=pay",
    "--step=changed_new:print=pri/nt",
    "--step=changed_new:rest=pause",
]


def test_names_are_migrated_after_a_dry_run(run: Run) -> None:
    deploy(renamed, "changed_new")
    before = stored()

    [told] = call("workflow_migrate_names", *NAMES)
    assert stored() == before
    assert (told["applied"], told["refused"]) == (False, "")
    [told] = call("workflow_migrate_names", *NAMES, "--apply")

    assert told["applied"]
    assert told["steps"] == {
        "charge": "pay",
        "p1.0/print": "p1.0/pri//nt#1",
        "p1.1/rest": "p1.1/pause",
    }
    assert call("workflow_check", "--against") == []
    assert [line.after for line in run.logs.all()] == ["pay"]
    with WorkflowSandbox() as box:
        box.run_ids.add(run.id)
        box.advance("2h")
    assert (run.refresh().result, run.workflow) == ("done", "changed_new")
    assert run.logs.count() == 1


def test_a_run_that_is_held_keeps_its_names(run: Run) -> None:
    deploy(renamed, "changed_new")
    Delivery.objects.update(leased_by="worker")
    before = stored()

    status, _, [told] = refused("workflow_migrate_names", *NAMES, "--apply")

    assert status == 1
    assert "holds it" in told["refused"]
    assert stored() == before


def test_a_run_that_would_not_fit_keeps_its_names(run: Run) -> None:
    deploy(renamed, "changed_new")
    before = stored()

    _, _, [told] = refused("workflow_migrate_names", *NAMES[:2], "--apply")

    assert "would still not fit" in told["refused"]
    assert stored() == before


def failing(ctx: WorkflowContext[Any]) -> None:
    ctx.using(retries=0).run("charge", int, "x")


def mended(ctx: WorkflowContext[Any]) -> int:
    return ctx.run("pay", int, "7")


def test_an_unfinished_body_keeps_its_name_unless_forced() -> None:
    made = workflow(name="changed")(failing)
    with WorkflowSandbox():
        run = made.trigger()
        deploy(mended)
        names = ["--step=changed:charge=pay", "--apply"]

        _, _, [told] = refused("workflow_migrate_names", *names)
        assert "idempotency key" in told["refused"]
        assert call("workflow_migrate_names", *names, "--force")[0]["applied"]
        run.resume()

    assert run.result == 7


taken_back: list[Any] = []


def give_back(undone: Undone) -> None:
    taken_back.append((undone.step, undone.outcome, undone.result))


def can_be_undone(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=give_back).run("charge", int, "7")
    ctx.sleep("rest", "1h")
    raise NonRetryableError("No.")


def can_be_undone_renamed(ctx: WorkflowContext[Any]) -> None:
    ctx.using(undo=give_back).run("pay", int, "7")
    ctx.sleep("rest", "1h")
    raise NonRetryableError("No.")


def test_a_step_that_can_be_undone_is_found_under_its_new_name() -> None:
    taken_back.clear()
    made = workflow(name="changed")(can_be_undone)
    with WorkflowSandbox() as box:
        run = made.trigger()
        deploy(can_be_undone_renamed)
        names = ["--step=changed:charge=pay", "--apply"]

        _, _, [told] = refused("workflow_migrate_names", *names)
        assert "can be undone" in told["refused"]
        assert call("workflow_migrate_names", *names, "--force")[0]["applied"]
        box.advance("1h")

    assert (run.refresh().status, run.undo_status) == ("failed", "completed")
    assert taken_back == [("pay", "done", 7)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Say what"),
        (["--workflow=changed"], "OLD=NEW"),
        (["--step=charge=pay"], "WORKFLOW:OLD=NEW"),
        (["--workflow=changed=nobody"], 'No workflow "nobody"'),
        (["--workflow=changed=other"], 'A workflow "changed" is registered'),
        (["--workflow=a=other", "--workflow=b=other"], "same name"),
        (["--step=nobody:a=b"], 'No workflow "nobody"'),
        (["--step=other:a=c", "--step=other:b=c"], "same name"),
    ],
)
def test_mistaken_names_are_refused(run: Run, arguments: list[str], says: str) -> None:
    workflow(name="other")(renamed)

    status, text, _ = refused("workflow_migrate_names", *arguments)

    assert status == 2
    assert says in text


def twice(ctx: WorkflowContext[Any]) -> None:
    ctx.run("one", str, 1)
    ctx.run("two", str, 2)
    ctx.sleep("rest", "1h")


def test_names_that_collide_in_a_run_are_refused() -> None:
    made = workflow(name="changed")(twice)
    with WorkflowSandbox():
        made.trigger()

        _, _, [told] = refused("workflow_migrate_names", "--step=changed:one=two", "--apply")

    assert "in one branch" in told["refused"]


def exchanged(ctx: WorkflowContext[Any]) -> None:
    ctx.run("two", str, 1)
    ctx.run("one", str, 2)
    ctx.sleep("rest", "1h")


def test_names_are_exchanged() -> None:
    made = workflow(name="changed")(twice)
    with WorkflowSandbox():
        run = made.trigger()
        deploy(exchanged)

        call(
            "workflow_migrate_names", "--step=changed:one=two", "--step=changed:two=one", "--apply"
        )

    assert [(s.key, s.name) for s in run.steps.order_by("id")][:2] == [
        ("two", "two"),
        ("one", "one"),
    ]
