"""Softer layers are the same notes, darker and as loud; the softness of the data can be measured again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tone
from hypothesis import given
from hypothesis import strategies as st
from sounds import brightness_hz

from hgs_cli.audio.loudness import measure_lufs
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.evaluation.dynamics import SoftPair, distance_db, dynamics_section, fit_softness, soft_pairs
from hgs_cli.inversion import Inversion
from hgs_cli.models.generator import Envelopes
from hgs_cli.pipeline import invert
from hgs_cli.sampler import dynamics
from hgs_cli.sampler.dynamics import layer_softness, soften, softness_db
from hgs_cli.sampler.making import make_instrument
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.notes import synthesize
from hgs_cli.sampler.settings import Settings
from hgs_cli.spectrum import N_FRAMES, N_MELS, SAMPLE_RATE
from hgs_cli.training.notes import NoteTable

PITCHES = [45.0, 57.0, 69.0]


@pytest.fixture(scope="module")
def inversion(model: Model) -> Inversion:
    return invert(model, torch.from_numpy(tone(seconds=1.5)), 44_100)


def test_no_softness_changes_nothing(model: Model, inversion: Inversion) -> None:
    instrument = make_instrument(model, inversion)
    plain = synthesize(model, instrument, PITCHES, Settings())
    assert torch.equal(synthesize(model, instrument, PITCHES, Settings(softness=0.0)), plain)


def test_softer_notes_are_darker_in_tune_and_as_loud(model: Model, inversion: Inversion) -> None:
    instrument = make_instrument(model, inversion)
    layers = [
        synthesize(model, instrument, PITCHES, Settings(softness=softness)) for softness in reversed(layer_softness(3))
    ]
    for pitch, *notes in zip(PITCHES, *layers, strict=True):
        centre = [brightness_hz(note) for note in notes]
        assert centre[0] > centre[1] > centre[2]  # by little: the notes of an untrained network are at their ceiling
        found = detect_pitch(notes[-1], pitch).midi
        assert found is not None
        assert abs(found - pitch) < 0.02
        assert measure_lufs(notes[-1]) == pytest.approx(measure_lufs(notes[0]), abs=1.5)


@pytest.mark.weights
def test_softer_notes_of_the_released_weights_are_clearly_darker(released: Model) -> None:
    instrument = make_instrument(released, invert(released, torch.from_numpy(tone(seconds=1.5)), 44_100))
    loud, soft = (synthesize(released, instrument, [57.0], Settings(softness=s))[0] for s in (0.0, 1.0))
    assert brightness_hz(soft) < 0.9 * brightness_hz(loud)
    assert measure_lufs(soft) == pytest.approx(measure_lufs(loud), abs=0.5)


def test_an_unpitched_sound_gets_darker_too(model: Model) -> None:
    noise = torch.randn(30_000, generator=torch.Generator().manual_seed(3)) * torch.exp(-torch.arange(30_000) / 6000)
    instrument = make_instrument(model, invert(model, 0.2 * noise, SAMPLE_RATE, pitch=None))
    loud, soft = (synthesize(model, instrument, [60.0], Settings(softness=s))[0] for s in (0.0, 1.0))
    assert brightness_hz(soft) < 0.95 * brightness_hz(loud)


@given(st.integers(1, 30))
def test_layers_go_evenly_from_the_softest_to_the_sound_itself(n_layers: int) -> None:
    layers = layer_softness(n_layers)
    assert len(layers) == n_layers
    assert layers == sorted(layers, reverse=True)
    assert layers[-1] == 0.0
    assert layers[0] == (1.0 if n_layers > 1 else 0.0)


@given(st.floats(0.0, 1.0), st.floats(20.0, 108.0))
def test_the_higher_the_harmonic_the_more_it_gives_way(softness: float, pitch: float) -> None:
    flat = torch.zeros(1, N_MELS, N_FRAMES)
    softer = soften(Envelopes(flat, flat), torch.tensor([pitch]), softness)
    for part in (softer.harmonic, softer.noise_part):
        assert bool((part <= 0.0).all())
        assert bool((part[0, 1:] - part[0, :-1] <= 1e-6).all())


def made_pairs(harmonic_tilt: float, noise_tilt: float, noise_offset: float) -> list[SoftPair]:
    """Loud and soft notes that differ by a law, by any level, and by chance."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for index in range(40):
        octaves = torch.linspace(-1.0, 6.0, N_MELS)
        reached = octaves.clamp(0.0, dynamics.SOFTNESS.reach_octaves)
        level = float(torch.randn((), generator=generator)) * 6.0 - 8.0
        loud = -3.0 * octaves.clamp(min=0.0) - 6.0
        wander = torch.randn(N_MELS, generator=generator)
        soft = loud + level + harmonic_tilt * reached + wander
        noise = loud - 10.0
        soft_noise = noise + level + noise_tilt * reached + noise_offset + wander
        name = f"real-{index % 4}" if index % 2 else f"font-{index % 4}"
        pairs.append(
            SoftPair(name, bool(index % 2), octaves, torch.stack([loud, soft]), torch.stack([noise, soft_noise]), level)
        )
    return pairs


def test_the_law_of_softness_is_found_in_notes_that_follow_it() -> None:
    law = torch.tensor([-2.0, -1.0, -4.0])
    assert fit_softness(made_pairs(*law.tolist())).float() == pytest.approx(law, abs=0.15)


def test_notes_that_follow_the_law_are_nearer_to_what_is_made_of_the_loud_ones() -> None:
    law = dynamics.SOFTNESS.harmonic_tilt_db, dynamics.SOFTNESS.noise_tilt_db, dynamics.SOFTNESS.noise_offset_db
    for pair in made_pairs(*law):
        assert distance_db(pair, 1.0) < 1.2  # what is left is chance: mean |N(0, 1)| is 0.8
        assert distance_db(pair, 0.0) > 2.0


def test_softness_is_measured_on_a_data_set(dataset: Path) -> None:
    section = dynamics_section(dataset)
    assert section.name == "dynamics"
    assert soft_pairs(NoteTable(dataset, validation=False)) == []  # all of these recordings are loud


def test_full_softness_is_the_fitted_law() -> None:
    harmonic_db, noise_db = softness_db(torch.tensor([-1.0, 0.0, 2.0, 9.0]), 1.0)
    assert harmonic_db.tolist() == pytest.approx([dynamics.SOFTNESS.harmonic_tilt_db * x for x in (0.0, 0.0, 2.0, 5.0)])
    assert noise_db[0] == pytest.approx(dynamics.SOFTNESS.noise_offset_db)
