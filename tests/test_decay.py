"""How notes die away is measured as it was made."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hgs_cli.evaluation.decay import (
    compare_decay,
    decay_figures,
    decay_tables,
    fall_db,
    onset_s,
    rise_again_db,
    shared_seconds,
)
from hgs_cli.evaluation.pairs import BANDS
from hgs_cli.spectrum import SAMPLE_RATE


def dying(db_per_s: float, seconds: float = 4.0, before_s: float = 0.0) -> Tensor:
    """A tone that falls evenly, (T,), with silence before it."""
    time_s = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 0.5 * torch.sin(math.tau * 441.0 * time_s) * torch.pow(10.0, -db_per_s * time_s / 20.0)
    return torch.nn.functional.pad(tone, (round(before_s * SAMPLE_RATE), 0))


def swelling(rise_db: float) -> Tensor:
    """One that falls by 30 dB in a second, then rises and holds."""
    time_s = torch.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    level_db = -30.0 * time_s.clamp(max=1.0) + rise_db * (time_s - 1.5).clamp(0.0, 0.5) / 0.5
    return torch.sin(math.tau * 441.0 * time_s) * torch.pow(10.0, level_db / 20.0)


@pytest.mark.parametrize("db_per_s", [0.0, 3.0, 15.0])
@pytest.mark.parametrize("before_s", [0.0, 0.4])
def test_an_even_fall_is_measured_from_the_onset(db_per_s: float, before_s: float) -> None:
    assert onset_s(dying(db_per_s, before_s=before_s)) == pytest.approx(before_s, abs=0.02)
    measured = fall_db(dying(db_per_s, before_s=before_s), 3.6)
    assert measured == pytest.approx((3.6 - 0.2 - 0.05) * db_per_s, abs=0.5)


def test_silence_is_no_deeper_than_the_floor_and_a_short_note_has_no_fall() -> None:
    assert fall_db(dying(60.0), 3.6) == pytest.approx(70.0 - 12.0, abs=2.0)
    assert math.isnan(fall_db(dying(3.0, seconds=0.4), 0.3))
    assert shared_seconds(dying(3.0), dying(3.0, seconds=1.5)) == pytest.approx(1.4, abs=0.02)


@pytest.mark.parametrize("rise_db", [0.0, 5.0, 12.0])
def test_a_swell_after_a_note_has_died_is_a_rise(rise_db: float) -> None:
    assert rise_again_db(swelling(rise_db)) == pytest.approx(rise_db, abs=0.3)


def test_what_is_loud_or_inaudible_does_not_rise_again() -> None:
    time_s = torch.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tremolo = (0.6 + 0.4 * torch.sin(math.tau * 2.0 * time_s)) * torch.sin(math.tau * 441.0 * time_s)
    assert rise_again_db(tremolo) == 0.0
    dead = dying(60.0)
    dead[-SAMPLE_RATE:] += 1e-5 * torch.sin(math.tau * 441.0 * time_s[:SAMPLE_RATE])
    assert rise_again_db(dead) == pytest.approx(0.0, abs=0.1)


def test_renders_are_set_beside_the_real_note_and_the_source() -> None:
    outputs = {"hgs": (dying(4.0), False), "short": (dying(20.0, seconds=2.0), True), "swells": (swelling(8.0), False)}
    pair = compare_decay("guitar 60 → 63", "guitar", 3, dying(10.0), dying(6.0), outputs)
    held = compare_decay("flute 60 → 63", "flute", 3, dying(0.0), dying(0.0), outputs)
    assert pair.decaying
    assert not held.decaying
    assert pair.fall_beside_real("hgs") == pytest.approx(-2.0 * 3.35, abs=0.2)
    assert pair.fall_beside_source("hgs") == pytest.approx(-6.0 * 3.35, abs=0.2)
    assert pair.fall_beside_real("short") == pytest.approx(14.0 * 1.65, abs=0.5)  # only while it lasts
    assert pair.risen_db("swells") == pytest.approx(8.0, abs=0.3)
    assert pair.risen_db("hgs") == pytest.approx(0.0, abs=0.3)

    tables = decay_tables([pair, held], BANDS, "swells")
    assert [len(table.rows) for table in tables] == [4, 4, 3, 2]
    for table in tables:
        assert all(len(row) == len(table.header) for row in table.rows), table.title
    assert {row[0] for row in tables[-1].rows} == {"guitar 60 → 63", "flute 60 → 63"}
    figures = decay_figures([pair, held], BANDS)
    assert figures["decaying"]["hgs"]["1-5"]["fall_beside_real_db"]["mean"] == pytest.approx(-6.7, abs=0.2)
    assert figures["sustained"]["hgs"]["13-24"]["risen_db"]["mean"] is None
