"""Two recordings of an instrument, each heard at the other's key.

That tells how far the networks are to be trusted with these two, better than what is heard of each alone, and what they
lack of each other there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.neighbours import Compared
from hgs_cli.sampler.settings import Settings
from hgs_cli.sampler.trust import MIN_TRUST
from hgs_cli.sampler.voices import MovedHead, ask_networks, move_carriers, note_voices, read_carriers
from hgs_cli.sampler.wanted import NoteBatch
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, N_FRAMES


@dataclass(frozen=True)
class ComparingRules:
    """How trust is measured where two recordings are known.

    On the instruments of `NeighbourRules` notes are 0.09 dB nearer than with the trust that is judged by ear. One by
    band is 0.002 dB nearer, one of each recording 0.04 further away, and 0.03 nearer with networks that know them.
    """

    # of the log-odds of trust, of which the best is looked for
    shifts: tuple[float, ...] = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
    cost_db: float = 0.005  # of a shift, squared: what it must gain. 0 and 0.02 differ by 0.005 dB
    least: float = 0.02  # trust below which, and above whose complement, it counts as that
    # of the distance between two levels, as the evaluation's distance has them
    floor_db: float = 70.0
    aligned_db: float = 50.0


COMPARING = ComparingRules()


@torch.inference_mode()
def compare(model: Model, first: Instrument, second: Instrument) -> Compared | None:
    """What two recordings say of each other; None where one has no pitch, or no carrier."""
    parts = first.parts[0], second.parts[0]
    if any(part.source_pitch is None or part.carrier is None for part in parts):
        return None
    low, high = (part.stands_at for part in parts)
    one, other = _AtKeys(model, first, (low, high)), _AtKeys(model, second, (high, low))
    heard = min(N_FRAMES, min(first.length_samples, second.length_samples) // HOP_LENGTH + 1)
    real = other.levels(0.0)[0], one.levels(0.0)[0]  # at its own key each is its recording, whatever its trust

    def cost_db(shift: float) -> float:
        made = one.levels(shift)[1], other.levels(shift)[1]
        apart_db = sum(_apart_db(a[:, :heard], b[:, :heard]) for a, b in zip(made, real, strict=True))
        return apart_db / 2.0 + COMPARING.cost_db * shift * shift

    shift = min(COMPARING.shifts, key=cost_db)  # it may have several minima
    return Compared(shift, (real[0] - one.levels(shift)[1], real[1] - other.levels(shift)[1]))


def shift_trust(instrument: Instrument, shift: float) -> Instrument:
    """An instrument of one sound whose networks are trusted more, or less, by so much of log-odds; or as little."""
    part = instrument.parts[0]
    if shift == 0.0 or part.trust == 0.0:
        return instrument
    judged = min(max(part.trust, COMPARING.least), 1.0 - COMPARING.least)
    trust = 1.0 / (1.0 + (1.0 - judged) / judged * math.exp(-shift))
    return replace(instrument, parts=(replace(part, trust=0.0 if trust < MIN_TRUST else trust),))


@dataclass(frozen=True)
class _AtKeys:
    """A recording at two keys, the first its own."""

    model: Model
    instrument: Instrument
    keys: tuple[float, float]

    @cached_property
    def _moved(self) -> tuple[NoteBatch, list[MovedHead | None]]:
        """What is asked for of the networks, whatever their trust, and the carrier."""
        settings = Settings()
        trusted = shift_trust(self.instrument, max(COMPARING.shifts))
        q = torch.tensor(self.keys, dtype=torch.float32, device=self.model.device)
        (notes,) = ask_networks(self.model, trusted, q, settings, True)
        return notes, move_carriers(read_carriers(trusted, max(self.keys), settings), self.keys, settings)

    def levels(self, shift: float) -> Tensor:
        """Log-mels of both, (2, n_mels, n_frames)."""
        notes, heads = self._moved
        shifted = replace(notes, instrument=shift_trust(self.instrument, shift))
        return note_voices([shifted], heads, levels=True).level


def _apart_db(made: Tensor, real: Tensor) -> float:
    """Distance of a log-mel to a real one, (n_mels, n_frames) each, whatever their gain, in dB."""
    top = float(real.max())
    floor, aligned = top - COMPARING.floor_db / DB_PER_UNIT, real > top - COMPARING.aligned_db / DB_PER_UNIT
    real = real.clamp(min=floor)
    made = (made + (real - made)[aligned].median()).clamp(min=floor)
    return DB_PER_UNIT * float((made - real).abs().mean())
