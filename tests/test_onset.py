"""A recording begins where its sound does, and separate hits are counted."""

from __future__ import annotations

import math

import pytest
import sounds
import torch
from torch import Tensor

from hgs_cli.audio.io import Recording
from hgs_cli.audio.onset import begin_at, find_hits, find_onset
from hgs_cli.errors import InputError
from hgs_cli.spectrum import SAMPLE_RATE


def silence(seconds: float) -> Tensor:
    return torch.zeros(round(seconds * SAMPLE_RATE))


def noise(seconds: float, level_db: float) -> Tensor:
    return sounds.noise(seconds, 10.0 ** (level_db / 20.0))


def hum(seconds: float, level_db: float) -> Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = torch.stack([torch.sin(2 * math.pi * 50.0 * k * time) / k for k in (1, 2, 3, 5)])
    result: Tensor = 10.0 ** (level_db / 20.0) * waves.sum(0)
    return result


def note(midi: float, seconds: float = 1.5, decay: float = 1.0, attack_s: float = 0.005) -> Tensor:
    sound = sounds.harmonics(midi, seconds, decay=decay) * (1.0 - torch.exp(-sounds.times(seconds) / attack_s))
    return (0.5 * sound / sound.abs().max()).float()


def kick(seconds: float = 1.0) -> Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    f_hz = 50.0 + 150.0 * torch.exp(-time / 0.03)
    return (0.8 * torch.sin(2 * math.pi * torch.cumsum(f_hz, 0) / SAMPLE_RATE) * torch.exp(-time / 0.2)).float()


def burst(seconds: float = 1.0) -> Tensor:
    return sounds.noise(seconds, 0.25, fade_s=0.11)


SOUNDS = {"note": note(60.0), "bass": note(28.0, decay=0.5), "soft": note(72.0, attack_s=0.1), "drum": burst()}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize(
    "lead_in",
    [silence(5.0), noise(2.0, -50.0), noise(2.0, -70.0), noise(0.2, -55.0), hum(2.0, -55.0) + noise(2.0, -60.0)],
    ids=["silence", "noise", "soft noise", "short noise", "hum"],
)
def test_a_lead_in_is_cut_to_about_ten_milliseconds(lead_in: Tensor, name: str) -> None:
    begin = find_onset(torch.cat([lead_in, SOUNDS[name]]))
    assert 0.004 <= (len(lead_in) - begin) / SAMPLE_RATE <= 0.016


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_that_begins_at_once_is_left_as_it_is(name: str) -> None:
    sound = SOUNDS[name]
    assert find_onset(sound) == 0
    assert find_onset(torch.cat([silence(0.04), sound])) == 0
    assert find_onset(sound + noise(1.5, -50.0)[: len(sound)]) == 0
    assert find_onset(sound[:300]) == 0


@pytest.mark.parametrize("lead_in", [silence(2.0), noise(2.0, -60.0)], ids=["silence", "noise"])
def test_a_swell_keeps_its_beginning(lead_in: Tensor) -> None:
    pad = note(57.0, seconds=5.0, decay=0.0)
    rise = (torch.arange(len(pad)) / (3.0 * SAMPLE_RATE)).clamp(max=1.0)
    assert find_onset(pad * rise) == 0
    assert find_onset(pad * rise**3) < 0.31 * SAMPLE_RATE  # -59 dB
    begin = find_onset(torch.cat([lead_in, pad * rise]))
    assert begin > 0
    assert begin / SAMPLE_RATE < 2.02  # what is cut of it is softer than -43 dB


def test_a_soft_steady_beginning_is_no_lead_in() -> None:
    """As a bow's: 20 dB below what follows, and as steady as noise."""
    sound = note(50.0, seconds=2.0, decay=0.0)
    sound[:30_000] *= 0.1
    assert find_onset(sound) == 0


def test_clicks_in_a_lead_in_do_not_count() -> None:
    audio = torch.cat([silence(2.0), note(60.0)]) + noise(3.5, -70.0)
    for at_s in (0.3, 0.9, 1.5):
        start = round(at_s * SAMPLE_RATE)
        audio[start : start + 60] += noise(1.0, -36.0)[:60]
    assert find_onset(audio) / SAMPLE_RATE == pytest.approx(1.99, abs=0.006)


def test_a_soft_note_before_a_loud_one_is_a_beginning() -> None:
    audio = torch.cat([silence(1.0), 0.03 * note(60.0, 0.5), silence(0.5), note(67.0)]) + noise(3.5, -80.0)
    assert find_onset(audio) / SAMPLE_RATE == pytest.approx(0.99, abs=0.006)


@pytest.mark.parametrize("step", [2, 3, 4, 5, 7, -3, -8])
def test_notes_in_a_row_are_counted(step: int) -> None:
    pause = torch.cat([note(55.0, 0.6, 3.0), note(55.0 + step, 0.6, 3.0), note(55.0, 0.6, 3.0)])
    assert [round(hit / SAMPLE_RATE, 1) for hit in find_hits(pause)] == [0.0, 0.6, 1.2]


@pytest.mark.parametrize("sound", [note(55.0, 0.5, 10.0), burst(0.5), kick(0.6)], ids=["note", "noise", "kick"])
def test_repeated_strokes_are_counted(sound: Tensor) -> None:
    assert len(find_hits(torch.cat([sound, sound, sound]))) == 3
    two = torch.cat([silence(1.0), sound, sound])
    assert len(find_hits(two + noise(3.0, -70.0)[: len(two)])) == 2


def test_one_note_is_one_hit_whatever_it_does() -> None:
    time = torch.arange(3 * SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    steady = note(57.0, 3.0, 0.3)
    vibrato = torch.cumsum(220.0 * 2.0 ** (0.5 / 12.0 * torch.sin(2 * math.pi * 5.5 * time)), 0) / SAMPLE_RATE
    sung = torch.stack([torch.cos(2 * math.pi * k * vibrato) / k for k in range(1, 16)]).sum(0).float()
    for sound in (
        steady,
        sung,
        steady * (1.0 + 0.6 * torch.sin(2 * math.pi * 6.0 * time)).float(),  # tremolo
        steady + note(57.1, 3.0, 0.3),  # beating
        steady * (time / 3.0).float(),
        kick(),
        burst(),
        note(57.0, 3.0, 6.0) + noise(3.0, -60.0),
        torch.cat([note(60.0, 2.5), silence(0.5)]),  # stops short: a click, and no hit
        note(60.0, 2.5, 0.8),
    ):
        assert len(find_hits(sound)) == 1


def test_a_long_sound_is_heard_to_its_end() -> None:
    phrase = torch.cat([note(48.0 + 5.0 * (index % 3), 0.5, 4.0) for index in range(50)])
    assert len(find_hits(phrase)) == 50


def test_a_recording_begins_at_its_onset_with_its_channels() -> None:
    audio = torch.cat([silence(1.0), note(60.0)]) + noise(2.5, -70.0)
    channels = torch.stack([audio, 0.5 * audio])
    recording = Recording(channels.mean(0), 0.0, False, channels)
    begun = begin_at(recording, None)
    cut = len(audio) - len(begun.audio)
    assert cut == find_onset(recording.audio) > 0
    assert begun.channels is not None
    assert torch.equal(begun.channels[:, 200:], channels[:, cut + 200 :])
    assert torch.allclose(begun.channels.mean(0), begun.audio, atol=1e-7)
    assert begin_at(begun, None) is begun


def test_a_recording_begins_where_it_is_told() -> None:
    audio = note(60.0, decay=0.0)
    recording = Recording(audio, 0.0, False)
    assert begin_at(recording, 0.0) is recording
    begun = begin_at(recording, 0.5).audio
    assert torch.equal(begun[88:], audio[22_050 + 88 :])
    assert begun[0] == 0.0
    assert float(begun[:10].abs().max()) < 0.1
    assert torch.equal(audio, note(60.0, decay=0.0))  # the caller's stays
    for start_s in (-0.1, 1.5, 7.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="inside the sound"):
            begin_at(recording, start_s)
    for sound in (audio[:22_300], torch.cat([audio, silence(2.0)])):
        with pytest.raises(InputError, match="no sound after"):
            begin_at(Recording(sound, 0.0, False), 0.5 if len(sound) < 30_000 else 2.0)
