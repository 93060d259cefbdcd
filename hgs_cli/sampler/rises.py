"""Where a recording rises at once: onsets, from which phases are counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class RiseRules:
    """What an onset is."""

    rise_db: float = 10.0  # of all energy within 12 ms
    # over which it is measured, and above all of how much before it
    rise_s: float = 0.012
    lately_s: float = 0.05
    step: int = 64  # samples that are one point of the energy in which it is seen
    apart_s: float = 0.05  # between two of them, at least
    of_loudest: float = 0.01  # of the loudest point's energy: rises to less are none


RISES = RiseRules()


def find_rises(audio: Tensor) -> tuple[int, ...]:
    """Samples at which the energy of audio (C, T) rises at once, in order, at least 50 ms apart."""
    energy = torch.nn.functional.avg_pool1d(audio.square().sum(0)[None, None], RISES.step, RISES.step)
    if energy.shape[-1] < 8:
        return ()
    energy = torch.nn.functional.avg_pool1d(energy, 3, 1, 1)[0, 0]
    span = round(RISES.rise_s * SAMPLE_RATE / RISES.step)
    level = 10.0 * torch.log10(energy + 1e-6 * float(energy.max()) + 1e-14)
    # Above all that was within the last periods: a low note is a train of pulses.
    lately = round(RISES.lately_s * SAMPLE_RATE / RISES.step)
    padded = torch.nn.functional.pad(level, (span + lately - 1, 0), value=float(level.min()))[: len(level) + lately - 1]
    before = padded.unfold(0, lately, 1).amax(1)
    rising = ((level - before > RISES.rise_db) & (energy > RISES.of_loudest * energy.max())).nonzero()[:, 0].tolist()
    found: list[int] = []
    steepest = torch.diff(level, prepend=level[:1])
    for step in rising:
        if not found or step * RISES.step - found[-1] > RISES.apart_s * SAMPLE_RATE:
            low = max(0, step - span)
            found.append((low + int(steepest[low : step + span].argmax())) * RISES.step)
    return tuple(found)


def sees_rise(rises: tuple[int, ...], n_frames: int, hop: int, n_fft: int) -> Tensor:
    """Whether frames have a rise in their windows, (n_frames,): noise drawn there would be as long as the window."""
    centre = torch.arange(n_frames) * hop - n_fft // 2
    seen = torch.zeros(n_frames, dtype=torch.bool)
    for rise in rises:
        seen |= (centre - rise).abs() <= n_fft // 2
    return seen
