"""D, the projection discriminator on pitch and timbre, and what the warm-up hangs on h."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.feature_extractor import timbre_part
from hgs_cli.models.layers import MelTrunk, PitchEmbedding, activate

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


class Adversary(nn.Module):
    """Pitch from the timbre part of h, which f is to hide; it learns from features of many steps past.

    Args:
        timbre_dim: Width of the timbre part of h.
    """

    BANK = 4096
    HIDDEN_DIM = 256
    DROPOUT = 0.2  # what it learnt by heart of remembered features pulls new ones nowhere, and hard

    bank: Tensor
    keys: Tensor

    def __init__(self, timbre_dim: int) -> None:
        super().__init__()
        self.timbre_dim = timbre_dim
        self.layers = nn.ModuleList(
            [
                nn.Linear(timbre_dim, self.HIDDEN_DIM),
                nn.Linear(self.HIDDEN_DIM, self.HIDDEN_DIM),
                nn.Linear(self.HIDDEN_DIM, N_PITCHES),
            ]
        )
        self.register_buffer("bank", torch.zeros(self.BANK, timbre_dim))
        self.register_buffer("keys", torch.full((self.BANK,), -1))  # -1: no feature yet

    def remember(self, h: Tensor, key: Tensor) -> None:
        """Put features (B, h_dim) of notes with MIDI notes key (B,) in the place of the oldest."""
        self.bank = torch.cat([self.bank, h[:, : self.timbre_dim].detach().float()])[-self.BANK :]
        self.keys = torch.cat([self.keys, key])[-self.BANK :]

    def forward(self, h: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """Logits (B, N_PITCHES) from features h (B, h_dim).

        Every value is scaled to unit variance over the bank: what hardly varies may not hide there.

        Args:
            h: Features, (B, h_dim).
            rng: Of the dropout with which it learns; None for its answer.
        """
        known = self.bank[self.keys >= 0]
        mean, scale = known.mean(0), known.std(0, correction=0) + 1e-6
        y = (h[:, : self.timbre_dim].float() - mean) / scale
        for layer in self.layers[:-1]:
            y = F.leaky_relu(layer(y), 0.2)
            if rng is not None:
                kept = torch.from_numpy(rng.random(tuple(y.shape)) >= self.DROPOUT).to(y.device)
                y = y * kept / (1.0 - self.DROPOUT)
        logits: Tensor = self.layers[-1](y)
        return logits


class InstrumentClassifier(nn.Module):
    """Instrument from the timbre part of h, which f is to tell.

    Args:
        timbre_dim: Width of the timbre part of h.
        n_instruments: Classes.
    """

    SCALE = 16.0

    def __init__(self, timbre_dim: int, n_instruments: int) -> None:
        super().__init__()
        self.timbre_dim = timbre_dim
        self.instrument = nn.Linear(timbre_dim, n_instruments)

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, n_instruments) from features h (B, h_dim)."""
        logits: Tensor = self.instrument(h[:, : self.timbre_dim] * self.SCALE)
        return logits
