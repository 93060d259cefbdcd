"""One command measures everything that it is given something to measure with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from hgs_cli.evaluation.leakage import ProbeRules
from hgs_cli.evaluation.paper import PaperRules
from hgs_cli.models.pitch_classifier import PitchClassifier, PitchClassifierSizes
from hgs_cli.training import loop
from hgs_cli.training.judge import JUDGE_NAME, save_judge


@pytest.fixture
def judged(bundle: Path) -> Path:
    """The tiny bundle, with an untrained judge where one is looked for."""
    judge = PitchClassifier(PitchClassifierSizes(channels=(4, 4, 4, 4), narrow=2, feature_dim=8), ["dull", "bright"])
    judge.accuracy = {"held_out": 0.5, "validation": 0.25}
    save_judge(bundle.parent / "train" / JUDGE_NAME, judge)
    return bundle


@pytest.mark.thorough
def test_one_command_writes_every_section(
    hgs: Run, judged: Path, recordings: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.paper.PAPER", PaperRules(n_quick=16))
    monkeypatch.setattr("hgs_cli.evaluation.leakage.PROBED", ProbeRules(n_folds=2))
    config = tmp_path / "quick.toml"
    config.write_text("[loop]\nbatch_size = 4\nwarmup_steps = 1\nvalidation_batches = 2\n")
    options = loop.RunOptions(dataset, tmp_path / "runs" / "hyper", steps=1, init=judged, config=config)
    loop.run_stage("hyper", options)
    loop.run_stage(
        "warmup", loop.RunOptions(dataset, tmp_path / "runs" / "no-adversary", steps=1, init=judged, config=config)
    )

    done = hgs(
        "train", "eval", "--quick", "--workers", "1", "--real", recordings, "--data", dataset, "--held-out", dataset,
        "--runs", tmp_path / "runs", "--json", "figures.json", "--markdown", "figures.md",
    )  # fmt: skip
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == [
        "format_version", "weights", "settings", "cross_pitch", "source_pitch", "leakage", "dynamics",
        "overlap", "paper",
    ]  # fmt: skip
    assert "H, stage 1" in figures["paper"]["rows"]
    assert "H on mel-spectrograms" in figures["paper"]["missing"]
    assert "without the adversary: h" in figures["leakage"]["accuracy"]
    assert "with-adversary" in done.err
    tables = (tmp_path / "figures.md").read_text()
    for title in ("Distance to the real note", "Source pitch", "Pitch that a fresh probe finds", "The paper's table"):
        assert title in tables
        assert title in done.out


def test_a_missing_judge_is_said_before_anything_is_measured(
    hgs: Run, bundle: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hgs_cli.evaluation.measure.JUDGE_NAME", "absent.safetensors")
    refused = hgs("train", "eval", "--held-out", dataset, "--real", tmp_path)
    assert refused.code == 4
    assert "absent.safetensors" in refused.err
