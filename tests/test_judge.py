"""The judge: it learns real notes, is read back as it was written, and its distance is the one of the books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, Run
from safetensors.torch import load_file, save_file
from sounds import harmonics

from hgs_cli.audio.mel import LogMel
from hgs_cli.errors import TrainingError, WeightsError
from hgs_cli.evaluation.measures import frechet
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.pitch_classifier import PitchClassifier, PitchClassifierSizes
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.spectrum import N_FRAMES, N_MELS, SAMPLE_RATE
from hgs_cli.training.data import build_dataset
from hgs_cli.training.judge import (
    JUDGE_NAME,
    Judging,
    export_judge,
    held_out_notes,
    load_judge,
    save_judge,
    soft_pitch_target,
)
from hgs_cli.training.loop import RunOptions, run_stage
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.transposition import transpose_level

RELEASED_JUDGE = ROOT / "weights" / "train" / JUDGE_NAME
SMALL = PitchClassifierSizes(channels=(4, 4, 4), narrow=4, feature_dim=8)


def note(pitch: float, brightness: float = 0.7, seconds: float = 3.0, every: int = 1) -> torch.Tensor:
    """A decaying tone of every or every second harmonic, falling by one factor, (T,)."""
    return 0.3 * harmonics(pitch, seconds, lambda k: brightness**k if k % every == 1 % every else 0.0, 59, decay=1.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made instruments at every second key; the trumpet is on the validation side."""
    folder, out = tmp_path_factory.mktemp("recordings"), tmp_path_factory.mktemp("data")
    entries = []
    for instrument, brightness, every in (("hollow", 0.8, 2), ("full", 0.8, 1), ("trumpet", 0.7, 1)):
        for key in range(50, 74, 2):
            name = f"{instrument}_{key}.wav"
            soundfile.write(folder / name, note(key, brightness, 1.5, every).numpy(), SAMPLE_RATE)
            entries.append(
                {
                    "file": name, "instrument": instrument, "family": "test", "pitched": True,
                    "midi_measured": float(key), "dynamic": "loud", "licence": "CC0-1.0",
                }
            )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    build_dataset(out, [folder], soundfonts=[], workers=1)
    return out


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """The stage with a judge small enough to test with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Judging, "sizes", PitchClassifierSizes(channels=(8, 8, 8), narrow=8, feature_dim=16))
        yield


def train(dataset: Path, folder: Path, steps: int) -> Path:
    """A run of the judge's stage."""
    save_bundle(folder / "tiny.safetensors", build_model(tiny_config()), "0")
    settings = folder / "quick.toml"
    settings.write_text("[loop]\nbatch_size = 16\nwarmup_steps = 5\nlearning_rate = 0.01\ntick_s = 0.0\n")
    options = RunOptions(dataset, folder / "out", steps=steps, init=folder / "tiny.safetensors", config=settings)
    run_stage("judge", options)
    return folder / "out"


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    return train(dataset, tmp_path_factory.mktemp("run"), 2)


@pytest.mark.thorough
def test_the_judge_learns_pitch_and_instrument_of_real_notes(dataset: Path, tmp_path: Path) -> None:
    run = train(dataset, tmp_path, 40)
    *lines, last = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert np.mean([line["pitch"] for line in lines[-5:]]) < 0.7 * np.mean([line["pitch"] for line in lines[:5]])
    assert np.mean([line["instrument_accuracy"] for line in lines[-10:]]) > 0.6  # of two
    assert last["validation_near"] > 3 / 12  # more than one answer for all can reach


@pytest.mark.thorough
def test_a_run_becomes_a_judge_that_tells_its_accuracy(run: Path, dataset: Path, tmp_path: Path) -> None:
    accuracy = export_judge(run, dataset, tmp_path / JUDGE_NAME)
    judge = load_judge(tmp_path / JUDGE_NAME)
    assert judge.accuracy == accuracy
    assert judge.instruments == ("full", "hollow")
    assert accuracy["validation_notes"] == 12.0
    assert accuracy["held_out_notes"] == 2.0  # a tenth of twelve keys of two instruments
    assert 0.0 <= accuracy["validation"] <= accuracy["validation_near"] <= 1.0
    assert judge.features(torch.zeros(3, N_MELS, N_FRAMES)).shape == (3, judge.feature_dim)


@pytest.mark.thorough
def test_hgs_train_export_writes_a_judge(hgs: Run, run: Path, dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "made" / JUDGE_NAME
    assert hgs("train", "export", run, path, "--judge", dataset).lines == [str(path)]
    assert load_judge(path).accuracy["validation_notes"] == 12.0
    for wrong in (["--version", "1"], ["--passes", "2"]):
        refused = hgs("train", "export", run, path, "--judge", dataset, "--force", *wrong)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert hgs("train", "export", run, tmp_path / "b.safetensors").code == 2


@pytest.mark.thorough
def test_a_run_of_another_stage_is_no_judge(dataset: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "tiny.safetensors", build_model(tiny_config()), "0")
    settings = tmp_path / "quick.toml"
    settings.write_text("[loop]\nbatch_size = 2\nvalidation_batches = 2\n")
    run_stage(
        "warmup", RunOptions(dataset, tmp_path / "out", steps=1, init=tmp_path / "tiny.safetensors", config=settings)
    )
    with pytest.raises(TrainingError, match="stage warmup, not of judge"):
        export_judge(tmp_path / "out", dataset, tmp_path / JUDGE_NAME)


@pytest.mark.thorough
def test_notes_held_out_are_whole_keys_of_each_instrument(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    label = table.label_of_shard[table.shard_of]
    # The same keys a second time, as another velocity would have them.
    twice, pitch = np.concatenate([label, label]), np.concatenate([table.pitch, table.pitch])
    held = held_out_notes(twice, pitch)
    assert np.array_equal(held[: len(label)], held[len(label) :])
    assert [held[: len(label)][label == one].sum() for one in (0, 1)] == [1, 1]
    assert not held_out_notes(np.zeros(3, dtype=np.int64), np.full(3, np.nan, dtype=np.float32)).any()


def test_a_judge_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    judge = PitchClassifier(SMALL, ("a", "b")).eval()
    judge.accuracy = {"validation": 0.5}
    save_judge(tmp_path / "judge.safetensors", judge)
    again = load_judge(tmp_path / "judge.safetensors")
    assert (again.sizes, again.instruments, again.accuracy) == (judge.sizes, judge.instruments, judge.accuracy)
    x = torch.rand(2, N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(again.features(x), judge.features(x), atol=1e-2)


def test_broken_judges_are_named_in_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_judge(good, PitchClassifier(SMALL, ("a", "b")))
    tensors = load_file(good)
    header = {
        "format": "hgs-judge",
        "format_version": 1,
        "sizes": {"channels": [4, 4, 4], "narrow": 4, "feature_dim": 9},
    }
    wrong = {**header, "instruments": ["a", "b"], "accuracy": {}}
    for name, metadata, said in (
        ("sizes", wrong, "do not fit"),
        ("version", {**wrong, "format_version": 2}, "format 2"),
        ("bundle", {**wrong, "format": "hgs-weights"}, "not a judge"),
        ("header", header, "not a judge"),
    ):
        save_file(tensors, tmp_path / name, metadata={"hgs": json.dumps(metadata)})
        with pytest.raises(WeightsError, match=said) as caught:
            load_judge(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "text").write_text("no judge")
    with pytest.raises(WeightsError, match="not a judge"):
        load_judge(tmp_path / "text")
    with pytest.raises(WeightsError, match="no judge"):
        load_judge(tmp_path / "absent")


@pytest.mark.parametrize(("pitch", "semitones"), [(45.0, 1.0), (60.0, 1.0), (60.0, -2.0), (80.0, 2.0)])
def test_a_note_moved_along_frequency_is_nearly_the_note_at_that_pitch(pitch: float, semitones: float) -> None:
    log_mel = LogMel()
    here, there = log_mel(note(pitch)[None]), log_mel(note(pitch + semitones)[None])
    moved = transpose_level(here, torch.tensor([semitones]))
    assert float((moved - there).abs().mean()) < 0.3 * float((here - there).abs().mean())
    assert torch.equal(transpose_level(here, torch.zeros(1)), here)


def test_a_pitch_between_two_notes_is_shared_by_both() -> None:
    target = soft_pitch_target(torch.tensor([60.0, 60.25, 126.9]), 0.0)
    assert target[0].argmax() == 60
    assert target[1, 60:62].tolist() == [0.75, 0.25]
    assert target[2, 127].item() == pytest.approx(0.9, abs=1e-4)
    assert torch.allclose(soft_pitch_target(torch.tensor([60.3]), 0.1).sum(1), torch.ones(1))


def test_the_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    b = torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    # Whitened by their own moments, so that the closed form holds exactly and not only on average.
    a, b = [(x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T for x in (a, b)]
    scale, shift = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([1.0, 0.0, -2.0]).double()
    expected = float(shift.square().sum() + (scale - 1.0).square().sum())
    assert frechet(a, b * scale + shift) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-9)
    # Covariances that do not commute: Tr(A + B - 2 (A^½ B A^½)^½).
    mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.2, 0.0, 2.0]]).double()
    first, second = torch.diag(scale.square()), mix @ mix.T
    root = torch.diag(scale)
    values = torch.linalg.eigvalsh(root @ second @ root)
    expected = float(first.trace() + second.trace() - 2 * values.sqrt().sum())
    assert frechet(a * scale, b @ mix.T) == pytest.approx(expected, rel=1e-9)


def test_too_few_features_have_no_frechet_distance() -> None:
    with pytest.raises(ValueError, match="are needed"):
        frechet(torch.randn(7, 4), torch.randn(100, 4))


@pytest.mark.skipif(not RELEASED_JUDGE.is_file(), reason="this checkout has no released judge")
def test_the_released_judge_hears_pitch() -> None:
    judge = load_judge(RELEASED_JUDGE)
    assert RELEASED_JUDGE.stat().st_size <= 2_000_000
    assert sum(parameter.numel() for parameter in judge.parameters()) <= 1_000_000
    assert judge.feature_dim <= 128
    x = LogMel()(torch.stack([note(key) for key in (50, 57, 61, 70)]))
    x = x - x.amax((1, 2), keepdim=True) + 1.0
    named = judge.pitch_logits(judge.features(x.clamp_min(-1.0))).argmax(1)
    assert named.tolist() == [50, 57, 61, 70]
