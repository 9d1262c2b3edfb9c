"""Verbs on runs that go on, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_workflow import RetryPolicy, Workflow, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Run, Step
from django_workflow.runtime.worker import drain

pytestmark = pytest.mark.django_db(transaction=True)

LATER = RetryPolicy(max_retries=3, first_delay=timedelta(hours=1), jitter=0)
broken: list[bool] = []


def value_of(value: Any) -> Any:
    if broken:
        raise ValueError("broken")
    return value


def acting(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.run("first", value_of, ctx.request_payload)
    if found == "sleep":
        ctx.sleep("rest", "1h")
    if found == "wait":
        ctx.wait_for_event("e", "cmd:e", timeout="1h")
    return found


@pytest.fixture(autouse=True)
def actor() -> Iterator[Workflow[Any, Any]]:
    broken.clear()
    yield workflow(name="cmd_verbs", retries=LATER)(acting)
    registry.remove("cmd_verbs")


def call(name: str, *args: str) -> str:
    out = StringIO()
    call_command(name, *args, stdout=out)
    return out.getvalue()


def made(actor: Workflow[Any, Any], payload: Any) -> Run:
    run: Run = actor.trigger(payload, workflow_run_id="one")
    drain()
    return run.refresh()


def test_retry(actor: Workflow[Any, Any]) -> None:
    broken.append(True)
    run = made(actor, "x")
    broken.clear()

    assert call("workflow_retry", "one", "--step", "first", "--why", "mended") == (
        "Run one was retried at once; it is running.\n"
    )
    drain()
    assert run.refresh().result == "x"
    assert Action.objects.get(verb="retry").door == "command"


def test_skip(actor: Workflow[Any, Any]) -> None:
    run = made(actor, "sleep")

    assert call("workflow_skip", "one") == "Run one was woken; it is running.\n"
    drain()
    assert run.refresh().status == "completed"


def test_extend_and_priority(actor: Workflow[Any, Any]) -> None:
    made(actor, "wait")
    before = Step.objects.get(key="e").wake_at

    call("workflow_extend", "one", "--by", "2h", "--step", "e")
    told = json.loads(call("workflow_priority", "one", "--to", "7", "--json"))

    assert Step.objects.get(key="e").wake_at == before + timedelta(hours=2)  # type: ignore[operator]
    assert told[0]["workflow_run_id"] == "one"
    assert '"priority":7' in Run.objects.get().options_text


def test_fork(actor: Workflow[Any, Any]) -> None:
    made(actor, "x")

    told = call("workflow_fork", "one", "--step", "first", "--data", '"y"', "--results", "{}")
    drain()

    new = Run.objects.exclude(pk="one").get()
    assert told == f"Run one was forked as {new.id}.\n"
    assert new.result == "y"


def test_edit(actor: Workflow[Any, Any]) -> None:
    run = made(actor, "wait")
    run.pause()

    call("workflow_edit", "one", "--step", "first", "--data", '"z"')
    run.resume()
    drain()

    assert run.refresh().result == "z"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("workflow_retry", "one"), 1),
        (("workflow_skip", "lost"), 2),
        (("workflow_skip", "one", "--step", "no"), 2),
        (("workflow_extend", "one", "--by", "soon"), 2),
        (("workflow_fork", "one", "--step", "first", "--results", "[]"), 2),
        (("workflow_edit", "one", "--step", "first", "--data", "{"), 2),
        (("workflow_edit", "one", "--step", "first", "--data", "1"), 1),
    ],
)
def test_refusals_have_their_status(
    args: tuple[str, ...], code: int, actor: Workflow[Any, Any]
) -> None:
    made(actor, "x")

    with pytest.raises(CommandError) as refused:
        call(*args)

    assert refused.value.returncode == code


def test_forks_by_filter_and_dry_run(actor: Workflow[Any, Any]) -> None:
    made(actor, "x")
    actor.trigger("wait", workflow_run_id="two")
    drain()
    filters = ("--status", "completed", "--workflow", "cmd_verbs")

    listed = call("workflow_fork", "one", "two", "--step", "first", "--dry-run")
    assert "one" in listed
    assert listed.endswith("2 runs would be forked.\n")
    with pytest.raises(CommandError, match='Run "one" has no step "e"') as refused:
        call("workflow_fork", "one", "two", "--step", "e", "--dry-run")
    assert refused.value.returncode == 2
    with pytest.raises(CommandError, match="Give --status too"):
        call("workflow_fork", "--workflow", "cmd_verbs", "--step", "first")
    told = call("workflow_fork", *filters, "--step", "first", "--dry-run", "--json")
    assert json.loads(told) == {"would_be_forked": 1, "workflow_run_ids": ["one"]}
    assert Run.objects.count() == 2
    assert not Action.objects.exists()

    done = json.loads(call("workflow_fork", *filters, "--step", "first", "--json"))
    assert done["forked"] == 1
    assert Run.objects.get(pk=done["workflow_run_ids"][0]).restarted_from_id == "one"


@pytest.mark.parametrize(
    "args",
    [
        ("workflow_retry", "one"),
        ("workflow_skip", "one"),
        ("workflow_extend", "one", "--by", "1h"),
        ("workflow_priority", "one", "--to", "5"),
        ("workflow_edit", "one", "--step", "first", "--data", "1"),
    ],
)
def test_a_dry_run_changes_nothing(args: tuple[str, ...], actor: Workflow[Any, Any]) -> None:
    run = made(actor, "sleep")
    before = (run.options_text, run.deadline, list(Step.objects.values_list("pk", "wake_at")))

    assert call(*args, "--dry-run").splitlines()[-1].startswith("1 run would be ")
    told = json.loads(call(*args, "--dry-run", "--json"))

    assert told["workflow_run_ids"] == ["one"]
    run.refresh()
    assert before == (
        run.options_text,
        run.deadline,
        list(Step.objects.values_list("pk", "wake_at")),
    )
    assert not Action.objects.exists()
    with pytest.raises(CommandError, match='no run "lost"'):
        call(args[0], "lost", *args[2:], "--dry-run")


def test_what_comes_by_standard_input_is_for_each_run(
    actor: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(actor, "x")
    actor.trigger("x", workflow_run_id="two")
    drain()
    monkeypatch.setattr("sys.stdin", StringIO('"y"'))

    call("workflow_fork", "one", "two", "--step", "first", "--data", "-")
    drain()

    forks = Run.objects.filter(restarted_from__isnull=False)
    assert [run.result for run in forks] == ["y", "y"]
