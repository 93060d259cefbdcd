"""A sound goes in and an instrument comes out that other programs play in tune, on keys that were never rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import RELEASED, SNARE, Run
from sampler_players import RATE, needs, play, run

from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.spectrum import SAMPLE_RATE

KEYS = (49, 56, 62, 71)  # none of them is rendered
TOLERANCE_CENTS = 6.0  # the tracker's, on notes with noise, and half a cent of the format's


@pytest.fixture
def sustained(tmp_path: Path) -> Path:
    """Four seconds of a steady, slightly breathy tone at A3, in stereo."""
    time_s = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sum([np.sin(2 * np.pi * 220.0 * k * time_s + k) / k for k in range(1, 12)], axis=0)
    ramp = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.08)
    noise = 0.01 * np.random.default_rng(3).standard_normal((time_s.size, 2))
    path = tmp_path / "organ ü.wav"
    soundfile.write(path, 0.15 * tone[:, None] * ramp[:, None] + noise * ramp[:, None], SAMPLE_RATE)
    return path


def cents_off(audio: np.ndarray, key: int) -> float:
    found = detect_pitch(torch.from_numpy(audio.astype(np.float32)), float(key))
    assert found.midi is not None
    return 100.0 * (found.midi - key)


@pytest.mark.thorough  # test_sf2 says so of notes that are not made by the networks
@pytest.mark.weights
def test_a_soundfont_holds_keys_between_the_rendered_ones_in_tune_and_without_a_click(
    hgs: Run, sustained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("fluidsynth", "fluidsynth")
    monkeypatch.setenv("HGS_WEIGHTS", str(RELEASED))
    outcome = hgs("render", sustained, "-p", "48-72:6", "--format", "sf2", "--loop", "--velocities", "2", "--stereo")
    assert outcome.code == 0, outcome.err
    notes = [(7.0 * index, 7.0 * index + 6.0, key, 60 + 60 * (index % 2)) for index, key in enumerate(KEYS)]
    heard = play(Path(outcome.lines[0]), notes, 7.0 * len(notes)).mean(1)
    for start, _, key, _ in notes:
        note = heard[round(start * RATE) : round((start + 6.0) * RATE)]
        early, late = note[RATE // 2 : 3 * RATE], note[round(3.5 * RATE) : round(5.9 * RATE)]
        assert abs(cents_off(early, key)) < TOLERANCE_CENTS
        assert abs(cents_off(late, key)) < TOLERANCE_CENTS
        assert abs(10 * np.log10(np.square(late).mean() / np.square(early).mean())) < 2.0  # it is held
        bends = np.abs(np.diff(late, 2))
        assert bends.max() < 15 * np.median(bends)  # a click is a bend that stands out


@pytest.mark.weights
def test_an_sfz_of_the_snare_is_read_and_played_by_others(hgs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    polyphone = needs("polyphone", "polyphone")
    needs("fluidsynth", "fluidsynth")
    monkeypatch.setenv("HGS_WEIGHTS", str(RELEASED))
    outcome = hgs("render", SNARE, "-p", "48-72:6", "--format", "sfz", "-o", "made")
    assert outcome.code == 0, outcome.err
    run(polyphone, "-1", "-i", "made/snare.sfz", "-d", ".", "-o", "converted")
    notes = [(1.5 * index, 1.5 * index + 1.4, key, 100) for index, key in enumerate(KEYS)]
    heard = play(Path("converted.sf2"), notes, 1.5 * len(notes)).mean(1)
    for start, end, key, _ in notes:
        note = heard[round(start * RATE) : round(end * RATE)]
        assert np.abs(note).max() > 0.01
        assert abs(cents_off(note[: RATE // 2], key)) < 4 * TOLERANCE_CENTS  # half a second, most of it noise


@pytest.mark.weights
@pytest.mark.thorough
def test_a_mix_has_no_burst_and_no_step_where_one_of_its_sounds_ends(
    hgs: Run, sustained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGS_WEIGHTS", str(RELEASED))
    outcome = hgs("mix", sustained, SNARE, "-p", "57", "--ratio", "3,1")
    assert outcome.code == 0, outcome.err
    audio = soundfile.read(outcome.lines[0])[0]
    twentieths = audio[RATE // 10 : 2 * RATE].reshape(-1, RATE // 20)
    levels = 10 * np.log10(np.square(twentieths).mean(1) + 1e-12)
    assert np.abs(np.diff(levels)).max() < 3.0  # from one twentieth of a second to the next
    assert levels.max() < levels[:4].max() + 1.0
