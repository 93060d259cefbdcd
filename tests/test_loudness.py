"""Loudness is measured where the standard's meter would give up, and an instrument has one gain."""

from __future__ import annotations

import math

import pytest
import sounds
import torch
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.audio.loudness import (
    GAIN,
    SILENCE_DB,
    instrument_gain_db,
    measure_lufs,
    note_lufs,
    peak_db,
    reference_levels,
)
from hgs_cli.spectrum import SAMPLE_RATE


def sine(seconds: float, amplitude: float, hz: float = 997.0) -> torch.Tensor:
    return sounds.sine(hz, seconds, amplitude)


def test_the_standards_own_example_is_met() -> None:
    # BS.1770: a 997 Hz sine at full scale in one channel reads -3.01 LKFS.
    assert measure_lufs(sine(2.0, 1.0)) == pytest.approx(-3.01, abs=0.05)


def test_a_sound_shorter_than_a_block_is_measured_with_silence_behind_it() -> None:
    assert measure_lufs(sine(0.1, 1.0)) == pytest.approx(-3.01 + 10 * math.log10(0.25), abs=0.2)
    assert math.isfinite(measure_lufs(sine(0.002, 0.5)))


def test_silence_is_minus_infinity_and_harms_nobody() -> None:
    assert measure_lufs(torch.zeros(SAMPLE_RATE)) == -math.inf
    assert measure_lufs(torch.zeros(0)) == -math.inf
    lufs, peak = reference_levels([torch.zeros(SAMPLE_RATE), sine(1.0, 0.5)])  # the silent note has no say
    assert lufs == pytest.approx(-9.03, abs=0.05)
    assert peak == pytest.approx(-6.02, abs=0.01)
    assert reference_levels([torch.zeros(100)]) == (SILENCE_DB, SILENCE_DB)


@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.73, 4.0])
@pytest.mark.parametrize("hz", [40.0, 997.0, 9000.0])
def test_both_meters_say_the_same(seconds: float, hz: float) -> None:
    noise = torch.randn(round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(1))
    decaying = (sine(seconds, 0.5, hz) + 0.01 * noise) * torch.linspace(1.0, 0.0, len(noise)) ** 4
    for audio in (decaying, 1e-3 * decaying, 20.0 * decaying):
        assert note_lufs(audio) == pytest.approx(measure_lufs(audio), abs=0.25)


def test_what_lies_below_the_gate_is_silence_to_both_meters() -> None:
    assert note_lufs(sine(1.0, 1e-5)) == measure_lufs(sine(1.0, 1e-5)) == -math.inf
    assert note_lufs(torch.zeros(0)) == -math.inf


def test_a_peak_is_in_decibels_of_full_scale() -> None:
    assert peak_db(torch.tensor([0.1, -0.5])) == pytest.approx(-6.02, abs=0.01)
    assert peak_db(torch.zeros(3)) == peak_db(torch.zeros(0)) == -120.0
    assert peak_db(torch.tensor([1e-7])) == -120.0


@given(st.floats(-60, 0), st.floats(-80, 20), st.floats(-80, 20))
def test_loudness_is_met_unless_headroom_would_be_lost(target: float, lufs: float, peak: float) -> None:
    gain = instrument_gain_db("lufs", target, lufs, peak, 12.0)
    assert peak + gain <= -GAIN.headroom_db + 1e-9
    assert lufs + gain <= target + 1e-9
    assert lufs + gain == pytest.approx(target) or peak + gain == pytest.approx(-GAIN.headroom_db)


def test_peak_and_none_do_what_they_say() -> None:
    assert instrument_gain_db("peak", -18.0, -30.0, -10.0, 12.0) == pytest.approx(7.0)
    assert instrument_gain_db("none", -18.0, -30.0, -10.0, -12.0) == -12.0
