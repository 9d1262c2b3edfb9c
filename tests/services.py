"""Loaded by ``-p tests.services``: gives a test run its folder, its PostgreSQL or MariaDB and, on demand, its Valkey.

It is this early because pytest-django reads the settings, and so the database's address, before any conftest.
Under xdist the controller alone does the work; the workers find what it left in their environment.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.keeper import Keeper, ServiceError, ask

_keeper: Keeper | None = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    global _keeper
    if "WORKFLOW_TESTS_DIR" not in os.environ:
        _keeper = Keeper()
        os.environ["WORKFLOW_TESTS_DIR"] = str(_keeper.directory)
        server = os.environ.get("TEST_DB")
        if server in {"mariadb", "postgres"} and not os.environ.get("DATABASE_URL"):
            try:
                os.environ["DATABASE_URL"] = _keeper.address_of(server)
            except ServiceError as error:
                raise pytest.UsageError(f"{error}\nGive a server by DATABASE_URL.") from error
    return (yield)


def pytest_unconfigure() -> None:
    if _keeper is not None:
        _keeper.close()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The address of a Redis-protocol server, with a database number of its own for each xdist worker."""
    url = os.environ.get("REDIS_URL")
    if not url:
        try:
            url = ask(Path(os.environ["WORKFLOW_TESTS_DIR"]), "valkey")
        except ServiceError as error:
            pytest.skip(f"missing: {error} Give a server by REDIS_URL.")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return url
    address = url.rstrip("/") if url.count("/") == 2 else url.rpartition("/")[0]
    return f"{address}/{worker.removeprefix('gw')}"
