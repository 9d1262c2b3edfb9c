"""The tutorial, typed in: every command and every file of it, in an empty folder, to a run in the admin."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
PATIENCE_SECONDS = 60.0
#: The interpreter of an environment made as the page says (`make newcomer`); without one, the suite's own.
NEWCOMER = os.environ.get("NEWCOMER_PYTHON")
PYTHON = NEWCOMER or sys.executable
#: What a reader does to have an environment; the test has one.
PREPARED = ("python -m venv ", "source ", "pip install ")
ADDED_TO = {"mysite/settings.py", "mysite/urls.py"}

pytestmark = [pytest.mark.serial, pytest.mark.sqlite_only, pytest.mark.timeout(240)]


def blocks() -> Iterator[tuple[str, str]]:
    """Return language and text of each block, in order."""
    yield from re.findall(r"^```(python|console)\n(.*?)^```", PAGE.read_text(), re.M | re.DOTALL)


def eventually(claim: Callable[[], Any]) -> Any:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not (value := claim()):
        assert time.monotonic() < ends, "not true in time"
        time.sleep(0.1)
    return value


class Reader:
    """Somebody who follows the page to the letter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "dev.log"
        self.dev: subprocess.Popen[bytes] | None = None
        self.ran: list[str] = []
        self.env = {
            **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
            **({} if NEWCOMER else {"PYTHONPATH": str(ROOT)}),
            "DJANGO_SUPERUSER_PASSWORD": "a password",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def write(self, text: str) -> None:
        name = text.partition("\n")[0].removeprefix("# ").strip()
        file = self.folder / name
        assert file.parent.is_dir(), f"the page has not made {name}'s folder"
        before = file.read_text() if name in ADDED_TO else ""
        file.write_text(before + "\n" + text)

    def type(self, line: str) -> str:
        self.ran.append(line)
        if line.startswith(PREPARED):
            return ""
        if line.startswith("cd "):
            self.folder = self.folder / line.removeprefix("cd ")
            return ""
        if line == "python manage.py workflow_dev":
            self.start()
            return ""
        if "createsuperuser" in line:
            line += " --noinput"
        arguments = shlex.split(line)
        start = {"python": [PYTHON], "django-admin": [PYTHON, "-m", "django"]}
        done = subprocess.run(
            [*start[arguments[0]], *arguments[1:]],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self) -> None:
        self.stop(signal.SIGKILL)
        with self.log.open("ab") as log:
            self.dev = subprocess.Popen(
                [PYTHON, "manage.py", "workflow_dev", str(self.port), "--noreload"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.is_up)

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.dev is not None:
            os.killpg(self.dev.pid, how)
            self.dev.wait(30)
            eventually(lambda: not self.is_up())
            self.dev = None

    def shown(self) -> str:
        return self.type("python manage.py workflow_show order-1")

    def admin(self) -> str:
        """Log in as the page says, and return the list of runs."""
        site = f"http://127.0.0.1:{self.port}/admin/"
        cookies = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        browser.open(f"{site}login/").read()
        token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
        login = {
            "username": "ann",
            "password": "a password",
            "csrfmiddlewaretoken": token,
            "next": "/admin/",
        }
        browser.open(f"{site}login/", urllib.parse.urlencode(login).encode()).read()
        page: str = browser.open(f"{site}django_workflow/run/").read().decode()
        return page


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.stop(signal.SIGKILL)


def test_tutorial_leads_to_a_run_in_the_admin(reader: Reader) -> None:
    starts = 0
    for language, text in blocks():
        if language == "python":
            reader.write(text)
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), f"no command: {line}"
            command = line.removeprefix("$ ")
            if "workflow_notify" in command:
                eventually(lambda: "pickup" in reader.shown().partition("Steps")[0])
            said = reader.type(command)
            if command.endswith("workflow_dev"):
                starts += 1
            if "workflow_trigger" in command:
                eventually(lambda: "charge card" in reader.shown())
                assert "order-1" in reader.admin()
            if command.endswith("manage.py check"):
                assert "no issues" in said
            if command.endswith("manage.py test"):
                assert "Ran 3 tests" in said

    assert starts == 2
    eventually(lambda: "completed" in reader.shown())
    assert reader.log.read_text().count("charging order 1") == 1
    assert "completed" in reader.admin().lower()
    status = reader.type(
        'python manage.py shell -c "from shop.models import Order; print(Order.objects.get().status)"'
    )
    assert "sent" in status
