from __future__ import annotations

import pytest

from django_workflow.store import sql
from tests.store.made import PortableOnPostgres


@pytest.fixture(
    autouse=True, params=["native", pytest.param("portable", marks=pytest.mark.pg_only)]
)
def spoken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dialect: the database's own, and on PostgreSQL also the one for every database.

    What holds in both is the contract between `Portable` and `Postgres`.
    """
    if request.param == "portable":
        monkeypatch.setitem(sql._BY_VENDOR, "postgresql", PortableOnPostgres())
    return str(request.param)
