"""The partials of a sound: where they stand, how harmonic they are, and what other than one note they may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.pitch import hz_to_midi
from hgs_cli.spectrum import HOP_LENGTH, SAMPLE_RATE

N_FFT = 1 << 17  # 0.34 Hz a bin: zeros are added to the window
BIN_HZ = SAMPLE_RATE / N_FFT
LONGEST_S, SHORTEST_S = 1.5, 0.1  # of the window
STEP_SAMPLES = 2205  # 50 ms
NEARLY_LOUDEST = 0.9  # of the energy of the loudest: the first such second and a half, a decay's from its onset on
# So much of a sound's energy is in the window, and a little time more: what dies away early is not drowned in what
# comes after it.
HELD_ENERGY, HELD_MORE = 0.95, 1.3
LOBE_PERIODS = 3.0  # half the main lobe of a Blackman window, in reciprocals of its length
LOWEST_HZ, HIGHEST_HZ = 25.0, 10_000.0
RANGE_DB = 60.0  # below the strongest partial
STANDING_DB = 14.0  # above the median around it; the highest of a thousand bins of noise is 10 dB above that
MEDIAN_OCTAVES, MEDIAN_LOBES = 0.5, 6.0  # the wider of the two: the main lobe of a low mode is no floor for itself
MOST_PARTIALS = 60

SHARE_LOW_HZ, SHARE_HIGH_HZ = 50.0, 8000.0
SHARE_CENTS = 20.0
SHARE_OF_SPACING = 0.12  # of the distance between harmonics: near high ones there would else be no room between them
SHARE_DB = 30.0  # partials further down have no say in the share of amplitudes
TUNED_CENTS = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
STRETCHES = (0.0, 1e-4, 3e-4, 6e-4, 1e-3)  # B of pianos and guitars

MODE_SHARE = 0.12  # of the energy: the strongest of a hi-hat's, a tambourine's or a crash's has less
MODE_HIGHEST_HZ = 2100.0  # a mode above C7 is a colour; a triangle played from it would come four octaves too low

COMMON_HARMONICS = 16
COMMON_DB, COMMON_MISSING_DB = 30.0, 45.0  # harmonics are there above the one, and missing below the other
EXACT_CENTS = 8.0
NOTE_DB, NOTE_PARTIALS_DB = 26.0, 34.0  # below the strongest partial: notes begin there, and are told by others
NOTE_SPAN = 6.0  # the highest note of a chord is less than two and a half octaves above the lowest
NOTE_PARTIALS_HZ = 6000.0
MOST_NOTES = 6
CLOSEST_NOTES = 0.8  # semitones: what is nearer is one note that wavers
MOST_HARMONICS = 20
EXPLAINED = 0.9  # of the partials' amplitudes by a chord's notes
SINE_CENTS = 15.0  # lone partials are a chord where they stand so near to the keys of a piano
SINE_CHORDS = (3, 4, 5, 7, 8, 9)  # semitones between two of them
CHORDS = (  # semitones above the root, plain ones first: of two readings, that by thirds counts
    (0, 7), (0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 4, 7, 11), (0, 3, 7, 10), (0, 3, 6), (0, 4, 8), (0, 3, 6, 10),
    (0, 3, 6, 9), (0, 3, 7, 11), (0, 5, 7), (0, 2, 7), (0, 4, 10), (0, 3, 10), (0, 4), (0, 3), (0, 4, 7, 10, 2),
    (0, 4, 7, 11, 2), (0, 3, 7, 10, 2), (0, 4, 7, 2), (0, 3, 7, 2),
)  # fmt: skip
# Partials of bells in units of the nominal, or of a tube's fourth mode, and those without which it is none. A minor
# chord has all of a bell's but the lowest.
# Source: Rossing, Science of Percussion Instruments (2000), chapters 8 and 11.
BELLS: tuple[tuple[tuple[float, ...], set[float]], ...] = (
    ((0.25, 0.5, 0.6, 0.75, 1.0, 1.25, 1.33, 1.5, 2.08, 2.67), {0.25, 0.5, 0.6, 1.0, 1.5}),
    (tuple((2 * k + 1) ** 2 / 81.0 for k in range(1, 10)), {49 / 81.0, 1.0, 121 / 81.0, 169 / 81.0}),
)
BELL_DB = 30.0
BELL_FEWEST, BELL_MOST = 4, 14
BELL_EXPLAINED = 0.85  # of the amplitudes
BELL_PRECISION = 0.025
CHORD_LOBE_HZ = 16.0  # in a shorter sound notes and modes cannot be told apart
APART_LOBES = 2.5  # nor nearer ones than this


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

    @property
    def concentration(self) -> float:
        """How few bins the energy is in: 1 if it is all in one."""
        return float(self.power.square().sum() / (self.power.sum().square() + 1e-30))

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
    low, high = math.ceil(LOWEST_HZ / BIN_HZ), math.floor(HIGHEST_HZ / BIN_HZ)
    reach = max(1, math.floor(lobe_hz / BIN_HZ))
    highest = torch.nn.functional.max_pool1d(power[None, None], 2 * reach + 1, 1, reach)[0, 0]
    level = 10.0 * torch.log10(power + 1e-30)
    stands = level > torch.maximum(_floor_db(level, lobe_hz) + STANDING_DB, level[low:high].max() - RANGE_DB)
    found = ((power == highest) & stands & (power > 0.0))[low:high].nonzero()[:, 0] + low
    found = found[level[found].argsort(descending=True)[:MOST_PARTIALS]].sort().values
    left, middle, right = level[found - 1], level[found], level[found + 1]
    bend = (left - 2.0 * middle + right).clamp(max=-1e-9)
    hz = (found + 0.5 * (left - right) / bend) * BIN_HZ
    return Partials(hz, middle - (float(middle.max()) if len(found) else 0.0), power, lobe_hz)


def _long_spectrum(audio: Tensor) -> tuple[Tensor, float]:
    """Power spectrum (N_FFT // 2 + 1,) under a Blackman window, and half its main lobe in Hz."""
    longest, shortest = round(LONGEST_S * SAMPLE_RATE), round(SHORTEST_S * SAMPLE_RATE)
    energy = torch.nn.functional.pad(audio.double().square().cumsum(0), (1, 0))
    starts = torch.arange(0, max(1, audio.shape[-1] - longest), STEP_SAMPLES)
    held = energy[(starts + longest).clamp(max=audio.shape[-1])] - energy[starts]
    start = int(starts[(held >= NEARLY_LOUDEST * held.max()).nonzero()[0, 0]])
    audio, energy = audio[start : start + longest], energy[start : start + longest + 1] - energy[start]
    length = round(HELD_MORE * int((energy < HELD_ENERGY * energy[-1]).sum()))
    length = max(shortest, min(longest, length))
    part = torch.nn.functional.pad(audio[:length], (0, max(0, length - audio.shape[-1])))
    window = torch.blackman_window(length)
    return torch.fft.rfft(part * window, N_FFT).abs().square(), LOBE_PERIODS * SAMPLE_RATE / length


def _floor_db(level: Tensor, lobe_hz: float) -> Tensor:
    """Median around each bin of a level spectrum, (n,)."""
    medians, centres = [], []
    centre = LOWEST_HZ
    while centre < HIGHEST_HZ:
        half = max(centre * (2.0 ** (MEDIAN_OCTAVES / 2) - 1.0), MEDIAN_LOBES * lobe_hz)
        medians.append(level[max(0, int((centre - half) / BIN_HZ)) : int((centre + half) / BIN_HZ)].median())
        centres.append(math.log2(centre))
        centre *= 2.0 ** (MEDIAN_OCTAVES / 2)
    at = torch.log2(torch.arange(len(level)) * BIN_HZ + 1e-9)
    position = ((at - centres[0]) / (MEDIAN_OCTAVES / 2)).clamp(0.0, len(medians) - 1.001)
    index = position.long()
    values = torch.stack(medians)
    return torch.lerp(values[index], values[index + 1], position - index)


# --- how harmonic they are ------------------------------------------------------------------------------------------


def harmonic_share(partials: Partials, f0_hz: float) -> float:
    """How much of a sound between 50 Hz and 8 kHz stands within 20 cents of a harmonic, beyond chance: 0 … 1.

    The lesser of two shares: that of the energy, noise included, and that of the amplitudes of what stands out, in
    which weaker modes have a say. The fundamental may be off by TUNED_CENTS, and the harmonics stretched as a string's
    are. What chance gives is taken off: in short sounds partials are broad, and nothing is far from a harmonic.
    """
    low_hz = min(SHARE_LOW_HZ, 0.7 * f0_hz)
    heard = (partials.hz >= low_hz) & (partials.hz <= SHARE_HIGH_HZ) & (partials.level_db > -SHARE_DB)
    hz, amplitude = partials.hz[heard], 10.0 ** (partials.level_db[heard] / 20.0)
    tried = [
        (
            _share_near(hz, amplitude, f0_hz * 2.0 ** (cents / 1200.0), stretch, partials.lobe_hz),
            -abs(cents),
            cents,
            stretch,
        )
        for cents in TUNED_CENTS
        for stretch in STRETCHES
    ]
    of_amplitudes, _, cents, stretch = max(tried, key=lambda one: (one[0], one[1], -one[3]))
    bins = torch.arange(math.ceil(low_hz / BIN_HZ), math.floor(SHARE_HIGH_HZ / BIN_HZ))
    tuned_hz = f0_hz * 2.0 ** (cents / 1200.0)
    of_energy = _share_near(bins * BIN_HZ, partials.power[bins], tuned_hz, stretch, partials.lobe_hz)
    return max(0.0, min(of_amplitudes, of_energy))


def _share_near(hz: Tensor, weight: Tensor, f0_hz: float, stretch: float, lobe_hz: float) -> float:
    """Share of `weight` that is near a harmonic, above what chance gives, which is 0."""
    number = partial_number(hz / f0_hz, stretch)
    off_hz = (number - number.round().clamp(min=1.0)).abs() * f0_hz
    near_hz = (hz * (2.0 ** (SHARE_CENTS / 1200.0) - 1.0)).clamp(max=SHARE_OF_SPACING * f0_hz).clamp(min=lobe_hz)
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
    hz = strongest_hz(partials, MODE_HIGHEST_HZ)
    return hz_to_midi(hz) if hz is not None and lobe_share(partials, hz) >= MODE_SHARE else None


def strongest_hz(partials: Partials, highest_hz: float = HIGHEST_HZ) -> float | None:
    """Frequency of the strongest partial up to `highest_hz`; None if there is none."""
    low = partials.hz <= highest_hz
    return float(partials.hz[low][partials.level_db[low].argmax()]) if bool(low.any()) else None


def lobe_share(partials: Partials, hz: float) -> float:
    """Share of the energy that is in one partial."""
    low, high = math.ceil(LOWEST_HZ / BIN_HZ / 2), math.floor(HIGHEST_HZ / BIN_HZ)
    first, last = round((hz - partials.lobe_hz) / BIN_HZ), round((hz + partials.lobe_hz) / BIN_HZ)
    return float(partials.power[max(low, first) : last + 1].sum() / (partials.power[low:high].sum() + 1e-30))


def harmonic_of(hz: float, f0_hz: float, most: int = MOST_HARMONICS) -> int | None:
    """Which harmonic of f0 a frequency is, if it is one.

    The allowance narrows with the number: where harmonics lie closer together than whole tones, a neighbouring note
    would be taken for one.
    """
    number = round(hz / f0_hz)
    if not 1 <= number <= most:
        return None
    allowed_cents = 40.0 if number <= 4 else 32.0 if number <= 8 else 25.0
    return number if abs(1200.0 * math.log2(hz / (number * f0_hz))) <= allowed_cents else None


def is_common_period(partials: Partials, f0_hz: float) -> bool:
    """Whether f0 is no note of its own but the common period of several.

    Its fundamental is missing then, and its harmonics are those of a few notes, with gaps between them, where one note
    without its lowest harmonics has all of the others.
    """
    peaks = partials.above(COMMON_MISSING_DB, NOTE_PARTIALS_HZ)
    found: dict[int, tuple[float, float]] = {}
    for hz, db in peaks:
        number = harmonic_of(hz, f0_hz, COMMON_HARMONICS)
        if number is not None and db > found.get(number, (0.0, -math.inf))[1]:
            found[number] = hz, db
    numbers = sorted(number for number, (_, db) in found.items() if db > -COMMON_DB)
    if 1 in found or not numbers:
        return False
    lowest = numbers[0]
    run_end = min(2 * lowest + 2, max(numbers[-1], lowest + 3) + 1)
    if all(number in numbers for number in range(lowest, run_end)):
        return False
    if lowest <= 3 and all(number % 2 for number in numbers):  # as a closed pipe's
        return False
    roots: list[int] = []
    for number in numbers:
        if all(number % root for root in roots):
            roots.append(number)
    if not 2 <= len(roots) <= 5:
        return False
    # The thirds and sevenths of tuned instruments are 14 cents and more off the harmonics of one note.
    exact = [1200.0 * math.log2(found[root][0] / root / (found[lowest][0] / lowest)) for root in roots]
    has_thirds = any(root % 5 == 0 or root % 7 == 0 for root in roots)
    return not (has_thirds and max(abs(cents) for cents in exact) < EXACT_CENTS)


def find_chord(partials: Partials) -> tuple[float, ...]:
    """MIDI numbers of the notes that sound at once, in rising order; empty where it is one note, a bell or noise.

    From below, each partial is a harmonic of a note already found, or a new note. It is a chord if a few notes are
    enough for nearly all partials, and each has further harmonics or all stand where the keys of a piano are. A note
    that doubles another at the octave or the twelfth is not told apart from its harmonics.
    """
    peaks = partials.above(NOTE_PARTIALS_DB, NOTE_PARTIALS_HZ)
    if partials.lobe_hz > CHORD_LOBE_HZ or not peaks:
        return ()
    notes: dict[float, set[int]] = {}  # frequency → numbers of the harmonics that are there
    explained, total = 0.0, 0.0
    for hz, db in peaks:
        amplitude = 10.0 ** (db / 20.0)
        total += amplitude
        owners = {note_hz: number for note_hz in notes if (number := harmonic_of(hz, note_hz)) is not None}
        if not owners and db > -NOTE_DB and hz < NOTE_SPAN * min(notes, default=hz):
            notes[hz] = set()
            owners = {hz: 1}
        for note_hz, number in owners.items():
            notes[note_hz].add(number)
        explained += amplitude if owners else 0.0
    if not 2 <= len(notes) <= MOST_NOTES or explained < EXPLAINED * total:
        return ()
    midi = tuple(hz_to_midi(hz) for hz in notes)
    if any(upper - lower < CLOSEST_NOTES for lower, upper in pairwise(midi)):
        return ()
    if any(upper_hz - lower_hz < APART_LOBES * partials.lobe_hz for lower_hz, upper_hz in pairwise(notes)):
        return ()
    if all(len(numbers) > 1 for numbers in notes.values()):
        return midi
    steps = [note - midi[0] for note in midi[1:]]
    on_keys = all(abs(step - round(step)) <= SINE_CENTS / 100.0 for step in steps)
    return midi if on_keys and (len(steps) > 1 or round(steps[0]) in SINE_CHORDS) else ()


def find_strike_note(partials: Partials) -> float | None:
    """MIDI number of the note that a bell is heard at, which need not be one of its partials; None if it is no bell.

    It is half the nominal of a church bell, and half the fourth mode of a tubular bell. Only where few partials stand
    out, and nearly all are the bell's, is it one.
    """
    peaks = partials.above(BELL_DB, NOTE_PARTIALS_HZ)
    if not BELL_FEWEST <= len(peaks) <= BELL_MOST or partials.lobe_hz > CHORD_LOBE_HZ:
        return None
    total = sum(10.0 ** (db / 20.0) for _, db in peaks)
    best = (BELL_EXPLAINED, 0.0)
    for nominal_hz, _ in peaks:
        for ratios, needed in BELLS:
            matched = [_matched(hz / nominal_hz, ratios) for hz, _ in peaks]
            share = sum(10.0 ** (db / 20.0) for (_, db), ratio in zip(peaks, matched, strict=True) if ratio) / total
            if needed <= set(matched) and share > best[0]:
                best = (share, nominal_hz)
    return hz_to_midi(best[1] / 2.0) if best[1] else None


def _matched(ratio: float, ratios: Sequence[float]) -> float | None:
    """The one of some ratios which another is nearly equal to."""
    nearest = min(ratios, key=lambda one: abs(one / ratio - 1.0))
    return nearest if abs(nearest / ratio - 1.0) <= BELL_PRECISION else None


def find_root(notes: Sequence[float]) -> float:
    """The root of a chord: of its lowest notes in all octaves the one above which they make the plainest chord.

    Args:
        notes: MIDI numbers in rising order.
    """
    keys = [round(note - notes[0]) % 12 for note in notes]
    for chord in CHORDS:
        for note, key in zip(notes, keys, strict=True):
            if {(other - key) % 12 for other in keys} == set(chord):
                return note
    return notes[0]


def partial_number(ratio: Tensor, inharmonicity: float) -> Tensor:
    """Which partial of a stiff string, fractions included, stands at a multiple of its fundamental.

    Source: Fletcher, Normal vibration frequencies of a stiff piano string (JASA 1964), pinned ends, solved for k.
    """
    if inharmonicity == 0.0:
        return ratio
    square = ratio.square() * (1.0 + inharmonicity)  # B·k⁴ + k² = this, solved for k² in the form that does not cancel
    return torch.sqrt(2.0 * square / (1.0 + torch.sqrt(1.0 + 4.0 * inharmonicity * square)))
