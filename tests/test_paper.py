"""The paper's table: every baseline plays the same notes, and the figures tell them apart."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Run

from hgs_cli.errors import TrainingError
from hgs_cli.evaluation.baselines import (
    GANSTRUMENT,
    HYPERGANSTRUMENT,
    RUNS,
    Heard,
    HyperGANStrumentBaseline,
    PitchGanBaseline,
    open_baselines,
)
from hgs_cli.evaluation.missing_runs import RECIPES, UNFINISHED, missing_runs
from hgs_cli.evaluation.overlap import overlap_section
from hgs_cli.evaluation.paper import PaperRules, draw_notes, paper_table
from hgs_cli.evaluation.paper_result import TASKS
from hgs_cli.models.hyperganstrument import HyperGANStrument, tiny_config
from hgs_cli.models.pitch_classifier import PitchClassifier, PitchClassifierSizes
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.training import loop
from hgs_cli.training.data import build_dataset
from hgs_cli.training.judge import JUDGE_NAME, save_judge
from hgs_cli.training.notes import NoteTable

QUICK = "[loop]\nbatch_size = 4\nwarmup_steps = 1\nvalidation_batches = 1\n"


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs that the table compares with, of a few steps each."""
    folder = tmp_path_factory.mktemp("runs")
    tiny = folder / "tiny.safetensors"
    save_bundle(tiny, build_model(tiny_config()), "0")
    config = folder / "quick.toml"
    config.write_text("[loop]\nbatch_size = 4\nwarmup_steps = 1\nvalidation_batches = 1\n")
    unprojected = folder / "unprojected.toml"
    unprojected.write_text("projection = 0\n" + config.read_text())
    for stage, name, init, settings in (
        ("pitch-gan", "pitch-gan", tiny, config),
        ("encoder", "encoder", folder / "pitch-gan", config),
        ("mel-hyper", "mel-hyper", tiny, config),
        ("hyper", "hyper", tiny, config),
        ("hyper-gan", "no-projection", folder / "hyper", unprojected),
    ):
        loop.run_stage(stage, loop.RunOptions(dataset, folder / name, steps=2, init=init, config=settings))
    return folder


@pytest.fixture
def network() -> HyperGANStrument:
    """A tiny model whose H changes something."""
    network = build_model(tiny_config(), seed=1).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in network.hypernetwork.named_parameters():
        if "outputs" in name:
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture
def judge() -> PitchClassifier:
    judge = PitchClassifier(PitchClassifierSizes(channels=(4, 4, 4, 4), narrow=2, feature_dim=8), ["dull", "bright"])
    judge.accuracy = {"held_out": 0.5, "validation": 0.25}
    return judge.eval().requires_grad_(False)


def sounds(dataset: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-mels, pitches and known bands of a few notes."""
    table = NoteTable(dataset, validation=False)
    notes = draw_notes(table, 4, 0).inputs
    x = table.mel[notes].float() * 0.01 - 1.5
    return x, torch.from_numpy(table.pitch[notes]), torch.ones(4, 128, dtype=torch.bool)


def test_notes_are_drawn_with_another_note_of_the_same_instrument(dataset: Path) -> None:
    table = NoteTable(dataset, validation=False)
    draw = draw_notes(table, 40, seed=0)
    assert draw == draw_notes(table, 40, seed=0)
    assert draw != draw_notes(table, 40, seed=1)
    for first, second in zip(draw.inputs, draw.targets, strict=True):
        assert table.shard_of[first] == table.shard_of[second]
        assert 0.5 < abs(table.pitch[first] - table.pitch[second]) <= 24.0
    names = [table.shards[table.shard_of[note]].instrument for note in draw.inputs]
    assert all(one != other for one, other in pairwise(names))


@pytest.mark.thorough
def test_every_row_of_the_paper_is_there_when_its_run_is(runs: Path, network: HyperGANStrument) -> None:
    rows, missing = open_baselines(network, runs)
    assert not missing
    assert [row.name for row in rows] == [
        "GAN on pitch, encoder",
        "GAN on pitch, encoder + optimisation",
        GANSTRUMENT,
        "H on mel-spectrograms",
        "H, stage 1",
        "H, stage 2 without D's projection",
        HYPERGANSTRUMENT,
    ]
    assert all("2 steps" in row.trained for row in rows if row.name in RUNS)


def test_missing_runs_are_those_of_missing_rows_and_what_they_start_from(tmp_path: Path) -> None:
    assert missing_runs(tmp_path / "none") == list(RECIPES)
    assert set(RUNS.values()) <= set(RECIPES)
    for folder in ("encoder", "mel-hyper", "hyper"):
        (tmp_path / folder).mkdir()
    assert missing_runs(tmp_path) == ["no-projection"]
    (tmp_path / "encoder").rmdir()
    assert missing_runs(tmp_path) == ["pitch-gan", "encoder", "no-projection"]


@pytest.mark.thorough
def test_one_command_trains_what_the_papers_table_lacks_and_fills_it(
    hgs: Run, bundle: Path, judge: PitchClassifier, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.missing_runs.COMMON_SETTINGS", QUICK)
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=16))
    monkeypatch.setattr("hgs_cli.evaluation.measure._Job.data", lambda *_: [])
    (tmp_path / "weights" / "train").mkdir(parents=True)
    weights = shutil.copy(bundle, tmp_path / "weights" / "tiny.safetensors")
    save_judge(tmp_path / "weights" / "train" / JUDGE_NAME, judge)
    (tmp_path / "runs" / f"pitch-gan{UNFINISHED}").mkdir(parents=True)  # interrupted before its first checkpoint
    call = ["train", "eval", "--data", str(dataset), "--held-out", str(dataset), "--runs", "runs", "--quick"]
    call += ["--train-missing", "2s", "--weights", str(weights), "--workers", "1", "--device", "cpu"]
    first = hgs(*call)
    assert first.code == 0, first.err
    assert all(row in first.out for row in RUNS)
    assert "No run was given" not in first.out
    assert [line.split(",")[0] for line in first.err.splitlines() if "/5 training" in line] == [
        f"{number}/5 training {folder}" for number, folder in enumerate(RECIPES)
    ]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([*RECIPES, "starts"])
    second = hgs(*call)
    assert (second.code, "/5" in second.err) == (0, False)


@pytest.mark.parametrize("given", [["--held-out", "x"], ["--held-out", "x", "--runs", "y"], ["--data", "x"]])
def test_training_what_is_missing_needs_data_and_a_folder(hgs: Run, tmp_path: Path, given: list[str]) -> None:
    outcome = hgs("train", "eval", *given, "--train-missing", "1h")
    assert outcome.code == 2
    assert "--train-missing trains what the paper's table lacks — give --" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_run_are_named(network: HyperGANStrument, tmp_path: Path) -> None:
    for runs in (None, tmp_path):
        rows, missing = open_baselines(network, runs)
        assert [row.name for row in rows] == [GANSTRUMENT, HYPERGANSTRUMENT]
        assert missing == list(RUNS)
    (tmp_path / "encoder").mkdir()
    with pytest.raises(TrainingError, match="no checkpoint"):
        open_baselines(network, tmp_path)


@pytest.mark.thorough
def test_mixes_end_in_the_sounds_themselves(runs: Path, dataset: Path, network: HyperGANStrument) -> None:
    x, p, known = sounds(dataset)
    for row in open_baselines(network, runs)[0]:
        with torch.no_grad():
            heard = row.hear(x, p, known)
            other = Heard(heard.h.roll(-1, 0), {name: value.roll(-1, 0) for name, value in heard.offsets.items()})
            plain = row.play(heard, p)
            # Offsets that are made anew for a mix are made at its mean pitch, here that of the sound itself.
            start = row.play(row.mix(heard, other, 0.0, p, known), p)
            middle = row.play(row.mix(heard, other, 0.5, p, known), p)
        torch.testing.assert_close(start.harmonic, plain.harmonic, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(middle.harmonic, plain.harmonic, atol=1e-3)


@pytest.mark.thorough
def test_optimisation_brings_the_reconstruction_nearer(runs: Path, dataset: Path, network: HyperGANStrument) -> None:
    x, p, known = sounds(dataset)
    model = next(row for row in open_baselines(network, runs)[0] if isinstance(row, PitchGanBaseline)).model

    def error(steps: int) -> float:
        row = PitchGanBaseline("", model, "", steps)
        with torch.no_grad():
            return float((model.compose(row.play(row.hear(x, p, known), p), p) - x).square().mean())

    assert error(40) < error(0)


@pytest.mark.thorough
def test_the_table_tells_baselines_apart_and_repeats(
    runs: Path, dataset: Path, network: HyperGANStrument, judge: PitchClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=24, chunk=10))
    monkeypatch.setattr("hgs_cli.evaluation.baselines.OPTIMISATION_STEPS", 2)
    steps: list[tuple[int, int]] = []
    table = paper_table(network, judge, dataset, runs, quick=True, advance=lambda *at: steps.append(at))
    assert steps[-1] == (3, 3)
    assert table.n_notes == 24
    copy = table.cells["copy"]
    assert copy["reconstruction"].mse == pytest.approx(0.0, abs=1e-6)
    assert copy["reconstruction"].fid == pytest.approx(0.0, abs=1e-3)
    assert copy["reconstruction"].timbre == pytest.approx(0.0, abs=1e-3)
    assert copy["generation"].mse > 0.0
    assert table.cells[HYPERGANSTRUMENT]["reconstruction"].mse != table.cells[GANSTRUMENT]["reconstruction"].mse
    assert set(table.cells[HYPERGANSTRUMENT]) == set(TASKS)

    section = table.section()
    assert json.loads(json.dumps(section.figures, allow_nan=False))["n_notes"] == 24
    for shown in section.tables:
        assert all(len(row) == len(shown.header) for row in shown.rows)


@pytest.mark.thorough
def test_the_table_is_the_same_again(
    runs: Path, dataset: Path, network: HyperGANStrument, judge: PitchClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=24))
    monkeypatch.setattr("hgs_cli.evaluation.baselines.OPTIMISATION_STEPS", 2)
    first, again = (paper_table(network, judge, dataset, runs, quick=True).section().figures for _ in range(2))
    assert first == again


def test_an_h_that_changes_nothing_has_the_ratio_one(
    dataset: Path, judge: PitchClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=16))
    untrained = build_model(tiny_config(), seed=1).eval().requires_grad_(False)
    table = paper_table(untrained, judge, dataset, None, quick=True)
    ratio, (low, high) = table.ratios["reconstruction"]
    assert (ratio, low, high) == pytest.approx((1.0, 1.0, 1.0), abs=2e-3)
    assert table.missing == list(RUNS)


def test_a_hypernetwork_gone_wrong_shows(
    dataset: Path, network: HyperGANStrument, judge: PitchClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=16))
    for name, parameter in network.hypernetwork.named_parameters():
        if "outputs.bias" in name:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    table = paper_table(network, judge, dataset, None, quick=True)
    assert table.ratios["reconstruction"][0] > 1.2


def test_a_baseline_says_how_often_h_refined(network: HyperGANStrument, dataset: Path) -> None:
    x, p, known = sounds(dataset)
    once, twice = (HyperGANStrumentBaseline("", network, "", passes).hear(x, p, known) for passes in (1, 2))
    assert twice.offsets["head"].shape[-1] == 2 * once.offsets["head"].shape[-1]


def test_a_held_out_set_of_known_notes_is_found_out(dataset: Path, recordings: Path, tmp_path: Path) -> None:
    build_dataset(tmp_path, [recordings], soundfonts=[], workers=1, held_out=True)
    figures = overlap_section(tmp_path, dataset).figures
    assert figures["n_notes"] == 9
    # Six of nine are the training notes themselves; the other three are of the instrument that validates.
    assert figures["share_of_same_recordings"] >= 6 / 9
    assert figures["percentiles_db"]["50"] == pytest.approx(0.0, abs=0.1)
    assert overlap_section(dataset, dataset).figures["share_of_same_recordings"] < 1.0
