"""A whole engine in threads of this process: a Celery worker, a beat, and the sweep that watches the database.

They run the real tasks through a broker in memory, or the project's own broker, so that development sees what production
does. Everything here may be killed at any moment: what was claimed is freed at the next start.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Any, cast

from celery import Celery
from celery.app import app_or_default
from celery.beat import Service
from celery.worker import WorkController
from django.db import Error as DatabaseError
from django.db import connections

from django_workflow.dispatchers.celery import dispatcher
from django_workflow.dispatchers.sweeping import WatchThread
from django_workflow.runtime import sweeper
from django_workflow.runtime.call_thread import CallThread
from django_workflow.runtime.stopping import hand_back_all

logger = logging.getLogger(__name__)

#: Delivery takes about as long as this; at Celery's default of a second it would take six.
POLLING_SECONDS = 0.005
THREADS = 8
RESTART_SECONDS = 1.0
MEMORY = "memory://"


def is_broker_configured(app: Celery) -> bool:
    """Whether the project names a broker that other processes can reach."""
    named = app.conf.broker_read_url
    return bool(named) and not str(named).startswith(MEMORY)


def project_app() -> Celery:
    """Return the project's Celery app, or make one from its ``CELERY_`` settings where it has none."""
    app: Any = app_or_default()
    # The fallback that Celery makes by itself has no fix-ups: it knows nothing of Django.
    if not app.fixups:
        app = Celery("django_workflow")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
        app.set_default()
    return cast("Celery", app)


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What is running, for people."""

    threads: int
    broker: str
    freed: int


class Engine:
    """The threads of one process, started once and stopped once."""

    def __init__(self) -> None:
        self.is_running = False
        self.ready = Event()
        self._stopping = Event()
        self._sweep: WatchThread | None = None
        self._calls: CallThread | None = None
        self._beat: Service | None = None

    def start(self) -> Description:
        """Start everything, and return what that is."""
        app = project_app()
        has_broker = is_broker_configured(app)
        if not has_broker:
            given = app.conf.broker_transport_options or {}
            app.conf.update(
                broker_url=MEMORY,
                broker_transport_options={"polling_interval": POLLING_SECONDS, **given},
            )
        threads = _threads(app)
        self.is_running = True
        dispatcher.is_worker = True
        freed = _free_dead_workers()
        self._start_thread("worker", self._work, app, threads)
        self._start_thread("beat", self._tick, app)
        self._sweep = WatchThread(prepare=app.set_current)
        self._sweep.start()
        self._calls = CallThread(prepare=app.set_current)
        self._calls.start()
        broker = app.connection_for_read().as_uri() if has_broker else MEMORY
        return Description(threads=threads, broker=broker, freed=freed)

    def stop(self, *, seconds: float) -> None:
        """Begin nothing more, wait this long for what has begun, and give the rest back.

        The threads themselves are left: the process is to end right after, by ``os._exit``, because a pool's thread
        in the middle of a body would hold a regular end up.
        """
        self._stopping.set()
        if self._sweep is not None:
            self._sweep.stop()
        if self._beat is not None:
            self._beat.stop()
        if self._calls is not None:
            self._calls.stop()
        hand_back_all(within_seconds=seconds)
        if self._calls is not None:
            self._calls.join(max(seconds, 0.1))

    def _start_thread(self, name: str, target: Any, *arguments: Any) -> None:
        Thread(target=target, args=arguments, name=f"django_workflow-{name}", daemon=True).start()

    def _work(self, app: Celery, threads: int) -> None:
        """Keep a worker running: it returns after an error instead of raising."""
        app.set_current()
        while not self._stopping.is_set():
            begun = monotonic()
            try:
                controller = WorkController(
                    app=app,
                    hostname=f"workflow_dev-{os.getpid()}@%h",
                    pool_cls="threads",
                    concurrency=threads,
                    ready_callback=lambda _: self.ready.set(),
                    without_gossip=True,
                    without_heartbeat=True,
                    without_mingle=True,
                )
                controller.start()
            except Exception:  # broad: whatever ended it, it is started again
                logger.exception("The worker went wrong.")
            if self._stopping.is_set():
                return
            logger.error(
                "The worker has ended after %.0f s; it is started again.", monotonic() - begun
            )
            self._stopping.wait(RESTART_SECONDS)

    def _tick(self, app: Celery) -> None:
        """Keep beat running, with the project's schedule too; its own file would be left behind."""
        app.set_current()
        chosen: Any = app.conf.beat_scheduler
        if chosen == "celery.beat:PersistentScheduler":
            chosen = "celery.beat:Scheduler"
        while not self._stopping.is_set():
            try:
                self._beat = Service(app, scheduler_cls=chosen, max_interval=1)
                self._beat.start()
            except Exception:  # broad: whatever ended it, it is started again
                logger.exception("Beat went wrong; it is started again.")
            finally:
                connections.close_all()
            self._stopping.wait(RESTART_SECONDS)


def silence_hints() -> None:
    """Tell nobody of what is due, where no worker of this process and no broker could hear it."""
    app: Celery = app_or_default()
    dispatcher.is_silent = not is_broker_configured(app)


def _threads(app: Celery) -> int:
    wanted = app.conf.worker_concurrency
    return int(wanted) if wanted and str(wanted).isdigit() else THREADS


def _free_dead_workers() -> int:
    try:
        return sweeper.free_dead_workers()
    except DatabaseError as error:
        logger.warning("What dead workers held could not be freed, the database says: %s", error)
        return 0
    finally:
        connections.close_all()
