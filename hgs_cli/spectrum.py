"""The analysis grid and the one logarithm that networks, vocoder and front end share.

Below both `audio` and `models`, which do not know each other; imports torch alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.rate import SAMPLE_RATE as SAMPLE_RATE  # the constants of the grid are looked up here

N_FFT = 2048
HOP_LENGTH = 512
N_FREQS = N_FFT // 2 + 1
N_MELS = 128
N_FRAMES = 352
MODEL_SAMPLES = (N_FRAMES - 1) * HOP_LENGTH  # the last centred frame stands on the last sample: 4.075 s
N_BANDS = 32  # periodicity is measured over groups of four mel bands
N_STEPS = N_FRAMES // 4  # and for every fourth frame: the grid on which G's head stands

FLOOR_DB = -100.0
DB_PER_UNIT = 50.0  # a scaled level runs from -1 (FLOOR_DB) to 1 (a full-scale sinusoid)


@dataclass(frozen=True)
class MelConfig:
    """Sizes of the log-mel front end; travels in the weights bundle and must match it."""

    sample_rate: int = SAMPLE_RATE
    n_fft: int = N_FFT
    hop_length: int = HOP_LENGTH
    n_mels: int = N_MELS
    n_frames: int = N_FRAMES
    f_min_hz: float = 20.0
    f_max_hz: float = 20_000.0


def power_to_level(power: Tensor) -> Tensor:
    """Scale power to a level: 10·log10 with a floor at FLOOR_DB, mapped to -1 (floor) … 1 (0 dB).

    Power 1 is the peak bin of a full-scale sinusoid under the Hann window.
    """
    decibels = 10.0 * torch.log10(power + 10.0 ** (FLOOR_DB / 10.0))
    return decibels / DB_PER_UNIT + 1.0


def level_to_power(level: Tensor) -> Tensor:
    """Undo the logarithm of `power_to_level`; the floor is not subtracted."""
    return torch.exp((level - 1.0) * (DB_PER_UNIT / 10.0 * math.log(10.0)))  # twice as fast as a power of ten


def midi_to_hz(pitch: Tensor) -> Tensor:
    """Frequency in Hz of MIDI note numbers, fractions included (A4 = 69 = 440 Hz)."""
    return 440.0 * torch.pow(2.0, (pitch - 69.0) / 12.0)


def hann_spectrum(offset_bins: Tensor) -> Tensor:
    """Spectrum of a Hann window, 1 at its peak, at a distance of `offset_bins` DFT bins (closed form)."""
    denominator = 1.0 - offset_bins**2
    near_pole = denominator.abs() < 1e-4  # the limit at ±1 bin is one half
    value = torch.sinc(offset_bins) / torch.where(near_pole, torch.ones_like(denominator), denominator)
    return torch.where(near_pole, torch.full_like(value, 0.5), value)


def comb_power(f0_hz: Tensor, sample_rate: int = SAMPLE_RATE, n_fft: int = N_FFT) -> Tensor:
    """Power spectrum of unit-amplitude harmonics of f0 under a Hann window, phases averaged.

    Args:
        f0_hz: Fundamental frequencies, (B,).
        sample_rate: In Hz.
        n_fft: Window and transform length in samples.

    Returns:
        (B, n_fft // 2 + 1); 1 where a bin stands on a resolved harmonic.
    """
    bin_hz = sample_rate / n_fft
    bins_hz = torch.arange(n_fft // 2 + 1, device=f0_hz.device, dtype=f0_hz.dtype) * bin_hz
    nearest = torch.round(bins_hz[None] / f0_hz[:, None])
    total = torch.zeros_like(nearest)
    for step in range(-3, 4):
        harmonic = nearest + step
        harmonic_hz = harmonic * f0_hz[:, None]
        audible = (harmonic >= 1) & (harmonic_hz < sample_rate / 2)
        lobe = hann_spectrum((bins_hz[None] - harmonic_hz) / bin_hz) ** 2
        total = total + torch.where(audible, lobe, torch.zeros_like(lobe))
    return total
