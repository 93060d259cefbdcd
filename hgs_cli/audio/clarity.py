"""How clear the space between the harmonics of a note is: of what is computed, clearer than of what is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class ClarityRules:
    """Where it is looked at."""

    spacing_bins: int = 32  # between two harmonics at the least, eight times the window's own lobe on either side
    n_fft: tuple[int, int] = (4096, 32_768)  # shortest and longest window, in samples
    loudest: float = 0.5  # part of the windows, those with most energy
    n_harmonics: int = 39  # that have a say, at the most
    highest_hz: float = 8000.0  # above it recordings are silent, too
    # in distances between harmonics: what is nearer is the harmonic, what lies between these is between them
    near: float = 0.25
    between: tuple[float, float] = (0.3, 0.7)
    range_db: float = 50.0  # harmonics further below the strongest bin have no say
    # of many detuned oscillators the high harmonics run into each other: the lowest alone are heard, too, less what
    # they are clearer by in a recording
    n_lowest: int = 6
    lowest_db: float = 15.0


CLARITY = ClarityRules()


@lru_cache(maxsize=4)
def _window(n_fft: int) -> Tensor:
    """Blackman-Harris, whose side lobes are 92 dB down, (n_fft,).

    Source: Harris, On the use of windows for harmonic analysis with the discrete Fourier transform (1978).
    """
    with torch.inference_mode(False):
        turn = 2.0 * math.pi * torch.arange(n_fft) / n_fft
        terms = ((0.35875, 0), (-0.48829, 1), (0.14128, 2), (-0.01168, 3))
        return torch.stack([weight * torch.cos(order * turn) for weight, order in terms]).sum(0)


def clarity_db(audio: Tensor, f0_hz: float) -> float:
    """By how much what lies between the harmonics of a note is below them, in dB; 0 where there are not two of them.

    The median over harmonics, or over the lowest, the mean over the louder half of the sound. Recorded instruments have
    10 to 60: breath, bows and wavering pitch fill it; synthesisers 50 to 70, what is made of numbers alone 80 to 120.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).
        f0_hz: Its pitch.
    """
    shortest, longest = CLARITY.n_fft
    n_fft = shortest
    while n_fft * f0_hz < CLARITY.spacing_bins * SAMPLE_RATE and n_fft < longest:
        n_fft *= 2
    spacing = f0_hz * n_fft / SAMPLE_RATE
    audio = torch.nn.functional.pad(audio.float(), (0, max(0, n_fft - audio.shape[-1])))
    frames = audio.unfold(0, n_fft, n_fft // 2)
    energy = frames.square().sum(1)
    loudest = energy.argsort(descending=True)[: max(1, int(CLARITY.loudest * len(frames)))]
    level_db = 20.0 * torch.log10(torch.fft.rfft(frames[loudest] * _window(n_fft)).abs() + 1e-9)

    def part(low: float, high: float) -> Tensor:
        return level_db[:, round(low * spacing) : round(high * spacing) + 1]

    n_harmonics = min(CLARITY.n_harmonics, int(CLARITY.highest_hz / f0_hz) - 1, int(level_db.shape[1] / spacing - 1.5))
    if n_harmonics < 2:
        return 0.0
    numbers = range(1, n_harmonics + 1)
    harmonics = torch.stack([part(k - CLARITY.near, k + CLARITY.near).amax(1) for k in numbers], 1)
    low, high = CLARITY.between
    depths = harmonics - torch.stack([part(k + low, k + high).median(1).values for k in numbers], 1)
    depths = depths.masked_fill(harmonics < level_db.amax(1, keepdim=True) - CLARITY.range_db, math.nan)
    of_all, of_lowest = (
        float(some.nanmedian(1).values.nan_to_num().mean()) for some in (depths, depths[:, : CLARITY.n_lowest])
    )
    return max(of_all, of_lowest - CLARITY.lowest_db)
