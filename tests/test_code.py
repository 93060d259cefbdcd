"""The code keeps the rules that pyproject.toml prints."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    "check",
    [
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "ruff", "check", "."],
        ["-c", "from importlinter.cli import lint_imports_command as lint; lint()"],
        pytest.param(["-m", "mypy"], marks=pytest.mark.slow),
    ],
    ids=["format", "rules", "imports", "types"],
)
def test_the_code_passes(check: list[str]) -> None:
    done = subprocess.run([sys.executable, *check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
