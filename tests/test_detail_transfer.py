"""What the detail transfer promises: the input at its own pitch, every note by itself, nothing that is not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS, few_of
from test_training import STILL
from torch import Tensor

from hgs_cli.models.detail_transfer import DetailTransfer, DetailTransferConfig, mel_blur, mel_warp, read_detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.pipeline import Model
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import N_FRAMES, N_MELS
from hgs_cli.training.batches import PairSampler
from hgs_cli.training.config import DataConfig
from hgs_cli.training.data import build_dataset
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.soundfont import Preset
from hgs_cli.training.transfer import aligned_distance, level_loss, movement_loss
from hgs_cli.training.transposition import transpose_level


@pytest.fixture
def transfer() -> DetailTransfer:
    """One that weighs by what it is shown, as a trained one does."""
    torch.manual_seed(0)
    network = DetailTransfer(DetailTransferConfig(width=4))
    torch.nn.init.normal_(network.weights.weight, std=0.5)
    return network.requires_grad_(False)


def envelopes(n: int, seed: int) -> Envelopes:
    generator = torch.Generator().manual_seed(seed)
    harmonic, noise_part = (0.3 * torch.randn(n, N_MELS, N_FRAMES, generator=generator) for _ in range(2))
    return Envelopes(harmonic, noise_part)


def carried(transfer: DetailTransfer, n: int, p: list[float], q: list[float]) -> tuple[Tensor, Tensor]:
    residual, source, first = envelopes(n, 0), envelopes(n, 1), envelopes(len(q), 2)
    r_h, r_n = transfer(
        read_detail(residual.harmonic, residual.noise_part, source, torch.tensor(p)), first, torch.tensor(q)
    )
    return r_h, r_n


def test_at_its_own_pitch_nothing_of_the_detail_is_lost(transfer: DetailTransfer) -> None:
    r_h, r_n = carried(transfer, 1, [60.0], [60.0, 67.0])
    whole = envelopes(1, 0)
    torch.testing.assert_close(r_h[:1], whole.harmonic)
    torch.testing.assert_close(r_n[:1], whole.noise_part)
    assert not torch.allclose(r_h[1], whole.harmonic[0], atol=0.05)


def test_a_note_is_the_same_whoever_is_in_the_batch(transfer: DetailTransfer) -> None:
    together, _ = carried(transfer, 1, [60.0], [55.0, 67.0])
    residual, source, first = envelopes(1, 0), envelopes(1, 1), envelopes(2, 2)
    alone, _ = transfer(
        read_detail(residual.harmonic, residual.noise_part, source, torch.tensor([60.0])),
        Envelopes(first.harmonic[1:], first.noise_part[1:]),
        torch.tensor([67.0]),
    )
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_several_inputs_keep_to_their_own_notes(transfer: DetailTransfer) -> None:
    together, _ = carried(transfer, 2, [60.0, 48.0], [55.0, 67.0, 50.0, 45.0])
    residual, source, first = envelopes(2, 0), envelopes(2, 1), envelopes(4, 2)
    second, _ = transfer(
        read_detail(
            residual.harmonic[1:],
            residual.noise_part[1:],
            Envelopes(source.harmonic[1:], source.noise_part[1:]),
            torch.tensor([48.0]),
        ),
        Envelopes(first.harmonic[2:], first.noise_part[2:]),
        torch.tensor([50.0, 45.0]),
    )
    torch.testing.assert_close(together[2:], second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, -40.0, 40.0])
def test_silence_and_noise_of_any_level_stay_finite(transfer: DetailTransfer, level: float) -> None:
    flat = torch.full((1, N_MELS, N_FRAMES), level)
    extreme = Envelopes(flat, -flat)
    for q in (0.0, 60.0, 127.0):
        for value in transfer(read_detail(flat, -flat, extreme, torch.tensor([60.0])), extreme, torch.tensor([q])):
            assert bool(torch.isfinite(value).all())


def test_harmonics_take_their_detail_with_them_and_formants_stay() -> None:
    octave = mel_warp(torch.tensor([12.0])).matrix[0]
    bump = torch.zeros(N_MELS)
    bump[20] = 1.0
    assert 38 <= int((octave @ bump).argmax()) <= 42  # linear below 1 kHz: twice as high
    blur = mel_blur(midi_to_hz(torch.tensor([60.0])), 0.4, 6.0)[0]
    assert int((blur @ bump).argmax()) == pytest.approx(20, abs=2)


def test_bands_move_by_the_weights_of_their_matrix() -> None:
    warp = mel_warp(torch.tensor([-7.3, 0.0, 19.0]))
    value = torch.randn(3, N_MELS, 5)
    torch.testing.assert_close(warp(value), warp.matrix @ value)


def test_the_distance_forgives_a_gain_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    level = 0.8 * torch.rand(2, N_MELS, N_FRAMES, generator=generator)
    power = torch.pow(10.0, (level - 1.0) * 5.0)
    silent = torch.zeros_like(power)
    same, gain = aligned_distance(4.0 * power, silent, level)
    assert float(same.max()) < 0.05
    torch.testing.assert_close(gain, torch.full((2,), -6.02), atol=0.05, rtol=0.0)
    tilted = power * torch.linspace(0.1, 10.0, N_MELS)[:, None]
    assert float(aligned_distance(tilted, silent, level)[0].min()) > 2.0
    full = torch.full((2,), 22_050.0)
    assert float(level_loss(4.0 * power, level, full)) == pytest.approx(0.2 * 0.602, abs=0.01)
    assert float(movement_loss(power, level, full)) < 1e-3
    assert float(movement_loss(power.mean(2, keepdim=True).expand_as(power), level, full)) > 0.02


def test_instruments_set_aside_are_learnt_from_in_one_place_only(dataset: Path) -> None:
    """Every instrument is in one of the folds, and then not among those that f and G learn from."""
    everything = {shard.name for shard in NoteTable(dataset, validation=False).shards}
    aside = []
    for fold in (1, 2):
        here = {shard.name for shard in NoteTable(dataset, validation=False, fold=fold, set_aside=True).shards}
        rest = {shard.name for shard in NoteTable(dataset, validation=False, fold=fold).shards}
        assert here
        assert not here & rest
        assert here | rest == everything
        aside.append(here)
    assert aside[0] | aside[1] == everything


def test_an_instrument_moved_along_frequency_keeps_its_intervals(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    moved = replace(STILL, shift_probability=1.0, shift=2.0)
    first = PairSampler(table, STILL, seed=3).draw(16)
    second = PairSampler(table, moved, seed=3).draw(16)
    by = second.p - first.p
    assert float(by.abs().max()) <= 2.0
    assert float(by.abs().max()) > 0.5
    torch.testing.assert_close(second.q - first.q, by)
    expected = transpose_level(first.y, by)
    middle = (slice(None), slice(8, 100))
    audible = expected[middle] > 0.0
    assert float((second.y[middle] - expected[middle])[audible].abs().median()) < 0.02
    assert (second.label == -1).any()
    assert (second.label[second.pitched & (by.abs() <= 1.0)] >= 0).all()


def test_a_sample_at_two_speeds_is_no_pair(recordings: Path, tmp_path: Path) -> None:
    """Three notes, two of which play one sample: the third is what either is paired with."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    build_dataset(tmp_path, [recordings], soundfonts=[], workers=1)
    for path in tmp_path.glob("*.safetensors"):
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
        tensors["sample"] = torch.zeros_like(tensors["sample"])
        tensors["sample"][-1] = 7
        save_file(tensors, path, metadata=facts)
    table = NoteTable(tmp_path, validation=False)
    config = DataConfig(self_share=0.0, unpitched_share=0.0, mixture_probability=0.0, new_sample=True, reach=60.0)
    sampler = PairSampler(table, config, seed=0)
    pairs = [sampler._pair() for _ in range(50)]
    velocity, sample = table.velocity, table.sample
    for first, (second,) in pairs:
        own = (table.shard_of == table.shard_of[first]) & (velocity == velocity[first])
        if not np.isnan(table.pitch[first]) and len(set(sample[own].tolist())) > 1:
            assert sample[first] != sample[second]


def test_a_preset_tells_which_sample_a_note_plays() -> None:
    preset = Preset(0, 0, "two zones", zones=[(0, 59, 0, 127, 4), (60, 127, 0, 63, 5), (60, 127, 64, 127, 6)])
    assert [preset.sample_of(*place) for place in ((40, 100), (59, 10), (60, 10), (90, 100))] == [4, 4, 5, 6]


@pytest.mark.weights
@pytest.mark.real
@pytest.mark.parametrize("q", few_of([57.0, 62.0], 62.0))
def test_detail_brings_a_sitar_nearer_to_its_real_neighbours(released: Model, q: float) -> None:
    """From one real note, another: with the detail it is nearer to the recording of that note than without."""
    from hgs_cli.audio.io import read_audio
    from hgs_cli.evaluation.measures import Distance
    from hgs_cli.pipeline import Settings, invert, render

    source, real = (
        read_audio(RECORDINGS / "real" / "sitar" / f"sitar_{midi:03d}_loud.flac").audio for midi in (59, int(q))
    )
    inversion = invert(released, source, 44_100, pitch=59.0)
    n_samples = min(source.shape[-1], real.shape[-1])
    distance = Distance()
    plain, detailed = (
        distance(render(released, inversion, [q], Settings(detail=detail)).audio[0], real, n_samples)
        for detail in (0.0, 1.0)
    )
    assert detailed < plain


def test_recordings_are_their_own_samples(recordings: Path, tmp_path: Path) -> None:
    build_dataset(tmp_path, [recordings], soundfonts=[], workers=1)
    table = NoteTable(tmp_path, validation=False)
    for notes in table.notes_of_shard:
        assert len(set(table.sample[notes].tolist())) == len(notes)
