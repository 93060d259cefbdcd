"""D, the projection discriminator on pitch and timbre, and what the warm-up hangs on h: classifiers and a decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.feature_extractor import timbre_part
from hgs_cli.models.layers import MelTrunk, PitchEmbedding, activate
from hgs_cli.training.losses import reverse_gradient

N_PITCHES = 128


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


class Classifiers(nn.Module):
    """Instrument from h, which f shall allow, and pitch from h, which f shall not.

    Both parts of h must name the instrument by themselves. The pitch adversary reads the whole of h through a
    reversed gradient.

    Args:
        timbre_dim: Width of the timbre part of h.
        h_dim: Width of h.
        n_instruments: Classes.
    """

    SCALE = 16.0

    def __init__(self, timbre_dim: int, h_dim: int, n_instruments: int) -> None:
        super().__init__()
        self.timbre_dim = timbre_dim
        self.timbre = nn.Linear(timbre_dim, n_instruments)
        self.map = nn.Linear(h_dim - timbre_dim, n_instruments)
        self.pitch = nn.Sequential(
            nn.Linear(h_dim, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, N_PITCHES)
        )

    def instrument_logits(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, n_instruments) from each part of h (B, h_dim)."""
        return self.timbre(h[:, : self.timbre_dim] * self.SCALE), self.map(h[:, self.timbre_dim :] * self.SCALE)

    def pitch_logits(self, h: Tensor, strength: float) -> Tensor:
        """Logits (B, N_PITCHES); f feels them reversed and scaled by `strength`."""
        return self.pitch(reverse_gradient(h, strength) * self.SCALE)


class EnvelopeDecoder(nn.Module):
    """Coarse levels of a note from the detailed part of h and the note's pitch.

    Classification alone would make that part blind to an equaliser or a decay, which are nuisances to it and the very
    things that H has to put right.

    Args:
        map_dim: Width of the detailed part of h.
        hidden_dim: Width of the hidden layer.
    """

    BANDS, STEPS = 32, 22

    def __init__(self, map_dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.map_dim = map_dim
        self.pitch = PitchEmbedding()
        self.layers = nn.Sequential(
            nn.Linear(map_dim + PitchEmbedding.dim(), hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, self.BANDS * self.STEPS),
        )

    def forward(self, h: Tensor, q: Tensor) -> Tensor:
        """Levels (B, BANDS, STEPS) of notes at pitch q (B,) of the sounds with features h (B, h_dim)."""
        read = h[:, -self.map_dim :] * math.sqrt(self.map_dim)
        levels = self.layers(torch.cat([read, self.pitch(q)], dim=1))
        return levels.reshape(-1, self.BANDS, self.STEPS)

    @classmethod
    def coarse(cls, y: Tensor) -> Tensor:
        """Mean levels of log-mels y (B, n_mels, n_frames) on the decoder's grid: (B, BANDS, STEPS)."""
        return F.adaptive_avg_pool2d(y, (cls.BANDS, cls.STEPS))
