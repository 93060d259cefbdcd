"""Made sounds with known truth are what they say at every pitch, and every way to move them has its row."""

import json
import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Run, few_of
from torch import Tensor

from hgs_cli.evaluation import known_truth_result
from hgs_cli.evaluation.known_truth import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    PATCHES,
    TRAINING_FAMILIES,
    Patch,
    draw_patch,
    evaluation_patches,
)
from hgs_cli.evaluation.known_truth_result import FOUND, TOLD, KnownTruthResult, measure_known_truth
from hgs_cli.evaluation.noise_spread import GAUSSIAN_SPREAD_DB, ROWS, SPREAD, TRUTH, fine_spread_db, noise_burst
from hgs_cli.evaluation.peers import SIGNALSMITH, USUAL_PEERS, find_peers, play_faster
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.pipeline import Model
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

NOISES = ("swept noise", "band noise", "snare", "hat")
MOVING = ("two notes", "vowel", "ensemble", "kick", "tom")
BEATING = ("detuned stack", "filter sweep")  # their beats move too, and another partial may win


def strongest(audio: Tensor, near_hz: float = 0.0) -> tuple[float, float]:
    """The strongest partial of audio (T,), near a frequency if one is given, and the share of the power around it."""
    power = torch.fft.rfft(audio.double() * torch.hann_window(len(audio), dtype=torch.float64)).abs().square()
    hz = torch.arange(len(power), dtype=torch.float64) * (SAMPLE_RATE / len(audio))
    around = near(hz, near_hz) if near_hz else torch.ones_like(hz)
    index = int((power * around)[1:-1].argmax()) + 1
    left, middle, right = power[index - 1 : index + 2].log().tolist()
    found_hz = (index + 0.5 * (left - right) / (left - 2.0 * middle + right)) * SAMPLE_RATE / len(audio)
    return found_hz, float((power * near(hz, found_hz)).sum() / power.sum())


def near(hz: Tensor, centre_hz: float) -> Tensor:
    """Which frequencies (F,) are within 0.6 semitones."""
    return (12.0 * torch.log2(hz.clamp(min=1.0) / centre_hz)).abs() < 0.6


def centre_hz(audio: Tensor, highest_hz: float) -> float:
    """Mean frequency of the power of audio (T,) over octaves below a frequency."""
    power = torch.fft.rfft(audio.double()).abs().square()
    hz = torch.arange(len(power)) * (SAMPLE_RATE / len(audio))
    heard = (hz > 20.0) & (hz < highest_hz)
    return float(torch.exp((power[heard] * hz[heard].log()).sum() / power[heard].sum()))


# --- patches ----------------------------------------------------------------------------------------------------------


def test_families_that_are_held_out_are_no_training_families() -> None:
    assert not set(TRAINING_FAMILIES) & set(HELD_OUT_FAMILIES)
    assert set(TRAINING_FAMILIES) | set(HELD_OUT_FAMILIES) == set(FAMILIES)
    assert {"stacked intervals", "plate", "band noise"} <= set(HELD_OUT_FAMILIES)  # chordal, inharmonic, noise
    assert all(patch.seed >= PATCHES.evaluation_seed for patch in evaluation_patches("bell", 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_is_the_same_again_and_another_seed_is_another_patch(family: str) -> None:
    first, again, other = (draw_patch(family, seed).render(3.0, 0.3) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("semitones", few_of([0.0, 19.0, -17.0], -17.0))
def test_a_patch_begins_at_its_onset_and_has_its_peak_and_length(family: str, semitones: float) -> None:
    patch = draw_patch(family, 5)
    audio = patch.render(semitones)
    assert audio.dtype == torch.float32
    assert audio.shape == (round(patch.seconds * SAMPLE_RATE),)
    assert 1.5 <= patch.seconds <= 4.0
    assert 17.0 < patch.midi < 108.0
    assert float(audio.abs().max()) == pytest.approx(PATCHES.peak, rel=1e-5)
    n_before = round(PATCHES.onset_s * SAMPLE_RATE)
    assert not audio[:n_before].any()
    assert audio[n_before : n_before + SAMPLE_RATE // 20].any()
    assert patch.render(semitones, 0.5).shape == (SAMPLE_RATE // 2,)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in (*NOISES, *MOVING, *BEATING)])
@pytest.mark.parametrize("semitones", few_of([-12.0, -3.5, 7.0], -3.5))
def test_partials_move_by_the_interval(family: str, semitones: float) -> None:
    patch = draw_patch(family, 3)
    own, own_share = strongest(patch.render())
    moved, share = strongest(patch.render(semitones), near_hz=own * 2.0 ** (semitones / 12.0))
    assert 12.0 * math.log2(moved / own) == pytest.approx(semitones, abs=0.02)
    assert share == pytest.approx(own_share, abs=0.1)


@pytest.mark.parametrize("family", BEATING)
@pytest.mark.parametrize("semitones", few_of([-12.0, 7.0], 7.0))
def test_partials_that_beat_move_within_their_width(family: str, semitones: float) -> None:
    for patch in evaluation_patches(family, 3):
        own, _ = strongest(patch.render())
        _, share = strongest(patch.render(semitones), near_hz=own * 2.0 ** (semitones / 12.0))
        assert share > 0.02, patch.name


@pytest.mark.parametrize("family", few_of(NOISES, "band noise", "snare"))
def test_noise_and_its_bands_move_by_the_interval(family: str) -> None:
    for patch in (draw_patch(family, seed) for seed in (1, 2, 3)):
        own, moved = centre_hz(patch.render(), 20_000.0), centre_hz(patch.render(-12.0), 10_000.0)
        assert 12.0 * math.log2(moved / own) == pytest.approx(-12.0, abs=1.5), patch.name


def test_formants_of_voices_stay_while_their_pitch_moves() -> None:
    patch = draw_patch("vowel", 4)
    centres = [centre_hz(patch.render(semitones), 20_000.0) for semitones in (-5.0, 0.0, 5.0)]
    assert all(abs(12.0 * math.log2(higher / lower)) < 4.0 for lower, higher in pairwise(centres))


def test_a_resampled_patch_of_steady_partials_is_the_truth() -> None:
    patch = draw_patch("stacked intervals", PATCHES.evaluation_seed + 3)
    truth = patch.render(7.0, 1.0)[4000:20_000]
    moved = play_faster(patch.render(0.0, 2.0), 7.0)[4000:20_000]
    assert strongest(moved)[0] == pytest.approx(strongest(truth)[0], rel=2e-3)  # 3.5 cents: it beats


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_sounds_above_twenty_kilohertz(family: str) -> None:
    audio = draw_patch(family, 6).render(19.0).double()
    power = torch.fft.rfft(audio * torch.hann_window(len(audio), dtype=torch.float64)).abs().square()
    hz = torch.arange(len(power)) * (SAMPLE_RATE / len(audio))
    assert float(power[hz > 20_500.0].sum() / power.sum()) < 1e-4


def test_the_told_pitch_is_that_of_the_lowest_note_and_of_the_membranes_lowest_mode() -> None:
    for family in ("chord", "membrane", "detuned stack", "bar"):
        patch = draw_patch(family, 8)
        audio = patch.render().double()
        power = torch.fft.rfft(audio * torch.hann_window(len(audio), dtype=torch.float64)).abs().square()
        hz = torch.arange(len(power)) * (SAMPLE_RATE / len(audio))
        f0_hz = midi_to_hz(patch.midi)
        near = (hz > 0.94 * f0_hz) & (hz < 1.06 * f0_hz)
        assert float(power[near].max()) > 100.0 * float(power[(hz > 20.0) & (hz < 0.9 * f0_hz)].max()), family


# --- the spread of noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["white", "pink"])
@pytest.mark.parametrize("semitones", [0.0, 12.0, -12.0])
def test_noise_has_the_spread_of_gaussian_noise_whatever_its_colour(name: str, semitones: float) -> None:
    inside = noise_burst(name, semitones)[5000:-5000]
    assert fine_spread_db(inside, SPREAD.range_hz[0], 9000.0) == pytest.approx(GAUSSIAN_SPREAD_DB, abs=0.3)
    assert pytest.approx(5.57, abs=0.01) == GAUSSIAN_SPREAD_DB


def test_a_comb_spreads_more_and_an_even_spectrum_less() -> None:
    time_s = torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    comb = (
        sum(torch.cos(math.tau * 261.6 * k * time_s + k * k) for k in range(1, 45))
        + 1e-3 * noise_burst("white")[:SAMPLE_RATE]
    )
    assert fine_spread_db(torch.as_tensor(comb), *SPREAD.range_hz) > 9.0
    chirps = torch.zeros(SAMPLE_RATE)
    chirps[::2048] = 1.0  # a pulse in every frame: the same power in all bins
    assert fine_spread_db(chirps, *SPREAD.range_hz) < 3.0


# --- peers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semitones", [0.0, 7.0, -12.0])
@pytest.mark.parametrize("at", [220, 20_000, 43_000])
def test_signalsmith_stretch_keeps_length_and_time(semitones: float, at: int) -> None:
    peers = find_peers()
    if SIGNALSMITH in peers.missing:
        pytest.skip(peers.missing[SIGNALSMITH])
    time = torch.arange(300.0)
    audio = torch.zeros(44_100)
    audio[at : at + 300] = torch.exp(-time / 60.0) * torch.sin(0.4 * time)
    shift = next(peer for peer in peers.found if peer.name == SIGNALSMITH).open(audio, 60.0)
    shifted = shift(semitones)
    assert shifted.shape == audio.shape
    assert torch.equal(shifted, shift(semitones))
    samples = torch.arange(44_100.0)
    centres = [float((samples * one.square()).sum() / one.square().sum()) for one in (audio, shifted)]
    assert centres[1] == pytest.approx(centres[0], abs=3.0)
    assert float(shifted.square().sum() / audio.square().sum()) == pytest.approx(1.0, abs=0.01)
    if not semitones:
        assert float((shifted - audio).abs().max()) < 1e-5


# --- the table --------------------------------------------------------------------------------------------------------


FEW = ("chord", "band noise")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches of 0.4 seconds."""
    monkeypatch.setattr(known_truth_result, "draw_patch", _short)


@dataclass(frozen=True)
class Measured:
    """Short patches of few families, measured.

    Attributes:
        result: What was found.
        progress: What was told meanwhile.
    """

    result: KnownTruthResult
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def measured(model: Model) -> Measured:
    progress: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_truth_result, "draw_patch", _short)
        result = measure_known_truth(
            model, CrossPitchOptions(quick=True), families=FEW, advance=lambda *at: progress.append(at)
        )
    return Measured(result, progress)


def _short(family: str, seed: int) -> Patch:
    patch = draw_patch(family, seed)
    return Patch(family, seed, patch.midi, 0.4, patch.sound)


@pytest.mark.thorough
def test_every_row_is_measured_told_and_found(measured: Measured) -> None:
    result = measured.result
    assert result.rows == [TOLD, FOUND, *(name for name in USUAL_PEERS if name not in result.peers.missing)]
    assert [patch.name for patch in result.patches] == ["chord 0", "band noise 0"]
    assert measured.progress == [(0, 2), (1, 2), (2, 2)]
    for name in set(USUAL_PEERS) - set(result.peers.missing):
        assert result.distance(name, "0").mean == pytest.approx(0.0, abs=0.02)
        assert result.distance(name, "6-12").mean > 0.0
    assert result.distance(TOLD, "1-5", ["chord"]).n_instruments == 1

    section = result.section()
    figures = json.loads(json.dumps(section.figures, allow_nan=False))
    assert set(figures["distance_db"]) == set(result.rows)
    assert set(figures["by_family_db"]) == set(FEW)
    assert figures["patches"][0]["distance_db"][TOLD].keys() == {"+0", "+3", "-12", "+19"}
    spreads = figures["noise_spread_db"]["white"]["+12"]
    assert list(spreads) == [row for row in ROWS if row not in result.peers.missing]
    assert spreads[TRUTH] == pytest.approx(GAUSSIAN_SPREAD_DB, abs=0.3)
    for table in section.tables:
        assert all(len(row) == len(table.header) for row in table.rows), table.title
    assert [row[0] for row in section.tables[2].rows] == ["chord", "band noise (held out)"]
    assert len(section.tables[3].rows) == 2


def check_command(hgs: Run, folder: Path) -> None:
    """Made sounds are measured by the command, shown, and written to files."""
    done = hgs("train", "eval", "--made", "--quick", "--workers", "1", "--json", "made.json", "--markdown", "made.md")
    assert done.code == 0, done.err
    assert "Made sounds with known truth, all families" in done.out
    assert "Spread of the fine spectrum of noise" in (folder / "made.md").read_text()
    assert len(json.loads((folder / "made.json").read_text())["known_truth"]["patches"]) == 2
    nothing = hgs("train", "eval")
    assert nothing.code == 2
    assert "--made" in nothing.err


@pytest.mark.thorough
def test_the_command_shows_made_sounds_without_recordings(
    hgs: Run, tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.measure.measure_known_truth", lambda *given, **named: measured.result)
    check_command(hgs, tmp_path)


@pytest.mark.thorough
@pytest.mark.usefixtures("short")
def test_the_command_measures_made_sounds_without_recordings(
    hgs: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.measure.measure_known_truth", partial(measure_known_truth, families=FEW))
    check_command(hgs, tmp_path)
