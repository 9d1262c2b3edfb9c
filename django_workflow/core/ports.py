"""The sockets of the house: what the core calls, and what the floors above plug in.

``apps.ready()`` fills each slot once. Runtime: what a workflow object and a run handle ask for. Dispatcher: how
workers learn that something is due. Transports: how a delivery reaches its function. Door: the view behind a
workflow object. Clock: where "now" comes from when it is not the database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from django_workflow.core.exceptions import InvalidOptionError, NotReadyError


class Clock(Protocol):
    """A source of time that replaces the database's: the sandbox's, or a test's."""

    def now(self) -> datetime:
        """Return the current moment, aware, in UTC."""


class Dispatcher(Protocol):
    """How workers learn that something is due. A hint, never the truth: it may be lost or doubled."""

    def hint(self, count: int = 1) -> None:
        """Tell up to ``count`` workers to look for due deliveries. Never raises, never blocks for long."""


class Transport(Protocol):
    """How a claimed delivery reaches the workflow function."""

    name: str

    def deliver(self, claim: Any) -> None:
        """Carry the claimed delivery through, and see that its claim has ended when this returns."""


class _Slots:
    runtime: Any = None
    door: Any = None
    dispatcher: Dispatcher | None = None
    clock: Clock | None = None
    transports: dict[str, Transport]

    def __init__(self) -> None:
        self.transports = {}


_slots = _Slots()


def install_runtime(runtime: Any) -> None:
    """Plug the runtime in; ``apps.ready()`` does."""
    _slots.runtime = runtime


def get_runtime() -> Any:
    """Return the runtime.

    Raises:
        NotReadyError: Django has not loaded its apps yet.
    """
    if _slots.runtime is None:
        raise NotReadyError(
            "django_workflow was used before Django was ready. Move the call out of module level, or into an "
            "AppConfig.ready() that comes after django_workflow in INSTALLED_APPS."
        )
    return _slots.runtime


def install_door(door: Any) -> None:
    """Plug in the view that a workflow object answers requests with."""
    _slots.door = door


def get_door() -> Any:
    """Return the view behind workflow objects; see `get_runtime()` for what is raised."""
    if _slots.door is None:
        get_runtime()
        raise NotReadyError("django_workflow's views are not installed. Is it in INSTALLED_APPS?")
    return _slots.door


def install_dispatcher(dispatcher: Dispatcher | None) -> Dispatcher | None:
    """Plug a dispatcher in and return the one it replaces."""
    previous, _slots.dispatcher = _slots.dispatcher, dispatcher
    return previous


def get_dispatcher() -> Dispatcher | None:
    """Return the dispatcher, or None where nobody is to be told (the sweep finds what is due)."""
    return _slots.dispatcher


def install_transport(transport: Transport) -> None:
    """Plug a transport in under its name."""
    _slots.transports[transport.name] = transport


def get_transport(name: str) -> Transport:
    """Return the transport of this name.

    Raises:
        InvalidOptionError: there is none.
    """
    try:
        return _slots.transports[name]
    except KeyError:
        known = ", ".join(sorted(_slots.transports)) or "none"
        raise InvalidOptionError(f'There is no transport "{name}". Known: {known}.') from None


def install_clock(clock: Clock | None) -> Clock | None:
    """Put a clock in the place of the database's, or None to take it away; return the previous one."""
    previous, _slots.clock = _slots.clock, clock
    return previous


def get_clock() -> Clock | None:
    """Return the clock that replaces the database's, if any."""
    return _slots.clock
