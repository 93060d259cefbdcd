"""Stretched partials: how stiff a string is, and where its partials therefore stand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE, midi_to_hz

LEAST_STRETCH = 2e-5  # below it the thirtieth partial of a string is 16 cents from its harmonic, which nobody hears
MOST_STRETCH = 5e-3  # the top of a piano has about this much; partials this far apart are told well
TOP_HZ = 10_000.0
MOST_PARTIALS = 40
FIRST_TOLD = 4  # lower partials stand at their harmonics whatever the stretch
FOUND_DB = 12.0  # above the median around it: a Hann-windowed noise has one such bin in a hundred
MORE_PARTIALS = 4  # that a stretched series must find, and MORE_TIMES as many, to be believed
MORE_TIMES = 1.25
LEAST_COVER = 0.6  # of the partials up to the last found one: the few modes of a bar fit some series or other
MEASURED_S = 0.37
PADDED = 4


@dataclass(frozen=True)
class Stretch:
    """How the partials of a stiff string stand.

    Attributes:
        coefficient: B of `partial_ratio`.
        cents: Where the fundamental is, beside the pitch that is heard: that of some partials above, at most 0.
    """

    coefficient: float
    cents: float

    def at(self, source: float, pitch: float) -> Stretch:
        """The same at another pitch: B in proportion to the frequency, the fundamental nearer to the pitch above.

        B ∝ d⁴ / (T·L²): a string stopped at half its length has four times as much, another string of the set, of
        fitting gauge, about as much as the first; instruments lie between. In a high note the fundamental is loudest,
        and heard as the pitch.
        """
        ratio = 2.0 ** ((pitch - source) / 12.0)
        return Stretch(min(self.coefficient * ratio, MOST_STRETCH), self.cents / max(ratio, 1.0))


def measure_stretch(audio: Tensor, p: float) -> Stretch | None:
    """How the partials of a note stand if they are evidently stretched, None for all others.

    The series k·√(1 + B·k²) that finds most peaks in a long spectrum after the loudest moment is believed when it finds
    clearly more of them than harmonics do, and leaves out few on the way.

    Args:
        audio: The note, (T,).
        p: Its pitch, a MIDI note number.

    Source: Fletcher, Blackham & Stratton, Quality of Piano Tones (JASA 1962), for the series; the search is ours.
    """
    f0_hz = float(midi_to_hz(torch.tensor(p)))
    n_samples = round(MEASURED_S * SAMPLE_RATE)
    audio = torch.nn.functional.pad(audio.float(), (0, max(0, n_samples - audio.shape[-1])))
    energy = torch.nn.functional.avg_pool1d(audio.square()[None, None], 2048, 512)[0, 0]
    start = min(int(energy.argmax()) * 512 + 512, audio.shape[-1] - n_samples)
    n_fft = PADDED * 2 ** math.ceil(math.log2(n_samples))
    part = audio[start : start + n_samples] * torch.hann_window(n_samples)
    bin_hz = SAMPLE_RATE / n_fft
    n_bins = min(n_fft // 2, int((TOP_HZ + f0_hz) / bin_hz))
    level = 10.0 * torch.log10(torch.fft.rfft(part, n_fft)[:n_bins].abs().square() + 1e-12)
    # the median of every stretch of one spacing, and between them straight lines
    spacing = max(8, round(f0_hz / bin_hz))
    blocks = level[: n_bins // spacing * spacing].reshape(-1, spacing)
    if len(blocks) < FIRST_TOLD + MORE_PARTIALS:
        return None
    floor = torch.nn.functional.interpolate(
        blocks.median(1).values[None, None], scale_factor=spacing, mode="linear", align_corners=False
    )[0, 0]
    near = max(1, round(0.006 * f0_hz * FIRST_TOLD / bin_hz))
    prominence = (level[: len(floor)] - floor).clamp(0.0, 30.0)
    reach = torch.nn.functional.max_pool1d(prominence[None, None], 2 * near + 1, 1, near)[0, 0]

    number = torch.arange(FIRST_TOLD, MOST_PARTIALS + 1, dtype=torch.float32)
    grid = torch.cat([torch.zeros(1), torch.logspace(math.log10(LEAST_STRETCH), math.log10(MOST_STRETCH), 120)])
    detune = torch.pow(2.0, torch.linspace(-16.0, 8.0, 13) / 1200.0)
    ratio = number * torch.sqrt(1.0 + grid[:, None] * number.square())  # (n_grid, n_partials)
    index = (ratio[:, None] * detune[:, None] * (f0_hz / bin_hz)).round().long()  # (n_grid, n_detune, n_partials)
    inside = index < len(reach)
    height = torch.where(inside, reach[index.clamp(max=len(reach) - 1)], torch.zeros(()))
    score = height.sum(2)
    found = (height > FOUND_DB).sum(2)
    plain = int(score[0].argmax())
    best = int(score[1:].max(1).values.argmax()) + 1
    at = int(score[best].argmax())
    n_plain, n_best = int(found[0, plain]), int(found[best, at])
    last = int((height[best, at] > FOUND_DB).nonzero()[-1]) + 1 if n_best else 1
    if n_best < n_plain + MORE_PARTIALS or n_best < MORE_TIMES * n_plain or n_best < LEAST_COVER * last:
        return None
    return Stretch(float(grid[best]), min(0.0, 1200.0 * math.log2(float(detune[at]))))
