"""What another recording of the same instrument says of a note: how loud every band is to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.sampler.instrument import Instrument
from hgs_cli.spectrum import DB_PER_UNIT


@dataclass(frozen=True)
class NeighbourRules:
    """How what two recordings say is put together.

    Measured as notes of 36 training instruments, three known, with networks that had not heard them (weights 0.2.0):
    4.23 dB from the real ones with both levels averaged in decibels, 0.06 less with what is lacking, 0.15 with measured
    trust, 0.22 with the mean by `loudness`. Of 28 validation instruments 0.08 less.
    """

    # exponent of power by which levels are averaged: a band in which one says silence is not half as loud as in the
    # other in decibels. That of loudness, 0.3, is 0.03 dB nearer, and steps of colour at known keys are larger
    loudness: float = 0.15
    unmoved: float = 0.5  # share of what is lacking as it was heard, unmoved; 0.3 and 0.7 differ by 0.01 dB
    heard: float = 1.2  # level units below the loudest point, 60 dB: what is brought to one loudness
    compared_frames: int = 4  # of so many one is looked at for it


NEIGHBOURS = NeighbourRules()


@dataclass(frozen=True)
class Compared:
    """Two recordings of an instrument, each heard at the other's key."""

    shift: float  # of the log-odds of both trusts
    # what the first, moved to the second's key, lacks of it, and the second at the first's, in level units, (n_mels,
    # n_frames) each
    lacks: tuple[Tensor, Tensor]

    @property
    def turned(self) -> Compared:
        """The same of the second and the first."""
        return Compared(self.shift, (self.lacks[1], self.lacks[0]))


@dataclass(frozen=True)
class Neighbour:
    """Another recording of the same sound's instrument, which has a say in how loud every band is."""

    instrument: Instrument  # made of it
    shares: Sequence[float]  # what it has to say in every note, 0 … 1
    compared: Compared | None = None  # the carrier and it; None where they were not, as those of two dynamics
    between: bool = True  # whether notes lie between them, not beyond the carrier

    def says(self, level: Tensor, chosen: slice, detail: float) -> NeighbourSays:
        """Of some of the notes, with its level there (B, n_mels, n_frames)."""
        return NeighbourSays(level, level.new_tensor(self.shares[chosen]), self.compared, self.between, detail)


@dataclass(frozen=True)
class NeighbourSays:
    """How loud another recording of the same sound is at the pitches of notes."""

    level: Tensor  # log-mel of its notes, (B, n_mels, n_frames)
    share: Tensor  # what that says in each, (B,), 0 … 1
    # as for `Neighbour`
    compared: Compared | None = None
    between: bool = True
    detail: float = 1.0  # how much of the sounds' own detail is asked for, 0 … 1

    def wanted(self, own: Tensor) -> Tensor:
        """What notes are to be whose carriers give log-mels `own`, (B, n_mels, n_frames)."""
        share = self.share[:, None, None]
        if self.compared is None:
            return torch.lerp(own, self.level, share)
        unmoved = NEIGHBOURS.unmoved * self.detail
        own_lacks, lacks = (each.to(own.device) for each in self.compared.lacks)
        if self.between:
            opinions = [
                (own, (1.0 - unmoved) * (1.0 - share)),
                (own + share * own_lacks, unmoved * (1.0 - share)),
                (self.level, (1.0 - unmoved) * share),
                (self.level + (1.0 - share) * lacks, unmoved * share),
            ]
        else:
            opinions = [
                (own, 1.0 - share),
                (self.level, (1.0 - unmoved) * share),
                (self.level + lacks, unmoved * share),
            ]
        return _mean_loudness(opinions)


def _mean_loudness(opinions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean of log-mels (B, n_mels, n_frames) by weights (B, 1, 1) that sum to 1, all as loud as the first."""
    per_unit = NEIGHBOURS.loudness * DB_PER_UNIT / 10.0 * math.log(10.0)
    first = opinions[0][0]
    total = torch.zeros_like(first)
    for level, weight in opinions:
        louder = level + _quieter(level, first) if level is not first else level
        total += weight * torch.exp(per_unit * (louder - 1.0))
    return 1.0 + torch.log(total) / per_unit


def _quieter(level: Tensor, first: Tensor) -> Tensor:
    """By which most bands that are heard are quieter in some log-mels than in others, (B, 1, 1)."""
    level, first = level[..., :: NEIGHBOURS.compared_frames], first[..., :: NEIGHBOURS.compared_frames]
    heard = first > first.amax((1, 2), keepdim=True) - NEIGHBOURS.heard
    return torch.where(heard, first - level, math.nan).flatten(1).nanmedian(1).values[:, None, None]
