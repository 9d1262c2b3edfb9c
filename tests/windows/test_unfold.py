"""The admin under django-unfold, which cannot be installed beside the plain one of the other tests."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.serial,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("unfold") is None, reason="missing: django-unfold"),
]


def test_every_page_under_unfold(chromium: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    outcome = subprocess.run(
        [
            sys.executable, "-m", "pytest", "--ds", "tests.unfolded.settings", "-p", "no:cacheprovider",
            "-p", "no:randomly", "-q", "tests/unfolded/inside.py",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )  # fmt: skip

    assert outcome.returncode == 0, outcome.stdout[-8000:] + outcome.stderr[-2000:]
