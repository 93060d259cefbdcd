"""Training: data that can be rebuilt, steps that learn, runs that go on exactly, checkpoints that become bundles."""

from __future__ import annotations

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import few_of, note

from hgs_cli.errors import TrainingError
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.pitch_adversary import Adversary
from hgs_cli.models.pitch_classifier import N_PITCHES
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.model import load_model
from hgs_cli.spectrum import N_BANDS, N_FRAMES, N_MELS, N_STEPS, SAMPLE_RATE, level_to_power, mel_centres_hz
from hgs_cli.training import checkpoint as checkpoints
from hgs_cli.training import loop, soundfont
from hgs_cli.training.adversarial import Gan, nearest_neighbours
from hgs_cli.training.batches import NoiseTextureBank, PairSampler
from hgs_cli.training.checkpoint import export_bundle, load_checkpoint
from hgs_cli.training.config import STAGE_CONFIGS, DataConfig, LoopConfig, stage_config
from hgs_cli.training.data import build_dataset
from hgs_cli.training.losses import confusion_loss, gradient_penalty, reconstruction_loss, relativistic_loss
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.pitch_check import verify_pitch
from hgs_cli.training.precision import autocast
from hgs_cli.training.shards import read_index, validation_instruments
from hgs_cli.training.stage import Optimiser, Stage
from hgs_cli.training.stages import ALL_STAGES, STAGES


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to start runs from, small enough to test with."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_bundle(path, build_model(tiny_config()), "0")
    return path


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.toml"
    path.write_text("[loop]\nbatch_size = 4\nwarmup_steps = 2\nvalidation_batches = 1\n")
    return path


def options(dataset: Path, out: Path, steps: int, config: Path, **others: object) -> loop.RunOptions:
    return loop.RunOptions(data=dataset, out=out, steps=steps, config=config, **others)  # type: ignore[arg-type]


def test_the_data_set_keeps_validation_instruments_apart(dataset: Path) -> None:
    sides = {shard.instrument: shard.validation for shard in read_index(dataset)}
    assert sides == {"dull": False, "bright": False, "clap": False, "trumpet": True}
    assert {"trumpet", "salamander-piano", "marimba", "ergo-bass-arco"} <= validation_instruments()
    assert {"iowa-oboe", "voice-sven-oh", "wavetable-prophet", "vcsl-tom-2-toml-hits"} <= validation_instruments()


def test_a_held_out_data_set_is_never_trained_on(recordings: Path, tmp_path: Path) -> None:
    shards = build_dataset(tmp_path, [recordings], soundfonts=[], workers=1, held_out=True)
    assert all(shard.validation for shard in shards)
    with pytest.raises(TrainingError, match="no training instruments"):
        NoteTable(tmp_path, validation=False)


def test_an_interrupted_build_goes_on_where_it_stopped(recordings: Path, tmp_path: Path) -> None:
    build_dataset(tmp_path, [recordings], soundfonts=[], workers=1)
    kept = tmp_path / "real-dull.safetensors"
    before = kept.stat().st_mtime_ns
    (tmp_path / "real-bright.safetensors").unlink()
    done: list[str] = []
    build_dataset(tmp_path, [recordings], soundfonts=[], workers=1, report=lambda name, *_: done.append(name))
    assert done == ["real-bright"]
    assert kept.stat().st_mtime_ns == before


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="manifest"):
        build_dataset(tmp_path / "out", [tmp_path], soundfonts=[])
    with pytest.raises(TrainingError, match="missing"):
        build_dataset(tmp_path / "out", [], soundfonts=[tmp_path / "absent.sf2"])
    with pytest.raises(TrainingError, match="hgs train data"):
        read_index(tmp_path)
    (tmp_path / "text.sf2").write_text("no SoundFont")
    with pytest.raises(TrainingError, match="not a SoundFont"):
        soundfont.read_presets(tmp_path / "text.sf2")


def test_a_missing_system_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hgs_cli.training.data.DEBIAN_SOUNDFONTS", ((tmp_path / "no.sf2", "fluid-soundfont-gm"),))
    with pytest.raises(TrainingError, match="fluid-soundfont-gm"):
        build_dataset(tmp_path / "out", [])


@pytest.mark.parametrize("pitch", [28.0, 45.2, 60.0, 77.7, 98.0])
def test_the_pitch_of_a_note_is_measured_to_a_few_cents(pitch: float) -> None:
    measured = verify_pitch(torch.from_numpy(note(pitch, 3.0)), round(pitch))
    assert measured is not None
    assert abs(measured - pitch) < 0.03


def test_a_note_at_another_pitch_than_its_label_is_dropped() -> None:
    audio = torch.from_numpy(note(60.0, 3.0))
    for wrong in (48.0, 53.0, 61.0, 72.0):
        assert verify_pitch(audio, wrong) is None
    assert verify_pitch(torch.randn(3 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1, 60.0) is None


def test_pairs_are_two_notes_of_one_instrument(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    config = DataConfig(self_share=0.0, unpitched_share=0.0, mixture_probability=0.0)
    sampler = PairSampler(table, config, seed=0)
    batch = sampler.draw(64)
    assert batch.x.shape == batch.y.shape == (64, N_MELS, N_FRAMES)
    assert batch.periodicity.shape == (64, N_BANDS, N_STEPS)
    assert (batch.p != batch.q).any()
    assert torch.isfinite(batch.x).all()
    assert torch.allclose(batch.x.amax((1, 2)), torch.ones(64), atol=0.01)


def test_instruments_are_drawn_alike_however_many_notes_they_have(
    recordings: Path, tmp_path: Path, quick: Path, tiny: Path
) -> None:
    manifest = json.loads((recordings / "manifest.json").read_text())
    first = next(entry for entry in manifest["files"] if entry["instrument"] == "dull")
    manifest["files"] += [first] * 9  # dull has 12 notes, bright 3
    many = tmp_path / "many"
    shutil.copytree(recordings, many)
    (many / "manifest.json").write_text(json.dumps(manifest))
    build_dataset(tmp_path / "data", [many], soundfonts=[], workers=1)
    stage = STAGES["gan"](
        checkpoints.initial_model(tiny, 0)[0], stage_config("gan", quick), tmp_path / "data", 0, torch.device("cpu")
    )
    assert isinstance(stage, Gan)
    table, notes = stage.table, stage.sampler.pitched_notes()
    drawn: dict[str, list[int]] = {
        "pairs": [stage.sampler._pair()[0] for _ in range(400)],
        "instances": notes[stage.sampler.rng.choice(len(notes), 400, p=stage.likelihood)].tolist(),
    }
    for what, indices in drawn.items():
        names = [table.shards[table.shard_of[index]].instrument for index in indices]
        assert 0.4 < names.count("dull") / (names.count("dull") + names.count("bright")) < 0.6, what


def test_several_targets_share_an_input_and_its_treatment(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    config = DataConfig(
        self_share=1.0,
        targets=3,
        mixture_probability=1.0,
        between_share=0.5,
        stretch_probability=0.7,
        harmonic_probability=0.7,
        noise_probability=0.0,
    )
    batch = PairSampler(table, config, seed=0).draw(24)
    assert batch.targets == 3
    assert batch.x.shape[0] == 8
    assert torch.allclose(batch.x.repeat_interleave(3, 0), batch.y, atol=1e-3)
    assert torch.equal(batch.p.repeat_interleave(3), batch.q)


STILL = DataConfig(
    self_share=0.0,
    unpitched_share=0.0,
    shift_probability=0.0,
    mixture_probability=0.0,
    equaliser_probability=0.0,
    fine_probability=0.0,
    envelope_probability=0.0,
    noise_probability=0.0,
)


def test_another_colour_of_the_harmonics_moves_with_the_pitch(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    flat, coloured = (
        PairSampler(table, replace(STILL, harmonic_probability=1.0, harmonic_db=spread_db), seed=3).draw(16)
        for spread_db in (0.0, 5.0)
    )
    octaves = np.linspace(0.5, 3.5, 13)  # above the fundamental
    compared = 0
    for index in np.flatnonzero(((flat.p - flat.q).abs() > 2.0) & (flat.p.maximum(flat.q) < 70.0)):
        curves = []
        for before, after, pitch in ((flat.x, coloured.x, flat.p), (flat.y, coloured.y, flat.q)):
            louder = (after[index] - before[index])[:, 20:40].median(1).values
            curves.append(np.interp(midi_to_hz(float(pitch[index])) * 2.0**octaves, mel_centres_hz(), louder))
        compared += 1
        apart = curves[0] - curves[1]  # but for one gain
        # where nothing sounds there is nothing to colour
        assert np.quantile(np.abs(apart - np.median(apart)), 0.75) < 0.15 * np.ptp(curves[0])
        assert np.ptp(curves[0]) > 0.05
    assert compared


def test_a_note_that_is_played_slower_lasts_longer_at_its_pitch(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    usual, played = (
        PairSampler(table, replace(STILL, stretch_probability=1.0, stretch=stretch), seed=3).draw(32)
        for stretch in (1.0, 2.0)
    )
    assert torch.equal(usual.p, played.p)
    loudness = [10.0 * torch.log10(level_to_power(batch.y).sum(1)) for batch in (usual, played)]
    lasting = [((each > each.amax(1, keepdim=True) - 30.0).sum(1)).float() for each in loudness]
    ended = lasting[0] < 0.45 * N_FRAMES
    factors = (lasting[1] / lasting[0])[ended]
    assert 0.45 < float(factors.min()) < 0.8
    assert 1.25 < float(factors.max()) < 2.2
    strongest = [batch.y[ended & batch.pitched].amax(2).argmax(1) for batch in (usual, played)]
    assert int((strongest[0] - strongest[1]).abs().max()) <= 1


def test_a_sound_between_two_lies_between_them(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    mixed = replace(STILL, self_share=1.0, mixture_probability=1.0)
    alone, together, between = (
        PairSampler(table, config, seed=3).draw(24).x
        for config in (STILL, replace(mixed, between_share=0.0), replace(mixed, between_share=1.0))
    )
    assert torch.isfinite(between).all()
    assert not torch.equal(alone, between)
    assert not torch.equal(together, between)
    assert torch.allclose(between.amax((1, 2)), torch.ones(24), atol=0.01)


def test_the_sampler_goes_on_from_its_state(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    first, second = PairSampler(table, DataConfig(), 1), PairSampler(table, DataConfig(), 2)
    first.draw(8)
    second.restore(first.state())
    assert torch.equal(first.draw(8).y, second.draw(8).y)


def test_unit_noise_averages_to_one() -> None:
    from hgs_cli.spectrum import MelConfig, mel_filters

    factors = NoiseTextureBank(mel_filters(MelConfig())).factors
    assert torch.allclose(factors.mean(1), torch.ones(N_MELS), atol=0.12)


def test_a_note_is_not_its_own_neighbour() -> None:
    features = torch.nn.functional.normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    neighbours = nearest_neighbours(features, 5)
    assert neighbours.shape == (50, 5)
    assert not (neighbours == torch.arange(50)[:, None]).any()


def test_a_perfect_reconstruction_costs_nothing() -> None:
    target = torch.rand(2, N_MELS, N_FRAMES)
    power = torch.pow(10.0, (target - 1.0) * 5.0)
    assert float(reconstruction_loss(power, torch.zeros_like(power), target)) < 1e-6
    assert float(reconstruction_loss(power * 10.0, torch.zeros_like(power), target)) == pytest.approx(0.2, abs=0.01)


def test_an_adversary_that_answers_with_the_prior_costs_nothing_and_a_sure_one_pulls_hardest() -> None:
    prior = torch.tensor([[0.5, 0.3, 0.2]])
    assert float(confusion_loss(prior.log(), prior)) == pytest.approx(0.0, abs=1e-6)
    pulls = []
    for sure in (1.0, 4.0):
        logits = torch.tensor([[sure, 0.0, 0.0]], requires_grad=True)
        confusion_loss(logits, prior).backward()
        assert logits.grad is not None
        pulls.append(float(logits.grad[0, 0]))
    assert 0.0 < pulls[0] < pulls[1]


def test_the_adversary_hears_values_that_hardly_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    key = torch.randint(40, 80, (256,), generator=generator)
    h = torch.randn(256, 8, generator=generator)
    h[:, 3] = 1e-3 * key / 60.0  # a thousandth of the others, and all of the pitch
    adversary = Adversary(8)
    adversary.remember(h, key)
    adam = torch.optim.Adam(adversary.layers.parameters(), lr=3e-3)
    for _ in range(150):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(adversary(h), key).backward()
        adam.step()
    named = adversary(h).argmax(1)
    assert adversary(h).shape == (256, N_PITCHES)
    assert float(((named - key).abs() <= 1).double().mean()) > 0.8


def test_what_an_instrument_says_of_its_keys_is_no_leak(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    prior = table.key_prior(N_PITCHES)
    assert prior.shape == (table.n_instruments + 1, N_PITCHES)
    assert np.allclose(prior.sum(1), 1.0, atol=1e-5)
    first = int(table.label_of_shard[table.shard_of[0]])
    assert prior[first, round(float(table.pitch[0]))] > prior[first].mean()


def test_the_relativistic_loss_falls_when_real_beats_fake() -> None:
    assert relativistic_loss(torch.tensor([3.0]), torch.tensor([-3.0])) < 0.01
    assert relativistic_loss(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("said", "expected"), [({"avx2": True}, False), ({"avx512_bf16": True}, True)])
def test_a_processor_without_bf16_trains_in_single_precision(
    said: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said)
    with autocast(torch.device("cpu")):
        made = torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3))
    assert (made.dtype == torch.bfloat16) is expected


def test_the_penalty_is_half_the_squared_slope() -> None:
    penalty = gradient_penalty(lambda x: 3.0 * x.sum((1, 2)), torch.zeros(2, 2, 5))
    assert float(penalty) == pytest.approx(0.5 * 9 * 10)


@pytest.mark.parametrize("name", [*STAGES, "detail"])
def test_trainable_parameters_get_gradients_and_frozen_ones_none(name: str, dataset: Path, quick: Path) -> None:
    model = build_model(tiny_config())
    for key, parameter in model.hypernetwork.named_parameters():  # H's last layers at zero hide what is before them
        if key.endswith("outputs.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    stage = ALL_STAGES[name](model, stage_config(name, quick), dataset, 0, torch.device("cpu"))
    stage.progress = 0.5
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimisers = {key: Optimiser(module, LoopConfig()) for key, module in stage.trained().items()}
    for optimiser in optimisers.values():
        optimiser.set_rate(1e-3)
    for _ in range(3):
        stage.step(optimisers)
    learns = {
        "warmup": ("feature_extractor", "generator"),
        "gan": ("generator",),
        "detail": ("detail_transfer",),
    }.get(name, ("hypernetwork", "feature_extractor"))
    for part, module in model.named_children():
        changed = [key for key, value in module.state_dict().items() if not torch.equal(value, before[f"{part}.{key}"])]
        assert bool(changed) == (part in learns), (part, changed)
    if "discriminator" in stage.extra_networks():
        assert all(p.grad is not None for p in stage.extra_networks()["discriminator"].parameters())


@pytest.mark.thorough
def test_forty_steps_on_little_data_lower_the_loss(dataset: Path, quick: Path, tmp_path: Path, tiny: Path) -> None:
    lines: list[dict[str, object]] = []
    quick.write_text(
        "[loop]\nbatch_size = 4\nwarmup_steps = 2\ntick_s = 0.0\nvalidation_batches = 1\nlearning_rate = 0.01\n"
    )
    loop.run_stage("warmup", options(dataset, tmp_path / "run", 40, quick, init=tiny), lines.append)
    losses = [float(line["reconstruction_db"]) for line in lines if "reconstruction_db" in line]  # type: ignore[arg-type]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("name", few_of(["warmup", "gan"], "warmup"))
def test_a_resumed_run_equals_an_uninterrupted_one(
    name: str, dataset: Path, quick: Path, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.run_stage(name, options(dataset, tmp_path / "whole", 6, quick, init=tiny))

    # The loop's own way of stopping early: a signal arrives while the third step runs.
    plain_step, taken = ALL_STAGES[name].step, []

    def step(stage: Stage, optimisers: dict[str, Optimiser]) -> dict[str, float]:
        taken.append(1)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGTERM)
        return plain_step(stage, optimisers)

    monkeypatch.setattr(ALL_STAGES[name], "step", step)
    loop.run_stage(name, options(dataset, tmp_path / "parts", 6, quick, init=tiny))
    assert load_checkpoint(tmp_path / "parts").step == 3
    loop.run_stage(name, options(dataset, tmp_path / "parts", 6, quick, init=tiny, resume=True))

    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert parts.step == whole.step == 6
    for key, value in whole.averaged.items():
        assert torch.equal(value, parts.averaged[key]), key
    for key, value in whole.model.items():
        assert torch.equal(value, parts.model[key]), key


def test_a_run_does_not_overwrite_another(dataset: Path, quick: Path, tmp_path: Path, tiny: Path) -> None:
    loop.run_stage("warmup", options(dataset, tmp_path / "run", 1, quick, init=tiny))
    with pytest.raises(TrainingError, match="--resume"):
        loop.run_stage("warmup", options(dataset, tmp_path / "run", 1, quick, init=tiny))
    with pytest.raises(TrainingError, match="stage warmup"):
        loop.run_stage("hyper", options(dataset, tmp_path / "run", 1, quick, init=tiny, resume=True))


def test_a_dry_run_writes_nothing(dataset: Path, quick: Path, tmp_path: Path, tiny: Path) -> None:
    said: list[dict[str, object]] = []
    loop.run_stage("warmup", options(dataset, tmp_path / "run", 1, quick, init=tiny, dry_run=True), said.append)
    assert not (tmp_path / "run").exists()
    assert said[0]["stage"] == "warmup"


def test_stages_follow_each_other_into_a_bundle(dataset: Path, quick: Path, tmp_path: Path, tiny: Path) -> None:
    init = tiny
    for name in STAGES:
        loop.run_stage(name, options(dataset, tmp_path / name, 1, quick, init=init))
        init = tmp_path / name
        assert ("discriminator" in load_checkpoint(init).networks) == (name != "warmup")  # D waits while H learns alone
    loop.run_stage("detail", options(dataset, tmp_path / "detail", 2, quick, init=tmp_path / "warmup"))
    bundle = tmp_path / "weights" / "hgs.safetensors"
    export_bundle(tmp_path / "hyper-gan", bundle, "0.0.1", passes=3, detail=[tmp_path / "detail"])
    released = load_model(tmp_path / "weights" / "hgs.safetensors", "cpu").network
    trained = load_checkpoint(tmp_path / "hyper-gan").averaged
    carrier = load_checkpoint(tmp_path / "detail").averaged
    for key, value in released.state_dict().items():
        origin = carrier if key.startswith("detail_transfer.") else trained
        assert torch.allclose(value.float(), origin[key], atol=2e-3, rtol=2e-3), key
    assert not torch.equal(carrier["detail_transfer.stem.weight"], trained["detail_transfer.stem.weight"])
    two = [tmp_path / "detail", tmp_path / "hyper-gan"]
    export_bundle(tmp_path / "hyper-gan", tmp_path / "mean.safetensors", "0.0.1", detail=two)
    mean = load_model(tmp_path / "mean.safetensors", "cpu").network.detail_transfer.state_dict()
    for key, value in mean.items():
        both = 0.5 * (carrier[f"detail_transfer.{key}"] + trained[f"detail_transfer.{key}"])
        assert torch.allclose(value.float(), both, atol=2e-3, rtol=2e-3), key
    again, networks = checkpoints.initial_model(tmp_path / "weights" / "hgs.safetensors", 0)
    assert "discriminator" in networks
    assert again.config == released.config
    assert released.config.hypernetwork.n_passes == 3


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for text, said in (
        ("colour = 3", "unknown setting colour"),
        ("[loop]\nbatch_size = 0.5", "whole number"),
        ("loop = 3", "table"),
        ("reconstruction = 'much'", "number"),
        ("[", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(TrainingError, match=said):
            stage_config("warmup", path)
    with pytest.raises(TrainingError, match="unknown stage"):
        stage_config("cooldown")
    path.write_text("reconstruction = 3\n[loop]\nbatch_size = 7\n")
    assert stage_config("warmup", path).loop.batch_size == 7
    assert set(STAGE_CONFIGS) == set(ALL_STAGES)


def test_a_run_needs_one_kind_of_budget(dataset: Path, tmp_path: Path) -> None:
    for budget_s, steps in ((None, None), (1.0, 1)):
        with pytest.raises(TrainingError, match="--budget or --steps"):
            loop.run_stage("warmup", loop.RunOptions(dataset, tmp_path, budget_s=budget_s, steps=steps))


def test_broken_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_a_run_of_other_networks_is_named(dataset: Path, quick: Path, tmp_path: Path, tiny: Path) -> None:
    loop.run_stage("warmup", options(dataset, tmp_path / "run", 1, quick, init=tiny))
    checkpoint = load_checkpoint(tmp_path / "run")
    del checkpoint.config["detail_transfer"]
    checkpoints.save_checkpoint(tmp_path / "old", checkpoint)
    with pytest.raises(TrainingError, match="another version"):
        checkpoints.initial_model(tmp_path / "old", 0)


@pytest.mark.skipif(
    not soundfont.DEBIAN_SOUNDFONTS[0][0].exists(), reason="Debian's fluid-soundfont-gm is not installed"
)
def test_a_soundfont_plays_the_notes_it_is_asked_for() -> None:
    pytest.importorskip("fluidsynth", reason="the train extra is not installed")
    path = soundfont.DEBIAN_SOUNDFONTS[0][0]
    presets = {(preset.bank, preset.program): preset for preset in soundfont.read_presets(path)}
    assert len(presets) > 100
    renderer = soundfont.Renderer(path)
    renderer.select(presets[0, 0])
    for key in (48, 60, 72):
        measured = verify_pitch(torch.from_numpy(renderer.render(key, 100)), key)
        assert measured is not None
        assert abs(measured - key) < 0.3
    renderer.close()
