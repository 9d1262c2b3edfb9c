from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.dispatchers.processes import Site, site_in


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    """An empty broker, and a client to look into it."""
    client = redis.Redis.from_url(redis_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def site(
    child_env: dict[str, str], tmp_path: Path, redis_url: str, broker: redis.Redis
) -> Iterator[Site]:
    """A project with a broker of its own."""
    with site_in(tmp_path, child_env, WORKER_BROKER=redis_url) as made:
        yield made


@pytest.fixture
def brokerless(child_env: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    """A project with neither a broker nor a Celery app."""
    with site_in(tmp_path, child_env, WORKER_NO_APP="1") as made:
        yield made
