"""Type checkers in a user's project: what is right passes without a word, what is wrong is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# As in a project of its own: strict, and without plugins.
MYPY = """
[mypy]
strict = true
python_version = 3.11
follow_imports = silent
mypy_path = {root}
"""


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_mypy_accepts_and_refuses(tmp_path: Path) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(MYPY.format(root=ROOT))
    files = [str(HERE / "accepted.py"), str(HERE / "refused.py")]

    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(config),
            "--cache-dir",
            str(tmp_path),
            *files,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    # In `refused` each line expects its error: an ignore that is not used would be one.
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_pyright_accepts_and_refuses(tmp_path: Path) -> None:
    command = shutil.which("basedpyright", path=Path(sys.executable).parent)
    if command is None:
        pytest.skip("missing: basedpyright, which the extra named dev brings")
    config = tmp_path / "pyrightconfig.json"
    files = [str(HERE / "accepted.py"), str(HERE / "refused.py")]
    config.write_text(
        json.dumps(
            {
                "include": files,
                "extraPaths": [str(ROOT)],
                "typeCheckingMode": "strict",
                "pythonVersion": "3.11",
                "enableTypeIgnoreComments": False,
            }
        )
    )

    outcome = subprocess.run(
        [command, "--project", str(config), "--pythonpath", sys.executable, "--outputjson"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    found = json.loads(outcome.stdout)["generalDiagnostics"]
    errors = [one for one in found if one["severity"] == "error"]
    refused = {
        one["range"]["start"]["line"] + 1 for one in errors if one["file"].endswith("refused.py")
    }
    accepted = [one for one in errors if one["file"].endswith("accepted.py")]
    lines = (HERE / "refused.py").read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line}
    assert accepted == []
    assert expected <= refused
