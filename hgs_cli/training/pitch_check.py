"""Whether a note has the pitch that its label says."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

PITCH_TOLERANCE_CENTS = 50.0
MIN_PERIODIC = 0.5  # autocorrelation at the period below which a note has no pitch to verify


def verify_pitch(audio: Tensor, expected: float) -> float | None:
    """The measured pitch of a note that should sound at `expected`, or None where it does not.

    Args:
        audio: Mono at 44.1 kHz, (T,).
        expected: MIDI note number.

    Returns:
        MIDI note number within PITCH_TOLERANCE_CENTS of `expected`; None when the note repeats too weakly at that
        period, as well at a half or a third of it (it sounds an octave or a twelfth higher), or only at twice of it.

    Source: normalised square difference of McLeod & Wyvill (2005), refined over many periods.
    """
    size = 8192
    period = SAMPLE_RATE / midi_to_hz(expected)
    if size < 5 * period:
        size *= 2
    periods = []
    for start_s in (0.08, 0.25, 0.6, 1.2):
        start = int(start_s * SAMPLE_RATE)
        part = audio[start : start + size].double()
        if part.shape[0] == size and float(part.abs().max()) >= 1e-4:
            periods.append(_find_period(_square_difference(part), period))
    found = [hz_to_midi(SAMPLE_RATE / each) for each in periods if each is not None]
    if not found:
        return None
    measured = float(np.median(found))
    return measured if abs(measured - expected) * 100.0 <= PITCH_TOLERANCE_CENTS else None


def _square_difference(part: Tensor) -> NDArray[np.float64]:
    """Normalised square difference of a sound (T,) at every lag, 1 where it repeats, (T,)."""
    size = part.shape[0]
    part = part - part.mean()
    spectrum = torch.fft.rfft(part, 2 * size)
    correlation = torch.fft.irfft(spectrum.abs().square())[:size]
    energy = torch.cat([torch.zeros(1, dtype=torch.double), part.square().cumsum(0)])
    lags = torch.arange(size)
    norm = energy[size - lags] + energy[size] - energy[lags]
    found: NDArray[np.float64] = (2.0 * correlation / (norm + 1e-12)).numpy()
    return found


def _peak(nsdf: NDArray[np.float64], lag: float, width: float) -> tuple[float, float]:
    """Best lag within ± width of `lag`, parabolic, and its height."""
    low, high = max(2, math.floor(lag - width)), math.ceil(lag + width) + 1
    best = low + int(np.argmax(nsdf[low:high]))
    if not 1 < best < len(nsdf) - 1:
        return lag, 0.0
    left, middle, right = nsdf[best - 1 : best + 2]
    curve = left - 2 * middle + right
    shift = 0.5 * (left - right) / curve if curve < 0 else 0.0
    return best + float(np.clip(shift, -0.5, 0.5)), float(middle)


def _find_period(nsdf: NDArray[np.float64], period: float) -> float | None:
    """The period near an expected one in samples, over as many as are alike; None where it is not the note's."""
    lag, height = _peak(nsdf, period, max(1.0, 0.03 * period))
    if height < MIN_PERIODIC:
        return None
    if any(_peak(nsdf, lag / part_of, 1.0)[1] > 0.97 * height for part_of in (2, 3) if lag / part_of > 4):
        return None
    if 2 * lag < len(nsdf) / 2 and _peak(nsdf, 2 * lag, 1.0)[1] > height + 0.2:
        return None
    n_periods = 1
    while 2 * n_periods * lag / n_periods < len(nsdf) / 3 and n_periods < 64:
        longer, longer_height = _peak(nsdf, 2 * lag, max(1.0, 0.2 * lag / n_periods))
        if longer_height < 0.6 * height:
            break
        lag, n_periods = longer, 2 * n_periods
    return lag / n_periods
