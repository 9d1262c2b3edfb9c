"""The demo, end to end, as `make demo` starts it: real processes, also killed ones."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNS = 17
EXPECTED_FAILURES = ("order-samovar", "dynamic-unknown")

pytestmark = [pytest.mark.serial, pytest.mark.sqlite_only]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "demo.sqlite3"


@pytest.fixture
def start(database: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the demo on a database of this test's; whatever still runs at its end is killed."""
    processes: list[subprocess.Popen[str]] = []
    unwanted = {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "WORKFLOW_TESTS_DB_NAMES"}
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    env |= {
        "DEMO_DATABASE": str(database),
        "DEMO_LOG": str(tmp_path / "demo.log"),
        "PYTHONUNBUFFERED": "1",
    }

    def start_(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", *args],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start_
    for process in processes:
        process.kill()
        process.communicate()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what the process says up to the line that holds this text."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"The demo ended without saying {text!r}:\n{said}")


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        return connection.execute(query).fetchall()


def test_the_demo_ends_well_by_itself(start: Start, database: Path) -> None:
    demo = start("--exit", free_port())

    said, _ = demo.communicate(timeout=100)

    assert demo.returncode == 0, said
    assert f"All {RUNS} runs ended as they should." in said
    assert "user demo, password demo" in said
    failed = rows(
        database, "SELECT id FROM django_workflow_run WHERE status = 'failed' ORDER BY id DESC"
    )
    assert failed == [(f"demo-1-{name}",) for name in EXPECTED_FAILURES]
    both = rows(database, "SELECT DISTINCT kind FROM django_workflow_step ORDER BY kind")
    assert [kind for (kind,) in both] == [
        "atomic",
        "call",
        "create_webhook",
        "invoke",
        "map",
        "race",
        "run",
        "sleep",
        "wait_for_approval",
        "wait_for_event",
        "wait_for_webhook",
    ]
    approvals = "SELECT decision, decided_by FROM django_workflow_approval"
    assert rows(database, approvals) == [("approved", "boss@example.org")]
    assert len(list((database.parent / "mail").iterdir())) == 1
    assert re.search(r"^demo-1-price-update-all 50 % done$", said, re.MULTILINE)
    busy = "SELECT attempts FROM django_workflow_step WHERE kind = 'call'"
    assert rows(database, busy) == [(2,)]


@pytest.mark.parametrize(
    "moment",
    [
        "runs were triggered",
        "dynamic-sum completed",
        "price-update-all 25 % done",
        "drip-bob completed",
    ],
)
def test_a_killed_demo_is_finished_by_the_next_with_each_step_recorded_once(
    moment: str, start: Start, database: Path
) -> None:
    recorded = (
        "SELECT run_id, key, sequence, result_text, finished_at FROM django_workflow_step "
        "WHERE sequence IS NOT NULL AND run_id LIKE 'demo-1-%'"
    )
    port = free_port()
    killed = start(port)
    read_until(killed, moment)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = set(rows(database, recorded))
    unfinished = rows(
        database, "SELECT COUNT(*) FROM django_workflow_run WHERE finished_at IS NULL"
    )

    second = start("--exit", port)
    said, _ = second.communicate(timeout=100)

    assert second.returncode == 0, said
    assert re.search(r"^[1-9]\d* runs of an earlier start were unfinished", said, re.MULTILINE)
    assert unfinished[0][0] != 0
    assert before <= set(rows(database, recorded))
    # The losers of a race have no record.
    steps = "SELECT COUNT(*), COUNT(DISTINCT run_id || ' ' || key), COUNT(DISTINCT run_id || ' ' || sequence) FROM django_workflow_step WHERE status <> 'abandoned'"
    everything, keys, sequences = rows(database, steps)[0]
    assert everything == keys == sequences
    ended = rows(
        database,
        "SELECT COUNT(*) FROM django_workflow_run WHERE status IN ('completed', 'failed') AND parent_id IS NULL",
    )
    assert ended == [(2 * RUNS,)]
    assert rows(database, 'SELECT COUNT(*), COUNT(DISTINCT "order") FROM shop_payment') == [(8, 8)]
    assert rows(database, 'SELECT COUNT(*), COUNT(DISTINCT "order") FROM shop_reservation') == [
        (6, 6)
    ]


CALLS = "FROM django_workflow_step WHERE kind = 'call' AND run_id LIKE 'demo-1-%'"


def test_a_demo_that_goes_on_at_another_port_finds_the_partner_again(
    start: Start, database: Path
) -> None:
    killed = start(free_port())
    read_until(killed, "price-update-all 25 % done")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    is_answered = rows(database, f"SELECT status {CALLS}") == [("completed",)]

    second = start("--exit", free_port())
    said, _ = second.communicate(timeout=100)

    assert second.returncode == 0, said
    # On a busy machine the partner may have answered before its death.
    again = [] if is_answered else [("ask at the new address",)]
    assert rows(database, f"SELECT name {CALLS} ORDER BY id") == [("ask the partner",), *again]


def test_a_person_approves_by_the_link_that_the_demo_shows(start: Start, database: Path) -> None:
    demo = start(free_port())
    said = read_until(demo, "log ")
    url = re.search(r"Approve or reject at (\S+)", said)
    assert url is not None
    assert "16 of 17 runs ended as they should; the others wait for you" in said

    with httpx.Client(trust_env=False) as browser:
        page = browser.get(url[1]).text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        form = {"workflow_decision": "reject", "csrfmiddlewaretoken": token[1]}
        assert "You have rejected this." in browser.post(url[1], data=form).text

    read_until(demo, "Now all runs have ended as they should.")
    result = "SELECT result_text FROM django_workflow_run WHERE id = 'demo-1-refund-approval-cleo'"
    assert rows(database, result) == [('"rejected"',)]


def test_a_demo_whose_books_are_wrong_says_why(start: Start, database: Path) -> None:
    start("--exit", free_port()).communicate(timeout=100)
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        connection.execute("UPDATE shop_product SET stock = stock - 1 WHERE sku = 'teapot'")
        connection.commit()

    demo = start("--exit", free_port())
    said, _ = demo.communicate(timeout=100)

    assert demo.returncode == 1
    assert "Teapot: 7 are left of 10, and 2 are reserved." in said


def test_the_demo_serves_its_pages_until_it_is_interrupted(start: Start) -> None:
    port = free_port()
    demo = start(port)
    read_until(demo, "log ")

    with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        html = page.read().decode()
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=20)

    assert "demo-1-order-samovar" in html
    assert "/admin/django_workflow/run/" in html
    assert demo.returncode == 0
    assert "Traceback" not in said


def test_a_taken_port_leads_to_the_next(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        demo = start("--exit", str(port))
        said, _ = demo.communicate(timeout=100)

    assert demo.returncode == 0, said
    assert f"Port {port} is taken" in said
