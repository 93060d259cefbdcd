"""What the partials of a sound are other than one note's: a chord's, a bell's, or those of several notes in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hgs_cli.audio.partials import Partials, harmonic_levels_db
from hgs_cli.pitch import hz_to_midi


@dataclass(frozen=True)
class NoteRules:
    """Which partials are notes of their own, several at once."""

    common_harmonics: int = 16  # up to which two notes are looked at for partials in common
    # harmonics are there above the one, and missing below the other
    common_db: float = 30.0
    common_missing_db: float = 45.0
    exact_cents: float = 8.0  # from a harmonic: what is nearer is explained by it
    # below the strongest partial: notes begin there, and are told by others
    db: float = 26.0
    partials_db: float = 34.0
    span: float = 6.0  # the highest note of a chord is less than two and a half octaves above the lowest
    partials_hz: float = 6000.0  # up to which partials tell notes
    most_notes: int = 6  # of a chord
    closest_notes: float = 0.8  # semitones: what is nearer is one note that wavers
    most_harmonics: int = 20  # of a note, that explain partials
    explained: float = 0.9  # of the partials' amplitudes by a chord's notes
    sine_cents: float = 15.0  # lone partials are a chord where they stand so near to the keys of a piano
    sine_chords: tuple[int, ...] = (3, 4, 5, 7, 8, 9)  # semitones between two of them
    tuned_cents: float = 20.0  # within which notes are those of a chord: just thirds are 14 and 16 cents off
    chord_lobe_hz: float = 16.0  # in a shorter sound notes and modes cannot be told apart
    apart_lobes: float = 2.5  # nor nearer ones than this


NOTES = NoteRules()


@dataclass(frozen=True)
class BellRules:
    """When partials are those of a bell."""

    db: float = 30.0  # below the strongest partial: what is softer has no say
    # partials of what may be a bell
    fewest: int = 4
    most: int = 14
    explained: float = 0.85  # of the amplitudes
    precision: float = 0.025  # of the ratios between a bell's partials, relative


BELL = BellRules()


@dataclass(frozen=True)
class DistortionRules:
    """When a period is that of several notes through distortion, whose difference tones are all its harmonics.

    Set on made fifths, fourths, thirds and major chords through an amplifier, with the recorded notes of both
    collections known: of these 1,876 one is told wrongly, a sitar's. Of 36 fifths of recorded guitars and basses
    through that of `evaluation.effects` 25 are heard at their root, where 2 were.
    """

    strong_db: float = 12.0  # below the strongest at the most: the notes, and what both notes of a fifth have
    fundamental_db: float = 7.0  # of a fifth: below the stronger of its notes at the least
    # there are all difference tones or none: an organ whose drawbars are fifths has the first alone
    heard_db: float = 42.0
    # of what neither note of a fifth has, below the mean of its neighbours, each of which one has: the fifth and the
    # seventh clearly, or both likely and those up to the nineteenth on average
    clear_db: float = 6.0
    likely_db: float = 3.0
    mean_db: float = 4.5
    counted_db: tuple[float, float] = (-20.0, 3.0)  # as much or as little as one of them may count in that mean
    # of other chords, what no note has and is lower than the octave of the highest, below the notes and their octaves
    # on average: no recorded note has more than 7.1, and no such chord of recorded guitars less than 8
    apart_db: float = 7.5


DISTORTION = DistortionRules()
_OF_NO_FIFTH = (5, 7, 11, 13, 17, 19)
_OTHER_CHORDS: tuple[tuple[int, ...], ...] = ((4, 5, 6), (3, 4), (4, 5), (5, 6))  # as harmonics of their common period


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


def harmonics_of(partials: Partials, f0_hz: float) -> dict[int, float]:
    """Frequencies of the low harmonics of f0 that stand out, by number; the loudest of each.

    A fundamental counts down to NOTES.common_missing_db, others to NOTES.common_db.
    """
    found: dict[int, tuple[float, float]] = {}
    for hz, db in partials.above(NOTES.common_missing_db, NOTES.partials_hz):
        number = harmonic_of(hz, f0_hz, NOTES.common_harmonics)
        if number is not None and db > found.get(number, (0.0, -math.inf))[1]:
            found[number] = hz, db
    return {number: hz for number, (hz, db) in sorted(found.items()) if number == 1 or db > -NOTES.common_db}


def has_gaps(partials: Partials, f0_hz: float) -> bool:
    """Whether the fundamental of f0 is missing and its harmonics have gaps.

    One note without its lowest harmonics has all of the others, or the odd ones, as a closed pipe.
    """
    numbers = list(harmonics_of(partials, f0_hz))
    if not numbers or numbers[0] == 1:
        return False
    lowest = numbers[0]
    run_end = min(2 * lowest + 2, max(numbers[-1], lowest + 3) + 1)
    if all(number in numbers for number in range(lowest, run_end)):
        return False
    return lowest > 3 or not all(number % 2 for number in numbers)


def is_common_period(partials: Partials, f0_hz: float) -> bool:
    """Whether f0, of which `has_gaps` is true, is no note of its own but the common period of a few."""
    found = harmonics_of(partials, f0_hz)
    roots: list[int] = []
    for number in found:
        if all(number % root for root in roots):
            roots.append(number)
    if not 2 <= len(roots) <= 5:
        return False
    # The thirds and sevenths of tuned instruments are 14 cents and more off the harmonics of one note.
    lowest = min(found)
    exact = [1200.0 * math.log2(found[root] / root / (found[lowest] / lowest)) for root in roots]
    has_thirds = any(root % 5 == 0 or root % 7 == 0 for root in roots)
    return not (has_thirds and max(abs(cents) for cents in exact) < NOTES.exact_cents)


def find_chord(partials: Partials) -> tuple[float, ...]:
    """MIDI numbers of the notes that sound at once, in rising order; empty where it is one note, a bell or noise.

    From below, each partial is a harmonic of a note already found, or a new note. It is a chord if a few notes are
    enough for nearly all partials, and each has its octave or twelfth or all stand where the keys of a piano are. A
    note that doubles another at the octave or the twelfth is not told apart from its harmonics.
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
    if all(numbers & {2, 3} for numbers in notes.values()):
        return midi
    steps = [note - midi[0] for note in midi[1:]]
    return midi if _on_keys(midi) and (len(steps) > 1 or round(steps[0]) in NOTES.sine_chords) else ()


def _on_keys(notes: Sequence[float], cents: float = NOTES.sine_cents) -> bool:
    """Whether all notes stand so near to keys of a piano that is tuned to the lowest."""
    return all(abs(note - notes[0] - round(note - notes[0])) <= cents / 100.0 for note in notes)


def find_distorted_chord(partials: Partials, f0_hz: float) -> tuple[float, ...]:
    """MIDI numbers of the notes whose common period is that of f0; empty where f0 is a note itself.

    Distortion puts difference tones at all harmonics of f0, one or two octaves below the root; those that no note has
    stay weaker than those that one has. A guitar's power chord is heard at its root.
    """
    level_db = harmonic_levels_db(partials, f0_hz, _OF_NO_FIFTH[-1] + 1)
    found = next((numbers for numbers in _OTHER_CHORDS if _stand_apart(level_db, numbers)), ())
    if not found and _is_fifth(level_db):
        found = (2, 3)
    return tuple(hz_to_midi(number * f0_hz) for number in found)


def _is_fifth(level_db: Sequence[float]) -> bool:
    """Whether harmonics at these levels are those of a fifth, the second and the third of its period."""
    first, root, fifth, sixth = (level_db[number - 1] for number in (1, 2, 3, 6))
    if min(root, fifth, sixth) < -DISTORTION.strong_db or first > max(root, fifth) - DISTORTION.fundamental_db:
        return False
    if max(level_db[4], level_db[6]) < -DISTORTION.heard_db < first:
        return False
    stands_out_db = [level_db[number - 1] - 0.5 * (level_db[number - 2] + level_db[number]) for number in _OF_NO_FIFTH]
    low_db, high_db = DISTORTION.counted_db
    mean_db = sum(min(max(one, low_db), high_db) for one in stands_out_db) / len(stands_out_db)
    nearest_db = max(stands_out_db[:2])
    return nearest_db <= -DISTORTION.clear_db or (
        nearest_db <= -DISTORTION.likely_db and mean_db <= -DISTORTION.mean_db
    )


def _stand_apart(level_db: Sequence[float], numbers: Sequence[int]) -> bool:
    """Whether of harmonics at these levels those of a few notes are clearly above those that no note has."""
    own = {octave * number for number in numbers for octave in (1, 2)}
    of_none = [number for number in range(1, 2 * max(numbers)) if all(number % note_number for note_number in numbers)]
    own_db = sum(level_db[number - 1] for number in own) / len(own)
    strong = min(level_db[number - 1] for number in numbers) >= -DISTORTION.strong_db
    return strong and own_db - max(level_db[number - 1] for number in of_none) >= DISTORTION.apart_db


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

    Of notes that no piano has together, as a cowbell's, it is the lowest.

    Args:
        notes: MIDI numbers in rising order.
    """
    if not _on_keys(notes, NOTES.tuned_cents):
        return notes[0]
    keys = [round(note - notes[0]) % 12 for note in notes]
    for chord in CHORDS:
        for note, key in zip(notes, keys, strict=True):
            if {(other - key) % 12 for other in keys} == set(chord):
                return note
    return notes[0]
