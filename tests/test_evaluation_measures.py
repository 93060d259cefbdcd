"""Distance, side measures, the tracker and means over instruments measure what they say."""

import math

import pytest
import sounds
import torch
from sounds import harmonics
from torch import Tensor

from hgs_cli.evaluation.measures import (
    Distance,
    Mean,
    bootstrap_interval,
    crest_factor_db,
    harmonic_to_noise_db,
    median,
    modulation_db,
    onset_rise_ms,
    track_pitch,
)
from hgs_cli.spectrum import SAMPLE_RATE


def tone(midi: float, noise: float = 0.0) -> Tensor:
    """Eight harmonics, the n-th with amplitude 1/n, and white noise of a given amplitude."""
    return 0.3 * harmonics(midi, 1.5, highest=8) + sounds.noise(1.5, 0.3 * noise)


@pytest.fixture(scope="module")
def distance() -> Distance:
    return Distance()


def test_a_sound_is_no_distance_from_itself_however_loud(distance: Distance) -> None:
    audio = tone(60.0)
    assert distance(audio, audio, len(audio)) == pytest.approx(0.0, abs=1e-4)
    assert distance(0.1 * audio, audio, len(audio)) == pytest.approx(0.0, abs=0.02)


def test_another_note_and_noise_are_further_than_a_filtered_copy(distance: Distance) -> None:
    audio = tone(60.0)
    duller = audio + torch.cat([audio[:1], audio[:-1]])
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(audio.shape, generator=generator)
    near, other, far = (distance(sound, audio, len(audio)) for sound in (duller, tone(61.0), noise))
    assert near < other < far


def test_what_lacks_at_the_end_counts(distance: Distance) -> None:
    audio = tone(60.0)
    assert distance(audio[: len(audio) // 2], audio, len(audio)) > 5.0


@pytest.mark.parametrize("midi", [33.0, 52.4, 69.0, 93.3])
def test_the_independent_tracker_hears_to_a_few_cents(midi: float) -> None:
    assert track_pitch(tone(midi)) == pytest.approx(midi, abs=0.03)


def test_the_independent_tracker_finds_nothing_in_noise() -> None:
    assert track_pitch(torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0))) is None


def test_onset_rise_is_measured_in_milliseconds() -> None:
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    for rise_s in (0.02, 0.1):
        swell = torch.sin(math.tau * 440.0 * time) * (time / rise_s).clamp(max=1.0)
        assert onset_rise_ms(swell, 69.0) == pytest.approx(0.8 * rise_s * 1000.0, abs=6.0)


def test_crest_factor_of_a_sinusoid_is_three_decibels() -> None:
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    assert crest_factor_db(torch.sin(math.tau * 440.0 * time)) == pytest.approx(3.01, abs=0.05)


@pytest.mark.parametrize("wanted_db", [0.0, 10.0, 20.0])
def test_harmonic_to_noise_ratio_is_that_of_the_mixture(wanted_db: float) -> None:
    # The noise that counts is what falls between 0.1 and 5 kHz.
    power = sum(0.5 / k**2 for k in range(1, 9))
    noise = math.sqrt(power / 10.0 ** (wanted_db / 10.0) / (4900.0 / (SAMPLE_RATE / 2)))
    assert harmonic_to_noise_db(tone(57.0, noise=noise), 57.0) == pytest.approx(wanted_db, abs=1.5)


def test_modulation_grows_with_tremolo() -> None:
    audio = tone(60.0)
    time = torch.arange(len(audio)) / SAMPLE_RATE
    assert modulation_db(audio * (1.0 + 0.5 * torch.sin(math.tau * 6.0 * time))) > modulation_db(audio) + 0.2


def test_the_interval_holds_the_mean_and_widens_with_disagreement() -> None:
    agreed = bootstrap_interval([1.05, 0.95, 1.0])
    apart = bootstrap_interval([3.05, -1.05, 1.0])
    assert agreed[0] <= 1.0 <= agreed[1]
    assert apart[0] < agreed[0]
    assert apart[1] > agreed[1]
    assert bootstrap_interval([2.0]) == (2.0, 2.0)


def test_an_instrument_with_many_notes_counts_no_more_than_another() -> None:
    mean = Mean.over_instruments([("piano", 1.0)] * 9 + [("harp", 3.0)])
    assert mean.mean == 2.0
    assert (mean.low, mean.high) == (1.0, 3.0)
    assert (mean.n, mean.n_instruments) == (10, 2)
    assert mean.text(1) == "2.0 [1.0, 3.0]"


def test_a_mean_of_nothing_is_a_dash_and_null() -> None:
    mean = Mean.over_instruments([])
    assert mean.text() == "–"
    assert mean.figures()["mean"] is None


def test_the_median_is_not_moved_by_one_wild_note() -> None:
    assert median([1.0, 2.0, 900.0]) == 2.0
    assert math.isnan(median([]))
