"""``manage.py workflow_sweep``: one sweep by hand."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.dispatchers.app.workflows import once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TRACES", str(tmp_path))


def swept(*options: str) -> str:
    out = StringIO()
    call_command("workflow_sweep", *options, stdout=out)
    return out.getvalue()


def test_nothing_due_is_told() -> None:
    assert swept() == "Nothing is due.\n"


def test_what_is_due_is_counted_and_left_to_the_workers() -> None:
    run = once.trigger()

    assert swept() == "1 due; workers were told.\n"
    assert run.refresh().status == "pending"


def test_it_sweeps_however_short_the_last_sweep_is_ago() -> None:
    once.trigger()

    assert swept() == swept()


def test_with_work_what_is_due_is_done_here() -> None:
    runs = once.trigger_many([None] * 10)

    assert swept("--work") == "10 due; 10 carried out here.\n"
    assert {run.refresh().status for run in runs} == {"completed"}


@pytest.mark.parametrize("other", ["--work", "--json"])
def test_standing_watch_goes_with_no_other_option(other: str) -> None:
    with pytest.raises(CommandError, match=f"cannot be used with {other}"):
        swept("--forever", other)


@pytest.mark.parametrize(("options", "carried"), [((), 0), (("--work",), 1)])
def test_as_json(options: tuple[str, ...], carried: int) -> None:
    once.trigger()

    assert json.loads(swept("--json", *options)) == {"due": 1, "carried_out": carried}
