"""How far the networks are believed at other pitches: winds and strings far, chords and drums hardly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import RECORDINGS, few_of, note, tone
from hypothesis import given
from hypothesis import strategies as st
from sounds import harmonics, noise, partials, times
from torch import Tensor

from hgs_cli.audio.clarity import clarity_db
from hgs_cli.audio.io import read_audio
from hgs_cli.audio.partials import find_partials, harmonic_share
from hgs_cli.evaluation.known_truth import evaluation_patches
from hgs_cli.evaluation.recordings import choose_source, read_notes
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, render
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.trust import LAW, Traits, TrustLaw, judge_trust, measure_traits
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, SAMPLE_RATE

REAL = RECORDINGS / "real"
N_MELS, N_FRAMES = 128, 100


def level(db: Tensor | float) -> Tensor:
    """Log-mel of levels in dB below full scale."""
    return 1.0 + torch.as_tensor(db) / DB_PER_UNIT


# --- traits of log-mels ---------------------------------------------------------------------------------------------


def test_a_sound_that_never_changes_is_not_lively() -> None:
    x = level(-20.0).expand(N_MELS, N_FRAMES)
    assert measure_traits(x, x, 1.0, 40.0).liveliness == pytest.approx(math.log(0.05))


@pytest.mark.parametrize("change_db", [0.2, 1.0, 6.0])
def test_liveliness_is_the_mean_change_from_frame_to_frame(change_db: float) -> None:
    x = level(-20.0 + change_db * ((torch.arange(N_FRAMES) + torch.arange(N_MELS)[:, None]) % 2))
    assert measure_traits(x, x, 1.0, 40.0).liveliness == pytest.approx(math.log(change_db + 0.05), abs=0.01)


@pytest.mark.parametrize("rate_hz", [3.5, 5.5, 9.0])
def test_a_tremolo_makes_a_sound_less_lively_than_what_bands_do_by_themselves(rate_hz: float) -> None:
    time = torch.arange(3 * N_FRAMES) * HOP_LENGTH / SAMPLE_RATE
    phases = math.tau * torch.rand(N_MELS, 1, generator=torch.Generator().manual_seed(0))
    tremolo, beating = (
        level(-20.0 + 6.0 * torch.sin(math.tau * rate_hz * time + phase)).expand(N_MELS, -1)
        for phase in (torch.zeros(1, 1), phases)
    )
    together, apart = (measure_traits(x, x, 1.0, 40.0).liveliness for x in (tremolo, beating))
    assert together < apart - 0.6


def test_a_decay_counts_as_it_did() -> None:
    decay = level(-10.0 - 0.2 * torch.arange(N_FRAMES)).expand(N_MELS, -1)
    assert measure_traits(decay, decay, 1.0, 40.0).liveliness == pytest.approx(math.log(0.25), abs=0.01)


def test_what_is_far_below_the_loudest_is_no_change_that_counts() -> None:
    x = level(-10.0).expand(N_MELS, N_FRAMES).clone()
    x[64:] = level(-60.0 + 8.0 * (torch.arange(N_FRAMES) % 2))
    assert measure_traits(x, x, 1.0, 40.0).liveliness == pytest.approx(math.log(0.05))


@pytest.mark.parametrize("apart_db", [0.0, 3.0, 10.0])
def test_distance_is_that_of_the_reconstruction(apart_db: float) -> None:
    x = level(-20.0 * torch.rand(N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(1)))
    assert measure_traits(x, x - apart_db / DB_PER_UNIT, 1.0, 40.0).distance_db == pytest.approx(apart_db, abs=1e-3)


def test_the_distance_is_that_of_what_sounds_however_much_is_silent() -> None:
    x = level(-10.0).expand(N_MELS, N_FRAMES).clone()
    x[40:] = level(-99.0)
    assert measure_traits(x, x - 3.0 / DB_PER_UNIT, 1.0, 40.0).distance_db == pytest.approx(3.0, abs=1e-3)


def test_distance_below_the_floor_does_not_count() -> None:
    x, x_hat = level(-90.0).expand(N_MELS, N_FRAMES).clone(), level(-99.0).expand(N_MELS, N_FRAMES).clone()
    x[0, 0] = x_hat[0, 0] = 1.0
    assert measure_traits(x, x_hat, 1.0, 40.0).distance_db == 0.0


@pytest.mark.parametrize("n_silent", [0, 32, 100])
def test_silence_is_the_share_that_is_silent(n_silent: int) -> None:
    x = level(-5.0).expand(N_MELS, N_FRAMES).clone()
    x[:n_silent] = level(-99.0)
    assert measure_traits(x, x, 1.0, 40.0).silence == pytest.approx(n_silent / N_MELS)


@pytest.mark.parametrize("n_behind", [1, 30, 200])
def test_silence_behind_a_sound_changes_none_of_its_traits(n_behind: int) -> None:
    x = level(-40.0 * torch.rand(N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(2)))
    x_hat = x + 0.05 * torch.randn(N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(3))
    silence = level(-120.0).expand(N_MELS, n_behind)
    longer = measure_traits(torch.cat([x, silence], 1), torch.cat([x_hat, silence], 1), 0.9, 40.0)
    assert vars(longer) == pytest.approx(vars(measure_traits(x, x_hat, 0.9, 40.0)), abs=1e-6)


def test_the_harmonic_share_is_the_one_measured() -> None:
    x = level(-5.0).expand(N_MELS, N_FRAMES)
    assert measure_traits(x, x, 0.42, 40.0).harmonic_share == 0.42


@pytest.mark.parametrize("gain_db", [-30.0, -6.0])
def test_how_loud_a_log_mel_is_changes_none_of_its_traits(gain_db: float) -> None:
    x = level(-40.0 * torch.rand(N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(2)))
    x_hat = x + 0.05 * torch.randn(N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(3))
    loud, soft = (measure_traits(x + gain, x_hat + gain, 0.9, 40.0) for gain in (0.0, gain_db / DB_PER_UNIT))
    assert vars(soft) == pytest.approx(vars(loud), abs=1e-3)


# --- the law --------------------------------------------------------------------------------------------------------

GOOD = Traits(harmonic_share=0.95, distance_db=3.0, liveliness=0.5, silence=0.0, clarity_db=55.0)


def test_each_trait_moves_trust_the_way_that_the_law_says() -> None:
    middle = replace(GOOD, harmonic_share=0.5)
    for name, more in (
        ("harmonic_share", 0.1),
        ("distance_db", 1.0),
        ("liveliness", 0.3),
        ("silence", 0.1),
        ("clarity_db", 5.0),
    ):
        moved = replace(middle, **{name: getattr(middle, name) + more})
        rises = judge_trust(moved) > judge_trust(middle)
        assert rises is (getattr(LAW, name) > 0.0)


def test_hardly_any_trust_is_none() -> None:
    assert judge_trust(replace(GOOD, harmonic_share=0.0, distance_db=20.0)) == 0.0
    assert judge_trust(GOOD) > 0.5
    assert judge_trust(GOOD, TrustLaw(0.0, 0.0, 0.0, 0.0, 0.0, bias=-4.0)) == 0.0


@given(st.floats(0, 1), st.floats(0, 200), st.floats(-4, 6), st.floats(0, 1), st.floats(0, 200))
def test_trust_is_a_share_whatever_the_traits(
    share: float, distance: float, liveliness: float, silence: float, clarity: float
) -> None:
    assert 0.0 <= judge_trust(Traits(share, distance, liveliness, silence, clarity)) <= 1.0


# --- sounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch", [40.0, 57.0, 76.0])
def test_all_of_a_harmonic_note_stands_on_its_harmonics(pitch: float) -> None:
    partials = find_partials(torch.from_numpy(note(pitch)))
    assert harmonic_share(partials, midi_to_hz(pitch)) > 0.9
    assert harmonic_share(partials, midi_to_hz(pitch + 3.7)) < 0.5


@pytest.mark.parametrize("pitch", [28.0, 50.0, 79.0])
def test_noise_between_the_harmonics_makes_a_note_less_clear(pitch: float) -> None:
    clear = harmonics(pitch, 2.0)
    of_noise = [clarity_db(clear + noise(2.0, part * float(clear.std())), midi_to_hz(pitch)) for part in (0.01, 0.1)]
    assert clarity_db(clear, midi_to_hz(pitch)) > 80.0
    assert of_noise[0] > of_noise[1] + 15.0


def test_how_loud_a_note_is_and_a_few_cents_do_not_change_how_clear_it_is() -> None:
    breathy = harmonics(57.0, 2.0) + noise(2.0, 0.01)
    measured = clarity_db(breathy, 220.0)
    assert clarity_db(0.01 * breathy, 220.0) == pytest.approx(measured, abs=0.1)
    assert clarity_db(breathy, 220.0 * 2.0 ** (8.0 / 1200.0)) == pytest.approx(measured, abs=1.0)


def test_a_note_of_one_harmonic_has_nothing_between() -> None:
    assert clarity_db(harmonics(120.0, 1.0), midi_to_hz(120.0)) == 0.0


def test_noise_has_no_more_on_harmonics_than_chance_gives() -> None:
    noise = torch.randn(2 * SAMPLE_RATE, generator=torch.Generator().manual_seed(4))
    assert harmonic_share(find_partials(noise), 220.0) < 0.1


def test_an_unpitched_sound_is_trusted_not_at_all(model: Model) -> None:
    noise = (
        0.2 * torch.randn(20_000, generator=torch.Generator().manual_seed(5)) * torch.exp(-times(20_000 / 44_100) * 9)
    )
    assert invert(model, noise, SAMPLE_RATE, pitch=None).trust == 0.0


def test_where_there_is_no_trust_the_networks_are_not_heard(model: Model) -> None:
    """Notes of two instruments that differ in all that the networks say are one, if neither is trusted."""
    one = replace(invert(model, torch.from_numpy(tone()), SAMPLE_RATE), trust=0.0)
    other = replace(one, feature=-one.feature, offsets={name: -value for name, value in one.offsets.items()})
    pitches = [45.0, 57.0, 66.5]
    first, second = (render(model, each, pitches, Settings(normalize="none")).audio for each in (one, other))
    assert torch.equal(first, second)
    trusted = [
        render(model, replace(each, trust=1.0), pitches, Settings(normalize="none")).audio for each in (one, other)
    ]
    assert not torch.allclose(trusted[0], trusted[1], atol=1e-3)


def chord(notes: tuple[float, ...], brightness: float) -> Tensor:
    return torch.from_numpy(sum((note(pitch, brightness=brightness) for pitch in notes), 0.0 * note(60.0))) / len(notes)


def bell() -> Tensor:
    ratios = (0.5, 1.0, 1.19, 1.56, 2.0, 2.66, 3.01, 4.1)
    levels, decays = [0.2 / (1 + k) for k in ratios], [0.6 + 0.5 * k for k in ratios]
    return partials([440.0 * k for k in ratios], 2.0, levels, decays)


def drum() -> Tensor:
    return noise(0.5, 0.3, fade_s=1 / 25, seed=6) + partials([180.0], 0.5, [0.3], [15.0])


SOUNDS = {
    "major triad": chord((60.0, 64.0, 67.0), 0.5), "minor seventh": chord((57.0, 60.0, 64.0, 67.0), 0.7),
    "stacked fourths": chord((50.0, 55.0, 60.0), 0.6), "tritone": chord((60.0, 66.0), 0.5), "bell": bell(),
    "drum": drum(),
}  # fmt: skip


@pytest.mark.weights
@pytest.mark.parametrize("name", few_of(SOUNDS, "major triad", "bell", "drum"))
def test_chords_bells_and_drums_are_trusted_little(released: Model, name: str) -> None:
    assert invert(released, SOUNDS[name], SAMPLE_RATE).trust < 0.3


@pytest.mark.weights
@pytest.mark.parametrize("name", few_of(["detuned stack 0", "filter sweep 3", "ensemble 3"], "ensemble 3"))
def test_what_oscillators_make_is_played_as_it_is(released: Model, name: str) -> None:
    """However lively: all of these were taken for strings, and were 1 dB and more further from their truth."""
    family, number = name.rsplit(" ", 1)
    patch = evaluation_patches(family, 4)[int(number)]
    assert invert(released, patch.render(), SAMPLE_RATE, pitch=patch.midi).trust < 0.3


@pytest.mark.weights
@pytest.mark.real
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "at_least"),
    [("vsco-concert-harp", 0.4), ("iowa-viola", 0.6), ("marimba", 0.5), ("gretsch-electric-guitar", 0.6)],
)
def test_plucked_and_struck_instruments_without_treble_are_trusted(released: Model, name: str, at_least: float) -> None:
    folder = REAL if (REAL / name).exists() else RECORDINGS / "real2"
    source, _ = choose_source(read_notes(folder, [name])[name])
    assert opened(released, source.path, "auto").trust > at_least


@pytest.mark.weights
@pytest.mark.real
@pytest.mark.thorough
def test_recorded_drums_are_trusted_little(released: Model) -> None:
    for path in sorted((REAL / "oneshots").glob("gogodze-*"))[::4]:
        assert opened(released, path, "auto").trust < 0.3, path.name


def opened(model: Model, path: Path, pitch: float | str) -> Inversion:
    return invert(model, read_audio(path).audio, SAMPLE_RATE, pitch=pitch)  # type: ignore[arg-type]


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize(
    "instrument",
    [
        "trumpet",
        "tenor-sax",
        "baritone-sax-conn",
        "soprano-sax",
        "shanai",
        "violin-solo",
        "cello-flc",
        "contrabass-vsco",
    ],
)
def test_recorded_winds_and_strings_are_trusted(released: Model, instrument: str) -> None:
    """As the middle one of notes across its range: single takes are short, or mostly breath."""
    files = json.loads((REAL / "manifest.json").read_text())["files"]
    notes = sorted(
        (one for one in files if one["instrument"] == instrument), key=lambda one: float(one["midi_measured"])
    )
    chosen = notes[:: max(1, len(notes) // 5)]
    found = sorted(opened(released, REAL / one["file"], float(one["midi_measured"])).trust for one in chosen)
    assert found[len(found) // 2] > 0.7, found
