"""The code keeps the rules that pyproject.toml prints."""

from __future__ import annotations

import ast
import pkgutil
import re
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
        pytest.param(["-m", "mypy"], marks=pytest.mark.thorough),
    ],
    ids=["format", "rules", "imports", "types"],
)
def test_the_code_passes(check: list[str]) -> None:
    done = subprocess.run([sys.executable, *check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_walk_through_the_code_has_eight_stops_and_names_what_there_is() -> None:
    walk = (ROOT / "hgs_cli" / "README.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", walk) if not name.endswith(".toml")]
    assert len(named) > 20
    for name in named:
        pkgutil.resolve_name(f"hgs_cli.{name}")  # raises where there is none
    assert re.findall(r"^(\d+)\. ", walk, re.MULTILINE) == [str(stop) for stop in range(1, 9)]
    rooms = [path.parent.name for path in (ROOT / "hgs_cli").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}`" not in walk] == []


def test_functions_have_sixty_lines_and_seven_parameters_at_most_but_for_commands() -> None:
    for path in sorted((ROOT / "hgs_cli").rglob("*.py")):
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(one, ast.FunctionDef) or is_command(one):
                continue
            names = [each.arg for each in (*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs)]
            where = f"{path.relative_to(ROOT)}: {one.name}"
            assert len([name for name in names if name not in ("self", "cls")]) <= 7, where
            assert one.end_lineno is not None
            assert one.end_lineno - one.lineno < 60, where


def is_command(function: ast.FunctionDef) -> bool:
    """Whether its parameters are options, which Typer reads."""
    return any(re.search(r"spread_options|\.command\(", ast.unparse(each)) for each in function.decorator_list)
