"""Leakage: the probe finds pitch where it is, and none where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F

from hgs_cli.errors import TrainingError
from hgs_cli.evaluation import leakage
from hgs_cli.evaluation.leakage import (
    accuracy_of,
    instrument_folds,
    instrument_prior,
    measure_distances,
    probe,
    probe_leakage,
)
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import build_model
from hgs_cli.spectrum import SAMPLE_RATE
from hgs_cli.training.data import build_dataset

GENERATOR = torch.Generator().manual_seed(0)
N_INSTRUMENTS, KEYS = 15, torch.arange(48, 72, 2)
KEY = KEYS.repeat(N_INSTRUMENTS)
INSTRUMENT = torch.arange(N_INSTRUMENTS).repeat_interleave(len(KEYS))
FOLD = instrument_folds(INSTRUMENT)


def with_noise(features: torch.Tensor) -> torch.Tensor:
    return torch.cat([features, 0.1 * torch.randn(len(features), 8, generator=GENERATOR)], dim=1)


def test_a_feature_that_is_the_pitch_is_found() -> None:
    features = with_noise(F.one_hot(KEY, 128).float())
    named, unseen = probe(features, KEY, FOLD, features[: len(KEYS)])
    accuracy = accuracy_of(named, KEY, INSTRUMENT)
    assert accuracy.exact > 0.95
    assert accuracy.exact_interval[0] > 0.9
    assert float((unseen == KEYS).float().mean()) > 0.95


def test_a_feature_without_pitch_is_at_the_level_of_guessing() -> None:
    named, _ = probe(torch.randn(len(KEY), 24, generator=GENERATOR), KEY, FOLD, torch.randn(3, 24))
    assert accuracy_of(named, KEY, INSTRUMENT).exact < 2.5 / len(KEYS)


def test_a_feature_that_names_the_instrument_tells_nothing_of_other_instruments() -> None:
    """Instruments at different keys: whoever probes notes of an instrument it learnt from would find pitch here."""
    key = KEY + 30 * (INSTRUMENT % 2) + INSTRUMENT
    named, _ = probe(F.one_hot(INSTRUMENT, 20).float(), key, FOLD, torch.zeros(1, 20))
    assert accuracy_of(named, key, INSTRUMENT).exact < 0.2
    assert instrument_prior(key, INSTRUMENT).exact == pytest.approx(1 / len(KEYS))


def test_no_instrument_is_in_two_folds() -> None:
    assert all(len(set(FOLD[INSTRUMENT == one].tolist())) == 1 for one in range(N_INSTRUMENTS))
    assert torch.bincount(FOLD).tolist() == [len(KEY) // leakage.PROBED.n_folds] * leakage.PROBED.n_folds


def test_accuracy_counts_instruments_alike() -> None:
    key = torch.tensor([60, 60, 60, 60, 50])
    accuracy = accuracy_of(torch.tensor([60, 60, 61, 62, 10]), key, torch.tensor([0, 0, 0, 0, 1]))
    assert (accuracy.exact, accuracy.near) == (0.25, 0.375)


def test_distances_tell_a_feature_that_moves_with_pitch_from_one_that_does_not() -> None:
    n = len(KEY)
    notes = leakage.Notes(None, np.arange(n), KEY, INSTRUMENT, INSTRUMENT)  # type: ignore[arg-type]
    still = measure_distances(F.one_hot(INSTRUMENT, 20).float(), notes)
    assert (still.own, still.others_same_key) == pytest.approx((0.0, 2**0.5))
    assert still.stranger_farther == 1.0
    moving = measure_distances(F.one_hot(KEY, 128).float(), notes)
    assert (moving.own, moving.others_same_key) == pytest.approx((2**0.5, 0.0))
    assert moving.stranger_farther == 0.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five made training instruments and one of validation, four keys each."""
    folder, out = tmp_path_factory.mktemp("recordings"), tmp_path_factory.mktemp("data")
    entries = []
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for index, instrument in enumerate(("a", "b", "c", "d", "e", "trumpet")):
        for key in (55, 60, 65, 70):
            f0_hz = 440.0 * 2.0 ** ((key - 69) / 12)
            tone = sum((0.3 + 0.1 * index) ** k * np.sin(2 * np.pi * k * f0_hz * time_s) for k in range(1, 12))
            soundfile.write(folder / f"{instrument}_{key}.wav", 0.3 * tone * np.exp(-2 * time_s), SAMPLE_RATE)
            entries.append(
                {
                    "file": f"{instrument}_{key}.wav", "instrument": instrument, "family": "test", "pitched": True,
                    "midi_measured": float(key), "dynamic": "loud", "licence": "CC0-1.0",
                }
            )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    build_dataset(out, [folder], soundfonts=[], workers=1)
    return out


@pytest.mark.thorough
def test_every_model_has_its_rows_beside_the_baselines(dataset: Path) -> None:
    models = {"one": build_model(tiny_config()), "two": build_model(tiny_config(), seed=1)}
    told: list[tuple[int, int]] = []
    result = probe_leakage(models, dataset, quick=True, advance=lambda *at: told.append(at))
    assert result.notes == {"training": (20, 5), "validation": (4, 1)}
    assert told == [(done, 8) for done in range(1, 9)]
    assert list(result.accuracy) == [
        "chance", "prior of the others", "prior of the instrument", "log-mel itself",
        "one: h", "one: timbre part", "one: map part", "one: h, keys shuffled",
        "two: h", "two: timbre part", "two: map part",
    ]  # fmt: skip
    assert result.accuracy["prior of the instrument"]["validation"].exact == 0.25
    section = result.section()
    json.dumps(section.figures, allow_nan=False)
    assert all(len(row) == len(table.header) for table in section.tables for row in table.rows)


@pytest.mark.thorough
def test_leakage_is_the_same_again(dataset: Path) -> None:
    models = {"one": build_model(tiny_config())}
    first, again = (probe_leakage(models, dataset, quick=True).section() for _ in range(2))
    assert first == again


@pytest.mark.thorough
def test_too_few_instruments_are_named(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "PROBED", leakage.ProbeRules(n_folds=6))
    with pytest.raises(TrainingError, match="too few pitched instruments"):
        probe_leakage({}, dataset)
