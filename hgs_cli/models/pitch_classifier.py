"""The judge's network: a classifier of pitch and instrument, which hears real notes and those that were generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.spectrum import N_MELS

N_PITCHES = 128  # classes: MIDI notes


@dataclass(frozen=True)
class PitchClassifierSizes:
    """Sizes of the classifier."""

    # of its convolutions. The first two keep all mel bands, every later one halves them
    channels: tuple[int, ...] = (24, 48, 64, 96)
    narrow: int = 64  # channels to which the last map is reduced before it is read at every remaining band
    feature_dim: int = 128  # width of its features


class PitchClassifier(nn.Module):
    """Pitch and instrument from a log-mel: 2-D convolutions that leave frequency fine, since semitones are narrow.

    Absolute position matters to pitch, so the last map is read band by band; in time it is averaged over the attack,
    the first second and the rest.

    Args:
        sizes: Its sizes.
        instruments: Names of its instrument classes.

    Attributes:
        accuracy: Its own, on real notes that it was not trained on, as its training stage measures it; empty before.
    """

    SEGMENTS = (0, 1, 4, 11)  # bounds in steps of 32 frames
    position: Tensor

    def __init__(self, sizes: PitchClassifierSizes, instruments: Sequence[str]) -> None:
        super().__init__()
        self.sizes, self.instruments = sizes, tuple(instruments)
        self.accuracy: dict[str, float] = {}
        first = sizes.channels[0]
        layers: list[nn.Module] = [nn.Conv2d(2, first, (3, 11), (1, 8), (1, 5)), nn.BatchNorm2d(first), nn.ReLU()]
        strides = [(1, 2), (2, 2)] + [(2, 1)] * (len(sizes.channels) - 3)
        for (narrow, wide), stride in zip(pairwise(sizes.channels), strides, strict=True):
            layers += [nn.Conv2d(narrow, wide, 3, stride, 1), nn.BatchNorm2d(wide), nn.ReLU()]
        layers += [nn.Conv2d(sizes.channels[-1], sizes.narrow, 1), nn.BatchNorm2d(sizes.narrow), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        n_bands = N_MELS // 2 ** (len(sizes.channels) - 2)
        self.read = nn.Linear(sizes.narrow * n_bands * (len(self.SEGMENTS) - 1), sizes.feature_dim)
        self.pitch = nn.Linear(sizes.feature_dim, N_PITCHES)
        self.instrument = nn.Linear(sizes.feature_dim, len(self.instruments))
        self.register_buffer("position", torch.linspace(-1.0, 1.0, N_MELS)[None, None, :, None], persistent=False)

    @property
    def feature_dim(self) -> int:
        """Width of the features."""
        return self.sizes.feature_dim

    def features(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim) of log-mels x (B, n_mels, n_frames), before the rectifier of the heads."""
        x = x[:, None]
        y = torch.cat([x, self.position.expand_as(x)], dim=1).contiguous(memory_format=torch.channels_last)
        y = self.trunk(y)
        parts = [y[..., start:end].mean(-1) for start, end in pairwise(self.SEGMENTS)]
        return self.read(torch.stack(parts, dim=-1).flatten(1)).float()

    def pitch_logits(self, features: Tensor) -> Tensor:
        """Logits of MIDI notes, (B, N_PITCHES), from features (B, feature_dim)."""
        return self.pitch(F.relu(features)).float()

    def instrument_logits(self, features: Tensor) -> Tensor:
        """Logits of instruments, (B, n_instruments), from features (B, feature_dim)."""
        return self.instrument(F.relu(features)).float()
