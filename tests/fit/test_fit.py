"""Other projects than most: their own user model, runs on a second database, django-celery-beat or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_project_with_its_own_user_model_and_a_second_database() -> None:
    environment = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    outcome = subprocess.run(
        [
            sys.executable, "-m", "pytest", "--ds", "tests.fit.settings", "-p", "no:cacheprovider",
            "-p", "no:randomly", "-q", "tests/fit/inside.py",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )  # fmt: skip

    assert outcome.returncode == 0, outcome.stdout[-8000:] + outcome.stderr[-2000:]
