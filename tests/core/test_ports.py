from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from django_workflow.core import ports
from django_workflow.core.exceptions import InvalidOptionError, NotReadyError


class Thing:
    """Anything that can be plugged in."""

    name = "pigeon"

    def hint(self, count: int = 1) -> None:
        """See `Dispatcher.hint()`."""

    def deliver(self, claim: Any) -> None:
        """See `Transport.deliver()`."""

    def now(self) -> datetime:
        """See `Clock.now()`."""
        return datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test empty sockets, and the suite its own ones back."""
    monkeypatch.setattr(ports, "_slots", ports._Slots())


def test_runtime_is_missing_until_django_is_ready() -> None:
    with pytest.raises(NotReadyError, match="before Django was ready") as refusal:
        ports.get_runtime()

    assert "AppConfig.ready()" in str(refusal.value)


def test_runtime_is_what_was_plugged_in() -> None:
    runtime = object()

    ports.install_runtime(runtime)

    assert ports.get_runtime() is runtime


def test_door_is_missing_until_django_is_ready() -> None:
    with pytest.raises(NotReadyError, match="before Django was ready"):
        ports.get_door()


def test_door_is_missing_without_the_views() -> None:
    ports.install_runtime(object())

    with pytest.raises(NotReadyError, match="views are not installed"):
        ports.get_door()


def test_door_is_what_was_plugged_in() -> None:
    door = object()

    ports.install_door(door)

    assert ports.get_door() is door


def test_dispatcher_is_optional_and_gives_way_to_another() -> None:
    first, second = Thing(), Thing()

    assert ports.get_dispatcher() is None
    assert ports.install_dispatcher(first) is None
    assert ports.install_dispatcher(second) is first
    assert ports.get_dispatcher() is second


def test_clock_is_optional_and_gives_way_to_another() -> None:
    clock = Thing()

    assert ports.get_clock() is None
    assert ports.install_clock(clock) is None
    assert ports.get_clock() is clock
    assert ports.install_clock(None) is clock
    assert ports.get_clock() is None


def test_transport_is_found_by_its_name() -> None:
    pigeon = Thing()

    ports.install_transport(pigeon)

    assert ports.get_transport("pigeon") is pigeon


def test_unknown_transport_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidOptionError, match=r'no transport "raven"\. Known: none'):
        ports.get_transport("raven")

    ports.install_transport(Thing())

    with pytest.raises(InvalidOptionError, match=r'no transport "raven"\. Known: pigeon'):
        ports.get_transport("raven")
