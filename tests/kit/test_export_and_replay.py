"""Journals leave the place where they were written, whole or with marks, and are held against code elsewhere."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connections

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    InvalidOptionError,
    RunExistsError,
    Workflow,
    WorkflowContext,
    workflow,
)
from django_workflow.core.codec import codec
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Delivery, Run, Step
from django_workflow.runtime.exporting import export_run
from django_workflow.runtime.importing import import_run
from django_workflow.testing import ReplayError, WorkflowSandbox, replay
from django_workflow.testing.crashes import CrashPoint, SimulatedCrash

Change = Callable[[dict[str, Any]], Any]


def pay(amount: Decimal) -> dict[str, Any]:
    return {
        "amount": amount * 2,
        "token": "secret-of-the-bank",
        "at": datetime(2030, 1, 1, tzinfo=UTC),
    }


def deliver(token: str) -> str:
    return f"delivered for {token}"


def shop(ctx: WorkflowContext[dict[str, Any]]) -> str:
    paid = ctx.run("pay", pay, ctx.request_payload["amount"])
    assert isinstance(paid["amount"], Decimal)
    ctx.sleep("wait", "2d")
    return ctx.run("deliver", deliver, paid["token"])


async def ashop(ctx: AsyncWorkflowContext[dict[str, Any]]) -> str:
    paid = await ctx.run("pay", pay, ctx.request_payload["amount"])
    await ctx.sleep("wait", "2d")
    return await ctx.run("deliver", deliver, paid["token"])


def broken(ctx: WorkflowContext[Any]) -> None:
    ctx.using(retries=0).run("break", _break)


def _break() -> None:
    raise ValueError("broken")


@pytest.fixture
def shops() -> Iterator[dict[str, Workflow[Any, Any]]]:
    bodies = {"kit.shop": shop, "kit.ashop": ashop, "kit.broken": broken}
    made = {name: workflow(name=name)(body) for name, body in bodies.items()}  # type: ignore[call-overload]
    made["kit.hidden"] = workflow(name="kit.hidden", redact=["card", "steps.pay.token"])(shop)
    yield made
    for name in made:
        registry.remove(name)


def changed(shops: dict[str, Workflow[Any, Any]], body: Any) -> Workflow[Any, Any]:
    """Return the workflow as another release has it."""
    return Workflow(body, shops["kit.shop"].options)


PAYLOAD = {"amount": Decimal("3.50"), "card": "4242", "on": datetime(2030, 1, 2, tzinfo=UTC)}


def exported(workflow: Workflow[Any, Any], *, days: int = 0, whole: bool = False) -> dict[str, Any]:
    with WorkflowSandbox() as box:
        run = workflow.trigger(PAYLOAD, label="vip")
        box.advance(timedelta(days=days))
    return json.loads(json.dumps(export_run(run.refresh(), whole=whole)))  # type: ignore[no-any-return]


# Replayed


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["kit.shop", "kit.ashop"])
def test_journal_of_a_completed_run_replays(
    name: str, shops: dict[str, Workflow[Any, Any]]
) -> None:
    found = replay(shops[name], exported(shops[name], days=3))

    assert (found.status, found.result) == ("completed", "delivered for secret-of-the-bank")


@pytest.mark.django_db
def test_journal_of_a_waiting_run_replays_to_where_it_waits(
    shops: dict[str, Workflow[Any, Any]],
) -> None:
    found = replay(shops["kit.shop"], exported(shops["kit.shop"]))

    assert (found.status, found.waiting_on) == ("waiting", ("wait",))


@pytest.mark.django_db
def test_journal_of_a_failed_run_replays(shops: dict[str, Workflow[Any, Any]]) -> None:
    found = replay(shops["kit.broken"], exported(shops["kit.broken"]))

    assert found.status == "raised"
    assert "broken" in str(found.error)


@pytest.mark.django_db
def test_failure_handler_is_replayed(shops: dict[str, Workflow[Any, Any]]) -> None:
    seen: list[str] = []

    @shops["kit.broken"].on_failure
    def handle(ctx: WorkflowContext[Any], failure: Failure) -> None:
        seen.append(ctx.run("tell", deliver, failure.message))

    journal = exported(shops["kit.broken"])
    seen.clear()
    found = replay(shops["kit.broken"], journal)

    assert found.status == "raised"
    assert seen == ["delivered for broken"]


@pytest.fixture
def completed(db: None, shops: dict[str, Workflow[Any, Any]]) -> dict[str, Any]:
    return exported(shops["kit.shop"], days=3)


def test_replay_needs_no_database(tmp_path: Path, shops: dict[str, Workflow[Any, Any]]) -> None:
    moment = "2030-01-01T00:00:00+00:00"
    journal = {
        "format": "django_workflow.journal",
        "format_version": 1,
        "run": {
            "id": "r", "workflow": "kit.shop", "version": "1", "status": "paused", "created_at": moment,
            "payload": {"amount": {"$": "decimal", "v": "1"}},
        },
        "steps": [],
    }  # fmt: skip
    file = tmp_path / "journal.json"
    file.write_text(json.dumps(journal))

    assert replay(shops["kit.shop"], file).waiting_on == ("pay",)
    assert replay(shops["kit.shop"], str(file)).waiting_on == ("pay",)
    assert replay(shops["kit.shop"], file.read_text()).waiting_on == ("pay",)


def test_renamed_step_is_named(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    def renamed(ctx: WorkflowContext[Any]) -> None:
        ctx.run("charge", pay, Decimal(1))

    with pytest.raises(ReplayError) as raised:
        replay(changed(shops, renamed), completed)

    assert raised.value.step == "charge"
    assert "pay" in str(raised.value)
    assert registry.get("kit.shop") is shops["kit.shop"]


def test_first_of_two_changes_is_named(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    def removed(ctx: WorkflowContext[Any]) -> None:
        ctx.run("pay", pay, Decimal(1))
        ctx.run("weigh", deliver, "x")
        ctx.run("post", deliver, "x")

    with pytest.raises(ReplayError) as raised:
        replay(changed(shops, removed), completed)

    assert raised.value.step == "weigh"


def test_removed_step_is_named(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    def removed(ctx: WorkflowContext[Any]) -> None:
        ctx.run("pay", pay, Decimal(1))
        ctx.sleep("wait", "2d")

    with pytest.raises(ReplayError, match="deliver"):
        replay(changed(shops, removed), completed)


def test_step_behind_the_end_of_a_completed_run_is_named(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    def longer(ctx: WorkflowContext[Any]) -> None:
        shop(ctx)
        ctx.run("thank", deliver, "x")

    with pytest.raises(ReplayError, match='goes on with step "thank"'):
        replay(changed(shops, longer), completed)


def test_other_duration_counts_unless_it_need_not(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    def longer(ctx: WorkflowContext[Any]) -> None:
        paid = ctx.run("pay", pay, Decimal(1))
        ctx.sleep("wait", "5d")
        ctx.run("deliver", deliver, paid["token"])

    with pytest.raises(ReplayError) as raised:
        replay(changed(shops, longer), completed)

    assert raised.value.step == "wait"
    assert replay(changed(shops, longer), completed, strict_arguments=False).status == "completed"


@pytest.mark.django_db
def test_replay_executes_nothing_and_writes_nothing(
    shops: dict[str, Workflow[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = exported(shops["kit.shop"])
    rows = list(Step.objects.order_by("pk").values())
    monkeypatch.setitem(globals(), "pay", None)
    monkeypatch.setitem(globals(), "deliver", None)

    assert replay(shops["kit.shop"], Run.objects.get()).waiting_on == ("wait",)
    assert replay(shops["kit.shop"], journal).waiting_on == ("wait",)
    assert list(Step.objects.order_by("pk").values()) == rows


def test_journal_of_an_unknown_version_is_refused(
    completed: dict[str, Any], shops: dict[str, Workflow[Any, Any]]
) -> None:
    completed["run"]["version"] = "7"

    with pytest.raises(InvalidOptionError, match='version "7"'):
        replay(shops["kit.shop"], completed)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("/nowhere/at/all.json", "cannot be read"),
        ("{", "no JSON"),
        ("{}", "no journal of a run"),
        ({"format": "django_workflow.journal", "format_version": 9}, "this release reads 1"),
    ],
)
def test_what_is_no_journal_is_refused(
    given: Any, part: str, shops: dict[str, Workflow[Any, Any]]
) -> None:
    with pytest.raises(InvalidOptionError, match=part):
        replay(shops["kit.shop"], given)


# Exported


@pytest.mark.django_db
def test_what_windows_hide_is_hidden_and_types_stay(shops: dict[str, Workflow[Any, Any]]) -> None:
    document = exported(shops["kit.hidden"], days=3)

    text = json.dumps(document["run"]["payload"]) + json.dumps(document["steps"][0]["result"])
    assert document["hidden"] == ["payload", "steps.pay"]
    assert "4242" not in text
    assert "secret-of-the-bank" not in text
    assert text.count("REDACTED:") == 2
    payload = codec.loads(json.dumps(document["run"]["payload"]))
    assert (payload["amount"], payload["on"]) == (PAYLOAD["amount"], PAYLOAD["on"])


@pytest.mark.django_db
def test_hidden_journal_replays_where_marks_do_no_harm(
    shops: dict[str, Workflow[Any, Any]],
) -> None:
    found = replay(shops["kit.hidden"], exported(shops["kit.hidden"], days=3))

    assert found.result.startswith("delivered for ")


@pytest.mark.django_db
def test_whole_journal_hides_nothing_and_is_kept_in_mind(
    shops: dict[str, Workflow[Any, Any]],
) -> None:
    document = exported(shops["kit.hidden"], days=3, whole=True)

    assert document["hidden"] == []
    assert document["run"]["payload"]["card"] == "4242"
    assert list(Action.objects.values_list("verb", flat=True)) == ["export"]


# Imported


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["kit.shop", "kit.ashop"])
def test_completed_run_comes_back_as_it_was(
    name: str, shops: dict[str, Workflow[Any, Any]]
) -> None:
    document = exported(shops[name], days=3)
    Run.objects.all().delete()

    run = import_run(document)

    assert (run.status, run.result) == ("completed", "delivered for secret-of-the-bank")
    assert run.labels == ["vip"]
    assert not Delivery.objects.exists()
    again = json.loads(json.dumps(export_run(run)))
    assert again == document


@pytest.mark.django_db
def test_waiting_run_is_paused_and_goes_on_when_resumed(
    shops: dict[str, Workflow[Any, Any]],
) -> None:
    document = exported(shops["kit.shop"])

    with WorkflowSandbox() as box:
        run = import_run(document, run_id="copy", actor="ann", why="to look at")
        box.run_ids.add(run.id)
        box.advance("7d")
        paused = run.refresh().status
        run.resume()
        waiting = box.waiting_on(run)
        box.advance("2d")

    assert (paused, waiting) == ("paused", ["wait"])
    assert run.refresh().result == "delivered for secret-of-the-bank"
    assert run.steps.filter(name="pay").count() == 1
    assert not Run.objects.stuck().exists()
    assert [(one.verb, one.actor, one.why) for one in run.actions][:1] == [
        ("import", "ann", "to look at")
    ]


@pytest.mark.django_db
def test_dead_letter_can_be_resumed_after_the_import(
    shops: dict[str, Workflow[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = exported(shops["kit.broken"])
    Run.objects.all().delete()
    monkeypatch.setitem(globals(), "_break", lambda: None)

    with WorkflowSandbox() as box:
        run = import_run(document)
        box.run_ids.add(run.id)
        run.resume()

    assert run.refresh().status == "completed"


@pytest.mark.django_db
def test_taken_id_is_refused_and_nothing_is_written(shops: dict[str, Workflow[Any, Any]]) -> None:
    document = exported(shops["kit.shop"])
    before = (Step.objects.count(), Delivery.objects.count(), Action.objects.count())

    with pytest.raises(RunExistsError, match="is taken"):
        import_run(document)

    assert (Step.objects.count(), Delivery.objects.count(), Action.objects.count()) == before


@pytest.mark.django_db
def test_marks_are_taken_in_only_when_asked(shops: dict[str, Workflow[Any, Any]]) -> None:
    document = exported(shops["kit.hidden"], days=3)
    Run.objects.all().delete()

    with pytest.raises(InvalidOptionError, match="hides values"):
        import_run(document)

    assert import_run(document, marks=True).status == "completed"


@pytest.mark.django_db(transaction=True)
def test_of_two_imports_at_once_one_is_refused(shops: dict[str, Workflow[Any, Any]]) -> None:
    document = exported(shops["kit.shop"], days=3)
    Run.objects.all().delete()
    Action.objects.all().delete()
    both, told = Barrier(2), []

    def go() -> None:
        both.wait()
        try:
            told.append(import_run(document).status)
        except RunExistsError:
            told.append("refused")
        finally:
            connections.close_all()

    threads = [Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == ["completed", "refused"]
    assert (Run.objects.count(), Step.objects.count(), Action.objects.count()) == (1, 3, 1)


@pytest.mark.django_db(transaction=True)
def test_import_that_dies_at_any_write_leaves_nothing_or_all(
    shops: dict[str, Workflow[Any, Any]],
) -> None:
    document = exported(shops["kit.shop"])
    left = []
    for at in range(1, 20):
        Run.objects.all().delete()
        point = CrashPoint(at)
        try:
            with point.watching():
                import_run(document)
        except SimulatedCrash:
            rows = Run.objects.count(), Step.objects.count(), Delivery.objects.count()
            left.append(rows)
            continue
        break

    assert len(left) >= 4
    assert set(left) <= {(0, 0, 0), (1, 1, 1)}


def _set(*path: Any, to: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return change


def _drop(document: dict[str, Any]) -> None:
    del document["steps"][1]["kind"]


def _double(document: dict[str, Any]) -> None:
    document["steps"].append(copy.deepcopy(document["steps"][0]))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_set("run", to=[]), "run is \\[\\]; it must be an object"),
        (_set("run", "id", to="a\x00"), "run.id"),
        (_set("run", "id", to="a\nb"), "printable"),
        (_set("run", "id", to="x" * 200), "at most 128"),
        (_set("run", "id", to="\ud800"), "run.id"),
        (_set("run", "status", to="lost"), "run.status"),
        (_set("run", "status", to="cancelling"), "being undone"),
        (_set("run", "handler_status", to="running"), "being undone"),
        (_set("run", "created_at", to="soon"), "run.created_at"),
        (_set("run", "created_at", to=None), "run.created_at"),
        (_set("run", "finished_at", to=None), "finished_at"),
        (_set("run", "code_attempts", to=-1), "run.code_attempts"),
        (_set("run", "generation", to=True), "run.generation"),
        (_set("labels", to="vip"), "labels"),
        (_set("labels", to=[1]), "labels\\[0\\]"),
        (_set("steps", to={}), "steps"),
        (_set("steps", 1, to=7), "steps\\[1\\]"),
        (_set("steps", 0, "sequence", to=None), "steps\\[0\\].sequence"),
        (_set("steps", 0, "sequence", to=2**70), "steps\\[0\\].sequence"),
        (_set("steps", 0, "delivered", to="no"), "steps\\[0\\].delivered"),
        (_set("steps", 0, "kind", to="dance"), "steps\\[0\\].kind"),
        (_drop, "steps\\[1\\].kind is missing"),
        (_double, "the key of one step alone"),
        (_set("attempts", to=[{"number": 1}]), "attempts\\[0\\]"),
    ],
)
def test_a_wrong_document_is_refused_by_its_place(
    change: Change, part: str, completed: dict[str, Any]
) -> None:
    Run.objects.all().delete()
    change(completed)

    with pytest.raises(InvalidOptionError, match=part):
        import_run(completed)

    assert not Run.objects.exists()
