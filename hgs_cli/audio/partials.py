"""The partials of a sound: where they stand, how harmonic they are, and which of them is the strongest mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import HOP_LENGTH, SAMPLE_RATE

N_FFT = 1 << 17  # 0.34 Hz a bin: zeros are added to the window
LONGEST_S, SHORTEST_S = 1.5, 0.1  # of the window
HELD_ENERGY = 0.95  # of a sound is in the window: what dies away early is not drowned in what comes after it
LOBE_PERIODS = 3.0  # half the main lobe of a Blackman window, in reciprocals of its length
LOWEST_HZ, HIGHEST_HZ = 25.0, 10_000.0
RANGE_DB = 60.0  # below the strongest partial
STANDING_DB = 14.0  # above the median around it; the highest of a thousand bins of noise is 10 dB above that
MEDIAN_OCTAVES = 0.5
MOST_PARTIALS = 60

SHARE_LOW_HZ, SHARE_HIGH_HZ = 50.0, 8000.0
SHARE_CENTS = 20.0
SHARE_OF_SPACING = 0.12  # of the distance between harmonics: high ones would else leave no room for anything between
TUNED_CENTS = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
STRETCHES = (0.0, 1e-4, 3e-4, 6e-4, 1e-3)  # B of pianos and guitars


@dataclass(frozen=True)
class Partials:
    """What stands out of a long spectrum.

    Attributes:
        hz: Frequencies in rising order, (n,).
        level_db: Relative to the strongest, (n,).
        power: The whole spectrum, (N_FFT // 2 + 1,).
        lobe_hz: What a partial covers on either side.
    """

    hz: Tensor
    level_db: Tensor
    power: Tensor
    lobe_hz: float


def flatten_pitch(audio: Tensor, cents: Tensor) -> Tensor:
    """Play audio (T,) slower where its pitch is higher, so that its vibrato goes; cents as in SourcePitch."""
    n_samples = audio.shape[-1]
    frame = torch.arange(n_samples, dtype=torch.float64) / HOP_LENGTH
    index = frame.long().clamp(max=cents.shape[-1] - 2)
    fraction = (frame - index).clamp(max=1.0)
    deviation = torch.lerp(cents.double()[index], cents.double()[index + 1], fraction)
    told = torch.cumsum(2.0 ** (deviation / 1200.0), 0)  # the even time at each sample
    even = torch.arange(1, n_samples + 1, dtype=torch.float64) * (float(told[-1]) / n_samples)
    after = torch.searchsorted(told, even).clamp(1, n_samples - 1)
    place = (even - told[after - 1]) / (told[after] - told[after - 1])
    return torch.lerp(audio[after - 1], audio[after], place.clamp(0.0, 1.0).float())


def find_partials(audio: Tensor) -> Partials:
    """Partials of the loudest second and a half of a sound, or of as much of it as holds its energy.

    Args:
        audio: Mono at SAMPLE_RATE, (T,), from its onset on.
    """
    power, lobe_hz = _long_spectrum(audio)
    bin_hz = SAMPLE_RATE / N_FFT
    low, high = math.ceil(LOWEST_HZ / bin_hz), math.floor(HIGHEST_HZ / bin_hz)
    reach = max(1, math.floor(lobe_hz / bin_hz))
    highest = torch.nn.functional.max_pool1d(power[None, None], 2 * reach + 1, 1, reach)[0, 0]
    level = 10.0 * torch.log10(power + 1e-30)
    is_peak = (power == highest) & (level > level[low:high].max() - RANGE_DB) & (level > _floor_db(level) + STANDING_DB)
    found = is_peak[low:high].nonzero()[:, 0] + low
    strongest = level[found].argsort(descending=True)[:MOST_PARTIALS]
    found = found[strongest.sort().values]
    left, middle, right = level[found - 1], level[found], level[found + 1]
    bend = (left - 2.0 * middle + right).clamp(max=-1e-9)
    hz = (found + 0.5 * (left - right) / bend) * bin_hz
    relative = middle - (float(middle.max()) if len(found) else 0.0)
    return Partials(hz, relative, power, lobe_hz)


def _long_spectrum(audio: Tensor) -> tuple[Tensor, float]:
    """Power spectrum (N_FFT // 2 + 1,) under a Blackman window, and half its main lobe in Hz."""
    longest, shortest = round(LONGEST_S * SAMPLE_RATE), round(SHORTEST_S * SAMPLE_RATE)
    energy = audio[:longest].double().square().cumsum(0)
    held = int((energy < HELD_ENERGY * energy[-1]).sum())
    length = max(shortest, min(longest, round(1.3 * held)))
    part = torch.nn.functional.pad(audio[:length], (0, max(0, length - audio.shape[-1])))
    window = torch.blackman_window(length)
    return torch.fft.rfft(part * window, N_FFT).abs().square(), LOBE_PERIODS * SAMPLE_RATE / length


def _floor_db(level: Tensor) -> Tensor:
    """Median of a level spectrum (n,) around each bin, in bands of MEDIAN_OCTAVES, (n,)."""
    floor = torch.zeros_like(level)
    bin_hz = SAMPLE_RATE / N_FFT
    edge = LOWEST_HZ
    medians, centres = [], []
    while edge < HIGHEST_HZ:
        upper = edge * 2.0**MEDIAN_OCTAVES
        medians.append(level[int(edge / bin_hz) : int(upper / bin_hz)].median())
        centres.append(math.log2(edge) + MEDIAN_OCTAVES / 2)
        edge = upper
    at = torch.log2(torch.arange(len(level)) * bin_hz + 1e-9)
    position = ((at - centres[0]) / MEDIAN_OCTAVES).clamp(0.0, len(medians) - 1.001)
    index = position.long()
    values = torch.stack(medians)
    floor = torch.lerp(values[index], values[index + 1], position - index)
    return floor


def harmonic_share(partials: Partials, f0_hz: float) -> float:
    """Share of the energy between 50 Hz and 8 kHz that stands within 20 cents of a harmonic, beyond what chance gives.

    The fundamental may be off by TUNED_CENTS, and the harmonics stretched as a string's are. What chance gives is the
    share of the spectrum that is that near to a harmonic, so that short sounds, whose partials are broad, have no more
    of it than long ones.
    """
    power = partials.power
    hz = torch.arange(len(power)) * (SAMPLE_RATE / N_FFT)
    inside = (hz >= min(SHARE_LOW_HZ, 0.7 * f0_hz)) & (hz <= SHARE_HIGH_HZ)
    power, hz = power[inside], hz[inside]
    best = 0.0
    for cents in TUNED_CENTS:
        for stretch in STRETCHES:
            tuned_hz = f0_hz * 2.0 ** (cents / 1200.0)
            number = partial_number(hz / tuned_hz, stretch)
            off_hz = (number - number.round().clamp(min=1.0)).abs() * tuned_hz
            allowed = torch.minimum(hz * (2.0 ** (SHARE_CENTS / 1200.0) - 1.0), SHARE_OF_SPACING * hz.new_tensor(f0_hz))
            allowed = allowed.clamp(min=partials.lobe_hz)
            near = float(power[off_hz <= allowed].sum() / (power.sum() + 1e-30))
            chance = float((power * (2.0 * allowed / tuned_hz).clamp(max=1.0)).sum() / (power.sum() + 1e-30))
            best = max(best, (near - chance) / max(1e-3, 1.0 - chance))
    return best


def partial_number(ratio: Tensor, inharmonicity: float) -> Tensor:
    """Which partial of a stiff string, fractions included, stands at a multiple of its fundamental.

    Source: Fletcher, Normal vibration frequencies of a stiff piano string (JASA 1964), pinned ends, solved for k.
    """
    if inharmonicity == 0.0:
        return ratio
    square = ratio.square() * (1.0 + inharmonicity)  # B·k⁴ + k² = this, solved for k² in the form that does not cancel
    return torch.sqrt(2.0 * square / (1.0 + torch.sqrt(1.0 + 4.0 * inharmonicity * square)))
