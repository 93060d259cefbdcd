"""The law of trust is found again from what it is fitted on, and leaves out what it is measured on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Run, note

from hgs_cli.evaluation import trust
from hgs_cli.evaluation.known_truth import PatchRules
from hgs_cli.evaluation.trust import (
    JudgedSound,
    aligned_distance_db,
    best_constant,
    expected_db,
    fit_law,
    hear_traits,
    mean_db,
)
from hgs_cli.pipeline import Model, invert
from hgs_cli.sampler.trust import Traits, TrustLaw, judge_trust
from hgs_cli.spectrum import SAMPLE_RATE


def sounds(seed: int) -> list[JudgedSound]:
    """Harmonic ones that are 2 dB nearer the more they are drawn towards the wanted level, and others that are not."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.tensor(trust.FITTED.weights)
    found = []
    for index in range(40):
        harmonic = index % 2 == 0
        share = (0.9 if harmonic else 0.3) + 0.05 * float(torch.randn((), generator=generator))
        distance = 3.0 + 2.0 * ((1.0 - grid) if harmonic else grid)
        traits = Traits(share, 5.0 + float(torch.randn((), generator=generator)), 0.0, 0.1, 55.0)
        found.append(JudgedSound(f"sound {index}", index % 3 == 0, traits, distance.expand(4, -1).clone()))
    return found


def test_a_law_that_is_there_is_found_and_beats_every_constant() -> None:
    fitted = fit_law(sounds(0), steps=600)
    others = sounds(1)
    assert mean_db(others, lambda sound: judge_trust(sound.traits, fitted)) < 3.2
    assert best_constant(others)[1] == pytest.approx(4.0, abs=0.01)
    assert fitted.harmonic_share > 5.0
    assert fit_law(sounds(0), steps=20) == fit_law(sounds(0), steps=20)


def test_a_sound_that_weighs_more_draws_the_law_to_itself() -> None:
    grid = torch.tensor(trust.FITTED.weights)
    alike = Traits(0.8, 5.0, 0.0, 0.1, 55.0)
    near_one = JudgedSound("a family", True, alike, (1.0 - grid).expand(7, -1))
    near_none = JudgedSound("an instrument", False, alike, grid.expand(70, -1))
    assert judge_trust(alike, fit_law([near_one, near_none], steps=600)) > 0.7


def test_distances_between_weights_lie_on_straight_lines() -> None:
    distance = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]).expand(3, -1)
    assert expected_db(distance, torch.tensor([0.0, 0.1, 1.0])).tolist() == pytest.approx([0.0, 0.5, 6.0])


def test_a_level_of_another_loudness_is_no_distance() -> None:
    truth = torch.rand(128, 40, generator=torch.Generator().manual_seed(0))
    made = torch.stack([truth, truth - 0.3, truth.flip(1)])
    same, quieter, other = aligned_distance_db(made, truth).tolist()
    assert same == pytest.approx(0.0, abs=1e-4)
    assert quieter == pytest.approx(0.0, abs=1e-3)
    assert other > 5.0


def test_traits_are_those_that_the_inversion_was_judged_by(model: Model) -> None:
    inversion = invert(model, note(57.0, seconds=1.0), SAMPLE_RATE)
    assert judge_trust(hear_traits(model, inversion)) == pytest.approx(inversion.trust, abs=1e-3)


@pytest.mark.thorough
def test_the_command_fits_the_law_and_measures_it_on_others(
    hgs: Run, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "TRAINING_FAMILIES", ("detuned stack", "harmonic FM"))
    monkeypatch.setattr(trust, "HELD_OUT_FAMILIES", ("filter sweep",))
    monkeypatch.setattr(trust, "PATCHES", PatchRules(semitones=(3.0, -12.0)))
    done = hgs(
        "train", "eval", "--trust", "--real", recordings, "--real", recordings, "--quick", "--workers", "1",
        "--json", "figures.json", "--markdown", "figures.md",
    )  # fmt: skip
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["format_version", "weights", "settings", "trust"]
    assert set(figures["trust"]["fitted"]) == set(vars(TrustLaw()))
    sets = figures["trust"]["sets"]
    assert [one["n_groups"] for one in sets.values()] == [2, 2, 1, 1]
    for one in sets.values():
        assert one["either_db"] <= one["best_constant_db"] <= min(one["moved_db"], one["networks_db"]) + 1e-6
    assert "The law of trust" in done.out
    assert "harmonic_share" in (tmp_path / "figures.md").read_text()


def test_several_folders_are_for_the_law_alone(hgs: Run, recordings: Path) -> None:
    twice = hgs("train", "eval", "--real", recordings, "--real", recordings)
    assert (twice.code, "--trust" in twice.err) == (2, True)
    assert hgs("train", "eval", "--trust", "--made").code == 2
    assert hgs("train", "eval", "--trust", "--real", recordings, "--detectors").code == 2
