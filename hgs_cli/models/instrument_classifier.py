"""What the warm-up hangs on f: the instrument, named from the timbre part of h."""

from __future__ import annotations

from torch import Tensor, nn


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
