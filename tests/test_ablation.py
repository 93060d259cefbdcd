"""Every rule can be done without, is heard to be missing, and comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Run, few_of, note
from torch import Tensor

from hgs_cli.evaluation import ablation
from hgs_cli.evaluation.ablation import RULES, AblatedNote, AblationResult, Rule, without
from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, invert, make_instrument
from hgs_cli.spectrum import SAMPLE_RATE

UNHEARD_HERE = (  # in a short note whose harmonics are all there
    "stands at the pitch told where few harmonics are",
)


@pytest.fixture(scope="module")
def heard(model: Model) -> Inversion:
    """A low note, struck twice, with noise and vibrato, half of which the networks are trusted for."""
    generator = torch.Generator().manual_seed(0)
    audio = torch.from_numpy(note(30.0, seconds=1.2)) + 0.02 * torch.randn(
        round(1.2 * SAMPLE_RATE), generator=generator
    )
    audio[SAMPLE_RATE // 2 :] += 2.0 * audio[: len(audio) - SAMPLE_RATE // 2].clone()
    inversion = invert(model, audio, SAMPLE_RATE, pitch=30.0)
    wobble = 30.0 * torch.sin(torch.arange(len(inversion.pitch_contour_cents)) / 8.0)
    return Inversion(**{**vars(inversion), "trust": 0.6, "pitch_contour_cents": wobble})


def play(model: Model, inversion: Inversion, rule: Rule) -> Tensor:
    """A note seven semitones up and one a semitone down, without a rule, (2, T)."""
    with without(rule):
        changed = inversion if rule.change is None else rule.change(inversion)
        return torch.stack(render_notes(model, make_instrument(model, changed), [37.0, 29.0], 1.0, 0))


@pytest.fixture(scope="module")
def plain(model: Model, heard: Inversion) -> Tensor:
    """What is played by all rules."""
    return play(model, heard, Rule("none"))


@pytest.mark.parametrize("rule", few_of(RULES, *RULES[::2]), ids=lambda rule: rule.name)
def test_a_rule_is_missed_and_comes_back(model: Model, heard: Inversion, plain: Tensor, rule: Rule) -> None:
    lacking = play(model, heard, rule)
    assert bool(torch.isfinite(lacking).all())
    if rule.name not in UNHEARD_HERE:
        assert not torch.equal(plain, lacking)
    assert torch.equal(plain, play(model, heard, Rule("none")))


def test_a_rule_comes_back_after_a_failure() -> None:
    rule = Rule("any", ((ablation, "N_NOTES", lambda there: there + 1),))
    before = ablation.N_NOTES

    def fail() -> None:
        with without(rule):
            assert before + 1 == ablation.N_NOTES
            raise ValueError("a note that failed")

    with pytest.raises(ValueError, match="a note that failed"):
        fail()
    assert before == ablation.N_NOTES


def test_worth_is_counted_note_by_note() -> None:
    notes = [AblatedNote(f"i{n}", 3, {"none": float(n), "rule": n + 0.5}) for n in range(5)]
    worth = AblationResult({"recordings": notes}).worth(notes, "rule", 1, 5)
    assert (worth.mean, worth.low, worth.high) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.thorough
def test_the_command_measures_recordings_and_made_sounds(
    hgs: Run, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "FAMILIES", ("bell", "chord"))
    monkeypatch.setattr(ablation, "RULES", RULES[:2])
    done = hgs(
        "train", "eval", "--ablate", "--real", recordings, "--made", "--quick", "--workers", "1", "--json", "a.json"
    )
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "a.json").read_text())["ablation"]
    assert {one["group"] for one in figures["notes"]["made sounds"]} == {"bell", "chord"}
    figures = figures["worth"]
    assert list(figures) == ["recordings of " + recordings.name, "made sounds"]
    for rules in figures.values():
        assert list(rules) == ["none", *(rule.name for rule in RULES[:2])]
        assert rules["none"]["1-5"]["worth_db"]["mean"] == 0.0
    assert figures["made sounds"]["none"]["13-24"]["distance_db"]["n"] == 2
    assert "Without each rule" in done.out
    assert hgs("train", "eval", "--ablate").code == 2
    assert hgs("train", "eval", "--ablate", "--real", recordings, "--plots", tmp_path / "p").code == 2
