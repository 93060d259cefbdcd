"""f: the pitch-invariant feature extractor, log-mel x → timbre feature h."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.layers import ConvBlock2d, MelTrunk


@dataclass(frozen=True)
class FeatureExtractorConfig:
    """Sizes of f."""

    # channels of the trunk; every entry after the first halves frequency and time
    channels: tuple[int, ...] = (48, 96, 192, 256)
    timbre_dim: int = 128  # width of the compact part of h that conditions G and D
    n_bands: int = 4  # frequency bands over which the compact part is pooled
    # its time segments, as ends in steps of the trunk (32 frames); short first, so that attacks survive
    segments: tuple[int, ...] = (1, 2, 3, 5, 8, 11)
    map_width: int = 80  # channels of the layer that reads the detailed part of h from the trunk's last step but one
    map_grid: tuple[int, int] = (8, 22)  # bands and time steps of the detailed part, which H alone reads
    map_channels: int = 8  # channels of the detailed part in each of them

    @property
    def map_dim(self) -> int:
        """Width of the detailed part of h."""
        return self.map_grid[0] * self.map_grid[1] * self.map_channels

    @property
    def h_dim(self) -> int:
        """Width of the whole of h."""
        return self.timbre_dim + self.map_dim


class FeatureExtractor(nn.Module):
    """f, trained to tell instruments and not pitch.

    h has two parts, each of unit length: `timbre_dim` values that condition G and D, then a coarse map (bands × time)
    that only H reads. What G is told stays compact and H has something to add: with one shared vector a hypernetwork
    changed nothing. The layers of the map learn together with H: what H has to know is for H to say. They read the
    trunk where it is still fine in time, and the trunk knows nothing of H.

    Source: HyperGANStrument, section on the pitch-invariant feature extractor; the second part is ours.

    Args:
        config: Sizes of f.
    """

    def __init__(self, config: FeatureExtractorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels[-1]
        self.trunk = MelTrunk(config.channels)
        pooled = width * config.n_bands * len(config.segments)
        self.timbre = nn.Linear(pooled, config.timbre_dim)
        self.map = nn.Sequential(
            ConvBlock2d(config.channels[-2], config.map_width, stride=(2, 1)),
            nn.Conv2d(config.map_width, config.map_channels, 1),
        )

    def _pool(self, y: Tensor) -> Tensor:
        """Average (B, C, F, T) over bands and segments: (B, C, n_bands, n_segments)."""
        y = F.adaptive_avg_pool2d(y, (self.config.n_bands, y.shape[-1]))
        parts, start = [], 0
        for end in self.config.segments:
            parts.append(y[..., start:end].mean(-1))
            start = end
        return torch.stack(parts, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """h of log-mels x (B, n_mels, n_frames): (B, h_dim), its two parts each of unit length."""
        before_last, y = self.trunk.last_two(x)
        timbre = self.timbre(self._pool(y).flatten(1)).float()
        detail = F.adaptive_avg_pool2d(self.map(before_last), self.config.map_grid).flatten(1).float()
        return torch.cat([F.normalize(timbre, dim=1), F.normalize(detail, dim=1)], dim=1)


def timbre_part(h: Tensor, timbre_dim: int) -> Tensor:
    """The part of h (B, h_dim) that conditions G and D, scaled to unit variance: (B, timbre_dim)."""
    return h[:, :timbre_dim] * math.sqrt(timbre_dim)
