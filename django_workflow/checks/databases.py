"""System checks of the journal's database: how it is opened, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import connections

from django_workflow.checks.messages import as_error, as_warning, journal_alias, read_settings

OLDEST_MARIADB = (10, 6)
# The isolation levels under which a claim does not see what others committed since its transaction began.
SNAPSHOT_LEVELS = (None, "repeatable read", "serializable")


def check_database(**_: Any) -> list[CheckMessage]:
    """E005, W002: how the journal's database is opened. Asks the settings, not the database."""
    alias = journal_alias(read_settings())
    if alias is None:
        return []
    connection = connections[alias]
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
        return [
            as_error(
                5,
                f'The database "{alias}" is SQLite without transaction_mode IMMEDIATE: transactions that read before '
                'they write fail with "database is locked" as soon as two overlap.',
                f'Set DATABASES["{alias}"]["OPTIONS"] = {{"transaction_mode": "IMMEDIATE", "timeout": 20}}.',
            )
        ]
    level = options.get("isolation_level", "read committed")
    if connection.vendor == "mysql" and (level and level.lower()) in SNAPSHOT_LEVELS:
        return [
            as_warning(
                2,
                f'The database "{alias}" is opened with isolation level {level or "of the server"!r}: workers would '
                "not see in time what others have recorded.",
                f'Remove "isolation_level" from DATABASES["{alias}"]["OPTIONS"]; Django then uses read committed.',
            )
        ]
    return []


def check_mysql(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E040, W003, W040, W041: which MariaDB the journal is on, and how it was set up. Asks the database."""
    settings = read_settings()
    alias = journal_alias(settings) or ""
    if settings is None or alias not in (databases or ()) or connections[alias].vendor != "mysql":
        return []
    connection: Any = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@collation_database, @@max_allowed_packet")
        collation, packet = cursor.fetchone()
    return [
        *mysql_problems(alias, connection.mysql_version, is_mariadb=connection.mysql_is_mariadb),
        *collation_problems(alias, str(collation)),
        *packet_problems(alias, packet, max(settings.MAX_PAYLOAD_BYTES, settings.MAX_RESULT_BYTES)),
    ]


def collation_problems(alias: str, collation: str) -> list[CheckMessage]:
    """Return what is wrong with keeping step names under this collation."""
    if not collation.endswith("_ci"):
        return []
    return [
        as_warning(
            3,
            f'The database "{alias}" compares texts by {collation}, which ignores case: two steps or runs whose names '
            "differ by case alone would be taken for one.",
            "Before the first migrate: ALTER DATABASE … COLLATE utf8mb4_bin (or utf8mb4_0900_as_cs).",
        )
    ]


def mysql_problems(alias: str, version: tuple[int, ...], *, is_mariadb: bool) -> list[CheckMessage]:
    """Return what is wrong with keeping runs on this server."""
    told = ".".join(map(str, version))
    if not is_mariadb:
        message = f'The database "{alias}" is MySQL {told}: the engine is tested on MariaDB alone.'
        return [as_warning(40, message, "MariaDB 10.6 or newer, or PostgreSQL.")]
    if version < OLDEST_MARIADB:
        message = f'The database "{alias}" is MariaDB {told}, which cannot skip locked rows: workers would wait for each other.'
        return [as_error(40, message, "MariaDB 10.6 or newer.")]
    return []


def packet_problems(alias: str, packet: int, largest: int) -> list[CheckMessage]:
    """Return what is wrong with statements of this size: a text has each quotation mark in it escaped."""
    if packet >= 2 * largest:
        return []
    message = f'The database "{alias}" takes {packet:,} bytes in a statement, and ends the connection at more: too few for {largest:,} escaped.'
    return [as_warning(41, message, "max_allowed_packet = 64M, or lower limits in WORKFLOW.")]
