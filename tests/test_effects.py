"""`hgs train eval --effects` tells how near notes come when what is given went through effects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Run
from sounds import harmonics, sine

from hgs_cli.evaluation import effects
from hgs_cli.evaluation.effects import EFFECTS, EffectsResult, TreatedInstrument, TreatedNote, treat
from hgs_cli.evaluation.peers import Peers
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_does_something_the_same_twice_and_ends_in_time(effect: str) -> None:
    audio = harmonics(57.0, 1.0, decay=2.0)
    made = treat(effect, audio)
    assert len(made) == MODEL_SAMPLES
    assert float(made.abs().max()) == pytest.approx(0.5, abs=1e-3)
    assert torch.equal(made, treat(effect, audio))
    plain = treat("none", audio)
    assert torch.equal(made, plain) if effect == "none" else float((made - plain).abs().max()) > 0.01


def test_an_echo_comes_back_half_as_loud_again_and_again() -> None:
    click = torch.zeros(SAMPLE_RATE)
    click[0] = 1.0
    step = round(0.3 * SAMPLE_RATE)
    assert treat("echo", click)[: 4 * step : step].tolist() == pytest.approx([0.5, 0.25, 0.125, 0.0625])


def test_a_telephone_has_no_bass_and_no_treble() -> None:
    made = treat("telephone", sine(1000.0, 4.0) + sine(40.0, 4.0) + sine(15_000.0, 4.0))[:SAMPLE_RATE]
    level_db = 20.0 * torch.log10(torch.fft.rfft(made).abs() + 1e-9)  # a bin is 1 Hz
    assert max(float(level_db[40]), float(level_db[15_000])) < float(level_db[1000]) - 20.0


def test_the_table_names_who_is_furthest_behind_the_best_peer() -> None:
    def instrument(name: str, ours_db: float, peer_db: float) -> TreatedInstrument:
        rows = {"hgs": ours_db, "resampling": peer_db}
        return TreatedInstrument(
            [TreatedNote(name, effect, 7.0, rows) for effect in EFFECTS], dict.fromkeys(EFFECTS, name == "near")
        )

    section = EffectsResult([instrument("near", 1.0, 2.0), instrument("far", 5.0, 3.0)], Peers([], {})).section()
    by_effect, _, worst = section.tables
    assert by_effect.rows[0][:2] == ("none", "1 of 2")
    assert by_effect.rows[0][2].startswith("3.00")
    assert by_effect.rows[0][3].startswith("2.50")
    assert worst.rows[0][0] == "far"
    assert worst.rows[0][2] == "2.00"
    assert f"{len(EFFECTS)} of {2 * len(EFFECTS)}" in worst.notes[0]


@pytest.mark.thorough
def test_effects_are_measured_on_recordings_by_themselves(
    hgs: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "EFFECTS", {name: EFFECTS[name] for name in ("none", "hall")})
    done = hgs("train", "eval", "--effects", "--real", recordings, "--quick", "--workers", "1", "--json", "e.json")
    assert done.code == 0, done.err
    figures = json.loads(Path("e.json").read_text())
    assert "effects" in figures
    assert "cross_pitch" not in figures


def test_effects_ask_for_recordings_and_draw_no_pictures(hgs: Run, recordings: Path) -> None:
    assert hgs("train", "eval", "--effects").code == 2
    assert hgs("train", "eval", "--effects", "--real", recordings, "--plots", "p").code == 2
