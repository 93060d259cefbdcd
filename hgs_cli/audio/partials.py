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


@dataclass(frozen=True)
class PartialRules:
    """How the partials of a sound are found.

    Attributes:
        n_fft: 0.34 Hz a bin: zeros are added to the window.
        longest_s, shortest_s: Of the window.
        step_samples: 50 ms.
        nearly_loudest: Of the energy of the loudest: the first such second and a half, a decay's from its onset
            on.
        held_energy, held_more: So much of a sound's energy is in the window, and a little time more: what dies
            away early is not drowned in what comes after it.
        lobe_periods: Half the main lobe of a Blackman window, in reciprocals of its length.
        lowest_hz, highest_hz: Between which partials are looked for.
        range_db: Below the strongest partial.
        standing_db: Above the median around it; the highest of a thousand bins of noise is 10 dB above that.
        median_octaves, median_lobes: The wider of the two: the main lobe of a low mode is no floor for itself.
        max_partials: The strongest of them.
    """

    n_fft: int = 1 << 17
    longest_s: float = 1.5
    shortest_s: float = 0.1
    step_samples: int = 2205
    nearly_loudest: float = 0.9
    held_energy: float = 0.95
    held_more: float = 1.3
    lobe_periods: float = 3.0
    lowest_hz: float = 25.0
    highest_hz: float = 10_000.0
    range_db: float = 60.0
    standing_db: float = 14.0
    median_octaves: float = 0.5
    median_lobes: float = 6.0
    max_partials: int = 60


PARTIALS = PartialRules()


@dataclass(frozen=True)
class ShareRules:
    """How much of a sound stands on the harmonics of a pitch.

    Attributes:
        low_hz, high_hz: Between which the share is measured.
        cents: From a harmonic: what is nearer belongs to it.
        of_spacing: Of the distance between harmonics: near high ones there would else be no room between them.
        db: Partials further down have no say in the share of amplitudes.
        tuned_cents: By which the fundamental may be off.
        stretches: B of pianos and guitars.
    """

    low_hz: float = 50.0
    high_hz: float = 8000.0
    cents: float = 20.0
    of_spacing: float = 0.12
    db: float = 30.0
    tuned_cents: tuple[float, ...] = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
    stretches: tuple[float, ...] = (0.0, 1e-4, 3e-4, 6e-4, 1e-3)


SHARE = ShareRules()


@dataclass(frozen=True)
class ModeRules:
    """When an unpitched sound has a strongest mode.

    Attributes:
        share: Of the energy: the strongest of a hi-hat's, a tambourine's or a crash's has less.
        highest_hz: A mode above C7 is a colour; a triangle played from it would come four octaves too low.
    """

    share: float = 0.12
    highest_hz: float = 2100.0


MODE = ModeRules()


@dataclass(frozen=True)
class NoteRules:
    """Which partials are notes of their own, several at once.

    Attributes:
        common_harmonics: Up to which two notes are looked at for partials in common.
        common_db, common_missing_db: Harmonics are there above the one, and missing below the other.
        exact_cents: From a harmonic: what is nearer is explained by it.
        db, partials_db: Below the strongest partial: notes begin there, and are told by others.
        span: The highest note of a chord is less than two and a half octaves above the lowest.
        partials_hz: Up to which partials tell notes.
        most_notes: Of a chord.
        closest_notes: Semitones: what is nearer is one note that wavers.
        most_harmonics: Of a note, that explain partials.
        explained: Of the partials' amplitudes by a chord's notes.
        sine_cents: Lone partials are a chord where they stand so near to the keys of a piano.
        sine_chords: Semitones between two of them.
        chord_lobe_hz: In a shorter sound notes and modes cannot be told apart.
        apart_lobes: Nor nearer ones than this.
    """

    common_harmonics: int = 16
    common_db: float = 30.0
    common_missing_db: float = 45.0
    exact_cents: float = 8.0
    db: float = 26.0
    partials_db: float = 34.0
    span: float = 6.0
    partials_hz: float = 6000.0
    most_notes: int = 6
    closest_notes: float = 0.8
    most_harmonics: int = 20
    explained: float = 0.9
    sine_cents: float = 15.0
    sine_chords: tuple[int, ...] = (3, 4, 5, 7, 8, 9)
    chord_lobe_hz: float = 16.0
    apart_lobes: float = 2.5


NOTES = NoteRules()


@dataclass(frozen=True)
class BellRules:
    """When partials are those of a bell.

    Attributes:
        db: Below the strongest partial: what is softer has no say.
        fewest, most: Partials of what may be a bell.
        explained: Of the amplitudes.
        precision: Of the ratios between a bell's partials, relative.
    """

    db: float = 30.0
    fewest: int = 4
    most: int = 14
    explained: float = 0.85
    precision: float = 0.025


BELL = BellRules()


BIN_HZ = SAMPLE_RATE / PARTIALS.n_fft


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


@dataclass(frozen=True)
class Partials:
    """What stands out of a long spectrum.

    Attributes:
        hz: Frequencies in rising order, (n,).
        level_db: Relative to the strongest, (n,).
        power: The whole spectrum, (PARTIALS.n_fft // 2 + 1,).
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
    tried = [
        (
            _share_near(hz, amplitude, f0_hz * 2.0 ** (cents / 1200.0), stretch, partials.lobe_hz),
            -abs(cents),
            cents,
            stretch,
        )
        for cents in SHARE.tuned_cents
        for stretch in SHARE.stretches
    ]
    of_amplitudes, _, cents, stretch = max(tried, key=lambda one: (one[0], one[1], -one[3]))
    bins = torch.arange(math.ceil(low_hz / BIN_HZ), math.floor(SHARE.high_hz / BIN_HZ))
    tuned_hz = f0_hz * 2.0 ** (cents / 1200.0)
    of_energy = _share_near(bins * BIN_HZ, partials.power[bins], tuned_hz, stretch, partials.lobe_hz)
    return max(0.0, min(of_amplitudes, of_energy))


def _share_near(hz: Tensor, weight: Tensor, f0_hz: float, stretch: float, lobe_hz: float) -> float:
    """Share of `weight` that is near a harmonic, above what chance gives, which is 0."""
    number = partial_number(hz / f0_hz, stretch)
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


def harmonic_of(hz: float, f0_hz: float, most: int = NOTES.most_harmonics) -> int | None:
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
    peaks = partials.above(NOTES.common_missing_db, NOTES.partials_hz)
    found: dict[int, tuple[float, float]] = {}
    for hz, db in peaks:
        number = harmonic_of(hz, f0_hz, NOTES.common_harmonics)
        if number is not None and db > found.get(number, (0.0, -math.inf))[1]:
            found[number] = hz, db
    numbers = sorted(number for number, (_, db) in found.items() if db > -NOTES.common_db)
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
    return not (has_thirds and max(abs(cents) for cents in exact) < NOTES.exact_cents)


def find_chord(partials: Partials) -> tuple[float, ...]:
    """MIDI numbers of the notes that sound at once, in rising order; empty where it is one note, a bell or noise.

    From below, each partial is a harmonic of a note already found, or a new note. It is a chord if a few notes are
    enough for nearly all partials, and each has further harmonics or all stand where the keys of a piano are. A note
    that doubles another at the octave or the twelfth is not told apart from its harmonics.
    """
    peaks = partials.above(NOTES.partials_db, NOTES.partials_hz)
    if partials.lobe_hz > NOTES.chord_lobe_hz or not peaks:
        return ()
    notes: dict[float, set[int]] = {}  # frequency → numbers of the harmonics that are there
    explained, total = 0.0, 0.0
    for hz, db in peaks:
        amplitude = 10.0 ** (db / 20.0)
        total += amplitude
        owners = {note_hz: number for note_hz in notes if (number := harmonic_of(hz, note_hz)) is not None}
        if not owners and db > -NOTES.db and hz < NOTES.span * min(notes, default=hz):
            notes[hz] = set()
            owners = {hz: 1}
        for note_hz, number in owners.items():
            notes[note_hz].add(number)
        explained += amplitude if owners else 0.0
    if not 2 <= len(notes) <= NOTES.most_notes or explained < NOTES.explained * total:
        return ()
    midi = tuple(hz_to_midi(hz) for hz in notes)
    if any(upper - lower < NOTES.closest_notes for lower, upper in pairwise(midi)):
        return ()
    if any(upper_hz - lower_hz < NOTES.apart_lobes * partials.lobe_hz for lower_hz, upper_hz in pairwise(notes)):
        return ()
    if all(len(numbers) > 1 for numbers in notes.values()):
        return midi
    steps = [note - midi[0] for note in midi[1:]]
    on_keys = all(abs(step - round(step)) <= NOTES.sine_cents / 100.0 for step in steps)
    return midi if on_keys and (len(steps) > 1 or round(steps[0]) in NOTES.sine_chords) else ()


def find_strike_note(partials: Partials) -> float | None:
    """MIDI number of the note that a bell is heard at, which need not be one of its partials; None if it is no bell.

    It is half the nominal of a church bell, and half the fourth mode of a tubular bell. Only where few partials stand
    out, and nearly all are the bell's, is it one.
    """
    peaks = partials.above(BELL.db, NOTES.partials_hz)
    if not BELL.fewest <= len(peaks) <= BELL.most or partials.lobe_hz > NOTES.chord_lobe_hz:
        return None
    total = sum(10.0 ** (db / 20.0) for _, db in peaks)
    best = (BELL.explained, 0.0)
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
    return nearest if abs(nearest / ratio - 1.0) <= BELL.precision else None


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
