"""No statement of the hot path reads whole tables because PostgreSQL still believes them to be empty.

A queue is analysed at night, when it is empty, and in the morning thousands are triggered at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from django_workflow import FlowControl
from django_workflow.models import FlowTicket
from django_workflow.store import calls, claims, completions, events, flow, records, triggers, waits
from django_workflow.store.events import NewEvent
from django_workflow.store.rows import Claim
from tests.store.made import awaiting, completed, fan_out, new_run, sleeping

pytestmark = [pytest.mark.django_db, pytest.mark.pg_only]

RUNS = 400
BATCH = 8


@pytest.fixture(autouse=True, params=["native"])
def spoken() -> None:
    """Only the database's own dialect promises a number of rows read."""


def insert(prefix: str) -> None:
    triggers.insert([new_run(f"{prefix}-{index}") for index in range(RUNS)])


@pytest.fixture(autouse=True)
def burst() -> None:
    """Hundreds of runs in tables that were analysed while they were empty, as the server would not see for a minute."""
    insert("gone")
    for claim in claims.claim("worker", RUNS):
        waits.wait(claim, [awaiting("a")])
    with connection.cursor() as cursor:
        for table in ("waiter", "flowticket", "step", "delivery", "run"):
            cursor.execute(f"DELETE FROM django_workflow_{table}")  # noqa: S608
        cursor.execute("ANALYZE")
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'django_workflow_delivery'")
        assert cursor.fetchone() == (0.0,)
    insert("run")


def read_by(act: Callable[[], object]) -> dict[str, float]:
    """Return how many rows the hungriest scan of each table has read in one of the statements of ``act``."""
    read: dict[str, float] = {}

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")):
            with transaction.atomic():
                with context["cursor"].cursor.connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                    [[plan]] = cursor.fetchall()
                transaction.set_rollback(True)
            for table, rows in _scans(
                (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            ):
                read[table] = max(read.get(table, 0), rows)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        act()
    return read


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, float]]:
    if "Relation Name" in node and node["Node Type"].endswith("Scan"):
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        rows += node.get("Rows Removed by Index Recheck", 0)
        yield node["Relation Name"], rows * node["Actual Loops"]
    for child in node.get("Plans", []):
        yield from _scans(child)


def held() -> list[Claim]:
    """Claim a batch."""
    return claims.claim("worker", BATCH)


def test_claim() -> None:
    read = read_by(held)

    assert read["django_workflow_delivery"] <= BATCH
    assert max(read.values()) <= BATCH


def test_request() -> None:
    claim = held()[0]

    read = read_by(lambda: claims.enter(claim.delivery_id, claim.token, 0))

    assert read == {"django_workflow_delivery": 1, "django_workflow_run": 1}


WRITES: dict[str, Callable[[list[Claim]], object]] = {
    "record": lambda found: records.record(found[0], completed("a")),
    "records of turns": lambda found: records.record_of_turns([(c, completed("a")) for c in found]),
    "completion": lambda found: completions.complete(found[0], "1", leaves_open=False),
    "completions": lambda found: completions.complete_together([(c, "1") for c in found]),
    "sleep": lambda found: waits.wait(found[0], [sleeping("a", 60)]),
    "wait": lambda found: waits.wait(found[0], [awaiting("a")]),
    "slot": lambda found: flow.take(found[0], "a", FlowControl("k", parallelism=1), 0),
    "calls": calls.load,
}


@pytest.mark.parametrize("write", WRITES)
def test_write(write: str) -> None:
    found = held()
    for claim in claims.claim("worker", RUNS):
        waits.wait(claim, [sleeping("a", 60)])

    read = read_by(lambda: WRITES[write](found))

    assert max(read.values()) <= BATCH, read


def test_records_of_a_fan_out() -> None:
    [one, *others] = fan_out(*(f"s{index}" for index in range(BATCH)), run_id="wide")

    alone = read_by(lambda: records.record(one, completed("s0", registered=True)))
    together = read_by(
        lambda: records.record_together(
            [(claim, completed(claim.step_key, registered=True)) for claim in others]
        )
    )

    assert max(alone.values()) <= BATCH, alone
    assert max(together.values()) <= BATCH, together


def test_slot_is_given_on_in_a_long_line() -> None:
    control = FlowControl("k", parallelism=1)
    first, second, *others = claims.claim("worker", RUNS)
    slot = flow.take(first, "a", control, 0).slot
    assert slot is not None
    flow.take(second, "a", control, 0)
    # A table of a few pages may well be read whole.
    FlowTicket.objects.bulk_create(
        FlowTicket(
            flow_key="k",
            run_id=claim.run_id,
            step_key=f"s{place}",
            delivery_id=claim.delivery_id,
            state="waiting",
            created_at=claim.now,
        )
        for claim in others
        for place in range(10)
    )

    read = read_by(lambda: flow.release(slot))

    assert max(read.values()) <= BATCH, read


def test_event_for_one_of_many_who_wait() -> None:
    for place, claim in enumerate(claims.claim("worker", RUNS)):
        waits.wait(claim, [awaiting("a", f"event-{place}")])
    event = events.send(NewEvent("event-7", "1"))

    read = read_by(lambda: events.match(event.pk))

    assert max(read.values()) <= BATCH, read


def test_event_for_all_who_wait() -> None:
    for claim in claims.claim("worker", RUNS):
        waits.wait(claim, [awaiting("a")])
    event = events.send(NewEvent("go", "1"))

    read = read_by(lambda: events.match(event.pk))

    assert max(read.values()) <= RUNS, read
