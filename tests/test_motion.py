"""Notes at other pitches beat and flutter as the sound itself does, and no more."""

import math

import pytest
import torch
from torch import Tensor

from hgs_cli.models.generator import Envelopes
from hgs_cli.models.motion import Motion, carried_motion, measure_motion, movement
from hgs_cli.models.vocoder import mel_points_hz, mel_triangles, noise_template
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    HOP_LENGTH,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    comb_power,
    level_to_power,
    midi_to_hz,
    power_to_level,
)

SOURCE = 57.0
TIME_S = torch.arange(N_FRAMES) * (HOP_LENGTH / SAMPLE_RATE)
BEAT = 0.08 * torch.sin(2.0 * math.pi * 5.0 * TIME_S)  # ±4 dB, five times a second


def band_at(hz: float) -> int:
    return int((mel_points_hz(MelConfig())[1:-1] - hz).abs().argmin())


def hz_of(p: float) -> float:
    return float(midi_to_hz(torch.tensor(p)))


def motion_of(e_h: Tensor, e_n: Tensor | None = None) -> Motion:
    """Motion of a sound of these envelopes (n_mels, n_frames) at SOURCE; without noise if none is given."""
    e_n = torch.full_like(e_h, -1.0) if e_n is None else e_n
    filters = mel_triangles(MelConfig())
    comb = comb_power(midi_to_hz(torch.tensor([SOURCE])))[0] @ filters
    power = level_to_power(e_h) * comb[:, None] + level_to_power(e_n) * noise_template(filters)[:, None]
    return measure_motion(power_to_level(power), Envelopes(e_h, e_n), SOURCE)


@pytest.mark.parametrize("q", [45.0, 50.3, 64.0, 76.0])
def test_the_third_harmonic_beats_at_every_pitch_if_it_does_in_the_sound(q: float) -> None:
    e_h = torch.full((N_MELS, N_FRAMES), 0.2)
    third = band_at(3.0 * hz_of(SOURCE))
    e_h[third - 2 : third + 3] += BEAT
    level, weight = carried_motion(motion_of(e_h), torch.tensor([q]))
    beating = level[0, band_at(3.0 * hz_of(q)), 60:-60]
    assert torch.allclose(beating, BEAT[60:-60], atol=0.015)
    for harmonic in (1, 2, 4, 5):
        assert float(level[0, band_at(harmonic * hz_of(q)), 60:-60].abs().max()) < 0.01
    assert float(weight[0, 0, 60:-60].min()) > 0.9


def test_what_flutters_between_the_harmonics_is_not_heard_at_other_pitches() -> None:
    generator = torch.Generator().manual_seed(0)
    e_h = torch.full((N_MELS, N_FRAMES), 0.2)
    e_n = torch.full((N_MELS, N_FRAMES), -0.6)
    between = torch.ones(N_MELS, dtype=torch.bool)
    for harmonic in range(1, 5):
        between[band_at(harmonic * hz_of(SOURCE)) + torch.arange(-2, 3)] = False
    between[band_at(4.6 * hz_of(SOURCE)) :] = False
    e_h[between] += 0.1 * torch.randn(int(between.sum()), N_FRAMES, generator=generator)
    level, _ = carried_motion(motion_of(e_h, e_n), torch.tensor([61.0, 68.0]))
    assert DB_PER_UNIT * float(level.abs().max()) < 0.5


def test_the_sound_itself_moves_as_it_did() -> None:
    e_h = 0.2 + BEAT.expand(N_MELS, -1)
    _, weight = carried_motion(motion_of(e_h), torch.tensor([SOURCE]))
    assert float(weight.abs().max()) == 0.0


def test_where_a_sound_begins_and_ends_notes_are_left_alone() -> None:
    e_h = torch.full((N_MELS, N_FRAMES), -1.0)
    e_h[:, 40:200] = 0.3
    _, weight = carried_motion(motion_of(e_h), torch.tensor([64.0]))
    assert float(weight[0, 0, 36:44].max()) == 0.0
    assert float(weight[0, 0, 196:204].max()) == 0.0
    assert float(weight[0, 0, 90:150].min()) > 0.9


def test_a_slow_course_is_no_movement() -> None:
    """A decay of 20 dB a second is the envelope's, not a flutter."""
    decay = 0.5 - 0.4 * TIME_S
    assert DB_PER_UNIT * float(movement(decay)[40:-40].abs().max()) < 0.05


def test_a_note_takes_the_movement_of_the_sound_for_its_own() -> None:
    """A network's own flutter of a harmonic gives way, it is not added to."""
    level, weight = carried_motion(motion_of(0.2 + BEAT.expand(N_MELS, -1)), torch.tensor([69.0]))
    own = 0.1 * torch.sin(2.0 * math.pi * 9.0 * TIME_S).expand(1, N_MELS, -1)
    moved = own + weight * (level - movement(own))
    heard = band_at(2.0 * hz_of(69.0))
    assert torch.allclose(moved[0, heard, 60:-60], BEAT[60:-60], atol=0.015)
