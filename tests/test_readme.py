"""The README tells the truth: its commands run, its options exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT, SNARE, Run, tone

from hgs_cli.spectrum import SAMPLE_RATE

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COOKBOOK = next(text for kind, text in BLOCKS if kind == "sh" and text.startswith("# "))
SPREADING = next(text for kind, text in BLOCKS if kind == "sh" and text.startswith("# Two processes"))
RECIPES = [line for line in (COOKBOOK + SPREADING).splitlines() if line and not line.startswith("#")]
SHELL = re.compile(r"[|&;<>$]")  # what only a shell can run


@pytest.fixture
def sounds(tmp_path: Path) -> None:
    """The sounds that the recipes name."""
    for name, f0_hz in (("cello.wav", 110.0), ("flute.wav", 440.0), ("bell.wav", 660.0), ("drums/deep/tom.wav", 55.0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, tone(f0_hz, 0.3), SAMPLE_RATE)
    (tmp_path / "snare.wav").write_bytes(SNARE.read_bytes())
    (tmp_path / "drums" / "snare.wav").write_bytes(SNARE.read_bytes())


def test_there_are_ten_recipes() -> None:
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.usefixtures("sounds")
def test_every_recipe_runs(hgs: Run, bundle: Path, tmp_path: Path, recipe: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    if SHELL.search(recipe):
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "hgs"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hgs_cli "$@"\n')
        program.chmod(0o755)
        before.add(program)
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-ec", recipe],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "HGS_WEIGHTS": str(bundle),
                "PYTHONPATH": str(ROOT),
                "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            },
            check=False,
        )
        assert done.returncode == 0, done.stderr
    else:
        outcome = hgs(*shlex.split(recipe)[1:])
        assert outcome.code == 0, outcome.err
        assert all(Path(line).is_file() for line in outcome.lines)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} > before


def test_every_command_that_is_named_inline_is_one(hgs: Run) -> None:
    for command in re.findall(r"`hgs ([a-z]+)[^`]*`", README):
        assert command == "train" or hgs(command, "--help").code == 0


def test_the_python_example_runs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", str(bundle))
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "cello.wav", tone(110.0, 0.3), SAMPLE_RATE)
    (example,) = (text for kind, text in BLOCKS if kind == "python")
    exec(compile(example, "README.md", "exec"), {})
    files = sorted(tmp_path.glob("cello_*.wav"))
    assert [file.name for file in files] == ["cello_36.wav", "cello_43.wav", "cello_48.5.wav"]
    assert {soundfile.info(file).samplerate for file in files} == {48_000}


def test_every_option_named_is_an_option(hgs: Run) -> None:
    helps = "".join(hgs(*command, "--help").out for command in (["invert"], ["render"], ["mix"], ["info"], ["bench"]))
    helps += "".join(hgs("train", command, "--help").out for command in ("data", "run", "export", "eval"))
    known = set(re.findall(r"--[a-z][a-z0-9-]+", helps + hgs("--help").out))
    foreign = {
        "--index-url", "--extra-index-url", "--pipe", "--workdir",
        "--exclude", "--requirement", "--disable-pip", "--no-deps",
        "--standalone", "--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint",
    }  # fmt: skip
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) - foreign <= known


def test_the_first_screen_has_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:24])
    assert "hgs render tests/golden/snare.wav --pitches 48-72" in first
    assert "pytest" in first


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    command = next(line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if "pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_its_figures_are_those_of_the_model_card() -> None:
    card = (ROOT / "weights" / "README.md").read_text(encoding="utf-8").splitlines()
    section = README[README.index("## How good it is") : README.index("## Speed")]
    rows = [line for line in section.splitlines() if line.startswith("| ") and any(c.isdigit() for c in line)]
    assert len(rows) > 30
    assert [row for row in rows if row not in card] == []
