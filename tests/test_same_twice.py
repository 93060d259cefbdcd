"""The same call gives the same bytes; threads and company change less than is heard, and no more than is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RELEASED, ROOT, SNARE, Outcome, Run, note, run_process
from processes import Order, Processes

from hgs_cli.inversion import Inversion
from hgs_cli.manual import topics
from hgs_cli.pipeline import Model, Rendered, Settings, invert, render
from hgs_cli.sampler import playing
from hgs_cli.spectrum import SAMPLE_RATE

RENDERED_DB, INVERTED_DB = -100.0, -60.0  # of the largest difference to the loudest sample; the manual says so
UNTRAINED_DB = -40.0  # of the tiny networks, which magnify what the trained ones smooth


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def apart_db(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, relative to the peak, in dB."""
    return 20.0 * float(np.log10(float((one - other).abs().max()) / float(one.abs().max()) + 1e-12))


def unlowered(rendered: Rendered) -> list[torch.Tensor]:
    """Notes as they would be if none had been lowered against clipping."""
    return [note.audio * 10.0 ** (-rendered.lowered_db / 20.0) for note in rendered.notes]


ONE_AFTER_ANOTHER = """
import json, sys
from hgs_cli.cli.app import app
for command in json.loads(sys.argv[1]):
    try:
        app(command, prog_name="hgs")
    except SystemExit as stop:
        if stop.code:
            raise
"""


def all_kinds(sound: Path, burst: Path) -> list[list[str]]:
    """Commands that between them make files of every kind."""
    return [
        ["render", str(burst), "-p", "60.5", "--subtype", "PCM_16", "--variation", "0.5", "--velocities", "2",
         "--format", "wav,flac,aiff,sfz,dspreset,sf2", "--audition", "--plot", "--json"],
        ["invert", str(sound), str(burst), "--audio", "--plot"],
        ["mix", str(sound), str(burst), "-p", "60", "--steps", "2", "--json"],
    ]  # fmt: skip


def make_all(bundle: Path, folder: Path, sound: Path, burst: Path) -> Outcome:
    """Files of every kind, made in a process that has made nothing before."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(all_kinds(sound, burst))],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HGS_WEIGHTS": str(bundle), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_same_files(one: Path, other: Path) -> None:
    """Two folders hold the same files of every kind."""
    first, second = contents(one), contents(other)
    suffixes = {Path(name).suffix for name in first}
    assert suffixes == {".wav", ".flac", ".aiff", ".sfz", ".dspreset", ".sf2", ".html", ".png", ".hgs"}
    assert [name for name in first if first[name] != second.get(name)] == []


def test_the_same_commands_in_another_process_give_the_same_bytes(
    hgs: Run, processes: Processes, sound: Path, burst: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, after whatever has been made before, and in copies of a process that keeps sets in another order."""
    printed = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        outcomes = [
            hgs(*command) if folder == "here" else processes.run(tmp_path / folder, Order(command))[0]
            for command in all_kinds(sound, burst)
        ]
        assert [outcome.code for outcome in outcomes] == [0, 0, 0]
        printed.append("".join(outcome.out for outcome in outcomes))
    assert printed[0] == printed[1]
    assert_same_files(tmp_path / "here", tmp_path / "there")


@pytest.mark.thorough
def test_the_same_commands_in_new_processes_give_the_same_bytes(
    bundle: Path, sound: Path, burst: Path, tmp_path: Path
) -> None:
    first = make_all(bundle, tmp_path / "first", sound, burst)
    second = make_all(bundle, tmp_path / "second", sound, burst)
    assert first.code == 0, first.err
    assert first.out == second.out
    assert_same_files(tmp_path / "first", tmp_path / "second")


def test_another_seed_gives_other_noise_and_the_same_instrument(hgs: Run, burst: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        hgs("render", burst, "-p", "60", "--format", "wav,sfz", "-q", "--seed", seed, "-o", seed)
    one, other = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert one["burst.sfz"] == other["burst.sfz"]
    assert one["burst_060_C4.wav"] != other["burst_060_C4.wav"]


SetThreads = Callable[[int], None]


def compare(
    model: Model, audio: torch.Tensor, monkeypatch: pytest.MonkeyPatch, threads: SetThreads
) -> dict[str, float]:
    """How far notes are apart: made with one thread or two, in batches of 16 or one by one, together or alone."""
    pitches = [36.0, 52.0, 76.0]
    found: dict[str, float] = {}

    def worst(one: Rendered, other: Rendered) -> float:
        return max(apart_db(a.audio, b.audio) for a, b in zip(one.notes, other.notes, strict=True))

    threads(1)
    inversion: Inversion = invert(model, audio, SAMPLE_RATE)
    plain = render(model, inversion, pitches, Settings(variation=0.5))
    threads(2)
    found["threads, rendering"] = worst(plain, render(model, inversion, pitches, Settings(variation=0.5)))
    found["threads, inverting too"] = worst(
        plain, render(model, invert(model, audio, SAMPLE_RATE), pitches, Settings(variation=0.5))
    )
    threads(1)
    with monkeypatch.context() as patched:
        patched.setattr(playing, "BATCH_NOTES", 1)
        found["batches"] = worst(plain, render(model, inversion, pitches, Settings(variation=0.5)))
    # If a note would clip, all that are rendered with it are lowered: that is said, and taken back here.
    own = [unlowered(render(model, inversion, [pitch], Settings(variation=0.5)))[0] for pitch in pitches[::2]]
    found["alone"] = max(apart_db(a, b) for a, b in zip(unlowered(plain)[::2], own, strict=True))
    return found


def test_threads_and_company_hardly_change_a_note(
    model: Model, monkeypatch: pytest.MonkeyPatch, threads: SetThreads
) -> None:
    found = compare(model, torch.from_numpy(note(57.0, 0.3)), monkeypatch, threads)
    assert found.pop("threads, inverting too") < UNTRAINED_DB
    assert max(found.values()) < RENDERED_DB, found


@pytest.mark.weights
@pytest.mark.thorough
def test_threads_and_company_hardly_change_a_note_of_the_released_weights(
    released: Model,
    monkeypatch: pytest.MonkeyPatch,
    threads: SetThreads,
) -> None:
    from hgs_cli.audio.io import read_audio

    for audio in (torch.from_numpy(note(57.0, 1.0)), read_audio(SNARE).audio):
        found = compare(released, audio, monkeypatch, threads)
        assert found.pop("threads, inverting too") < INVERTED_DB
        assert max(found.values()) < RENDERED_DB, found


@pytest.mark.weights
@pytest.mark.thorough
def test_the_released_weights_give_the_same_bytes_in_new_processes(tmp_path: Path) -> None:
    for folder in "ab":
        command = ["render", str(SNARE), "-p", "48,60", "--format", "wav,sf2", "-q", "-o", folder]
        assert run_process(command, RELEASED, tmp_path).code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != {}


def test_the_manual_says_how_far_notes_may_be_apart() -> None:
    words = " ".join(topics()["files"].read_text(encoding="utf-8").split())
    assert f"{-RENDERED_DB:.0f} dB below a note's peak" in words
    assert f"{-INVERTED_DB:.0f} dB where the sound is inverted anew" in words
