"""The partials of a sound: where they stand, how harmonic they are, and which is the strongest."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.pitch import hz_to_midi
from hgs_cli.spectrum import HOP_LENGTH, SAMPLE_RATE


@dataclass(frozen=True)
class PartialRules:
    """How the partials of a sound are found."""

    n_fft: int = 1 << 17  # 0.34 Hz a bin: zeros are added to the window
    # of the window
    longest_s: float = 1.5
    shortest_s: float = 0.1
    step_samples: int = 2205  # 50 ms
    # of the energy of the loudest: the first such second and a half, a decay's from its onset on
    nearly_loudest: float = 0.9
    # so much of a sound's energy is in the window, and a little time more: what dies away early is not drowned in what
    # comes after it
    held_energy: float = 0.95
    held_more: float = 1.3
    lobe_periods: float = 3.0  # half the main lobe of a Blackman window, in reciprocals of its length
    # between which partials are looked for
    lowest_hz: float = 25.0
    highest_hz: float = 10_000.0
    range_db: float = 60.0  # below the strongest partial
    standing_db: float = 14.0  # above the median around it; the highest of a thousand bins of noise is 10 dB above that
    # the wider of the two: the main lobe of a low mode is no floor for itself
    median_octaves: float = 0.5
    median_lobes: float = 6.0
    max_partials: int = 60  # the strongest of them


PARTIALS = PartialRules()


@dataclass(frozen=True)
class ShareRules:
    """How much of a sound stands on the harmonics of a pitch."""

    # between which the share is measured
    low_hz: float = 50.0
    high_hz: float = 8000.0
    cents: float = 20.0  # from a harmonic: what is nearer belongs to it
    # the same where its level is asked for, and of the distance between harmonics at the most
    near_cents: float = 25.0
    near_spacing: float = 0.4
    # of the distance between harmonics: near high ones there would else be no room between them
    of_spacing: float = 0.12
    db: float = 30.0  # partials further down have no say in the share of amplitudes
    tuned_cents: tuple[float, ...] = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)  # by which the fundamental may be off
    inharmonicities: tuple[float, ...] = (0.0, 1e-4, 3e-4, 6e-4, 1e-3)  # B of pianos and guitars


SHARE = ShareRules()


@dataclass(frozen=True)
class ModeRules:
    """When an unpitched sound has a strongest mode."""

    share: float = 0.12  # of the energy: the strongest of a hi-hat's, a tambourine's or a crash's has less
    highest_hz: float = 2100.0  # a mode above C7 is a colour; a triangle played from it would come four octaves too low


MODE = ModeRules()


BIN_HZ = SAMPLE_RATE / PARTIALS.n_fft
ONE_LINE = 1.24  # concentration of one line under a Blackman window, times its lobe in bins


@dataclass(frozen=True)
class Partials:
    """What stands out of a long spectrum."""

    hz: Tensor  # frequencies in rising order, (n,)
    level_db: Tensor  # relative to the strongest, (n,)
    power: Tensor  # the whole spectrum, (PARTIALS.n_fft // 2 + 1,)
    lobe_hz: float  # what a partial covers on either side

    @property
    def concentration(self) -> float:
        """How few bins the energy is in: 1 if it is all in one."""
        return float(self.power.square().sum() / (self.power.sum().square() + 1e-30))

    @property
    def n_lines(self) -> float:
        """Of how many lines alike, each as wide as the window's lobe, the energy might be."""
        return ONE_LINE * BIN_HZ / (self.lobe_hz * self.concentration + 1e-30)

    def above(self, floor_db: float, highest_hz: float) -> list[tuple[float, float]]:
        """Frequency and level of those not so far below the strongest, in rising order."""
        chosen = (self.level_db > -floor_db) & (self.hz < highest_hz)
        return list(zip(self.hz[chosen].tolist(), self.level_db[chosen].tolist(), strict=True))


# --- finding them ---------------------------------------------------------------------------------------------------


def flatten_pitch(audio: Tensor, cents: Tensor) -> Tensor:
    """Play audio (T,) slower where its pitch is higher, so that its vibrato goes; cents as in SourcePitch."""
    n_samples = audio.shape[-1]
    frame = torch.arange(n_samples, dtype=torch.float64) / HOP_LENGTH
    index = frame.long().clamp(max=cents.shape[-1] - 2)
    deviation = torch.lerp(cents.double()[index], cents.double()[index + 1], (frame - index).clamp(max=1.0))
    told = torch.cumsum(2.0 ** (deviation / 1200.0), 0)  # even time at each sample
    even = torch.arange(1, n_samples + 1, dtype=torch.float64) * (float(told[-1]) / n_samples)
    after = torch.searchsorted(told, even).clamp(1, n_samples - 1)
    place = ((even - told[after - 1]) / (told[after] - told[after - 1])).clamp(0.0, 1.0)
    return torch.lerp(audio[after - 1], audio[after], place.float())


def find_partials(audio: Tensor) -> Partials:
    """Partials of the loudest second and a half of a sound, or of as much of it as holds its energy.

    Args:
        audio: Mono at SAMPLE_RATE, (T,), from its onset on.
    """
    power, lobe_hz = _long_spectrum(audio)
    low, high = math.ceil(PARTIALS.lowest_hz / BIN_HZ), math.floor(PARTIALS.highest_hz / BIN_HZ)
    reach = max(1, math.floor(lobe_hz / BIN_HZ))
    highest = torch.nn.functional.max_pool1d(power[None, None], 2 * reach + 1, 1, reach)[0, 0]
    level = 10.0 * torch.log10(power + 1e-30)
    stands = level > torch.maximum(
        _floor_db(level, lobe_hz) + PARTIALS.standing_db, level[low:high].max() - PARTIALS.range_db
    )
    found = ((power == highest) & stands & (power > 0.0))[low:high].nonzero()[:, 0] + low
    found = found[level[found].argsort(descending=True)[: PARTIALS.max_partials]].sort().values
    left, middle, right = level[found - 1], level[found], level[found + 1]
    bend = (left - 2.0 * middle + right).clamp(max=-1e-9)
    hz = (found + 0.5 * (left - right) / bend) * BIN_HZ
    return Partials(hz, middle - (float(middle.max()) if len(found) else 0.0), power, lobe_hz)


def _long_spectrum(audio: Tensor) -> tuple[Tensor, float]:
    """Power spectrum (PARTIALS.n_fft // 2 + 1,) under a Blackman window, and half its main lobe in Hz."""
    longest, shortest = round(PARTIALS.longest_s * SAMPLE_RATE), round(PARTIALS.shortest_s * SAMPLE_RATE)
    energy = torch.nn.functional.pad(audio.double().square().cumsum(0), (1, 0))
    starts = torch.arange(0, max(1, audio.shape[-1] - longest), PARTIALS.step_samples)
    held = energy[(starts + longest).clamp(max=audio.shape[-1])] - energy[starts]
    start = int(starts[(held >= PARTIALS.nearly_loudest * held.max()).nonzero()[0, 0]])
    audio, energy = audio[start : start + longest], energy[start : start + longest + 1] - energy[start]
    length = round(PARTIALS.held_more * int((energy < PARTIALS.held_energy * energy[-1]).sum()))
    length = max(shortest, min(longest, length))
    part = torch.nn.functional.pad(audio[:length], (0, max(0, length - audio.shape[-1])))
    window = torch.blackman_window(length)
    return torch.fft.rfft(part * window, PARTIALS.n_fft).abs().square(), PARTIALS.lobe_periods * SAMPLE_RATE / length


def _floor_db(level: Tensor, lobe_hz: float) -> Tensor:
    """Median around each bin of a level spectrum, (n,)."""
    medians, centres = [], []
    centre = PARTIALS.lowest_hz
    while centre < PARTIALS.highest_hz:
        half = max(centre * (2.0 ** (PARTIALS.median_octaves / 2) - 1.0), PARTIALS.median_lobes * lobe_hz)
        medians.append(level[max(0, int((centre - half) / BIN_HZ)) : int((centre + half) / BIN_HZ)].median())
        centres.append(math.log2(centre))
        centre *= 2.0 ** (PARTIALS.median_octaves / 2)
    at = torch.log2(torch.arange(len(level)) * BIN_HZ + 1e-9)
    position = ((at - centres[0]) / (PARTIALS.median_octaves / 2)).clamp(0.0, len(medians) - 1.001)
    index = position.long()
    values = torch.stack(medians)
    return torch.lerp(values[index], values[index + 1], position - index)


def harmonic_levels_db(partials: Partials, f0_hz: float, n: int) -> list[float]:
    """Levels of the first n harmonics of f0 in dB, relative to the strongest bin of all; -200 beyond the spectrum."""
    levels, strongest = [], float(partials.power.max()) + 1e-30
    for number in range(1, n + 1):
        near_hz = max(0.5 * partials.lobe_hz, number * f0_hz * (2.0 ** (SHARE.near_cents / 1200.0) - 1.0))
        near_hz = min(near_hz, SHARE.near_spacing * f0_hz)
        bins = partials.power[int((number * f0_hz - near_hz) / BIN_HZ) : int((number * f0_hz + near_hz) / BIN_HZ) + 2]
        levels.append(10.0 * math.log10(float(bins.max()) / strongest + 1e-20) if len(bins) else -200.0)
    return levels


# --- how harmonic they are ------------------------------------------------------------------------------------------


def harmonic_share(partials: Partials, f0_hz: float) -> float:
    """How much of a sound between 50 Hz and 8 kHz stands within 20 cents of a harmonic, beyond chance: 0 … 1.

    The lesser of two shares: that of the energy, noise included, and that of the amplitudes of what stands out, in
    which weaker modes have a say. The fundamental may be off by some cents, and the harmonics stretched as those of a
    string. What chance gives is taken off: in short sounds partials are broad, and nothing is far from a harmonic.
    """
    low_hz = min(SHARE.low_hz, 0.7 * f0_hz)
    heard = (partials.hz >= low_hz) & (partials.hz <= SHARE.high_hz) & (partials.level_db > -SHARE.db)
    hz, amplitude = partials.hz[heard], 10.0 ** (partials.level_db[heard] / 20.0)
    tried = []
    for cents, inharmonicity in itertools.product(SHARE.tuned_cents, SHARE.inharmonicities):
        share = _share_near(hz, amplitude, f0_hz * 2.0 ** (cents / 1200.0), inharmonicity, partials.lobe_hz)
        tried.append((share, -abs(cents), -inharmonicity, cents))
    of_amplitudes, _, straight, cents = max(tried, key=lambda one: one[:3])
    bins = torch.arange(math.ceil(low_hz / BIN_HZ), math.floor(SHARE.high_hz / BIN_HZ))
    tuned_hz = f0_hz * 2.0 ** (cents / 1200.0)
    of_energy = _share_near(bins * BIN_HZ, partials.power[bins], tuned_hz, -straight, partials.lobe_hz)
    return max(0.0, min(of_amplitudes, of_energy))


def _share_near(hz: Tensor, weight: Tensor, f0_hz: float, inharmonicity: float, lobe_hz: float) -> float:
    """Share of `weight` that is near a harmonic, above what chance gives, which is 0."""
    number = partial_number(hz / f0_hz, inharmonicity)
    off_hz = (number - number.round().clamp(min=1.0)).abs() * f0_hz
    near_hz = (hz * (2.0 ** (SHARE.cents / 1200.0) - 1.0)).clamp(max=SHARE.of_spacing * f0_hz).clamp(min=lobe_hz)
    total = float(weight.sum()) + 1e-30
    near = float(weight[off_hz <= near_hz].sum()) / total
    chance = float((weight * (2.0 * near_hz / f0_hz).clamp(max=1.0)).sum()) / total
    return (near - chance) / max(1e-3, 1.0 - chance)


# --- what else they may be ------------------------------------------------------------------------------------------


def strongest_mode(audio: Tensor) -> float | None:
    """MIDI number of the strongest mode of a drum, a bar or a plate; None for noise.

    Args:
        audio: Mono at SAMPLE_RATE, (T,), from its onset on.
    """
    return mode_of(find_partials(audio))


def mode_of(partials: Partials) -> float | None:
    """As `strongest_mode`."""
    hz = strongest_hz(partials, MODE.highest_hz)
    return hz_to_midi(hz) if hz is not None and lobe_share(partials, hz) >= MODE.share else None


def strongest_hz(partials: Partials, highest_hz: float = PARTIALS.highest_hz) -> float | None:
    """Frequency of the strongest partial up to `highest_hz`; None if there is none."""
    low = partials.hz <= highest_hz
    return float(partials.hz[low][partials.level_db[low].argmax()]) if bool(low.any()) else None


def lobe_share(partials: Partials, hz: float) -> float:
    """Share of the energy that is in one partial."""
    low, high = math.ceil(PARTIALS.lowest_hz / BIN_HZ / 2), math.floor(PARTIALS.highest_hz / BIN_HZ)
    first, last = round((hz - partials.lobe_hz) / BIN_HZ), round((hz + partials.lobe_hz) / BIN_HZ)
    return float(partials.power[max(low, first) : last + 1].sum() / (partials.power[low:high].sum() + 1e-30))


def partial_number(ratio: Tensor, inharmonicity: float) -> Tensor:
    """Which partial of a stiff string, fractions included, stands at a multiple of its fundamental.

    Source: Fletcher, Normal vibration frequencies of a stiff piano string (JASA 1964), pinned ends, solved for k.
    """
    if inharmonicity == 0.0:
        return ratio
    square = ratio.square() * (1.0 + inharmonicity)  # B·k⁴ + k² = this, solved for k² in the form that does not cancel
    return torch.sqrt(2.0 * square / (1.0 + torch.sqrt(1.0 + 4.0 * inharmonicity * square)))
