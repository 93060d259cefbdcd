"""NSynth: its published layout becomes a data set, and what its 16 kHz files cannot say changes no loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import Run
from safetensors.torch import load_file, save_file

from hgs_cli.errors import TrainingError
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.spectrum import N_BANDS, N_FRAMES, N_MELS, N_STEPS, SAMPLE_RATE
from hgs_cli.training.bandwidth import (
    FLOOR_LEVEL,
    FULL_BANDWIDTH_HZ,
    file_bandwidth_hz,
    known_bands,
    mask_above,
)
from hgs_cli.training.batches import PairSampler
from hgs_cli.training.config import DataConfig, stage_config
from hgs_cli.training.data import build_dataset
from hgs_cli.training.loop import RunOptions, run_stage
from hgs_cli.training.losses import periodicity_loss, reconstruction_loss
from hgs_cli.training.notes import Batch, NoteTable
from hgs_cli.training.nsynth import Choice, is_validation, read_instruments
from hgs_cli.training.shards import read_index, read_shard
from hgs_cli.training.stage import Optimiser
from hgs_cli.training.stages import ALL_STAGES
from hgs_cli.training.transfer import aligned_distance, level_loss, movement_loss

RATE_HZ = 16_000
STAGES = ["warmup", "gan", "hyper", "hyper-gan", "pitch-gan", "encoder", "mel-hyper"]


def tone(pitch: float, rate_hz: int, brightness: float = 0.7, seconds: float = 1.5) -> np.ndarray:
    """A note with all harmonics that fit under half the rate, (T,)."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    f0_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    waves = [brightness**k * np.sin(2 * np.pi * k * f0_hz * time_s) for k in range(1, 60) if k * f0_hz < 0.48 * rate_hz]
    samples: np.ndarray = 0.3 * np.sum(waves, axis=0) * np.exp(-1.5 * time_s)
    return samples.astype(np.float32)


def write_nsynth(folder: Path, instruments: dict[str, tuple[str, float]], pitches: tuple[int, ...]) -> None:
    """Notes in the published layout: instrument → (source, brightness)."""
    (folder / "audio").mkdir(parents=True)
    examples: dict[str, dict[str, Any]] = {}
    for instrument, (source, brightness) in instruments.items():
        for pitch in pitches:
            for velocity in (50, 100):
                note = f"{instrument}-{pitch:03d}-{velocity:03d}"
                soundfile.write(folder / "audio" / f"{note}.wav", tone(pitch, RATE_HZ, brightness), RATE_HZ)
                examples[note] = {
                    "note": len(examples), "note_str": note, "instrument": 0, "instrument_str": instrument,
                    "pitch": pitch, "velocity": velocity, "sample_rate": RATE_HZ, "qualities": [0] * 10,
                    "qualities_str": [], "instrument_family": 4, "instrument_family_str": instrument.split("_")[0],
                    "instrument_source": 0, "instrument_source_str": source,
                }  # fmt: skip
    (folder / "examples.json").write_text(json.dumps(examples))


@pytest.fixture(scope="session")
def nsynth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NSynth's three folders, with a few notes each; one note says another pitch than it sounds, one is silent."""
    root = tmp_path_factory.mktemp("nsynth")
    learned = {"keyboard_acoustic_000": ("acoustic", 0.6), "bass_synthetic_001": ("synthetic", 0.85)}
    write_nsynth(root / "nsynth-train", learned, (36, 48, 60))
    write_nsynth(root / "nsynth-valid", {"reed_acoustic_002": ("acoustic", 0.7)}, (48, 55))
    write_nsynth(root / "nsynth-test", {"reed_acoustic_002": ("acoustic", 0.7)}, (60,))
    audio = root / "nsynth-train" / "audio"
    soundfile.write(audio / "keyboard_acoustic_000-060-050.wav", tone(64, RATE_HZ), RATE_HZ)
    soundfile.write(audio / "keyboard_acoustic_000-060-100.wav", np.zeros(2 * RATE_HZ), RATE_HZ)
    return root


def folders(root: Path) -> list[Path]:
    return [root / f"nsynth-{part}" for part in ("train", "valid", "test")]


@pytest.fixture(scope="session")
def dataset(nsynth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    build_dataset(out, [], soundfonts=[], workers=1, nsynth=Choice(folders(nsynth)))
    return out


def batch_of(dataset: Path, size: int = 8, **settings: float) -> Batch:
    table = NoteTable(dataset, validation=False)
    return PairSampler(table, DataConfig(noise_probability=1.0, **settings), seed=0).draw(size)  # type: ignore[arg-type]


def test_every_instrument_becomes_a_shard_on_its_side_of_the_split(dataset: Path) -> None:
    shards = {shard.name: shard for shard in read_index(dataset)}
    assert {name: shard.validation for name, shard in shards.items()} == {
        "nsynth-keyboard_acoustic_000": False,
        "nsynth-bass_synthetic_001": False,
        "nsynth-reed_acoustic_002": True,
    }
    assert shards["nsynth-reed_acoustic_002"].n_notes == 6  # of both folders
    keyboard = shards["nsynth-keyboard_acoustic_000"]
    assert (keyboard.family, keyboard.pitched, keyboard.licence) == ("keyboard", True, "CC-BY-4.0")


def test_notes_without_the_pitch_they_should_have_are_dropped_and_counted(dataset: Path) -> None:
    shards = {shard.name: shard for shard in read_index(dataset)}
    keyboard = shards["nsynth-keyboard_acoustic_000"]
    assert (keyboard.n_notes, keyboard.n_dropped) == (4, 2)
    tensors = read_shard(dataset, keyboard)
    assert tensors["pitch"].tolist() == pytest.approx([36, 36, 48, 48], abs=0.05)
    assert tensors["velocity"].tolist() == [50, 100, 50, 100]


def test_sources_and_pitches_can_be_chosen(nsynth: Path) -> None:
    chosen = read_instruments(Choice(folders(nsynth), ("acoustic",), frozenset({48, 60})))
    assert [instrument.name for instrument in chosen] == ["keyboard_acoustic_000", "reed_acoustic_002"]
    assert {example.pitch for instrument in chosen for example in instrument.examples} == {48, 60}
    with pytest.raises(TrainingError, match="no note of NSynth is left"):
        read_instruments(Choice(folders(nsynth), ("electronic",)))


def test_the_side_of_the_split_is_the_name_of_the_folder(nsynth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_validation(folder) for folder in folders(nsynth)] == [False, True, True]
    monkeypatch.chdir(nsynth / "nsynth-valid")
    assert is_validation(Path())


def test_what_is_no_nsynth_is_named(nsynth: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"examples\.json cannot be read"):
        read_instruments(Choice([tmp_path]))
    for text, said in (
        ("{", "is not JSON"),
        ("[]", "does not map note names"),
        ('{"note": {"pitch": 60}}', "is wrong about note"),
    ):
        (tmp_path / "examples.json").write_text(text)
        with pytest.raises(TrainingError, match=said):
            read_instruments(Choice([tmp_path]))
    facts = json.loads((nsynth / "nsynth-test" / "examples.json").read_text())
    (tmp_path / "examples.json").write_text(json.dumps(facts))  # the same instruments, in a folder that trains
    with pytest.raises(TrainingError, match="in a training and in a validation folder"):
        read_instruments(Choice([nsynth / "nsynth-test", tmp_path]))
    with pytest.raises(TrainingError, match="cannot be read as sound"):
        build_dataset(tmp_path / "out", [], soundfonts=[], workers=1, nsynth=Choice([tmp_path]))
    first = next(iter(facts))
    (tmp_path / "examples.json").write_text(json.dumps({first: {**facts[first], "instrument_str": "../away"}}))
    with pytest.raises(TrainingError, match="a path for a name"):
        read_instruments(Choice([tmp_path]))


def test_the_command_builds_a_data_set_of_nsynth_alone(nsynth: Path, hgs: Run, tmp_path: Path) -> None:
    named = [option for folder in folders(nsynth) for option in ("--nsynth", folder)]
    chosen = ["--no-soundfonts", "--nsynth-source", "acoustic", "--nsynth-pitches", "48-60", "--workers", "1"]
    done = hgs("train", "data", tmp_path / "out", *named, *chosen)
    assert done.code == 0, done.err
    assert "2 instruments, 8 notes" in done.err
    assert "2 without their pitch" in done.err
    assert {shard.instrument for shard in read_index(tmp_path / "out")} == {
        "keyboard_acoustic_000",
        "reed_acoustic_002",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-soundfonts"], "nothing to build from"),
        (["--no-soundfonts", "--soundfont", "a.sf2"], "contradict"),
        (["--nsynth-source", "acoustic"], "give --nsynth"),
        (["--nsynth", "here", "--nsynth-pitches", "24-200"], "outside the MIDI range"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options: list[str], said: str, hgs: Run) -> None:
    done = hgs("train", "data", "out", *options)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_the_bandwidth_of_a_file_comes_from_its_sample_rate(dataset: Path) -> None:
    assert file_bandwidth_hz(SAMPLE_RATE) == file_bandwidth_hz(96_000) == FULL_BANDWIDTH_HZ
    assert 7000.0 <= file_bandwidth_hz(RATE_HZ) < 8000.0
    for shard in read_index(dataset):
        assert set(read_shard(dataset, shard)["bandwidth_hz"].tolist()) == {file_bandwidth_hz(RATE_HZ)}


def test_only_bands_that_reach_above_the_bandwidth_are_masked() -> None:
    bandwidths_hz = torch.tensor([FULL_BANDWIDTH_HZ, 7200.0])
    known = known_bands(bandwidths_hz)
    assert bool(known[0].all())
    assert 60 < int(known[1].sum()) < N_MELS
    assert bool((known[1].int().diff() <= 0).all())
    coarse = known_bands(bandwidths_hz, N_BANDS)
    assert torch.equal(coarse, known.reshape(2, N_BANDS, -1).all(2))
    x = torch.rand(2, N_MELS, N_FRAMES)
    masked = mask_above(x, bandwidths_hz)
    assert torch.equal(masked[0], x[0])
    assert bool((masked[1][~known[1]] == FLOOR_LEVEL).all())
    assert torch.equal(masked[1][known[1]], x[1][known[1]])


def test_a_shard_without_bandwidths_is_full_band(dataset: Path, tmp_path: Path) -> None:
    shard = read_index(dataset)[0]
    tensors = load_file(dataset / f"{shard.name}.safetensors")
    del tensors["bandwidth_hz"]
    save_file(tensors, tmp_path / f"{shard.name}.safetensors")
    read = read_shard(tmp_path, shard)
    assert read["bandwidth_hz"].tolist() == [FULL_BANDWIDTH_HZ] * shard.n_notes


def test_a_batch_holds_nothing_above_its_bandwidth(dataset: Path) -> None:
    batch = batch_of(dataset, targets=2, mixture_probability=1.0)
    assert batch.bandwidth_hz.shape == (8,)
    assert batch.input_bandwidth_hz.shape == (4,)
    for mel, known in ((batch.x, known_bands(batch.input_bandwidth_hz)), (batch.y, known_bands(batch.bandwidth_hz))):
        unknown = ~known[:, :, None].expand_as(mel)
        assert bool((mel[unknown] == FLOOR_LEVEL).all())  # not even the noise floor that was added to both
        assert bool((mel[~unknown] > FLOOR_LEVEL).any())


def test_a_pair_is_as_narrow_as_its_narrower_note(nsynth: Path, tmp_path: Path) -> None:
    """One instrument whose notes come from files of two rates."""
    entries = []
    for key, rate_hz in ((48, SAMPLE_RATE), (60, RATE_HZ)):
        soundfile.write(tmp_path / f"{key}.wav", tone(key, rate_hz), rate_hz)
        entries.append(
            {"file": f"{key}.wav", "instrument": "two-rates", "family": "test", "pitched": True,
             "midi_measured": float(key), "dynamic": "loud", "licence": "CC0-1.0"}
        )  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entries}))
    build_dataset(tmp_path / "data", [tmp_path], soundfonts=[], workers=1)
    table = NoteTable(tmp_path / "data", validation=False)
    assert sorted(table.bandwidth_hz.tolist()) == pytest.approx([7200.0, FULL_BANDWIDTH_HZ])
    batch = PairSampler(table, DataConfig(mixture_probability=0.0, self_share=0.5, shift_probability=0.0), seed=0).draw(
        32
    )
    both_low = (batch.p.round() == 48) & (batch.q.round() == 48)
    expected = torch.where(both_low, FULL_BANDWIDTH_HZ, 7200.0)
    assert 0 < int(both_low.sum()) < 32
    assert torch.equal(batch.bandwidth_hz, expected)


def losses(harmonic: torch.Tensor, noise: torch.Tensor, batch: Batch, **bandwidth: torch.Tensor) -> list[torch.Tensor]:
    """Every loss that holds a result to data."""
    reconstruction = reconstruction_loss(harmonic, noise, batch.y, **bandwidth)
    periodicity = periodicity_loss(harmonic, noise, batch.periodicity, batch.pitched, **bandwidth)
    everywhere = torch.full_like(batch.bandwidth_hz, FULL_BANDWIDTH_HZ)
    bandwidth_hz = bandwidth.get("bandwidth_hz", everywhere)
    distance, _ = aligned_distance(harmonic, noise, batch.y, bandwidth.get("bandwidth_hz"))
    movement = movement_loss(harmonic + noise, batch.y, bandwidth_hz)
    level = level_loss(harmonic + noise, batch.y, bandwidth_hz)
    return [reconstruction, periodicity, distance.mean(), movement, level]


def test_full_band_losses_are_what_they_are_without_bandwidths(dataset: Path) -> None:
    batch = batch_of(dataset)
    full = torch.full_like(batch.bandwidth_hz, FULL_BANDWIDTH_HZ)
    gradients, values = [], []
    for bandwidth in ({}, {"bandwidth_hz": full}):
        harmonic = torch.rand(8, N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
        noise = torch.rand(8, N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(1))
        found = losses(harmonic, noise, batch, **bandwidth)
        torch.stack(found).sum().backward()  # type: ignore[no-untyped-call]
        values.append(torch.stack(found).detach())
        gradients.append(harmonic.grad)
    assert torch.equal(values[0], values[1])
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])


def test_what_lies_above_the_bandwidth_changes_no_loss_and_gets_no_gradient(dataset: Path) -> None:
    batch = batch_of(dataset)
    unknown = ~known_bands(batch.bandwidth_hz)[:, :, None]
    unknown_coarse = ~known_bands(batch.bandwidth_hz, N_BANDS)[:, :, None]
    generator = torch.Generator().manual_seed(0)
    # Loud: above everything that is known, where the losses look for the peak.
    louder = torch.where(unknown, 1.0 + torch.rand(batch.y.shape, generator=generator), batch.y)
    other = torch.rand(8, N_BANDS, N_STEPS, generator=generator)
    changed = replace(batch, y=louder, periodicity=torch.where(unknown_coarse, other, batch.periodicity))
    harmonic = torch.rand(8, N_MELS, N_FRAMES, generator=generator).requires_grad_(True)
    noise = torch.rand(8, N_MELS, N_FRAMES, generator=generator)
    bandwidth = {"bandwidth_hz": batch.bandwidth_hz}
    before = losses(harmonic, noise, batch, **bandwidth)
    torch.stack(before).sum().backward()  # type: ignore[no-untyped-call]
    assert harmonic.grad is not None
    assert bool((harmonic.grad[unknown.expand_as(harmonic)] == 0.0).all())
    assert bool((harmonic.grad[~unknown.expand_as(harmonic)] != 0.0).any())
    after = losses(harmonic, noise, changed, **bandwidth)
    shouting = torch.where(unknown, 1e3, harmonic.detach())
    loud = losses(shouting, noise, batch, **bandwidth)
    names = ("reconstruction", "periodicity", "distance", "movement", "level")
    for name, first, second, third in zip(names, before, after, loud, strict=True):
        assert torch.equal(first, second), name
        assert torch.equal(first, third), name
    with_all = losses(harmonic, noise, changed)
    assert not any(torch.equal(first, second) for first, second in zip(before, with_all, strict=True))


def shouting_above(envelopes: Envelopes) -> Envelopes:
    """The same with a full-scale noise in the upper bands, which no 16 kHz file knows of."""
    above = torch.arange(N_MELS) >= 110
    return Envelopes(envelopes.harmonic, torch.where(above[:, None], 1.0, envelopes.noise_part))


@pytest.mark.thorough  # the losses themselves are deaf there: the test above
@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_deaf_above_the_bandwidth(
    name: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps, two models: one of them generates noise up there. Losses and figures are the same."""
    config = tmp_path / "quick.toml"
    config.write_text("[loop]\nbatch_size = 4\nwarmup_steps = 2\nvalidation_batches = 2\n")
    plain_forward = type(build_model(tiny_config()).generator).forward
    found = []
    for shouts in (False, True):
        model = build_model(tiny_config())
        for key, parameter in model.hypernetwork.named_parameters():
            if key.endswith("outputs.weight"):
                torch.nn.init.constant_(parameter, 0.02)

        def forward(self: Any, *given: Any, loud: bool = shouts, **named: Any) -> Envelopes:
            made = plain_forward(self, *given, **named)
            return shouting_above(made) if loud else made

        monkeypatch.setattr(type(model.generator), "forward", forward)
        torch.manual_seed(0)
        stage = ALL_STAGES[name](model, stage_config(name, config), dataset, 0, torch.device("cpu"))
        stage.progress = 0.5
        if hasattr(stage, "n_steps"):
            stage.n_steps = 6  # the second step is one with penalties
        # The smoothness of the envelopes is asked for everywhere; it is the one term that no data enter.
        for module in ("warmup", "adversarial", "compare"):
            monkeypatch.setattr(
                f"hgs_cli.training.{module}.smoothness_loss", lambda envelopes: envelopes.harmonic.mean()
            )
        optimisers = {key: Optimiser(module, stage.loop) for key, module in stage.trained().items()}
        for optimiser in optimisers.values():
            optimiser.set_rate(1e-3)
        figures = [stage.step(optimisers) for _ in range(2)]
        found.append((figures, stage.validate()))
    assert found[0] == found[1]
    assert all(np.isfinite(value) for figures in found[0][0] for value in figures.values())


def test_the_warm_up_is_held_to_nothing_above_the_bandwidth(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text("[loop]\nbatch_size = 4\n")
    found = []
    for loud in (False, True):
        torch.manual_seed(0)
        stage = ALL_STAGES["warmup"](
            build_model(tiny_config()), stage_config("warmup", config), dataset, 0, torch.device("cpu")
        )
        batch = stage.draw()
        if loud:
            unknown = ~known_bands(batch.bandwidth_hz)[:, :, None]
            batch = replace(batch, y=torch.where(unknown, 1.0, batch.y))
        stage.draw = lambda drawn=batch: drawn  # type: ignore[method-assign, misc]
        found.append(stage.step({key: Optimiser(module, stage.loop) for key, module in stage.trained().items()}))
    assert found[0] == found[1]


@pytest.mark.thorough
def test_all_stages_train_on_nsynth_one_after_the_other(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text("[loop]\nbatch_size = 4\nwarmup_steps = 2\nvalidation_batches = 2\n")
    init = tmp_path / "tiny.safetensors"
    save_bundle(init, build_model(tiny_config()), "0")
    for name in ("warmup", "gan", "hyper", "hyper-gan"):
        figures = run_stage(name, RunOptions(data=dataset, out=tmp_path / name, steps=1, config=config, init=init))
        assert all(np.isfinite(value) for value in figures.values())
        init = tmp_path / name
