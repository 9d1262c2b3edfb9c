"""The dialects of the hot path: time expressions and the statements that differ per database.

`Portable` is right on any database that Django speaks to; it runs short transactions of several statements.
`Postgres` says the same in one statement each. One contract test holds them together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.at_rest import vault
from django_workflow.conf import settings
from django_workflow.core.ports import get_clock
from django_workflow.store.rows import DELIVERY, RUN, STEP, Recorded, StepRow

Fragment = tuple[str, tuple[Any, ...]]

STEP_INSERT_COLUMNS = (
    "run_id", "key", "branch", "name", "kind", "status", "sequence", "arguments_text", "result_text",
    "failure_text", "attempts", "delivered", "wake_at", "created_at", "started_at", "finished_at", "worker",
)  # fmt: skip
STEP_UPDATE_COLUMNS = tuple(
    name
    for name in STEP_INSERT_COLUMNS
    if name not in {"run_id", "key", "branch", "name", "kind", "created_at", "arguments_text"}
)

STEP_TIMES = ("wake_at", "created_at", "started_at", "finished_at")


def connection() -> BaseDatabaseWrapper:
    """Return the journal's connection of this thread."""
    return connections[settings().DATABASE]


def kept_row(row: StepRow) -> StepRow:
    """Return the row of a step with its texts as they are kept: encrypted, or in files."""
    if not vault.is_on():
        return row
    return replace(
        row,
        arguments_text=vault.sealed(row.arguments_text),
        result_text=vault.kept(row.result_text),
        failure_text=vault.sealed(row.failure_text),
    )


class Portable:
    """Statements that every database understands."""

    quote = "`"
    ignore = "INSERT IGNORE INTO"
    ignore_tail = ""

    def now(self, offset: timedelta = timedelta(0)) -> Fragment:
        """Return the database's time, moved by ``offset``, as an SQL expression; a clock's if one is installed."""
        clock = get_clock()
        if clock is not None:
            return "%s", (self.literal(clock.now() + offset),)
        return self.database_now(offset)

    def database_now(self, offset: timedelta) -> Fragment:
        """Return the expression for the database's own time."""
        if not offset:
            return "UTC_TIMESTAMP(6)", ()
        return "(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)", (
            offset // timedelta(microseconds=1),
        )

    def literal(self, moment: datetime | None) -> Any:
        """Return a moment as this database takes it for a parameter."""
        return None if moment is None else connection().ops.adapt_datetimefield_value(moment)

    def name(self, column: str) -> str:
        """Quote a column name: ``key`` is a word of MariaDB."""
        return f"{self.quote}{column}{self.quote}"

    def columns(self, names: Sequence[str]) -> str:
        """Return a quoted list of columns."""
        return ", ".join(self.name(name) for name in names)

    def look_up(self, table: str, alias: str, on: str, *, is_outer: bool = False) -> str:
        """Return the join with the one row of a table that has a given unique key, if it is there."""
        return f"{'LEFT ' if is_outer else ''}JOIN {table} {alias} ON {on}"

    def wake_at(self, row: StepRow) -> Fragment:
        """Return the expression for the moment at which a step wakes."""
        if row.wakes_in is not None:
            return self.now(row.wakes_in)
        return "%s", (self.literal(row.wake_at),)

    def times(self, row: StepRow) -> tuple[Fragment, Fragment, Fragment]:
        """Return the expressions for created, started and finished."""
        now = self.now()
        started = self.now(-row.took) if row.took is not None else ("NULL", ())
        finished = now if row.status in {"completed", "failed"} else ("NULL", ())
        return (started if row.took is not None else now), started, finished

    def step_values(self, row: StepRow, run: Fragment, sequence: Fragment) -> Fragment:
        """Return the list of expressions for `STEP_INSERT_COLUMNS`."""
        created, started, finished = self.times(row)
        parts: list[Fragment] = [
            run,
            ("%s, %s, %s, %s, %s", (row.key, row.branch, row.name, row.kind, row.status)),
            sequence,
            (
                "%s, %s, %s, %s, %s",
                (
                    row.arguments_text,
                    row.result_text,
                    row.failure_text,
                    row.attempts,
                    row.delivered,
                ),
            ),
            self.wake_at(row),
            created,
            started,
            finished,
            ("%s", (row.worker,)),
        ]
        return ", ".join(sql for sql, _ in parts), tuple(
            value for _, values in parts for value in values
        )

    def write_step(self, cursor: Any, run_id: str, row: StepRow, sequence: int | None) -> int:
        """Insert the step, or complete its open form; return how many rows were written.

        What is likely is tried first; a row is never written over once it has its number.
        """
        row = kept_row(row)
        if row.registered:
            return self._fill_step(cursor, run_id, row, sequence) or self._insert_step(
                cursor, run_id, row, sequence
            )
        return self._insert_step(cursor, run_id, row, sequence) or self._fill_step(
            cursor, run_id, row, sequence
        )

    def _fill_step(self, cursor: Any, run_id: str, row: StepRow, sequence: int | None) -> int:
        _, started, finished = self.times(row)
        wake, wake_values = self.wake_at(row)
        # fmt: off
        cursor.execute(
            f"UPDATE {STEP} SET status = %s, sequence = %s, result_text = %s, failure_text = %s, attempts = %s, "
            f"delivered = %s, wake_at = {wake}, started_at = COALESCE({started[0]}, started_at), finished_at = {finished[0]}, "
            f"worker = %s WHERE run_id = %s AND {self.name('key')} = %s AND sequence IS NULL",
            (row.status, sequence, row.result_text, row.failure_text, row.attempts, row.delivered, *wake_values,
             *started[1], *finished[1], row.worker, run_id, row.key),
        )
        # fmt: on
        return int(cursor.rowcount)

    def _insert_step(self, cursor: Any, run_id: str, row: StepRow, sequence: int | None) -> int:
        values, params = self.step_values(row, ("%s", (run_id,)), ("%s", (sequence,)))
        cursor.execute(
            f"{self.ignore} {STEP} ({self.columns(STEP_INSERT_COLUMNS)}) VALUES ({values}){self.ignore_tail}",
            params,
        )
        return int(cursor.rowcount)

    def insert_lock(self, table: str, columns: Sequence[str], values: str, key: str) -> str:
        """Return the statement that inserts a row that may be there, for who locks it next; ``key`` is its primary key."""
        return (
            f"{self.ignore} {table} ({self.columns(columns)}) VALUES ({values}){self.ignore_tail}"
        )

    def keep_run(self, cursor: Any, run_id: str) -> bool:
        """Keep a run from being deleted until the transaction ends; all else may happen to it. False if it is gone."""
        # Nothing to do where a foreign key is checked by the statement that writes it, or where there is one writer.
        return True

    def lock_deliveries(self, cursor: Any, run_id: str, ids: Sequence[int] = ()) -> None:
        """Lock the deliveries of a run, or of these: those of steps first, then the turn; see `runs.lock()`."""
        among = f" AND id IN ({', '.join(['%s'] * len(ids))})" if ids else ""
        cursor.execute(
            f"SELECT id FROM {DELIVERY} WHERE run_id = %s{among} ORDER BY step_key DESC, id FOR UPDATE",
            (run_id, *ids),
        )

    def end_deliveries(self, cursor: Any, run_id: str, *, keeps_turn: bool) -> None:
        """Delete what is due of a run, under the locks of all of it."""
        kept = " AND step_key <> ''" if keeps_turn else ""
        cursor.execute(f"DELETE FROM {DELIVERY} WHERE run_id = %s{kept}", (run_id,))

    def raise_wakes(self, cursor: Any, run_id: str) -> int:
        """Wake the run's turn, and return the counter."""
        now, values = self.now()
        cursor.execute(
            f"UPDATE {DELIVERY} SET wakes = wakes + 1, due_at = CASE WHEN leased_by = '' THEN {now} ELSE due_at END "
            "WHERE run_id = %s AND step_key = ''",
            (*values, run_id),
        )
        cursor.execute(
            f"SELECT wakes FROM {DELIVERY} WHERE run_id = %s AND step_key = ''", (run_id,)
        )
        row = cursor.fetchone()
        return int(row[0]) if row else 0

    def fence(
        self, cursor: Any, delivery_id: int, token: int, run_id: str, *, is_turn: bool
    ) -> int:
        """Check the token, first of all, and return the new sequence number; 0 when it is stale.

        The holder's own try goes on: if it dies now, the next one is the second.
        """
        if is_turn:
            cursor.execute(
                f"UPDATE {DELIVERY} SET wakes = wakes + 1, tries = 1, deaths = 0, begun = '', trouble = '' "
                "WHERE id = %s AND token = %s",
                (delivery_id, token),
            )
            if not cursor.rowcount:
                return 0
            cursor.execute(f"SELECT wakes FROM {DELIVERY} WHERE id = %s", (delivery_id,))
            return int(cursor.fetchone()[0])
        cursor.execute(f"DELETE FROM {DELIVERY} WHERE id = %s AND token = %s", (delivery_id, token))
        return self.raise_wakes(cursor, run_id) if cursor.rowcount else 0

    def claimable(
        self, cursor: Any, limit: int, only: Collection[str] | None, lane: str = ""
    ) -> list[int]:
        """Return the ids of due deliveries of a lane, oldest first."""
        now, values = self.now()
        among, ids = _among(only)
        skip = (
            " FOR UPDATE SKIP LOCKED"
            if connection().features.has_select_for_update_skip_locked
            else ""
        )
        cursor.execute(
            f"SELECT id FROM {DELIVERY} WHERE lane = %s AND due_at <= {now}{among} ORDER BY due_at, id LIMIT %s{skip}",
            (lane, *values, *ids, limit),
        )
        return [row[0] for row in cursor.fetchall()]


def _among(only: Collection[str] | None) -> Fragment:
    if only is None:
        return "", ()
    if not only:
        return " AND 1 = 0", ()
    return f" AND run_id IN ({', '.join(['%s'] * len(only))})", tuple(only)


class MariaDB(Portable):
    """MariaDB: InnoDB locks the entries of every index that it reads, in the index's own order.

    So rows are locked by their primary key alone, one after the other: a holder that works by the id of its
    delivery, and somebody who came by the run, would otherwise wait for each other.
    """

    def insert_lock(self, table: str, columns: Sequence[str], values: str, key: str) -> str:
        """See `Portable.insert_lock()`. Not ignored: two who find the row share a lock on it, and neither gets it alone."""
        return f"INSERT INTO {table} ({self.columns(columns)}) VALUES ({values}) ON DUPLICATE KEY UPDATE {key} = {key}"

    def keep_run(self, cursor: Any, run_id: str) -> bool:
        """See `Portable.keep_run()`. The lock that a foreign key takes with the next statement, and fails where it cannot."""
        cursor.execute(f"SELECT 1 FROM {RUN} WHERE id = %s LOCK IN SHARE MODE", (run_id,))
        return cursor.fetchone() is not None

    def lock_deliveries(self, cursor: Any, run_id: str, ids: Sequence[int] = ()) -> None:
        """See `Portable.lock_deliveries()`."""
        cursor.execute(
            f"SELECT id FROM {DELIVERY} WHERE run_id = %s ORDER BY step_key DESC, id", (run_id,)
        )
        for (delivery_id,) in cursor.fetchall():
            if ids and delivery_id not in ids:
                continue
            cursor.execute(f"SELECT id FROM {DELIVERY} WHERE id = %s FOR UPDATE", (delivery_id,))

    def end_deliveries(self, cursor: Any, run_id: str, *, keeps_turn: bool) -> None:
        """See `Portable.end_deliveries()`."""
        cursor.execute(f"SELECT id, step_key FROM {DELIVERY} WHERE run_id = %s", (run_id,))
        for delivery_id, step_key in cursor.fetchall():
            if step_key or not keeps_turn:
                cursor.execute(f"DELETE FROM {DELIVERY} WHERE id = %s", (delivery_id,))

    def claimable(
        self, cursor: Any, limit: int, only: Collection[str] | None, lane: str = ""
    ) -> list[int]:
        """See `Portable.claimable()`. Beyond what others are about to take, or two would claim a batch and one nothing."""
        now, values = self.now()
        among, ids = _among(only)
        cursor.execute(
            f"SELECT id FROM {DELIVERY} WHERE lane = %s AND due_at <= {now}{among} ORDER BY due_at, id LIMIT %s",
            (lane, *values, *ids, limit * 4 + 16),
        )
        due = [row[0] for row in cursor.fetchall()]
        found: list[int] = []
        while due and len(found) < limit:
            wanted = limit - len(found)
            chunk, due = due[:wanted], due[wanted:]
            locked = self._free(cursor, chunk)
            found += [delivery_id for delivery_id in chunk if delivery_id in locked]
        return found

    def _free(self, cursor: Any, ids: Sequence[int]) -> set[int]:
        """Lock those of these deliveries that are due and that nobody has locked."""
        now, values = self.now()
        marks = ", ".join(["%s"] * len(ids))
        cursor.execute(
            f"SELECT id FROM {DELIVERY} FORCE INDEX (PRIMARY) WHERE id IN ({marks}) AND due_at <= {now} "
            "FOR UPDATE SKIP LOCKED",
            (*ids, *values),
        )
        return {row[0] for row in cursor.fetchall()}

    def raise_wakes(self, cursor: Any, run_id: str) -> int:
        """See `Portable.raise_wakes()`."""
        cursor.execute(f"SELECT id FROM {DELIVERY} WHERE run_id = %s AND step_key = ''", (run_id,))
        found = cursor.fetchone()
        if found is None:
            return 0
        now, values = self.now()
        cursor.execute(
            f"UPDATE {DELIVERY} SET wakes = wakes + 1, due_at = CASE WHEN leased_by = '' THEN {now} ELSE due_at END "
            "WHERE id = %s",
            (*values, found[0]),
        )
        cursor.execute(f"SELECT wakes FROM {DELIVERY} WHERE id = %s", found)
        row = cursor.fetchone()
        return int(row[0]) if row else 0


class SQLite(Portable):
    """SQLite: one writer at a time, so a transaction's first statement must be a write."""

    quote = '"'
    ignore = "INSERT OR IGNORE INTO"

    def lock_deliveries(self, cursor: Any, run_id: str, ids: Sequence[int] = ()) -> None:
        """Do nothing: a transaction that has begun is alone."""

    def database_now(self, offset: timedelta) -> Fragment:
        """Return the expression for the process's time, to the millisecond; SQLite has no other."""
        # Six digits, as Django writes them: times are compared as texts.
        if not offset:
            return "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')", ()
        return "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', %s)", (
            f"{offset.total_seconds():+.3f} seconds",
        )


class Postgres(Portable):
    """PostgreSQL: the hot writes in one statement each.

    Their plans must not hang on statistics, which tell nothing of tables that fill and empty within a minute: of one
    that was empty when it was last analysed PostgreSQL expects a single row, and then reads it whole for each row that
    it joins with it. So nothing is joined here with a table by a condition alone: rows are looked up one by one
    (`look_up()`), or their ids are given as an array. ``IS TRUE`` keeps an index on a status from being preferred.
    """

    quote = '"'
    ignore = "INSERT INTO"
    ignore_tail = " ON CONFLICT DO NOTHING"

    def database_now(self, offset: timedelta) -> Fragment:
        """Return the expression for the start of the statement."""
        if not offset:
            return "statement_timestamp()", ()
        return "(statement_timestamp() + %s * interval '1 second')", (offset.total_seconds(),)

    def look_up(self, table: str, alias: str, on: str, *, is_outer: bool = False) -> str:
        """See `Portable.look_up()`. A subquery with a limit is never merged into the join."""
        row = f"LATERAL (SELECT * FROM {table} {alias} WHERE {on} LIMIT 1) {alias}"
        return f"LEFT JOIN {row} ON TRUE" if is_outer else f"CROSS JOIN {row}"

    def keep_run(self, cursor: Any, run_id: str) -> bool:
        """See `Portable.keep_run()`. Here foreign keys are checked at COMMIT, when other locks are held."""
        cursor.execute(f"SELECT 1 FROM {RUN} WHERE id = %s FOR KEY SHARE", (run_id,))
        return cursor.fetchone() is not None

    def record(
        self, cursor: Any, delivery_id: int, token: int, row: StepRow, *, is_turn: bool
    ) -> Any:
        """Check the token, take the number, write the step and, for a step delivery, wake the turn: one statement."""
        row = kept_row(row)
        if is_turn:
            gate = (
                f"UPDATE {DELIVERY} SET wakes = wakes + 1, tries = 1, deaths = 0, begun = '', trouble = '' "
                "WHERE id = %s AND token = %s RETURNING run_id, wakes"
            )
            values: tuple[Any, ...] = (delivery_id, token)
        else:
            now, times = self.now()
            gate = (
                f"UPDATE {DELIVERY} t SET wakes = t.wakes + 1, due_at = CASE WHEN t.leased_by = '' THEN {now} ELSE t.due_at END "
                "WHERE t.run_id = (SELECT run_id FROM d) AND t.step_key = '' RETURNING t.run_id, t.wakes"
            )
            values = (delivery_id, token, *times)
        first = (
            ""
            if is_turn
            else f"d AS (DELETE FROM {DELIVERY} WHERE id = %s AND token = %s RETURNING run_id), "
        )
        expressions, params = self.step_values(row, ("t.run_id", ()), ("t.wakes", ()))
        cursor.execute(
            f"WITH {first}t AS ({gate}) INSERT INTO {STEP} ({self.columns(STEP_INSERT_COLUMNS)}) SELECT {expressions} FROM t "
            f"{self._fills} RETURNING sequence, finished_at",
            (*values, *params),
        )
        return cursor.fetchone()

    def record_together(
        self, cursor: Any, ended: Sequence[tuple[int, int, StepRow]]
    ) -> dict[tuple[str, str], Recorded]:
        """Record the results of step deliveries of one run, given as (delivery id, token, row): one statement.

        Returns what was written, by run and key. Deliveries are locked in everybody's order, then the turn; numbers
        go by the order given.
        """
        now, times = self.now()
        numbered = (
            f"d AS (DELETE FROM {DELIVERY} x USING l WHERE x.id = ANY(ARRAY(SELECT id FROM l)) AND x.id = l.id "
            "AND x.token = l.token RETURNING x.id, x.run_id), "
            f"t AS (UPDATE {DELIVERY} t SET wakes = t.wakes + (SELECT count(*) FROM d), due_at = CASE WHEN t.leased_by = '' "
            f"THEN {now} ELSE t.due_at END WHERE t.run_id = (SELECT run_id FROM d LIMIT 1) "
            "AND t.step_key = '' RETURNING t.run_id, t.wakes), "
            "n AS (SELECT v.*, t.run_id AS of_run, t.wakes - (SELECT count(*) FROM d) + row_number() OVER (ORDER BY v.place) "
            "AS number FROM v JOIN d ON d.id = v.delivery_id CROSS JOIN t)"
        )
        return self._record_all(cursor, ended, (numbered, times))

    def record_of_turns(
        self, cursor: Any, ended: Sequence[tuple[int, int, StepRow]]
    ) -> dict[tuple[str, str], Recorded]:
        """Record a step of each of several runs, given as (id of the turn, token, row): one statement.

        Returns what was written, by run and key. Turns are locked in everybody's order.
        """
        numbered = (
            f"n AS (UPDATE {DELIVERY} t SET wakes = t.wakes + 1, tries = 1, deaths = 0, begun = '', trouble = '' FROM v "
            "WHERE t.id = ANY(ARRAY(SELECT id FROM l)) AND t.id = v.delivery_id AND t.token = v.token RETURNING v.*, t.run_id AS of_run, t.wakes AS number)"
        )
        return self._record_all(cursor, ended, (numbered, ()))

    def _record_all(
        self, cursor: Any, ended: Sequence[tuple[int, int, StepRow]], numbered: Fragment
    ) -> dict[tuple[str, str], Recorded]:
        """Lock the deliveries (l) of what is given (v), and write each step with its run and its number (n)."""
        nothing: Fragment = ("NULL", ())
        rows = [
            (delivery_id, token, *self.step_values(kept_row(row), nothing, nothing))
            for delivery_id, token, row in ended
        ]
        listed = ", ".join(
            f"({place}, %s, %s, {values})" for place, (_, _, values, _) in enumerate(rows)
        )
        found = {
            "run_id": "n.of_run",
            "sequence": "n.number",
            **{name: f"CAST(n.{name} AS timestamptz)" for name in STEP_TIMES},
        }
        selected = ", ".join(
            found.get(name, f"n.{self.name(name)}") for name in STEP_INSERT_COLUMNS
        )
        cursor.execute(
            f"WITH v (place, delivery_id, token, {self.columns(STEP_INSERT_COLUMNS)}) AS (VALUES {listed}), "
            f"l AS MATERIALIZED (SELECT x.id, x.token FROM {DELIVERY} x JOIN v ON x.id = v.delivery_id AND x.token = v.token "
            f"WHERE x.id = ANY(ARRAY(SELECT delivery_id FROM v)) ORDER BY x.step_key DESC, x.id FOR UPDATE OF x), {numbered[0]} "
            f"INSERT INTO {STEP} ({self.columns(STEP_INSERT_COLUMNS)}) SELECT {selected} FROM n {self._fills} "
            'RETURNING run_id, "key", sequence, finished_at',
            (*(value for one in rows for value in (*one[:2], *one[3])), *numbered[1]),
        )
        return {(run_id, key): Recorded(*written) for run_id, key, *written in cursor.fetchall()}

    @cached_property
    def _fills(self) -> str:
        """What an insert does with the open form of its step; a row is never written over once it has its number."""
        updates = ", ".join(
            f"{self.name(c)} = COALESCE(EXCLUDED.{self.name(c)}, {STEP}.{self.name(c)})"
            if c == "started_at"
            else f"{self.name(c)} = EXCLUDED.{self.name(c)}"
            for c in STEP_UPDATE_COLUMNS
        )
        return f'ON CONFLICT (run_id, "key") DO UPDATE SET {updates} WHERE {STEP}.sequence IS NULL'


_BY_VENDOR = {"sqlite": SQLite(), "postgresql": Postgres(), "mysql": MariaDB()}


def dialect() -> Portable:
    """Return the dialect of the journal's database."""
    return _BY_VENDOR[connection().vendor]


__all__ = ["DELIVERY", "RUN", "STEP", "Portable", "Postgres", "SQLite", "connection", "dialect"]
