"""Commands of operators: followed runs, dead letters, flow control, waiters, journals, the probe; and bad input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from django_workflow import (
    FlowControl,
    NonRetryableError,
    Workflow,
    WorkflowContext,
    flow_control,
    workflow,
)
from django_workflow.conf import settings
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Run, Sweep
from django_workflow.runtime import sweeper
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.worker import drain

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def refuse(number: int) -> int:
    if number % 2:
        raise NonRetryableError(f"{number} is odd")
    if number > 100:
        raise ValueError(f"{number} is large")
    return number


def check(ctx: WorkflowContext[int]) -> int:
    number = ctx.using(retries=0).run("check", refuse, ctx.request_payload)
    ctx.wait_for_event("pickup", f"work:{number}", timeout="1h")
    return ctx.run("again", refuse, number)


@pytest.fixture(autouse=True)
def checker() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="work.check", redact=["card"])(check)
    limited = workflow(name="work.limited", flow_control=FlowControl("work", parallelism=2))(check)
    yield made
    registry.remove(made.name)
    registry.remove(limited.name)


def call(*args: str, out: io.StringIO | None = None, **options: Any) -> str:
    stdout = out or io.StringIO()
    call_command(*args, stdout=stdout, stderr=io.StringIO(), **options)
    return stdout.getvalue()


def status_of(*args: str, out: io.StringIO | None = None) -> tuple[int, str]:
    with pytest.raises(CommandError) as raised:
        call(*args, out=out)
    return raised.value.returncode, str(raised.value)


def triggered(*numbers: int, **options: Any) -> list[Run]:
    found = [
        registry.get("work.check").trigger(n, workflow_run_id=f"n{n}", **options) for n in numbers
    ]
    drain()
    return [run.refresh() for run in found]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal at which somebody types yes."""
    stdin = Terminal("yes\n")
    monkeypatch.setattr("sys.stdin", stdin)
    return stdin


def states(*ids: str) -> list[str]:
    return [str(Run.objects.get(pk=run_id).status) for run_id in ids]


# workflow_show --follow


@pytest.fixture
def worker() -> Iterator[None]:
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


@pytest.mark.usefixtures("worker")
def test_follow_tells_each_change_once_and_then_the_run() -> None:
    run = registry.get("work.check").trigger(2, workflow_run_id="n2")
    call("workflow_notify", "work:2")

    said = call("workflow_show", run.id, "--follow", "--timeout", "30s")

    assert said.count(" again: completed") == 1
    assert said.count(" run n2: completed") == 1
    assert "result: 2" in said


@pytest.mark.usefixtures("worker")
def test_follow_is_live_on_a_terminal() -> None:
    registry.get("work.check").trigger(2, workflow_run_id="n2")
    call("workflow_notify", "work:2")

    said = call("workflow_show", "n2", "--follow", "--timeout", "30s", out=Terminal())

    assert "result: 2" in said


def test_follow_as_json_prints_the_ended_run_alone() -> None:
    triggered(3)
    out = io.StringIO()

    status, _ = status_of("workflow_show", "n3", "--follow", "--json", out=out)

    assert status == 1
    assert json.loads(out.getvalue())["status"] == "failed"


def test_follow_that_is_over_too_early_has_status_3() -> None:
    triggered(2)

    status, message = status_of("workflow_show", "n2", "--follow", "--timeout", "0.05s")

    assert status == 3
    assert "goes on without this command" in message


# workflow_dlq


def test_dlq_lists_dead_letters_alone() -> None:
    triggered(1, 2, 3, 102)

    found = json.loads(call("workflow_dlq", "--json"))

    assert {run["workflow_run_id"] for run in found} == {"n1", "n3", "n102"}


def test_dlq_groups_by_cause_the_largest_first() -> None:
    triggered(1, 3, 102)

    found = json.loads(call("workflow_dlq", "groups", "--json"))
    plain = call("workflow_dlq", "groups").splitlines()

    assert [(one["count"], one["error_class"].rpartition(".")[2]) for one in found] == [
        (2, "NonRetryableError"),
        (1, "ValueError"),
    ]
    assert (found[0]["workflows"], found[0]["statuses"]) == ({"work.check": 2}, {"failed": 2})
    assert (found[0]["step"], found[0]["newest"]) == ("check", "n3")
    # The same as in the admin and over the API.
    assert [one["fingerprint"] for one in found] == [
        group.fingerprint for group in dead_letters().groups
    ]
    mark = found[0]["fingerprint"]
    cells = ["2", mark, "work.check", "failed", "check", "NonRetryableError"]
    assert plain[1].split("\t")[:6] == cells
    fit = json.loads(call("workflow_dlq", "--fingerprint", mark, "--json"))
    assert {run["workflow_run_id"] for run in fit} == {"n1", "n3"}
    one = call("workflow_dlq", "--fingerprint", mark, "--error", "ValueError", "--json")
    assert json.loads(one) == []


def test_dlq_runs_failure_handlers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away = [True]

    def refund() -> None:
        if away:
            raise NonRetryableError("the bank is away")

    def handle(ctx: WorkflowContext[Any], failure: Any) -> None:
        ctx.run("refund", refund)

    monkeypatch.setattr(registry.get("work.check"), "failure_handler", None)
    registry.get("work.check").on_failure(handle)
    triggered(1, 3)
    away.clear()

    dry = json.loads(call("workflow_dlq", "rerun-handler", "--all", "--dry-run", "--json"))
    said = call("workflow_dlq", "rerun-handler", "n1", "--why", "the bank is back")
    drain()
    status, message = status_of("workflow_dlq", "rerun-handler", "n1")

    assert (dry["would_be_handled_again"], sorted(dry["workflow_run_ids"])) == (2, ["n1", "n3"])
    assert said == "1 run was handled again.\n"
    assert Run.objects.get(pk="n1").handler_status == "completed"
    assert Action.objects.get(run_id="n1", verb="rerun_handler").why == "the bank is back"
    assert (status, "only a handler that failed" in message) == (1, True)
    # What has had its handler is not meant by a filter.
    assert json.loads(call("workflow_dlq", "rerun-handler", "--all", "--json")) == {
        "handled_again": 1, "workflow_run_ids": ["n3"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--all"], ["n1", "n3", "n102"]),
        (["--error", "ValueError"], ["n102"]),
        (["--error", "django_workflow.core.exceptions.NonRetryableError"], ["n1", "n3"]),
        (["--error", "Error"], []),
        (["--step", "check", "--limit", "1"], ["n1"]),
        (["--step", "again"], []),
        (["--workflow", "other"], []),
        (["--status", "blocked"], []),
        (["--label", "vip"], []),
    ],
)
def test_dlq_dry_run_names_what_fits_and_does_nothing(filters: list[str], ids: list[str]) -> None:
    triggered(1, 3, 102)

    found = json.loads(call("workflow_dlq", "resume", *filters, "--dry-run", "--json"))

    assert found["would_be_resumed"] == len(ids)
    assert sorted(found["workflow_run_ids"]) == sorted(ids)
    assert states("n1", "n3", "n102") == ["failed"] * 3


def test_dlq_resumes_by_filter_and_keeps_why() -> None:
    triggered(1, 102)

    said = call("workflow_dlq", "resume", "--error", "ValueError", "--why", "mended")

    assert said == "1 run was resumed.\n"
    assert states("n1", "n102") == ["failed", "running"]
    assert Action.objects.get(run_id="n102", verb="resume").why == "mended"


def test_dlq_restarts_by_id() -> None:
    triggered(1)

    found = json.loads(call("workflow_dlq", "restart", "n1", "--json"))

    new = Run.objects.get(restarted_from_id="n1")
    assert found == {"restarted": 1, "workflow_run_ids": [new.id]}


def test_dlq_delete_asks_on_a_terminal(typed: Terminal) -> None:
    triggered(1, 2)

    said = call("workflow_dlq", "delete", "--all", out=Terminal())

    assert "1 run would be deleted" in said
    assert 'Type "yes"' in said
    assert "n1" in said
    assert list(Run.objects.values_list("pk", flat=True)) == ["n2"]


def test_dlq_delete_that_is_not_confirmed_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    triggered(1)
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))

    status, message = status_of("workflow_dlq", "delete", "--all", out=Terminal())

    assert (status, message) == (1, "Nothing was deleted.")
    assert Run.objects.count() == 1


def test_dlq_delete_in_a_pipe_needs_yes() -> None:
    triggered(1)

    assert status_of("workflow_dlq", "delete", "--all")[0] == 2
    assert call("workflow_dlq", "delete", "--all", "--yes") == "1 run was deleted.\n"
    assert not Run.objects.exists()


def test_dlq_does_what_it_can_and_names_the_rest() -> None:
    triggered(1, 3)
    Run.objects.filter(pk="n1").update(handler_status="completed")

    status, message = status_of("workflow_dlq", "resume", "--all")

    assert (status, states("n3")) == (1, ["running"])
    assert "Pass force=True" in message


@pytest.mark.parametrize(
    ("args", "status", "part"),
    [
        (["resume"], 2, "Say which to resume"),
        (["resume", "n1", "--all"], 2, "not both"),
        (["restart", "n1", "--force"], 2, "--force is for resume"),
        (["resume", "lost"], 2, 'no run "lost"'),
        (["resume", "n2"], 1, "no dead letter"),
        (["delete", "n2", "--yes"], 1, "no dead letter"),
    ],
)
def test_dlq_used_wrongly(args: list[str], status: int, part: str) -> None:
    triggered(1, 2)

    found, message = status_of("workflow_dlq", *args)

    assert found == status
    assert part in message


# Verbs by filter


@pytest.mark.parametrize(
    ("command", "filters", "said", "after"),
    [
        ("cancel", ["--workflow", "work.check"], "2 runs were cancelled.\n", ["failed", "cancelled", "cancelled"]),
        ("cancel", ["--label", "vip", "--limit", "1"], "1 run was cancelled.\n", ["failed", "cancelled", "running"]),
        ("pause", ["--label", "vip"], "2 runs were paused.\n", ["failed", "paused", "paused"]),
        ("resume", ["--status", "failed"], "1 run was resumed.\n", ["running", "running", "running"]),
        ("restart", ["--workflow", "other", "--status", "failed"], "0 runs were restarted.\n", ["failed", "running", "running"]),
    ],
)  # fmt: skip
def test_verb_by_filter(command: str, filters: list[str], said: str, after: list[str]) -> None:
    triggered(1, 2, 4, label="vip")

    assert call(f"workflow_{command}", *filters) == said
    assert states("n1", "n2", "n4") == after


def test_verb_by_filter_is_previewed() -> None:
    triggered(2, 4)

    said = call("workflow_pause", "--workflow", "work.check", "--dry-run")

    assert said.splitlines()[-1] == "2 runs would be paused."
    assert [line.split("\t")[0] for line in said.splitlines()[1:3]] == ["n2", "n4"]
    assert states("n2", "n4") == ["running", "running"]


def test_verb_by_filter_asks_on_a_terminal(typed: Terminal) -> None:
    triggered(2)

    said = call("workflow_cancel", "--workflow", "work.check", out=Terminal())

    assert 'Type "yes"' in said
    assert states("n2") == ["cancelled"]


def test_verb_by_filter_is_not_asked_about_with_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    triggered(2)
    monkeypatch.setattr("sys.stdin", Terminal(""))

    call("workflow_cancel", "--workflow", "work.check", "--yes", out=Terminal())

    assert states("n2") == ["cancelled"]


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["workflow_pause"], "Say which"),
        (["workflow_resume", "n2", "--status", "failed"], "not both"),
        (["workflow_restart", "--workflow", "work.check"], "--status"),
    ],
)
def test_verb_by_filter_used_wrongly(args: list[str], part: str) -> None:
    status, message = status_of(*args)

    assert status == 2
    assert part in message


# workflow_flow


def test_flow_lists_and_steers_keys() -> None:
    registry.get("work.limited").trigger(2)
    drain()

    listed = json.loads(call("workflow_flow", "--json"))
    call("workflow_flow", "set", "work", "--parallelism", "none", "--rate", "5", "--period", "1m")
    paused = call("workflow_flow", "pause", "work", "--why", "too hot").splitlines()

    assert [(one["key"], one["parallelism"], one["paused"]) for one in listed] == [
        ("work", 2, False)
    ]
    assert paused[1].split("\t") == ["work", "0", "0", "", "5 in 1m", "paused, pinned"]
    assert flow_control("work").is_paused


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["pause"], "pause needs a key"),
        (["pause", "lost"], 'Nothing has used flow control key "lost"'),
        (["set", "work"], "set takes"),
        (["list", "--rate", "3"], "only set does"),
        (["set", "work", "--rate", "5", "--period", "soon"], "soon"),
    ],
)
def test_flow_used_wrongly(args: list[str], part: str) -> None:
    status, message = status_of("workflow_flow", *args)

    assert status == 2
    assert part in message


@pytest.mark.parametrize("limit", ["0", "-1", "many", "9" * 30])
def test_flow_refuses_a_limit_that_is_none(limit: str) -> None:
    with pytest.raises(CommandError, match="argument --rate"):
        call("workflow_flow", "set", "work", f"--rate={limit}")


# workflow_waiters


def test_waiters_are_listed_of_all_events_or_of_one() -> None:
    triggered(2, 4)

    everything = call("workflow_waiters").splitlines()
    one = json.loads(call("workflow_waiters", "work:4", "--json"))
    by_notify = json.loads(call("workflow_notify", "work:4", "--waiters", "--json"))

    assert [line.split("\t")[:4] for line in everything[1:]] == [
        ["work:2", "n2", "work.check", "pickup"],
        ["work:4", "n4", "work.check", "pickup"],
    ]
    assert [(waiter["workflow_run_id"], waiter["step"]) for waiter in one] == [("n4", "pickup")]
    assert by_notify == one
    assert states("n4") == ["running"]


def test_waiters_take_the_same_queries_for_any_number(django_assert_num_queries: Any) -> None:
    triggered(2, 4, 6, 8)

    with django_assert_num_queries(2):
        call("workflow_waiters")


# workflow_export, workflow_import


def test_run_goes_out_and_comes_back(tmp_path: Path) -> None:
    triggered(3)
    file = str(tmp_path / "n3.json")

    call("workflow_export", "n3", "--output", file)
    looked = call("workflow_import", file, "--id", "copy", "--dry-run")
    said = call("workflow_import", file, "--id", "copy", "--why", "to look")

    assert looked == "Run copy of work.check would be failed, with 1 recorded steps.\n"
    assert said == "Imported run copy of work.check; it is failed.\n"
    copy, run = Run.objects.get(pk="copy"), Run.objects.get(pk="n3")
    assert (copy.failure, copy.payload) == (run.failure, 3)
    assert Action.objects.get(run_id="copy").verb == "import"


def test_export_to_standard_output_is_what_import_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    triggered(2)
    monkeypatch.setattr("sys.stdin", io.StringIO(call("workflow_export", "n2")))

    said = call("workflow_import", "-", "--id", "copy")

    assert said.endswith("Go on with it: manage.py workflow_resume copy\n")
    assert states("copy") == ["paused"]


def test_export_never_writes_over_a_file(tmp_path: Path) -> None:
    triggered(2)
    file = tmp_path / "kept.json"
    file.write_text("kept")

    status, message = status_of("workflow_export", "n2", "-o", str(file))

    assert status == 2
    assert "cannot be written" in message
    assert file.read_text() == "kept"


def test_export_whole_is_kept_with_the_run() -> None:
    triggered(2)

    call("workflow_export", "n2", "--whole", "--why", "ticket 7")

    kept = Action.objects.get(run_id="n2", verb="export")
    assert (kept.why, kept.door) == ("ticket 7", "command")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is no JSON"),
        ("[]", "no journal of a run"),
        ('{"format": "django_workflow.journal", "format_version": 1}', "run is null"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_import_of_something_else_has_status_2(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)

    status, message = status_of("workflow_import", str(file))

    assert status == 2
    assert part in message
    assert not Run.objects.exists()


def test_import_of_a_taken_id_has_status_2(tmp_path: Path) -> None:
    triggered(2)
    file = tmp_path / "x.json"
    file.write_text(call("workflow_export", "n2"))

    assert status_of("workflow_import", str(file))[0] == 2
    assert Run.objects.count() == 1


# workflow_check as a probe


def test_probe_tells_lag_silence_and_workers() -> None:
    sweeper.sweep(force=False)

    found = json.loads(call("workflow_check", "--json", "--max-lag", "5m", "--max-silence", "1m"))

    assert (found["healthy"], found["complaints"], found["workers"]) == (True, [], [])
    assert found["silence_seconds"] < 60


def test_probe_tells_when_the_beat_ticked() -> None:
    sweeper.sweep()
    before = json.loads(call("workflow_check", "--json"))
    said = call("workflow_check")
    sweeper.tick()
    after = json.loads(call("workflow_check", "--json"))

    assert (before["beat_at"], before["beat_age_seconds"]) == (None, None)
    assert "beat" not in said
    assert after["beat_at"] is not None
    assert 0 <= after["beat_age_seconds"] < 60
    assert "last beat tick at" in call("workflow_check")


def test_probe_fails_where_nobody_looks() -> None:
    Sweep.objects.all().delete()
    out = io.StringIO()

    assert call("workflow_check").startswith("Healthy")
    status, message = status_of("workflow_check", "--max-silence", "1m")
    assert (status, "has looked for due work ever" in message) == (1, True)
    assert status_of("workflow_check", "--max-silence", "1m", "--json", out=out)[0] == 1
    assert json.loads(out.getvalue())["healthy"] is False


def test_probe_fails_where_something_is_due_for_too_long() -> None:
    registry.get("work.check").trigger(2)
    sweeper.sweep(force=False)

    status, message = status_of("workflow_check", "--max-lag", "0.000001s")

    assert status == 1
    assert "--max-lag" in message


@pytest.mark.parametrize(
    "args", [["--max-lag", "soon"], ["--against", "--max-lag", "5m"], ["--workflow", "x"]]
)
def test_probe_used_wrongly(args: list[str]) -> None:
    assert status_of("workflow_check", *args)[0] == 2


# All of them


def test_another_database_is_asked_and_then_forgotten() -> None:
    triggered(2)

    status, message = status_of("workflow_runs", "--database", "lost")
    assert (status, 'no database "lost". Known: default, other.' in message) == (2, True)
    assert "n2" in call("workflow_runs", "--database", "default")
    assert settings().DATABASE == "default"


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_run_goes_from_one_database_to_another(tmp_path: Path) -> None:
    triggered(3)
    file = str(tmp_path / "n3.json")
    call("workflow_export", "n3", "-o", file)

    call("workflow_import", file, "--database", "other")

    assert (
        json.loads(call("workflow_show", "n3", "--json", "--database", "other"))["status"]
        == "failed"
    )
    assert (
        call("workflow_dlq", "delete", "n3", "--yes", "--database", "other")
        == "1 run was deleted.\n"
    )
    assert states("n3") == ["failed"]
    assert settings().DATABASE == "default"


ODD = ["\udcff", "a\x00b"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "args",
    [
        ["workflow_show", "?"],
        ["workflow_runs", "--workflow", "?"],
        ["workflow_runs", "--label", "?"],
        ["workflow_trigger", "work.check", "--id", "?"],
        ["workflow_notify", "?"],
        ["workflow_waiters", "?"],
        ["workflow_cancel", "?"],
        ["workflow_dlq", "resume", "--step", "?"],
        ["workflow_flow", "pause", "?"],
        ["workflow_export", "?"],
        ["workflow_import", "?"],
        ["workflow_schedules", "--pause", "?"],
        ["workflow_prune", "--workflow", "?", "--older-than", "1d", "--yes"],
        ["workflow_check", "--against", "--workflow", "?"],
        ["workflow_migrate_names", "--workflow", "?"],
    ],
    ids=" ".join,
)
def test_bytes_that_are_no_text_have_status_2(args: list[str], odd: str) -> None:
    status, _ = status_of(*(odd if arg == "?" else arg for arg in args))

    assert status == 2


@pytest.mark.parametrize("limit", ["0", "-3", "1e3", "9" * 40, "\u0663"])
def test_odd_limits_are_refused(limit: str) -> None:
    for command in ("workflow_runs", "workflow_dlq", "workflow_waiters"):
        with pytest.raises(CommandError, match="argument --limit"):
            call(command, f"--limit={limit}")


def manage(env: dict[str, str], *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *args],
        env={**env, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.serial
def test_reader_that_has_seen_enough_is_no_error(child_env: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)

    outcome = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "workflow_runs"],
        env=child_env,
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    os.close(write)
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.serial
@pytest.mark.parametrize(
    "args",
    [["workflow_show", "lost"], ["workflow_dlq", "dance"], ["workflow_runs", "--limit", "0"]],
    ids=" ".join,
)
def test_wrong_use_ends_the_process_with_2(args: list[str], child_env: dict[str, str]) -> None:
    outcome = manage(child_env, *args)

    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
