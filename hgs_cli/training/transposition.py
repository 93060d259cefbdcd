"""Notes moved along frequency in the mel domain."""

from __future__ import annotations

import torch
from torch import Tensor

from hgs_cli.spectrum import MelConfig, hz_to_mel, mel_points_hz


def transpose_level(x: Tensor, semitones: Tensor) -> Tensor:
    """Log-mels (B, n_mels, n_frames) with every frequency raised by `semitones` (B,), colour and all; for a few only.

    As faster playback would, with the window's lobes widened too: 6 % a semitone, which the filters hide.
    """
    config = MelConfig()
    centre_hz = mel_points_hz(config)[1:-1]
    mel = hz_to_mel(centre_hz)
    source_hz = centre_hz * torch.pow(2.0, -semitones.double().cpu()[:, None] / 12.0)  # (B, n_mels)
    position = (hz_to_mel(source_hz) - mel[0]) / (mel[1] - mel[0])
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
