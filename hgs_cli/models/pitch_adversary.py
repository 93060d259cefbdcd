"""What the warm-up sets against f: pitch, named from the timbre part of h."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.pitch_classifier import N_PITCHES


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
