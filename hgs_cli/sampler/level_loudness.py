"""About the loudness of notes, from their log-mels: before there is a sample of them."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.spectrum import HOP_LENGTH, level_to_power, mel_centres_hz


@lru_cache(maxsize=1)
def loudness_weight() -> Tensor:
    """How much a band's power counts for loudness, (n_mels, 1): about BS.1770's shelf of 4 dB above 1.5 kHz."""
    octaves = torch.log2(mel_centres_hz() / 1500.0)
    return torch.pow(10.0, 0.4 * torch.sigmoid(3.0 * octaves))[:, None]


def level_loudness_db(x: Tensor, length_samples: int) -> Tensor:
    """About the loudness of log-mels (B, n_mels, n_frames), (B,), in dB: treble counts more, quiet frames do not count.

    Source: ITU-R BS.1770, the shelf and the relative gate, of which a single step stands for the second.
    """
    frames = frame_powers(x)[:, : length_samples // HOP_LENGTH + 1]
    counted = (frames > 0.1 * frames.mean(1, keepdim=True)).float()
    return 10.0 * torch.log10((frames * counted).sum(1) / counted.sum(1).clamp_min(1.0) + 1e-20)


def frame_powers(x: Tensor) -> Tensor:
    """Power of every frame of log-mels (B, n_mels, n_frames) as it counts for loudness, (B, n_frames)."""
    return (level_to_power(x) * loudness_weight().to(x.device)).sum(1)
