"""Notes moved along frequency in the mel domain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hgs_cli.spectrum import MelConfig


def transpose_level(x: Tensor, semitones: Tensor) -> Tensor:
    """Log-mels (B, n_mels, n_frames) with every frequency raised by `semitones` (B,), colour and all; for a few only.

    As faster playback would, with the window's lobes widened too: 6 % a semitone, which the filters hide.

    Source: Slaney's mel scale (Auditory Toolbox), linear to 1 kHz and logarithmic above.
    """
    config = MelConfig()
    bounds = [3.0 * hz / 200.0 if hz < 1000.0 else _log_mel(hz) for hz in (config.f_min_hz, config.f_max_hz)]
    step = (bounds[1] - bounds[0]) / (config.n_mels + 1)
    mel = bounds[0] + step * torch.arange(1, config.n_mels + 1, dtype=torch.float64)
    centre_hz = torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * np.log(6.4) / 27.0))
    source_hz = centre_hz * torch.pow(2.0, -semitones.double().cpu()[:, None] / 12.0)  # (B, n_mels)
    source_mel = torch.where(
        source_hz < 1000.0, source_hz * 3.0 / 200.0, 15.0 + 27.0 * torch.log(source_hz / 1000.0) / np.log(6.4)
    )
    position = (source_mel - mel[0]) / step
    left = position.floor()
    t = (position - left).float()
    # Catmull-Rom: lines would blur what stands between two bands, and the blur would tell the moved from the unmoved.
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1.0 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2.0 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    matrix = torch.zeros(x.shape[0], config.n_mels, config.n_mels)
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        index = (left + offset).long().clamp(0, config.n_mels - 1)
        matrix.scatter_add_(2, index[:, :, None], tap[:, :, None])
    return torch.bmm(matrix.to(x), x)


def _log_mel(hz: float) -> float:
    return float(15.0 + 27.0 * np.log(hz / 1000.0) / np.log(6.4))
