"""Many sounds in one call: one model, flat memory, and broken files that spoil only themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import ROOT, Run, tone

import hgs_cli.pipeline
from hgs_cli.spectrum import SAMPLE_RATE


def fill(folder: Path, n_sounds: int, n_broken: int) -> Path:
    """A folder of short tones, some of which are no sound."""
    folder.mkdir()
    for index in range(n_sounds):
        path = folder / f"sound {index:03d}.wav"
        if index in {n_sounds * part // n_broken for part in range(n_broken)}:
            path.write_text("no sound")
        else:
            soundfile.write(path, tone(110.0 * (1.0 + index / n_sounds), 0.1), SAMPLE_RATE)
    return folder


def test_many_sounds_load_one_model(hgs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = hgs_cli.pipeline.load_model
    monkeypatch.setattr("hgs_cli.pipeline.load_model", lambda *given: loaded.append(1) or load(*given))  # type: ignore[func-returns-value]
    outcome = hgs("render", fill(tmp_path / "in", 6, 2), "-p", "60", "-o", "out")
    assert outcome.code == 3
    assert len(loaded) == 1
    assert len(outcome.lines) == 4
    assert outcome.err.splitlines()[-1] == "4 of 6 done, 2 failed"
    assert all(line.startswith("hgs: error: ") for line in outcome.err.splitlines()[-3:-1])


def peak_mib(folder: Path, bundle: Path, out: Path) -> tuple[int, float]:
    """Exit code of rendering a folder in a process of its own, and that process's peak memory."""
    code = (
        "import resource, sys\n"
        "from hgs_cli.cli.app import app\n"
        "code = 0\n"
        f"try: app(['render', {str(folder)!r}, '-p', '48-60:4', '-o', {str(out)!r}, '-q'], prog_name='hgs')\n"
        "except SystemExit as stop: code = stop.code or 0\n"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    last = done.stdout.splitlines()[-1].split()
    return int(last[0]), float(last[1])


@pytest.mark.slow
def test_two_hundred_sounds_take_no_more_memory_than_twenty(bundle: Path, tmp_path: Path) -> None:
    few = peak_mib(fill(tmp_path / "few", 20, 3), bundle, tmp_path / "a")
    many = peak_mib(fill(tmp_path / "many", 200, 3), bundle, tmp_path / "b")
    assert few[0] == many[0] == 3
    assert len(list((tmp_path / "b").rglob("*.wav"))) == 4 * 197
    assert many[1] < few[1] + 40.0
