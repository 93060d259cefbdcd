"""The pitch of a recording is found, and a drum is not given one."""

import json
import math

import pytest
import soundfile
import torch
from conftest import RECORDINGS
from sounds import harmonics, times
from torch import Tensor

from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.spectrum import N_FRAMES, SAMPLE_RATE

REAL = RECORDINGS / "real"


def tone(midi: float, seconds: float = 2.0, slope: float = 1.0, vibrato_cents: float = 0.0) -> Tensor:
    """A decaying tone whose harmonic k has amplitude k^-slope, with a 5 Hz vibrato."""
    bend = vibrato_cents / 100.0 * torch.sin(math.tau * 5.0 * times(seconds))
    return 0.3 * harmonics(midi + bend, seconds, lambda k: k**-slope, highest=40, decay=1.0)


@pytest.mark.parametrize("midi", [21.0, 28.3, 36.0, 47.6, 60.0, 69.25, 84.0, 96.5, 105.0])
def test_a_tone_is_found_within_ten_cents(midi: float) -> None:
    found = detect_pitch(tone(midi))
    assert found.midi is not None
    assert abs(found.midi - midi) < 0.1
    assert found.confidence > 0.9
    assert found.pitch_contour_cents.shape == (N_FRAMES,)


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0, 4.0])
def test_bright_and_dark_tones_keep_their_octave(slope: float) -> None:
    for midi in (33.0, 57.0, 81.0):
        found = detect_pitch(tone(midi, slope=slope))
        assert found.midi is not None
        assert abs(found.midi - midi) < 0.2


@pytest.mark.parametrize("midi", [84.07, 93.6, 99.3, 104.2, 106.1, 107.6])
def test_the_highest_notes_of_a_piano_keep_their_octave(midi: float) -> None:
    found = detect_pitch(tone(midi, seconds=0.5, slope=0.0))
    assert found.midi is not None
    assert abs(found.midi - midi) < 0.1
    assert found.confidence > 0.98


def test_noise_and_silence_are_unpitched() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(SAMPLE_RATE, generator=generator) * torch.exp(-torch.arange(SAMPLE_RATE) / 8000.0)
    assert detect_pitch(0.2 * noise).midi is None
    assert detect_pitch(torch.zeros(SAMPLE_RATE)).midi is None
    assert detect_pitch(0.2 * noise[:400]).midi is None


def test_vibrato_is_followed() -> None:
    found = detect_pitch(tone(62.0, vibrato_cents=40.0))
    time = torch.arange(N_FRAMES) * 512 / SAMPLE_RATE
    wanted = 40.0 * torch.sin(2.0 * math.pi * 5.0 * time)
    sounding = (time > 0.1) & (time < 1.9)
    assert found.midi is not None
    assert abs(found.midi - 62.0) < 0.1
    assert float((found.pitch_contour_cents - wanted)[sounding].abs().mean()) < 6.0


def test_a_note_known_beforehand_is_refined_or_kept() -> None:
    refined = detect_pitch(tone(60.3), near=60.0)
    assert refined.midi is not None
    assert abs(refined.midi - 60.3) < 0.1
    assert detect_pitch(torch.zeros(SAMPLE_RATE), near=60.0).midi == 60.0


def test_octaves_follow_the_note_that_is_given() -> None:
    found = detect_pitch(tone(57.0, slope=0.2), near=57.0)
    assert found.midi is not None
    assert abs(found.midi - 57.0) < 0.1


@pytest.mark.real
@pytest.mark.thorough
def test_real_recordings_are_heard_as_labelled() -> None:
    manifest = json.loads((REAL / "manifest.json").read_text())
    rows = next(value for value in manifest.values() if isinstance(value, list) and value and "file" in value[0])
    notes = [row for row in rows if row["pitched"]][::12]
    shots = [row for row in rows if not row["pitched"]]

    def heard(row: dict[str, str]) -> float | None:
        return detect_pitch(torch.from_numpy(soundfile.read(REAL / row["file"], dtype="float32")[0])).midi

    right = [abs((heard(row) or 0.0) - row["midi_measured"]) < 0.5 for row in notes]
    assert sum(right) >= 0.97 * len(notes)
    assert sum(heard(row) is None for row in shots) >= 0.9 * len(shots)
