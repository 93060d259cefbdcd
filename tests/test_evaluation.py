"""The tables of quality measure what they say."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from hgs_cli.audio.mel import LogMel, mel_filters
from hgs_cli.errors import InputError
from hgs_cli.evaluation.cross_pitch import (
    Distance,
    _play_faster,
    bootstrap_interval,
    crest_factor_db,
    evaluate,
    harmonic_to_noise_db,
    modulation_db,
    onset_rise_ms,
    read_notes,
    track_pitch,
)
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.vocoder import Vocoder
from hgs_cli.spectrum import SAMPLE_RATE, MelConfig
from hgs_cli.weights import Model, build_model


def tone(midi: float, seconds: float = 1.5, noise: float = 0.0) -> Tensor:
    """Eight harmonics, the n-th with amplitude 1/n, and white noise of a given amplitude."""
    time = torch.arange(int(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    f0_hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    total = sum(torch.cos(math.tau * k * f0_hz * time + k * k) / k for k in range(1, 9))
    generator = torch.Generator().manual_seed(0)
    return 0.3 * (total + noise * torch.randn(time.shape, generator=generator)).float()


@pytest.fixture(scope="module")
def distance() -> Distance:
    return Distance()


@pytest.fixture
def model() -> Model:
    network = build_model(tiny_config()).eval().requires_grad_(False)
    vocoder = Vocoder(mel_filters(MelConfig()))
    return Model(network, vocoder, LogMel(), torch.device("cpu"), "test", "0" * 64, Path("nowhere"))


@pytest.fixture
def real_dir(tmp_path: Path) -> Path:
    """A manifest of two instruments with five short notes each."""
    files = []
    for instrument, family in (("flute", "wind"), ("harp", "plucked")):
        for midi in (50, 57, 60, 63, 72):
            name = f"{instrument}_{midi}.wav"
            soundfile.write(tmp_path / name, tone(midi, 0.6).numpy(), SAMPLE_RATE)
            files.append(
                {
                    "file": name,
                    "instrument": instrument,
                    "family": family,
                    "pitched": True,
                    "midi_measured": float(midi),
                    "dynamic": "loud",
                }
            )
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    return tmp_path


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


def test_resampling_moves_the_pitch() -> None:
    assert track_pitch(_play_faster(tone(57.0), 5.0)) == pytest.approx(62.0, abs=0.03)
    assert track_pitch(_play_faster(tone(57.0), -7.0)) == pytest.approx(50.0, abs=0.03)


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
    agreed = bootstrap_interval([[1.0, 1.1], [0.9, 1.0], [1.0, 1.0]])
    apart = bootstrap_interval([[3.0, 3.1], [-1.0, -1.1], [1.0, 1.0]])
    assert agreed[0] <= 1.0 <= agreed[1]
    assert apart[0] < agreed[0]
    assert apart[1] > agreed[1]
    assert bootstrap_interval([[2.0]]) == (2.0, 2.0)


def test_an_evaluation_names_every_row_and_can_be_kept(model: Model, real_dir: Path) -> None:
    report = evaluate(model, real_dir, ["flute", "harp"], quick=True)
    assert report.row_names() == [
        "copy",
        "resampling",
        "GANStrument (H off), detail off",
        "hgs, detail off",
        "GANStrument (H off)",
        "hgs",
    ]
    assert report.distance("copy", "0") == pytest.approx(0.0, abs=1e-3)
    assert report.distance("hgs", "0") < report.distance("hgs, detail off", "0")
    assert len(report.pairs) == 10
    assert all(abs(cents or 0.0) < 50.0 for cents in report.source_pitch.values())
    assert report.pitch_errors()
    assert report.hyper is not None
    assert report.hyper.n_instruments == 2

    values = json.loads(report.to_json())
    assert values["distance_db"]["hgs"]["0"] == pytest.approx(report.distance("hgs", "0"))
    assert len(values["pairs"]) == 10
    assert "| hgs |" in report.to_markdown()
    for table in report.tables():
        assert all(len(row) == len(table.header) for row in table.rows)


def test_without_the_hypernetwork_only_ganstrument_is_measured(model: Model, real_dir: Path) -> None:
    report = evaluate(model, real_dir, ["harp"], quick=True, hyper=False)
    assert report.hyper is None
    assert report.row_names()[2:] == ["GANStrument (H off), detail off", "GANStrument (H off)"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path, real_dir: Path) -> None:
    with pytest.raises(InputError):
        read_notes(tmp_path / "nothing", ["flute"])
    with pytest.raises(InputError):
        read_notes(real_dir, ["trombone"])
