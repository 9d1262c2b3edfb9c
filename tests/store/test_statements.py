"""What the hot path costs on PostgreSQL: one statement per write, and a claim that finished history does not slow."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run, Step
from django_workflow.store import claims, completions, records, runs, triggers
from django_workflow.store.rows import Claim
from tests.store.made import FAILURE, claimed, completed, fan_out, insert, new_run

pytestmark = [pytest.mark.django_db, pytest.mark.pg_only]

RUNS = 20_000


@pytest.fixture(autouse=True, params=["native"])
def spoken() -> None:
    """Only the database's own dialect promises a number of statements."""


def statements_of(act: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        act()
    return [query["sql"] for query in captured.captured_queries]


def test_claim_of_a_batch_is_one_statement() -> None:
    insert("a", "b", "c")

    assert len(statements_of(lambda: claims.claim("worker", 8))) == 1


def test_look_for_nothing_is_one_statement() -> None:
    assert len(statements_of(lambda: claims.claim("worker", 8))) == 1


HOT: list[Callable[[Claim], object]] = [
    lambda claim: claims.enter(claim.delivery_id, claim.token, 0),
    lambda claim: records.record(claim, completed("a")),
    lambda claim: records.load("run-1"),
    lambda claim: completions.complete(claim, "1", leaves_open=False),
    lambda claim: claims.give_back(claim),
    lambda claim: claims.renew([(claim.delivery_id, claim.token)]),
    lambda claim: claims.take_over(claim),
    lambda claim: claims.mark_begun(claim, "a"),
]


@pytest.mark.parametrize("act", HOT)
def test_hot_write_is_one_statement_and_no_transaction_of_its_own(
    act: Callable[[Claim], object],
) -> None:
    claim = claimed()

    assert len(statements_of(lambda: act(claim))) == 1


@pytest.mark.parametrize("count", [1, 100])
def test_trigger_is_one_statement(count: int) -> None:
    rows = [new_run(f"r{index}") for index in range(count)]

    assert len(statements_of(lambda: triggers.insert(rows))) == 1


def test_record_of_a_step_delivery_is_one_statement() -> None:
    [claim] = fan_out("a")

    assert len(statements_of(lambda: records.record(claim, completed("a", registered=True)))) == 1


def test_statements_of_a_run_do_not_grow_with_its_journal() -> None:
    claim = claimed()
    first = statements_of(lambda: records.record(claim, completed("first")))
    Step.objects.bulk_create(
        Step(
            run_id="run-1",
            key=f"s{index}",
            name="s",
            kind="run",
            status="completed",
            sequence=1000 + index,
            created_at=claim.now,
        )
        for index in range(500)
    )

    last = statements_of(lambda: records.record(claim, completed("last")))

    assert len(last) == len(first)


def multiply(model: type[Model], **changed: str) -> None:
    """Copy the only row of a table, with these columns computed from the number ``i``."""
    fields = [field.column for field in model._meta.local_fields if field.column not in changed]
    names = [connection.ops.quote_name(name) for name in fields if name != "id"]
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join([*names, *changed])}) "  # noqa: S608
            f"SELECT {', '.join([*names, *changed.values()])} FROM {table}, generate_series(1, {RUNS}) i"
        )


@pytest.fixture
def history() -> None:
    """A day like any other: thousands of finished runs, thousands that wait, three that are due."""
    claim = claimed("done")
    records.record(claim, completed("a"))
    runs.end_badly(claim, RunStatus.FAILED, FAILURE)
    # Dead letters keep their turn, and a sleeper's is due some day.
    multiply(Run, id="'done-' || i")
    multiply(
        Delivery,
        run_id="'done-' || i",
        due_at="CASE WHEN i % 2 = 0 THEN timestamptz '2100-01-01' END",
    )
    multiply(Step, run_id="'done-' || i")
    insert("a", "b", "c")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plan_of(act: Callable[[], object]) -> str:
    """Return the plans of the statements as they were executed."""
    [statement] = statements_of(act)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.usefixtures("history")
def test_claim_reads_an_index_and_no_history() -> None:
    plan = plan_of(lambda: claims.claim("worker", 8))

    assert "dw_delivery_due" in plan
    assert not re.findall(r"Seq Scan on (?!due\b|c\b)\S+", plan), plan


@pytest.mark.usefixtures("history")
def test_count_of_what_is_due_reads_an_index() -> None:
    plan = plan_of(lambda: claims.count_due(100))

    assert "dw_delivery_due" in plan
    assert "Seq Scan" not in plan


@pytest.mark.usefixtures("history")
def test_record_and_completion_read_no_history() -> None:
    [claim, *_] = claims.claim("worker", 8)

    recorded = plan_of(lambda: records.record(claim, completed("a")))
    finished = plan_of(lambda: completions.complete(claim, "1", leaves_open=False))

    assert "Seq Scan on django_workflow" not in recorded
    assert "Seq Scan on django_workflow" not in finished


@pytest.mark.usefixtures("history")
def test_journal_is_read_by_its_run() -> None:
    plan = plan_of(lambda: records.load("a"))

    assert "Index" in plan
    assert "Seq Scan" not in plan


@pytest.mark.usefixtures("history")
def test_renewal_reads_no_history() -> None:
    found = claims.claim("worker", 8)

    plan = plan_of(lambda: claims.renew([(c.delivery_id, c.token) for c in found], timedelta(1)))

    assert "Seq Scan on django_workflow" not in plan
