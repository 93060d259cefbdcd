"""D, the projection discriminator on pitch and timbre."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.feature_extractor import timbre_part
from hgs_cli.models.layers import MelTrunk, PitchEmbedding, activate


class Discriminator(nn.Module):
    """D(x, p, h): how real a log-mel looks for this pitch and timbre.

    Source: GANStrument and HyperGANStrument; projection as Miyato & Koyama (2018).

    Args:
        timbre_dim: Width of the timbre part of h.
        channels: Channels of the trunk.
        feature_dim: Width of what is projected on.
        projection: Whether pitch and timbre are projected on; without it D only asks whether a log-mel looks real.
    """

    POOL = (4, 4)

    def __init__(
        self,
        timbre_dim: int,
        channels: tuple[int, ...] = (48, 96, 192, 256),
        feature_dim: int = 256,
        *,
        projection: bool = True,
    ) -> None:
        super().__init__()
        self.timbre_dim, self.projection = timbre_dim, projection
        self.trunk = MelTrunk(channels)
        self.features = nn.Linear(channels[-1] * self.POOL[0] * self.POOL[1], feature_dim)
        self.pitch = PitchEmbedding()
        self.condition = nn.Sequential(
            nn.Linear(timbre_dim + PitchEmbedding.dim(), feature_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(feature_dim, feature_dim),
        )
        self.output = nn.Linear(feature_dim, 1)

    def forward(self, x: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """Logits (B,) for log-mels x (B, n_mels, n_frames) at pitch p (B,) with the query's feature h (B, h_dim)."""
        y = F.adaptive_avg_pool2d(self.trunk(x), self.POOL).flatten(1)
        phi = activate(self.features(y))
        if not self.projection:
            return self.output(phi)[:, 0].float()
        condition = self.condition(torch.cat([timbre_part(h, self.timbre_dim), self.pitch(p) * 2.0], dim=1))
        projection = (condition * phi).sum(1) / math.sqrt(phi.shape[1])
        return (self.output(phi)[:, 0] + projection).float()
