"""``manage.py workflow_dev``: the development server with a worker, beat and sweep inside: one process, no broker."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

import django
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
from django.core.management.base import CommandError, CommandParser
from django.urls import NoReverseMatch, reverse
from django.utils import autoreload

from django_workflow import conf
from django_workflow.dispatchers.embedded import Description, Engine, silence_hints
from django_workflow.management.base import stream_of
from django_workflow.management.output import Screen

#: How long a stop waits for what has begun.
GRACE_SECONDS = 0.5
# On Ctrl-C the reloader kills its child after a quarter of a second.
GRACE_UNDER_RELOADER_SECONDS = 0.1


class Command(RunserverCommand):
    """Runserver with an engine inside; all of runserver's options stay."""

    # Set by runserver's `handle()`; its stubs do not know them.
    addr: str
    _raw_ipv6: bool

    help = (
        "Starts the development server with everything that workflows need inside: worker, beat and sweep, in one "
        "process. Without a broker in the settings it uses one in memory."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what is to be left out."""
        super().add_arguments(parser)
        parser.add_argument(
            "--no-web",
            action="store_false",
            dest="web",
            help="Do not serve; workflows that run over http need WORKFLOW['BASE_URL'] then.",
        )
        parser.add_argument(
            "--no-worker",
            action="store_false",
            dest="worker",
            help="Only serve; another process does the work.",
        )
        parser.add_argument(
            "--force", action="store_true", help="Start even though DEBUG is False."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuse what cannot be meant, and run."""
        if not django_settings.DEBUG and not options["force"]:
            raise CommandError(
                "workflow_dev is for development, and DEBUG is False. In production run a web server, celery worker and "
                "celery beat; to go on all the same, pass --force."
            )
        if not options["web"] and not options["worker"]:
            raise CommandError("--no-web and --no-worker together leave nothing to do.")
        self.engine = Engine()
        self.has_worker = bool(options["worker"])
        super().handle(*args, **options)

    def run(self, **options: Any) -> None:
        """Run, and see that an end is an end."""
        code: Any = 0
        _stop_on_sigterm()
        try:
            super().run(**options)
        except SystemExit as exit_:
            code = exit_.code
            if not self.engine.is_running:
                raise
        except KeyboardInterrupt:
            pass
        if self.engine.is_running:
            self._end(code, GRACE_UNDER_RELOADER_SECONDS if _is_reloaded() else GRACE_SECONDS)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve, or only work; the reloader calls this in a thread of its child."""
        if options["web"]:
            super().inner_run(*args, **options)
            return
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.check(display_num_errors=True)
        self.check_migrations()
        self._start(None)
        threading.Event().wait()

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Serve static files as the project's own runserver would."""
        if not apps.is_installed("django.contrib.staticfiles"):
            options["use_static_handler"] = False
        return super().get_handler(*args, **options)

    def on_bind(self, server_port: int) -> None:
        """Start working once the port is ours: until then another workflow_dev may be at it."""
        self._start(f"http://{self._host()}:{server_port}")

    def _host(self) -> str:
        """Return under which name this machine reaches its own server."""
        if self.addr in {"0", "0.0.0.0"}:  # noqa: S104  compared, not bound
            return "127.0.0.1"
        if self.addr == "::":
            return "[::1]"
        return f"[{self.addr}]" if self._raw_ipv6 else str(self.addr)

    def _start(self, address: str | None) -> None:
        if address is not None:
            conf.override(BASE_URL=address)
        if self.has_worker:
            description = self.engine.start()
            self.engine.ready.wait(timeout=10)
        else:
            silence_hints()
            description = None
        self._tell(address, description)

    def _tell(self, address: str | None, description: Description | None) -> None:
        lines = [
            ("django_workflow", f"{django_settings.SETTINGS_MODULE}, Django {django.__version__}")
        ]
        if address is not None:
            lines.append(("web", f"{address}/"))
            lines += [("admin", f"{address}{path}") for path in _admin_paths()]
        if description is not None:
            broker = "in memory" if description.broker == "memory://" else description.broker
            lines.append(
                ("worker", f"{description.threads} threads, beat and sweep; broker {broker}")
            )
            if description.freed:
                lines.append(
                    ("resumed", f"{description.freed} deliveries of a worker that is no more")
                )
        else:
            lines.append(("worker", "none here (--no-worker)"))
        lines.append(("stop", "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"))
        screen = Screen(stream_of(self.stdout))
        screen.pairs(lines)
        screen.stream.flush()

    def _end(self, code: Any, grace_seconds: float) -> NoReturn:
        # A pool's thread in the middle of a body would hold a regular end up, and Celery's would meet a pool that
        # is gone; what they hold has been given back.
        try:
            self.engine.stop(seconds=grace_seconds)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code if isinstance(code, int) else bool(code))


def _is_reloaded() -> bool:
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


def _admin_paths() -> list[str]:
    try:
        return [reverse("admin:index")]
    except NoReverseMatch:
        return []


def _stop_on_sigterm() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
