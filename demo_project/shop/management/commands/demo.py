"""``manage.py demo``: set everything up, serve, work, and trigger real runs whose progress is shown."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from threading import Thread
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connections

from demo_project.shop import board, sessions
from demo_project.shop.outsiders import Outsiders
from django_workflow.management.base import stream_of
from django_workflow.management.commands import workflow_dev
from django_workflow.management.output import Screen
from django_workflow.models import Run

USER = PASSWORD = "demo"
LONGEST_SECONDS = 60.0
PORTS_TRIED = 50


class Command(workflow_dev.Command):
    """workflow_dev, with something to do."""

    # Set by runserver's `handle()`; its stubs do not know them.
    port: str
    use_ipv6: bool

    help = (
        "Runs the demo: web server, worker and beat in one process on SQLite, with runs whose progress is shown. "
        "Serves until Ctrl-C; with --exit ends by itself, 0 when every run ended as it should."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --exit."""
        super().add_arguments(parser)
        parser.add_argument("--exit", action="store_true", help="End when every run has ended.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set everything up, and serve."""
        self.is_to_exit = bool(options["exit"])
        call_command("migrate", verbosity=0, interactive=False)
        _create_user()
        super().handle(*args, **{**options, "use_reloader": False, "skip_checks": True})

    def run(self, **options: Any) -> None:
        """Take the next free port where the wanted one is taken."""
        wanted = int(self.port)
        self.port = str(free_port(self.addr, wanted, ipv6=self.use_ipv6))
        if int(self.port) != wanted:
            self.stdout.write(f"Port {wanted} is taken, so the demo uses {self.port}.")
        super().run(**options)

    def on_bind(self, server_port: int) -> None:
        """Begin the runs as soon as there is a server for them."""
        # Asked before anybody works on them: they are told even if they end at once.
        self.earlier = sessions.left_over()
        super().on_bind(server_port)
        address = f"http://{self._host()}:{server_port}"
        Thread(target=self._play, args=(address,), name="demo", daemon=True).start()

    def _play(self, address: str) -> None:
        try:
            code = self._show(address)
        except Exception:  # broad: the thread's door; nobody else would tell
            self.stderr.write(traceback.format_exc())
            code = 1
        finally:
            connections.close_all()
        if self.is_to_exit:
            self._end(code, workflow_dev.GRACE_SECONDS)

    def _show(self, address: str) -> int:
        screen = Screen(stream_of(self.stdout))
        triggered = sessions.begin()
        run_ids = [*self.earlier, *triggered]
        if self.earlier:
            screen.lines(
                [f"{len(self.earlier)} runs of an earlier start were unfinished; they go on."]
            )
        screen.lines([f"{len(triggered)} runs were triggered.", ""])
        outsiders = Outsiders(address, plays_boss=self.is_to_exit)
        runs = board.watch(
            screen,
            run_ids,
            seconds=LONGEST_SECONDS if self.is_to_exit else None,
            meanwhile=outsiders.act,
            is_enough=lambda runs: not self.is_to_exit and outsiders.only_boss_missing(runs),
        )
        wrong = self._tell_end(screen, runs)
        self._tell_places(screen, address, run_ids[-1])
        if not self.is_to_exit:
            self._wait_for_person(screen, outsiders, runs)
        return 1 if wrong else 0

    def _tell_end(self, screen: Screen, runs: list[Run]) -> list[str]:
        ended = [run for run in runs if run.is_finished or self.is_to_exit]
        wrong = sessions.complaints(ended)
        said = (
            f"All {len(runs)} runs ended as they should."
            if len(ended) == len(runs)
            else f"{len(ended)} of {len(runs)} runs ended as they should; the others wait for you: open the link above."
        )
        screen.lines(["", *(wrong or [said]), ""])
        return wrong

    def _wait_for_person(self, screen: Screen, outsiders: Outsiders, runs: list[Run]) -> None:
        left = [run.id for run in runs if not run.is_finished]
        if left:
            screen.lines([""])
            wrong = sessions.complaints(board.watch(screen, left, meanwhile=outsiders.act))
            screen.lines(["", *(wrong or ["Now all runs have ended as they should."])])
            screen.stream.flush()

    def _tell_places(self, screen: Screen, address: str, run_id: str) -> None:
        screen.pairs(
            [
                ("look at", f"{address}/"),
                (
                    "admin",
                    f"{address}/admin/django_workflow/run/  (user {USER}, password {PASSWORD})",
                ),
                (
                    "in a shell",
                    f"{_manage()} workflow_runs, {_manage()} workflow_show {run_id}",
                ),
                ("over REST", f"curl -u {USER}:{PASSWORD} {address}/api/workflows/runs/{run_id}/"),
                ("mails", os.path.relpath(settings.EMAIL_FILE_PATH)),
                ("log", os.path.relpath(settings.LOG_FILE)),
            ]
        )
        screen.stream.flush()


def _manage() -> str:
    return f"{os.path.relpath(sys.executable)} manage.py"


def _create_user() -> None:
    users = get_user_model()._default_manager
    user, _ = users.get_or_create(username=USER, defaults={"is_staff": True, "is_superuser": True})
    if not user.check_password(PASSWORD):
        user.set_password(PASSWORD)
        user.save()


def free_port(address: str, wanted: int, *, ipv6: bool) -> int:
    """Return the wanted port, or the next one that is free.

    Raises:
        CommandError: none of the next fifty is.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    for port in range(wanted, min(wanted + PORTS_TRIED, 65_536)):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            # As the server will ask for it: a port in the wake of an earlier server is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return port
    raise CommandError(
        f"None of the ports {wanted} to {wanted + PORTS_TRIED - 1} can be had at {address}. Name another: manage.py demo 127.0.0.1:9000."
    )
