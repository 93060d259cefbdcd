"""Notes are as long as was asked, end as was asked, and can be held where the sound was sustained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run, tone
from sampler_players import read_chunk

from hgs_cli.errors import UsageError
from hgs_cli.sampler.finish import Finish, finish_note
from hgs_cli.spectrum import SAMPLE_RATE

F0_HZ = 220.0


def organ(seconds: float = 3.0) -> torch.Tensor:
    """A steady tone with a short attack and end, (1, T)."""
    time_s = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = [torch.sin(2 * torch.pi * F0_HZ * k * time_s) / k for k in range(1, 8)]
    ramp = (torch.minimum(time_s, time_s.flip(0)) / 0.05).clamp(max=1.0)
    return (0.2 * torch.stack(waves).sum(0) * ramp)[None]


def finished(audio: torch.Tensor, *, sustained: bool = True, **wanted: object) -> tuple[torch.Tensor, object]:
    return finish_note(audio, F0_HZ, Finish(**wanted), sustained, 0)  # type: ignore[arg-type]


def test_a_plain_note_is_left_as_it_is() -> None:
    audio, loop = finished(organ())
    assert torch.equal(audio, organ())
    assert loop is None


@pytest.mark.parametrize("seconds", [0.02, 0.7, 2.9999])
def test_a_shorter_note_has_the_length_asked_for_and_ends_in_silence(seconds: float) -> None:
    audio, _ = finished(organ(), duration_s=seconds)
    assert audio.shape == (1, round(seconds * SAMPLE_RATE))
    assert audio[:, -20:].abs().max() < 0.01


@pytest.mark.parametrize("seconds", [3.5, 12.0])
def test_a_longer_note_goes_on_with_its_sustain_and_ends_as_it_did(seconds: float) -> None:
    audio, _ = finished(organ(), duration_s=seconds)
    assert audio.shape == (1, round(seconds * SAMPLE_RATE))
    levels = audio[0, SAMPLE_RATE // 5 : -SAMPLE_RATE // 5].unfold(0, 8820, 8820).square().mean(1)
    assert 10 * torch.log10(levels.max() / levels.min()) < 1.0
    assert audio[:, -3:].abs().max() < 1e-3
    assert audio[:, -4000:-2500].abs().max() > 0.2  # its own end, no long fade


def test_a_one_shot_is_neither_longer_nor_looped() -> None:
    struck = torch.from_numpy(tone(F0_HZ, 1.0))[None]
    for sustained in (True, False):
        audio, loop = finished(struck, sustained=sustained, duration_s=5.0, loop=True)
        assert torch.equal(audio, struck)
        assert loop is None
    assert finished(organ(), sustained=False, loop=True)[1] is None


def test_a_fade_leaves_the_loop_level() -> None:
    audio, loop = finished(organ(), loop=True, fade_s=3.0)
    plain, same = finished(organ(), loop=True)
    assert loop == same
    assert loop is not None
    end = loop.end  # type: ignore[attr-defined]
    assert torch.equal(audio[:, :end], plain[:, :end])
    assert audio[:, -5:].abs().max() < 1e-3


def test_trimming_takes_silence_and_nothing_else() -> None:
    silence = torch.zeros(1, SAMPLE_RATE)
    audio, _ = finished(torch.cat([silence, organ(1.0), silence], 1), trim=True)
    assert abs(audio.shape[1] - SAMPLE_RATE) < 0.015 * SAMPLE_RATE
    assert audio.abs().max() == organ(1.0).abs().max()
    assert torch.equal(finished(silence, trim=True)[0], silence)


@pytest.mark.parametrize("rate", [22_050, 48_000, 96_000])
def test_another_sample_rate_keeps_pitch_and_length(rate: int) -> None:
    audio, loop = finished(organ(), sample_rate=rate, loop=True)
    assert abs(audio.shape[1] / rate - 3.0) < 1e-3
    spectrum = torch.fft.rfft(audio[0, : 2 * rate] * torch.hann_window(2 * rate)).abs()
    assert abs(int(spectrum.argmax()) / 2 - F0_HZ) <= 0.5
    assert loop is not None


def test_both_channels_are_finished_alike() -> None:
    audio, loop = finished(torch.cat([organ(), 0.5 * organ()]), duration_s=6.0, loop=True, sample_rate=48_000)
    assert audio.shape == (2, 288_000)
    assert torch.allclose(audio[1], 0.5 * audio[0], atol=1e-4)
    assert loop is not None


@pytest.mark.parametrize("wrong", [{"sample_rate": 7999}, {"duration_s": 0.0}, {"duration_s": 601.0}, {"fade_s": -1.0}])
def test_impossible_lengths_are_usage_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Finish(**wrong)  # type: ignore[arg-type]


@pytest.mark.weights
def test_a_sustained_sound_becomes_notes_that_can_be_held(
    tmp_path: Path, hgs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HGS_WEIGHTS")
    soundfile.write(tmp_path / "organ.wav", organ(4.0)[0].numpy(), SAMPLE_RATE)
    facts = [json.loads(line) for line in hgs("render", "organ.wav", "-p", "55,60", "--loop", "--json").lines]
    for fact in facts:
        start, end = fact["loop"]
        chunk = read_chunk(Path(fact["path"]), b"smpl")
        assert chunk is not None
        assert np.frombuffer(chunk, "<u4")[[11, 12]].tolist() == [start, end - 1]
    held = soundfile.info(hgs("render", "organ.wav", "-p", "57", "--duration", "10", "-o", "long").lines[0])
    assert held.frames == 10 * SAMPLE_RATE
    soundfile.write(tmp_path / "struck.wav", tone(F0_HZ, 2.0), SAMPLE_RATE)
    struck = hgs("render", "struck.wav", "-p", "57", "--loop", "--json")
    assert json.loads(struck.out)["loop"] is None
    assert "one-shots" in struck.err
