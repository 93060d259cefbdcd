"""The networks: zero offsets change nothing, batches equal their items, every part learns, the budget holds."""

from __future__ import annotations

import pickle

import pytest
import torch
from conftest import few_of

from hgs_cli.audio.mel import LogMel
from hgs_cli.models.detail_transfer import read_detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.hyperganstrument import HyperGANStrument, ModelConfig, tiny_config
from hgs_cli.models.layers import FoldedWeight
from hgs_cli.models.weights import build_model
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import (
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_FFT,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    comb_power,
    level_to_power,
    mel_filters,
    power_to_level,
)


@pytest.fixture(scope="module")
def model() -> HyperGANStrument:
    return build_model(tiny_config(), seed=3)


@pytest.fixture
def awake(model: HyperGANStrument) -> HyperGANStrument:
    """The tiny model with an H that says something: its last layers are zero until trained."""
    copy = build_model(tiny_config(), seed=3)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in copy.hypernetwork.named_parameters():
        if name.endswith("outputs.weight"):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    weights = copy.detail_transfer.weights.weight  # as zero as H's last layers are
    weights.data = 0.2 * torch.randn(weights.shape, generator=generator)
    return copy


def sounds(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_an_untrained_hypernetwork_changes_no_bit_of_the_sound(model: HyperGANStrument) -> None:
    h, p = model.extract(sounds(3)), torch.tensor([40.0, 60.0, 80.5])
    plain = model.envelopes(h, p)
    for rows in (slice(0, 1), slice(0, 3)):  # one inversion at every pitch, and one for each
        offsets = model.refine(h[rows], p[rows], 2)
        assert set(offsets) == set(model.generator.offset_shapes())
        refined = model.envelopes(h, p, offsets)
        assert torch.equal(plain.harmonic, refined.harmonic)
        assert torch.equal(plain.noise_part, refined.noise_part)


def test_no_passes_mean_no_offsets(awake: HyperGANStrument) -> None:
    assert awake.refine(awake.extract(sounds(1)), torch.tensor([60.0]), 0) == {}


def test_a_trained_hypernetwork_changes_every_layer_it_names(awake: HyperGANStrument) -> None:
    h, p = awake.extract(sounds(1)), torch.tensor([60.0])
    offsets = awake.refine(h, p, 1)
    plain = awake.envelopes(h, p).harmonic
    for name, value in offsets.items():
        changed = awake.envelopes(h, p, {name: value}).harmonic
        assert not torch.equal(plain, changed), name


def test_offsets_of_one_sound_serve_every_pitch_as_those_of_a_batch_do(awake: HyperGANStrument) -> None:
    h, p = awake.extract(sounds(1)), torch.tensor([48.0, 60.0, 72.0])
    offsets = awake.refine(h, torch.tensor([60.0]), 2)
    folded = awake.envelopes(h.expand(3, -1), p, offsets)
    each = awake.envelopes(h.expand(3, -1), p, {k: v.expand(3, *v.shape[1:]) for k, v in offsets.items()})
    assert torch.allclose(folded.harmonic, each.harmonic, atol=1e-4)


def test_two_sounds_with_three_notes_each_sound_as_they_do_alone(awake: HyperGANStrument) -> None:
    h, p = awake.extract(sounds(2)), torch.tensor([50.0, 60.0])
    offsets = awake.refine(h, p, 1)
    q = torch.tensor([48.0, 60.0, 72.0, 40.0, 55.0, 90.0])
    together = awake.envelopes(h.repeat_interleave(3, 0), q, offsets).harmonic
    for index in range(2):
        rows = slice(3 * index, 3 * index + 3)
        one = {name: value[index : index + 1] for name, value in offsets.items()}
        alone = awake.envelopes(h[index : index + 1].expand(3, -1), q[rows], one).harmonic
        assert torch.allclose(together[rows], alone, atol=1e-4)


def test_a_batch_equals_its_items(awake: HyperGANStrument) -> None:
    x, p = sounds(4), torch.tensor([30.0, 55.5, 70.0, 100.0])
    with torch.no_grad():
        h = awake.extract(x)
        envelopes = awake.envelopes(h, p + 3, awake.refine(h, p))
        together = awake.compose(envelopes, p + 3)
        apart = torch.cat([awake(x[i : i + 1], p[i : i + 1], p[i : i + 1] + 3).x_hat for i in range(4)])
    assert torch.allclose(together, apart, atol=1e-3)  # a sound alone has offsets in half precision


def test_a_sound_is_played_at_several_pitches_as_at_each_of_them(awake: HyperGANStrument) -> None:
    x, p, q = sounds(1), torch.tensor([55.5]), torch.tensor([30.0, 60.0, 84.0])
    with torch.no_grad():
        together = awake(x, p, q).x_hat
        apart = torch.cat([awake(x, p, q[i : i + 1]).x_hat for i in range(3)])
    assert torch.allclose(together, apart, atol=1e-4)


def test_both_parts_of_the_feature_have_unit_length(model: HyperGANStrument) -> None:
    h = model.extract(sounds(5))
    timbre_dim = model.config.feature_extractor.timbre_dim
    assert h.shape == (5, model.config.feature_extractor.h_dim)
    assert torch.allclose(h[:, :timbre_dim].norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(h[:, timbre_dim:].norm(dim=1), torch.ones(5), atol=1e-5)


def test_the_generator_reads_the_compact_part_alone(model: HyperGANStrument) -> None:
    h, p = model.extract(sounds(1)), torch.tensor([60.0])
    other = h.clone()
    other[:, model.config.feature_extractor.timbre_dim :] *= -1
    assert torch.equal(model.envelopes(h, p).harmonic, model.envelopes(other, p).harmonic)


def test_every_parameter_learns(awake: HyperGANStrument) -> None:
    x, p = sounds(2), torch.tensor([50.0, 62.0])
    z = torch.randn(2, awake.config.generator.z_dim)
    h = awake.extract(x)
    offsets = awake.refine(h, p, 1)
    envelopes = awake.envelopes(h, p + 5, offsets, z)
    source = awake.envelopes(h, p, offsets)
    residual = 0.1 * torch.randn_like(source.harmonic)
    r_h, r_n = awake.detail_transfer(read_detail(residual, residual, source, p), envelopes, p + 5)
    whole = Envelopes(envelopes.harmonic + r_h, envelopes.noise_part + r_n)
    (awake.compose(whole, p + 5).square().mean() + awake.envelopes(h, p).harmonic.square().mean()).backward()
    silent = [
        name for name, parameter in awake.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


def test_the_released_networks_keep_the_parameter_budget() -> None:
    network = build_model(ModelConfig())
    size = {name: sum(value.numel() for value in part.parameters()) for name, part in network.named_children()}
    assert size["feature_extractor"] + size["generator"] + size["hypernetwork"] <= 12_000_000
    assert size["detail_transfer"] <= 100_000


def test_sizes_travel_as_plain_values() -> None:
    for config in (ModelConfig(), tiny_config()):
        assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises((TypeError, KeyError)):
        ModelConfig.from_dict({"generator": {"depth": 3}})


@pytest.mark.parametrize("pitch", few_of([24.0, 45.3, 60.0, 81.7, 100.0], 60.0, 81.7))
def test_the_comb_is_the_spectrum_of_real_harmonics(pitch: float) -> None:
    f0_hz = midi_to_hz(torch.tensor([pitch]))
    n_harmonics = int(SAMPLE_RATE / 2 / float(f0_hz))
    time_s = torch.arange(MODEL_SAMPLES, dtype=torch.float64) / SAMPLE_RATE
    audio = torch.zeros(MODEL_SAMPLES, dtype=torch.float64)
    phases = torch.rand(n_harmonics, generator=torch.Generator().manual_seed(1)) * 6.283
    for k in range(1, n_harmonics + 1):
        audio += torch.sin(2 * torch.pi * k * f0_hz.double() * time_s + phases[k - 1])
    mel = LogMel()
    measured = mel.mel_power(audio.float()[None])[0, :, 20:300].mean(1)
    expected = torch.matmul(comb_power(f0_hz), mel.filters)[0]
    loud = expected > expected.max() * 1e-4
    difference_db = 10 * torch.log10(measured[loud] / expected[loud])
    assert difference_db.abs().median() < 0.3
    assert difference_db.abs().quantile(0.9) < 1.5


def test_noise_has_the_level_that_its_envelope_says(model: HyperGANStrument) -> None:
    generator = torch.Generator().manual_seed(0)
    mel = LogMel()
    noise = torch.randn(1, MODEL_SAMPLES, generator=generator)
    window = torch.hann_window(N_FFT)
    noise = noise * (window.sum() / 2) / window.square().sum().sqrt()  # unit expected power in every bin
    x = mel(noise)[0, :, 4:-4].mean(1)
    level = torch.full((1, N_MELS, N_FRAMES), 1.0)
    silent = torch.full((1, N_MELS, N_FRAMES), -3.0)
    said = model.compose(Envelopes(silent, level), torch.tensor([60.0]))[0, :, 0]
    assert ((x - said).abs() * 50.0).mean() < 0.3


def test_levels_round_trip_through_power() -> None:
    level = torch.linspace(-0.8, 1.2, 50)
    assert torch.allclose(power_to_level(level_to_power(level)), level, atol=1e-2)


@pytest.mark.parametrize("n_samples", [1, 400, HOP_LENGTH, SAMPLE_RATE, MODEL_SAMPLES, 10 * SAMPLE_RATE])
def test_a_sound_of_any_length_has_352_frames(n_samples: int) -> None:
    x = LogMel()(torch.ones(1, n_samples) * 0.1)
    assert x.shape == (1, N_MELS, N_FRAMES)
    assert torch.isfinite(x).all()


def test_every_mel_band_hears_something() -> None:
    assert (mel_filters(MelConfig()).sum(0) > 0.5).all()


def test_a_folded_weight_is_the_same_packed_or_not_and_goes_to_other_processes() -> None:
    x, weight = torch.randn(3, 8, 11), torch.randn(5, 8, 1, 3).contiguous(memory_format=torch.channels_last)
    folded = FoldedWeight(weight)
    with torch.inference_mode():
        packed = folded.convolve(x)
    torch.testing.assert_close(packed, torch.nn.functional.conv1d(x, weight[:, :, 0], padding=1))
    sent = pickle.loads(pickle.dumps(folded))
    assert torch.equal(sent.weight, weight)
    with torch.inference_mode():
        assert torch.equal(sent.convolve(x), packed)
