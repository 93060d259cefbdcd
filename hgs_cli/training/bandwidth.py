"""How far up the spectrum of a note is known: above that, losses, f and D look at nothing, real or generated.

A file of 16 kHz says nothing of what its instrument does above 8 kHz. Resampled to 44.1 kHz it is silent there, and
that silence is no property of the sound.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from hgs_cli.spectrum import N_FFT, N_MELS, SAMPLE_RATE, MelConfig, mel_filters
from hgs_cli.training.processes import mean_over_processes

FULL_BANDWIDTH_HZ = SAMPLE_RATE / 2
# Of half the sample rate: up to here the resampler takes 0.02 dB away, at 0.94 already 3.6 dB.
KNOWN_SHARE = 0.9
FLOOR_LEVEL = -1.0  # of a log-mel: nothing


def file_bandwidth_hz(rate_hz: int) -> float:
    """The frequency up to which a file of this sample rate is known once it has been resampled to ours."""
    return FULL_BANDWIDTH_HZ if rate_hz >= SAMPLE_RATE else KNOWN_SHARE * rate_hz / 2


@cache
def _upper_edges_hz() -> Tensor:
    """The highest frequency that each mel band reads, (n_mels,)."""
    filters = mel_filters(MelConfig())
    bins = torch.arange(filters.shape[0])
    return torch.where(filters > 0.0, bins[:, None], 0).amax(0) * (SAMPLE_RATE / N_FFT)


def known_bands(bandwidth_hz: Tensor, n_bands: int = N_MELS) -> Tensor:
    """Which bands lie wholly below the bandwidth.

    Args:
        bandwidth_hz: Of every note, (B,).
        n_bands: Equal groups of mel bands; divides N_MELS.

    Returns:
        (B, n_bands), bool.
    """
    size = N_MELS // n_bands
    edges_hz = _upper_edges_hz()[size - 1 :: size].to(bandwidth_hz.device)
    return edges_hz <= bandwidth_hz[:, None]


def mask_above(x: Tensor, bandwidth_hz: Tensor, level: float = FLOOR_LEVEL) -> Tensor:
    """Log-mels x (B, n_mels, n_frames) with every band that reaches above the bandwidth (B,) set to `level`."""
    return torch.where(known_bands(bandwidth_hz)[:, :, None], x, level)


def mean_below(values: Tensor, bandwidth_hz: Tensor | None) -> Tensor:
    """Mean of values (B, bands, steps) over the bands below the bandwidth (B,); over all without one.

    Where every bandwidth is full, the plain mean to the last bit.
    """
    if bandwidth_hz is None:
        return values.mean()
    known = known_bands(bandwidth_hz, values.shape[1])
    share = mean_over_processes(known.float().mean())
    return torch.where(known[:, :, None], values, 0.0).mean() / share.clamp_min(1e-6)
