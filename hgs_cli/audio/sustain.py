"""Whether a note is sustained: how steady its level and its colour are, and where it is steadiest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SustainRules:
    """When a note is one that can be held."""

    # of the bands in which steadiness is measured
    n_fft: int = 2048
    hop: int = 512
    # the bands in which steadiness is measured, from the lowest up
    bands_per_octave: int = 2
    lowest_hz: float = 80.0
    n_bands: int = 17
    floor_db: float = 70.0  # below the loudest band: further down nothing is measured
    audible_db: float = 40.0  # below the loudest band of a stretch: bands further down have no say in its colour
    # of 400 recorded notes these three limits miss 3 of 137 bowed and blown ones, short ones all of them, and take 2 of
    # 263 plucked and struck ones for sustained; with 10 dB it were 5. The steadiest second of the former moves by at
    # most 1.6 dB a second in level and colour together, that of nine in ten of the latter by more than 4. of a frame's
    # summed power: about -125 dB of full scale
    silent_db: float = -70.0
    loud_db: float = 8.0  # a sustain is no further below the note's loudest moment
    steady_db_s: float = 2.5  # by which a sustain may fall or rise in a second
    # spread of the level around its trend: an onset, a gap or an end is in the stretch, and no tremolo
    uneven_db: float = 4.0
    gap_db: float = 10.0  # below its mean no moment of a sustain is: the rise of an onset would make a decay look level
    # lengths of what may be a sustain, the longest that is steady counts
    stretches_s: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5)


SUSTAIN = SustainRules()


@dataclass(frozen=True)
class Bands:
    """Levels in dB by band and frame, (SUSTAIN.n_bands, n_frames), and of all bands together, (n_frames,)."""

    levels: Tensor
    total: Tensor
    sample_rate: int

    def around(self, sample: int, reach_s: float) -> tuple[Tensor, float]:
        """Mean levels within `reach_s` of a sample: by band, and in all."""
        middle, reach = sample // SUSTAIN.hop, max(1, round(reach_s * self.sample_rate / SUSTAIN.hop))
        part = slice(max(0, middle - reach), middle + reach + 1)
        return self.levels[:, part].mean(1), float(self.total[part].mean())


def is_sustained(audio: Tensor, sample_rate: int) -> bool:
    """Whether a note (T,) holds for three quarters of a second, as nothing that was plucked or struck does."""
    return steadiest(measure_bands(audio.float(), sample_rate)) is not None


def measure_bands(audio: Tensor, sample_rate: int) -> Bands:
    """Levels of half-octave bands of audio (T,)."""
    padded = torch.nn.functional.pad(audio, (SUSTAIN.n_fft // 2, SUSTAIN.n_fft // 2))
    spectrum = torch.stft(
        padded,
        SUSTAIN.n_fft,
        SUSTAIN.hop,
        window=torch.hann_window(SUSTAIN.n_fft, device=audio.device),
        center=False,
        return_complex=True,
    )
    power = spectrum.abs().square()
    bins_hz = torch.arange(power.shape[0], device=audio.device) * (sample_rate / SUSTAIN.n_fft)
    octaves = torch.log2(bins_hz.clamp(min=1.0) / SUSTAIN.lowest_hz)
    index = (SUSTAIN.bands_per_octave * octaves).floor().long().clamp(-1, SUSTAIN.n_bands - 2) + 1
    summed = torch.zeros(SUSTAIN.n_bands, power.shape[1], device=audio.device).index_add_(0, index, power)
    levels = 10.0 * torch.log10(summed + 1e-12)
    return Bands(
        levels.clamp(min=float(levels.max()) - SUSTAIN.floor_db), 10.0 * torch.log10(summed.sum(0) + 1e-12), sample_rate
    )


def steadiest(bands: Bands) -> tuple[int, int] | None:
    """First and last sample of the longest stretch in which neither level nor colour moves much, the steadiest of them.

    What is plucked or struck loses treble faster than bass: its colour falls even where its level hardly does.
    """
    frames_s = bands.sample_rate / SUSTAIN.hop
    n_frames = bands.total.shape[-1]
    loudest = float(bands.total.max())
    if loudest < SUSTAIN.silent_db:
        return None
    for seconds in reversed(SUSTAIN.stretches_s):
        length = round(seconds * frames_s)
        if length > n_frames:
            continue
        time = (torch.arange(length, device=bands.total.device) - (length - 1) / 2) / frames_s
        slope = time / time.square().sum()
        total = bands.total.unfold(0, length, 1)  # (n_stretches, length)
        levels = bands.levels.unfold(1, length, 1)  # (SUSTAIN.n_bands, n_stretches, length)
        trend, mean = total @ slope, total.mean(1)
        spread = (total - mean[:, None] - trend[:, None] * time).std(1)
        band_mean = levels.mean(2)
        heard = (band_mean > band_mean.amax(0) - SUSTAIN.audible_db).float()
        colour = ((levels @ slope) * heard).sum(0) / heard.sum(0)
        moved = trend.abs() + colour.abs()
        unfit = (spread > SUSTAIN.uneven_db) | (mean < loudest - SUSTAIN.loud_db) | (moved > SUSTAIN.steady_db_s)
        unfit = unfit | (total.amin(1) < mean - SUSTAIN.gap_db)
        moved = torch.where(unfit, math.inf, moved)
        best = int(moved.argmin())
        if math.isfinite(float(moved[best])):
            return best * SUSTAIN.hop, (best + length - 1) * SUSTAIN.hop
    return None
