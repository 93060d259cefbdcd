"""Hiss beside a note is measured, and taken away down to a floor without taking the note."""

from __future__ import annotations

import pytest
import torch
from sounds import harmonics, noise

from hgs_cli.audio.loudness import note_lufs
from hgs_cli.audio.noise_floor import FLOOR, floor_spectrum_db, lower_floor, noise_floor_db

NOTE = 0.3 * harmonics(57.0, seconds=3.0, decay=1.0)


def hissing(below_db: float, seed: int = 0) -> torch.Tensor:
    hiss = noise(3.0, seed=seed)
    gain: float = 10.0 ** ((note_lufs(NOTE) - note_lufs(hiss) - below_db) / 20.0)
    return NOTE + gain * hiss


@pytest.mark.parametrize("below_db", [30.0, 50.0])
def test_hiss_is_heard_by_its_level(below_db: float) -> None:
    louder_db = noise_floor_db(hissing(below_db - 6.0)) - noise_floor_db(hissing(below_db))
    assert louder_db == pytest.approx(6.0, abs=1.0)


def test_a_note_without_hiss_has_no_floor() -> None:
    assert noise_floor_db(NOTE) == FLOOR.unheard_db


@pytest.mark.parametrize("below_db", [30.0, 40.0])
def test_hiss_is_lowered_to_what_is_wanted_and_the_note_stays(below_db: float) -> None:
    noisy, wanted_db = hissing(below_db), floor_spectrum_db(hissing(60.0, seed=1))
    lowered = lower_floor(torch.stack([noisy, 0.5 * noisy]), noisy, wanted_db)
    assert torch.allclose(lowered[1], 0.5 * lowered[0], atol=1e-6)
    # Tails that hiss hid are lost with it, what sounds is not.
    loud = slice(0, 44_100)
    before, after = ((each - NOTE)[loud].square().mean().sqrt() for each in (noisy, lowered[0]))
    assert float(after) < 0.6 * float(before)
    assert noise_floor_db(lowered[0]) < noise_floor_db(noisy) - 10.0


def test_a_floor_that_is_as_wanted_is_left_alone() -> None:
    noisy = hissing(40.0)
    assert torch.allclose(lower_floor(noisy[None], noisy, floor_spectrum_db(noisy))[0], noisy, atol=1e-5)
