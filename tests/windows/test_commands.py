from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from django_workflow import NonRetryableError, Workflow, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Sweep
from django_workflow.runtime import sweeper
from django_workflow.runtime.worker import drain

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = ROOT / "django_workflow" / "management" / "commands"

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def double(number: int) -> int:
    return number * 2


def refuse(number: int) -> int:
    raise NonRetryableError(f"{number} \x1b[31mis odd")


def doubling(ctx: WorkflowContext[dict[str, int]]) -> int:
    doubled = ctx.run("double [it]", double, ctx.request_payload["n"])
    return ctx.run("again", double if doubled % 4 == 0 else refuse, doubled)


@pytest.fixture(autouse=True)
def doubler() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="cmd_double")(doubling)
    yield made
    registry.remove("cmd_double")


@pytest.fixture
def worker() -> Iterator[None]:
    """A worker in a thread, until the test has ended."""
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            drain()
            stop.wait(0.01)
        connections.close_all()

    thread = Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def call(*args: str, out: io.StringIO | None = None) -> str:
    stdout = out or io.StringIO()
    call_command(*args, stdout=stdout, stderr=io.StringIO())
    return stdout.getvalue()


def status_of(*args: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as raised:
        call(*args)
    return raised.value.returncode, str(raised.value)


def ended(workflow: Workflow[Any, Any], payload: Any, **options: Any) -> Run:
    run: Run = workflow.trigger(payload, **options)
    drain()
    return run.refresh()


# workflow_trigger


def test_trigger_says_which_run_and_how_to_follow_it() -> None:
    said = call(
        "workflow_trigger", "cmd_double", "--data", '{"n": 2}', "--id", "two", "--label", "a"
    )

    run = Run.objects.get(pk="two")
    assert run.payload == {"n": 2}
    assert run.labels == ["a"]
    assert "run two of cmd_double" in said
    assert "workflow_show two" in said


def test_trigger_twice_with_one_id_finds_the_run() -> None:
    call("workflow_trigger", "cmd_double", "--data", '{"n": 2}', "--id", "two")

    said = call("workflow_trigger", "cmd_double", "--data", '{"n": 2}', "--id", "two")

    assert said.startswith("Found, triggered before: run two")
    assert Run.objects.count() == 1


def test_trigger_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"n": 6}')

    call("workflow_trigger", "cmd_double", "--data", f"@{file}")

    assert Run.objects.get().payload == {"n": 6}


def test_trigger_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 6}'))

    call("workflow_trigger", "cmd_double", "--data", "-")

    assert Run.objects.get().payload == {"n": 6}


def test_trigger_prints_json() -> None:
    said = json.loads(call("workflow_trigger", "cmd_double", "--json", "--delay", "1h"))

    assert said["status"] == "pending"
    assert said["reason"].startswith("due at 20")
    assert said["steps"] == []


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["nobody"], 'No workflow "nobody" is registered'),
        (["cmd_double", "--data", "{n: 2}"], "--data is no JSON: Expecting property name"),
        (["cmd_double", "--data", "[" * 100_000], "--data is no JSON"),
        (["cmd_double", "--data", "@/nowhere/at/all"], "cannot be read"),
        (["cmd_double", "--data", "NaN"], "payload"),
        (["cmd_double", "--delay", "soon"], "soon"),
        (["cmd_double", "--id", ""], "workflow_run_id must be"),
        (["cmd_double", "--label", "x" * 101], "A label must be"),
        (["cmd_double", "--timeout", "3s"], "--wait"),
        (["cmd_double", "--wait", "--timeout", "soon"], "soon"),
    ],
)
def test_trigger_used_wrongly_is_one_line_and_status_2(args: list[str], part: str) -> None:
    status, message = status_of("workflow_trigger", *args)

    assert status == 2
    assert part in message
    assert not Run.objects.exists()


def test_trigger_with_an_id_of_another_run_is_refused() -> None:
    call("workflow_trigger", "cmd_double", "--data", "1", "--id", "two")

    status, message = status_of("workflow_trigger", "cmd_double", "--data", "2", "--id", "two")

    assert status == 2
    assert '"two" is taken' in message


@pytest.mark.usefixtures("worker")
def test_wait_prints_the_completed_run() -> None:
    said = call(
        "workflow_trigger", "cmd_double", "--data", '{"n": 2}', "--wait", "--timeout", "30s"
    )

    assert "completed" in said
    assert "result: 8" in said
    assert "double [it]\trun\tcompleted\t1" in said


@pytest.mark.usefixtures("worker")
def test_wait_prints_the_completed_run_as_json() -> None:
    said = json.loads(
        call(
            "workflow_trigger",
            "cmd_double",
            "--data",
            '{"n": 2}',
            "--wait",
            "--timeout",
            "30s",
            "--json",
        )
    )

    assert (said["status"], said["result"]) == ("completed", 8)


@pytest.mark.usefixtures("worker")
def test_wait_shows_the_run_live_on_a_terminal() -> None:
    screen = Terminal()

    call(
        "workflow_trigger",
        "cmd_double",
        "--data",
        '{"n": 2}',
        "--wait",
        "--timeout",
        "30s",
        out=screen,
    )

    assert "double [it]" in screen.getvalue()
    assert "result: 8" in screen.getvalue()


@pytest.mark.usefixtures("worker")
def test_wait_for_a_run_that_fails_has_status_1() -> None:
    status, message = status_of(
        "workflow_trigger", "cmd_double", "--data", '{"n": 3}', "--wait", "--timeout", "30s"
    )

    assert status == 1
    assert message.endswith("is failed.")


def test_wait_that_is_over_too_early_has_status_3() -> None:
    status, message = status_of("workflow_trigger", "cmd_double", "--wait", "--timeout", "0.05s")

    assert status == 3
    assert "goes on without this command; it is pending" in message


def test_wait_without_a_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_workflow.management.following.PATIENCE_SECONDS", 0.05)
    aside = io.StringIO()

    with pytest.raises(CommandError):
        call_command(
            "workflow_trigger",
            "cmd_double",
            "--wait",
            "--timeout",
            "0.4s",
            stdout=io.StringIO(),
            stderr=aside,
        )

    assert aside.getvalue().count("No worker has taken the run yet") == 1
    assert "workflow_dev" in aside.getvalue()


# workflow_runs


def test_runs_lists_the_newest_first_in_plain_fields(doubler: Workflow[Any, Any]) -> None:
    doubler.trigger({"n": 2}, workflow_run_id="old")
    ended(doubler, {"n": 2}, workflow_run_id="new")

    lines = call("workflow_runs").splitlines()

    assert lines[0].split("\t")[:4] == ["run", "workflow", "version", "status"]
    assert [line.split("\t")[:4] for line in lines[1:]] == [
        ["new", "cmd_double", "1", "completed"],
        ["old", "cmd_double", "1", "completed"],
    ]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], ["c", "b", "a"]),
        (["--status", "failed"], ["b"]),
        (["--status", "failed", "--status", "completed"], ["b", "a"]),
        (["--label", "x"], ["b", "a"]),
        (["--label", "x", "--label", "y"], ["b"]),
        (["--workflow", "other"], []),
        (["--limit", "1"], ["c"]),
    ],
)
def test_runs_are_filtered(filters: list[str], ids: list[str], doubler: Workflow[Any, Any]) -> None:
    doubler.trigger({"n": 2}, workflow_run_id="a", label="x")
    drain()
    doubler.trigger({"n": 3}, workflow_run_id="b", label=["x", "y"])
    drain()
    doubler.trigger({"n": 2}, workflow_run_id="c")

    found = json.loads(call("workflow_runs", "--json", *filters))

    assert [run["workflow_run_id"] for run in found] == ids


def test_runs_as_json_have_no_steps(doubler: Workflow[Any, Any]) -> None:
    ended(doubler, {"n": 2})

    found = json.loads(call("workflow_runs", "--json"))

    assert "steps" not in found[0]
    assert found[0]["result"] == 8


def test_runs_are_a_table_on_a_terminal(doubler: Workflow[Any, Any]) -> None:
    ended(doubler, {"n": 2}, workflow_run_id="[red]x")

    said = call("workflow_runs", out=Terminal())

    assert "[red]x" in said
    assert "\t" not in said


@pytest.mark.parametrize("count", [1, 7])
def test_runs_takes_the_same_queries_for_any_number(
    count: int, doubler: Workflow[Any, Any], django_assert_num_queries: Any
) -> None:
    doubler.trigger_many([{"n": 2}] * count, label="x")

    with django_assert_num_queries(6):
        call("workflow_runs", "--json")


@pytest.mark.parametrize("args", [["--limit", "0"], ["--limit", "x"], ["--status", "lost"]])
def test_runs_refuses_wrong_filters(args: list[str]) -> None:
    with pytest.raises(CommandError, match="argument"):
        call("workflow_runs", *args)


# workflow_show


def test_show_as_json_has_the_documented_form(doubler: Workflow[Any, Any]) -> None:
    run = ended(doubler, {"n": 2}, workflow_run_id="two", label="a")

    assert json.loads(call("workflow_show", "two", "--json")) == {
        "workflow_run_id": "two",
        "workflow": "cmd_double",
        "version": "1",
        "status": "completed",
        "reason": "",
        "labels": ["a"],
        "about": None,
        "triggered_by": None,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "payload": {"n": 2},
        "headers": {},
        "result": 8,
        "failure": None,
        "progress": None,
        "state": None,
        "generation": 0,
        "logs": [],
        "parent": None,
        "children": [],
        "actions": [],
        "steps": [
            {
                "name": "double [it]",
                "key": "double [it]",
                "kind": "run",
                "status": "completed",
                "result": 4,
                "attempts": [],
            },
            {
                "name": "again",
                "key": "again",
                "kind": "run",
                "status": "completed",
                "result": 8,
                "attempts": [],
            },
        ],
    }


def test_show_as_json_has_the_errors_of_attempts(doubler: Workflow[Any, Any]) -> None:
    ended(doubler, {"n": 3}, workflow_run_id="three")

    found = json.loads(call("workflow_show", "three", "--json"))

    attempt = found["steps"][1]["attempts"][0]
    assert found["failure"]["step"] == "again"
    assert (attempt["number"], attempt["outcome"]) == (1, "failed")
    assert attempt["failure"]["error_class"].endswith("NonRetryableError")
    assert "in refuse" in attempt["failure"]["traceback"]


def test_show_tells_the_whole_story_in_lines(doubler: Workflow[Any, Any]) -> None:
    ended(doubler, {"n": 3}, workflow_run_id="three")

    said = call("workflow_show", "three")

    assert said.startswith("Run three of cmd_double, version 1: failed\n")
    assert 'payload: {"n": 3}' in said
    assert "again, attempt 1: failed at 20" in said
    assert "in refuse" in said


@pytest.mark.parametrize("screen", [io.StringIO, Terminal])
def test_show_never_lets_an_error_steer_the_terminal(
    screen: type[io.StringIO], doubler: Workflow[Any, Any]
) -> None:
    ended(doubler, {"n": 3}, workflow_run_id="three")

    said = call("workflow_show", "three", out=screen())

    assert "\\x1b[31mis odd" in said
    assert "\x1b[31mis odd" not in said


def test_show_an_unknown_run_is_one_line_and_status_2() -> None:
    assert status_of("workflow_show", "lost") == (2, 'There is no run "lost".')


# The verbs


def test_pause_and_resume(doubler: Workflow[Any, Any]) -> None:
    doubler.trigger({"n": 2}, workflow_run_id="two", delay="1h")

    paused = call("workflow_pause", "two")
    resumed = call("workflow_resume", "two")

    assert paused == "Run two was paused; it is paused.\n"
    assert resumed == "Run two was resumed; it is pending.\n"


def test_cancel_by_id_as_json(doubler: Workflow[Any, Any]) -> None:
    doubler.trigger({"n": 2}, workflow_run_id="two")

    cancelled = json.loads(call("workflow_cancel", "two", "--json"))

    assert [run["status"] for run in cancelled] == ["cancelled"]


def test_cancel_by_label(doubler: Workflow[Any, Any]) -> None:
    doubler.trigger_many([{"n": 2}] * 3, label="x")
    doubler.trigger({"n": 2})

    assert call("workflow_cancel", "--label", "x") == "3 runs were cancelled.\n"
    assert Run.objects.filter(status="cancelled").count() == 3


@pytest.mark.parametrize("args", [[], ["two", "--label", "x"]])
def test_cancel_needs_to_know_which(args: list[str]) -> None:
    assert status_of("workflow_cancel", *args)[0] == 2


def test_a_verb_in_the_wrong_state_has_status_1_and_does_the_others(
    doubler: Workflow[Any, Any],
) -> None:
    ended(doubler, {"n": 2}, workflow_run_id="done")
    doubler.trigger({"n": 2}, workflow_run_id="open")

    status, message = status_of("workflow_cancel", "done", "open")

    assert (status, Run.objects.get(pk="open").status) == (1, "cancelled")
    assert 'Run "done" is completed' in message


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "restart"])
def test_a_verb_on_an_unknown_run_has_status_2(verb: str) -> None:
    assert status_of(f"workflow_{verb}", "lost") == (2, 'There is no run "lost".')


def test_restart_names_the_new_run(doubler: Workflow[Any, Any]) -> None:
    ended(doubler, {"n": 3}, workflow_run_id="three")

    said = call("workflow_restart", "three")

    new = Run.objects.get(restarted_from_id="three")
    assert said == f"Run three was restarted as {new.id}.\n"


# workflow_check


def test_check_of_a_healthy_engine(doubler: Workflow[Any, Any]) -> None:
    doubler.trigger({"n": 2})
    sweeper.sweep(force=True)

    assert call("workflow_check").startswith("Healthy: 1 due")
    assert json.loads(call("workflow_check", "--json"))["healthy"] is True


def test_check_names_what_nobody_looks_for(
    doubler: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    doubler.trigger({"n": 2})
    monkeypatch.setattr(sweeper, "SILENCE", sweeper.timedelta(0))
    Sweep.objects.all().delete()

    status, message = status_of("workflow_check")

    assert status == 1
    assert "workflow_dev" in message


def test_check_names_runs_without_a_wake_up(doubler: Workflow[Any, Any]) -> None:
    run = doubler.trigger({"n": 2}, workflow_run_id="two")
    run.deliveries.update(due_at=None)

    status, message = status_of("workflow_check")

    assert status == 1
    assert "have no wake-up: two." in message


# workflow_notify


@workflow(name="cmd_waits")
def waiter(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("pickup", "pickup:1", timeout="1h").event_data


def test_notify_says_whom_it_reached() -> None:
    run = waiter.trigger()
    drain()

    said = call("workflow_notify", "pickup:1", "--data", '{"by": "Ann"}')

    drain()
    assert said == 'Sent event "pickup:1"; it reached 1 run.\n'
    assert run.refresh().result == {"by": "Ann"}


def test_notify_that_reaches_nobody_says_whether_it_is_kept() -> None:
    assert call("workflow_notify", "pickup:2") == (
        'Sent event "pickup:2"; nobody waits for it, so it is kept.\n'
    )
    assert call("workflow_notify", "pickup:2", "--no-keep") == (
        'Sent event "pickup:2"; nobody waits for it.\n'
    )


def test_notify_as_json() -> None:
    run = waiter.trigger(workflow_run_id="waits")
    drain()

    said = call("workflow_notify", "pickup:1", "--data", "7", "--run", run.id, "--json")

    assert json.loads(said) == {
        "event_id": "pickup:1",
        "event_data": 7,
        "workflow_run_id": "waits",
        "reached": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pickup:1", "--data", "{"), "--data is no JSON"),
        (("pickup:1", "--run", "nobody"), 'no run "nobody"'),
        (("",), "An event ID is a text"),
    ],
)
def test_notify_used_wrongly(arguments: tuple[str, ...], message: str) -> None:
    status, said = status_of("workflow_notify", *arguments)

    assert status == 2
    assert message in said


# All of them


def test_a_database_without_tables_is_one_line() -> None:
    def not_migrated(execute: Any, sql: str, *rest: Any) -> Any:
        quote = connection.ops.quote_name
        return execute(sql.replace(quote(Run._meta.db_table), quote("not_migrated_yet")), *rest)

    with connection.execute_wrapper(not_migrated):
        status, message = status_of("workflow_runs")

    assert status == 1
    assert "run manage.py migrate" in message


def test_every_command_is_documented() -> None:
    ours = {path.stem for path in COMMANDS.glob("workflow_*.py")}

    documented = re.findall(
        r"^\| `(workflow_\w+)",
        (ROOT / "docs" / "reference" / "commands.md").read_text(),
        re.MULTILINE,
    )

    assert set(documented) == ours
