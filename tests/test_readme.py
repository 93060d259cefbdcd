"""The README tells the truth: its commands run, its options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import ROOT, SNARE, Run, tone

from hgs_cli.spectrum import SAMPLE_RATE

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("hgs ") and not line.startswith("hgs train")
]


def test_there_are_commands_to_try() -> None:
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(hgs: Run, tmp_path: Path, command: str) -> None:
    for name, f0_hz in (("cello.wav", 110.0), ("flute.wav", 440.0), ("bell.wav", 660.0), ("kick.wav", 55.0)):
        soundfile.write(tmp_path / name, tone(f0_hz, 0.3), SAMPLE_RATE)
    (tmp_path / "snare.wav").write_bytes(SNARE.read_bytes())
    assert hgs("invert", "cello.wav", "--quiet").code == 0
    arguments = shlex.split(command, comments=True)[1:]
    outcome = hgs(*arguments, *(["--force"] if arguments[0] == "invert" else []))
    assert outcome.code == 0, outcome.err


def test_the_python_example_runs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", str(bundle))
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "cello.wav", tone(110.0, 0.3), SAMPLE_RATE)
    (example,) = (text for kind, text in BLOCKS if kind == "python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    notes = names["notes"]
    assert isinstance(notes.audio, torch.Tensor)  # type: ignore[attr-defined]
    assert notes.audio.shape[0] == 3  # type: ignore[attr-defined]


def test_every_option_named_is_an_option(hgs: Run) -> None:
    helps = "".join(hgs(*command, "--help").out for command in (["invert"], ["render"], ["mix"], ["bench"]))
    helps += "".join(hgs("train", command, "--help").out for command in ("data", "run", "export", "eval"))
    known = set(re.findall(r"--[a-z][a-z-]+", helps)) | {"--version"}
    foreign = {"--index-url", "--extra-index-url"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - foreign <= known


def test_the_first_screen_has_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:24])
    assert "hgs render tests/golden/snare.wav --pitches 48-72" in first
    assert "pytest" in first


def test_ci_runs_the_very_test_command_of_the_readme() -> None:
    command = next(line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if "pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_its_figures_are_those_of_the_model_card() -> None:
    card = (ROOT / "weights" / "README.md").read_text(encoding="utf-8").splitlines()
    section = README[README.index("## How good it is") : README.index("## Limits")]
    rows = [line for line in section.splitlines() if line.startswith("| ") and any(c.isdigit() for c in line)]
    assert len(rows) > 30
    assert [row for row in rows if row not in card] == []
