"""Single cycles of waveforms: a synthesiser's oscillator in, notes that hold out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Run

from hgs_cli.audio.io import from_array, read_audio
from hgs_cli.audio.loop import Loop
from hgs_cli.errors import InputError
from hgs_cli.export.riff import add_sampler_chunk
from hgs_cli.pipeline import Model, invert, render
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE


def _saw(n_samples: int, begins: float = 0.5) -> np.ndarray:
    return 2.0 * ((np.arange(n_samples) / n_samples + begins) % 1.0) - 1.0


def _sines(n_samples: int, **levels: float) -> np.ndarray:
    turn = 2.0 * np.pi * np.arange(n_samples) / n_samples
    return np.asarray(sum(level * np.sin(int(number[1:]) * turn) for number, level in levels.items()))


CYCLES = {  # waveform, and the frequency that it is played at
    "a sine": (_sines(600, h1=1.0), 73.5),
    "a saw": (_saw(600), 73.5),
    "a saw that jumps at its end": (_saw(600, 0.0), 73.5),
    "a pulse": (np.where(np.arange(600) < 60, 0.8, -0.8), 73.5),
    "a vowel": (_sines(600, h1=0.3, h8=0.3, h9=0.7, h10=0.3), 73.5),
    "two periods": (_sines(600, h2=1.0, h4=0.4), 147.0),
    "a wavetable's": (_saw(2048), 4 * SAMPLE_RATE / 2048),
    "a game's": (_saw(32), SAMPLE_RATE / 4 / 32),
    "a soft one with an offset": (0.01 * _saw(337) + 0.3, SAMPLE_RATE / 337),
}
NO_CYCLES = {
    "a blip": np.sin(2.0 * np.pi * 440.0 * np.arange(1323) / SAMPLE_RATE),
    "a click": np.random.default_rng(0).normal(size=1000) * np.exp(-np.arange(1000) / 100.0),
    "noise": np.random.default_rng(1).normal(size=2000),
    "a blip that fades": _sines(2000, h20=1.0) * np.linspace(1.0, 0.0, 2000),
    "a long one": _saw(3000),
}


def _strongest_hz(audio: np.ndarray) -> float:
    part = audio[SAMPLE_RATE : SAMPLE_RATE + (1 << 16)]
    return float(np.abs(np.fft.rfft(part * np.hanning(len(part)))).argmax()) * SAMPLE_RATE / (1 << 16)


def _with_loop(path: Path, samples: np.ndarray, start: int, end: int) -> Path:
    soundfile.write(path, samples, SAMPLE_RATE)
    add_sampler_chunk(path, 60, 0.0, Loop(start, end), SAMPLE_RATE)
    return path


@pytest.mark.parametrize("name", CYCLES)
def test_a_cycle_holds_at_the_pitch_that_its_length_says(name: str) -> None:
    wave, hz = CYCLES[name]
    recording = from_array(0.5 * wave, SAMPLE_RATE)
    assert recording.audio.shape == (MODEL_SAMPLES,)
    assert recording.cycle_midi == pytest.approx(69.0 + 12.0 * np.log2(hz / 440.0), abs=1e-6)
    strongest = int(np.abs(np.fft.rfft(wave - wave.mean())).argmax()) / (2 if name == "two periods" else 1)
    assert _strongest_hz(recording.audio.numpy()) == pytest.approx(strongest * hz, abs=0.7)


@pytest.mark.parametrize("name", NO_CYCLES)
def test_other_short_sounds_stay_as_short_as_they_are(name: str) -> None:
    sound = 0.2 * NO_CYCLES[name]
    recording = from_array(sound, SAMPLE_RATE)
    assert recording.cycle_midi is None
    assert recording.audio.shape == sound.shape


def test_notes_of_a_cycle_have_its_harmonics_on_every_key(model: Model) -> None:
    wave = _sines(600, h1=1.0, h2=0.5, h3=0.25)
    heard = invert(model, 0.5 * wave, SAMPLE_RATE)
    assert heard.heard == "heard as one cycle of a waveform, D2 +2 cents"
    notes = render(model, heard, [48.0, 60.0])
    for pitch, note in zip((48.0, 60.0), notes.audio, strict=True):
        assert len(note) > 4 * SAMPLE_RATE
        hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
        part = note.numpy()[SAMPLE_RATE : 3 * SAMPLE_RATE]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8 * len(part)))  # between its bins, too
        at = [spectrum[round(16 * k * hz) - 9 : round(16 * k * hz) + 10].max() for k in (1, 2, 3)]
        assert 20.0 * np.log10(np.array(at) / at[0]) == pytest.approx([0.0, -6.0, -12.0], abs=0.7)


def test_a_sampler_s_loop_around_a_short_file_repeats_it(tmp_path: Path) -> None:
    wave = 0.5 * _sines(6000, h16=1.0, h17=0.8)
    looped = read_audio(_with_loop(tmp_path / "looped.wav", wave, 0, 6000))
    part = read_audio(_with_loop(tmp_path / "part.wav", wave, 1000, 5000))
    assert looped.audio.shape == (MODEL_SAMPLES,)
    assert part.audio.shape == (6000,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cycle_that_holds_no_numbers_is_refused(bad: float) -> None:
    wave = _sines(600, h1=0.5)
    wave[7] = bad
    with pytest.raises(InputError, match="not finite"):
        from_array(wave, SAMPLE_RATE)


@pytest.mark.parametrize("rate_hz", [8_000, 48_000, 768_000])
def test_a_cycle_at_any_rate_is_as_long_as_the_networks_hear(rate_hz: int) -> None:
    recording = from_array(np.repeat(_sines(round(rate_hz / 73.0), h1=0.5)[:, None], 5, 1), rate_hz, stereo=True)
    assert recording.audio.shape == (MODEL_SAMPLES,)
    assert _strongest_hz(recording.audio.numpy()) == pytest.approx(73.0, abs=1.0)


def test_a_stereo_cycle_keeps_its_sides() -> None:
    sides = np.stack([0.5 * _sines(600, h1=1.0), -0.25 * _sines(600, h1=1.0)], 1)
    recording = from_array(sides, SAMPLE_RATE, stereo=True)
    assert recording.channels is not None
    left, right = recording.channels.square().mean(1).sqrt().tolist()
    assert left / right == pytest.approx(2.0, abs=0.01)


def test_a_file_of_a_cycle_is_played_and_told_of(hgs: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "saw.wav", 0.5 * _saw(600), SAMPLE_RATE)
    done = hgs("render", tmp_path / "saw.wav", "--pitches", "C2", "-o", tmp_path / "notes")
    assert done.code == 0
    assert "saw.wav: heard as one cycle of a waveform, D2 +2 cents" in done.err
    assert soundfile.info(next((tmp_path / "notes").rglob("*.wav"))).duration > 4.0


def test_a_cycle_that_is_told_a_pitch_is_heard_as_told(hgs: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "saw.wav", 0.5 * _saw(600), SAMPLE_RATE)
    done = hgs("render", tmp_path / "saw.wav", "--pitches", "C2", "--source-note", "C4", "-o", tmp_path / "notes")
    assert done.code == 0
    assert "told to be at C4" in done.err
