"""One thread with one connection to the broker, so that a caller waits as long as it likes and no longer.

Names that do not resolve, hosts that swallow packets and brokers that have stopped answering block in many places, and
not all of them know a time-out; a thread of its own can be left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from threading import Condition, Thread
from time import monotonic

from celery import Celery
from kombu import Connection, Producer

#: A Redis that swallows packets must not hold the thread for ever.
SOCKET_SECONDS = 5


class BrokerSilentError(Exception):
    """The broker had not taken a message in time; it may do so yet."""


class Publisher:
    """Sends hints, one batch after the other; callers that come meanwhile share the next batch."""

    def __init__(self, app: Celery, send: Callable[[Celery, Producer], None], most: int) -> None:
        self._app = app
        self._send = send
        self._most = most
        self._changed = Condition()
        self._wanted = 0
        self._asked = 0
        self._answered = 0
        self._error: Exception | None = None
        #: When the broker last took what it was given.
        self.sent_at = 0.0
        self._is_proved = False
        self._closed = False
        self._busy_since: float | None = None
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._thread = Thread(target=self._work, name="django_workflow-hints", daemon=True)
        self._thread.start()

    def publish(self, count: int, *, seconds: float) -> None:
        """Have up to ``count`` hints sent, and wait this long for it.

        Raises:
            BrokerSilentError: they had not been sent in time.
            Exception: whatever the broker's client raised.
        """
        with self._changed:
            self._wanted = min(self._wanted + count, self._most)
            self._asked += 1
            ticket = self._asked
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._answered >= ticket, timeout=seconds):
                raise BrokerSilentError(f"it has not answered for {seconds:g} s")
            if self._error is not None:
                raise self._error

    @property
    def is_beginning(self) -> bool:
        """Whether nothing has been sent through the connection yet: its making, and the first message, take longer."""
        return not self._is_proved

    def serves(self, app: Celery, *, patience_seconds: float) -> bool:
        """Whether this publisher is of use: for this app, and not stuck."""
        with self._changed:
            since = self._busy_since
        is_stuck = since is not None and monotonic() - since > patience_seconds
        return self._app is app and self._thread.is_alive() and not is_stuck

    def close(self) -> None:
        """End the thread as soon as it comes back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    break
                count, ticket = self._wanted, self._asked
                self._wanted = 0
                self._busy_since = monotonic()
            error: Exception | None = None
            try:
                self._send_all(count)
            except (
                Exception
            ) as caught:  # broad: every client has its own errors; the callers are told
                error = caught
            else:
                self._is_proved, self.sent_at = True, monotonic()
            with self._changed:
                self._busy_since = None
                self._answered, self._error = ticket, error
                self._changed.notify_all()
        self._drop()

    def _send_all(self, count: int) -> None:
        producer, is_fresh = self._producer, False
        if producer is None:
            producer, is_fresh = self._connect(), True
        try:
            for _ in range(count):
                self._send(self._app, producer)
        except Exception:  # broad: see `_work`
            self._drop()
            # A connection that has idled may have been closed at the other end; a new one tells.
            if is_fresh:
                raise
            fresh = self._connect()
            for _ in range(count):
                self._send(self._app, fresh)

    def _connect(self) -> Producer:
        connection = self._app.connection_for_write()
        if connection.transport.driver_type == "redis":
            given = connection.transport_options or {}
            bounds = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
            connection = self._app.connection_for_write(transport_options={**bounds, **given})
        # Once around all addresses of the broker, without pauses.
        connection.ensure_connection(
            max_retries=max(0, len(connection.alt) - 1),
            interval_start=0,
            interval_step=0,
            interval_max=0,
        )
        self._connection = connection
        self._producer = self._app.amqp.Producer(connection)
        return self._producer

    def _drop(self) -> None:
        connection = self._connection
        self._connection = self._producer = None
        self._is_proved = False
        if connection is not None:
            # Whatever state it is in, it is being thrown away.
            with contextlib.suppress(Exception):
                connection.release()
