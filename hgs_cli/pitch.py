"""Pitches as musicians write them: MIDI numbers, note names, Hz, pitch specs and the file names made of them.

Everywhere a pitch is a MIDI note number, fractions allowed: 60 is C4, 60.5 a quarter tone above it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hgs_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

P = TypeVar("P", float, "Tensor")

MIN_PITCH = 0.0
MAX_PITCH = 127.0
MAX_NOTES = 100_000  # of all ranges of a spec together; there are 12,701 pitches
USUAL_PITCHES = (21.0, 108.0)  # the piano's keys; outside them a warning is given
NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_NOTE = r"(?:[A-Ga-g][#♯b♭]?-?\d{1,2}|\d{1,3}(?:\.\d{1,6})?)"
_SINGLE = re.compile(_NOTE, re.ASCII)
_RANGE = re.compile(rf"({_NOTE})-({_NOTE})(?::(\d{{1,3}}(?:\.\d{{1,6}})?))?", re.ASCII)
_ALLOWED = "write notes as 60, C4, F#3, Bb2 or 60.5 between 0 and 127, ranges as 48-72, C3-C5 or 48-72:3"


@dataclass(frozen=True)
class NoteKey:
    """A note of an instrument.

    Attributes:
        pitch: MIDI note, fractions allowed.
        layer: Dynamic layer, 0 the softest.
    """

    pitch: float
    layer: int = 0


def midi_to_hz(pitch: P) -> P:
    """Frequency in Hz of MIDI note numbers, fractions included (A4 = 69 = 440 Hz)."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)  # type: ignore[no-any-return]


def hz_to_midi(f0_hz: float) -> float:
    """MIDI note number, with its fraction, of a frequency above 0 Hz."""
    return 69.0 + 12.0 * math.log2(f0_hz / 440.0)


def parse_note(text: str) -> float:
    """Read one note, `60`, `60.5`, `C4`, `F#3` or `Bb2`, to the nearest cent.

    Raises:
        UsageError: The text is no note, or lies outside 0 to 127.
    """
    note = text.strip()
    if not _SINGLE.fullmatch(note):
        raise UsageError(f"{text!r} is not a note", _ALLOWED)
    if note[0].isdigit():
        pitch = round(float(note), 2)
    else:
        accidental = note[1] if note[1] in _ACCIDENTALS else ""
        octave = int(note[1 + len(accidental) :])
        pitch = float(12 * (octave + 1) + _STEPS[note[0].lower()] + _ACCIDENTALS[accidental])
    if not MIN_PITCH <= pitch <= MAX_PITCH:
        raise UsageError(f"note {text!r} is outside the MIDI range", _ALLOWED)
    return pitch


def parse_pitches(spec: str) -> tuple[float, ...]:
    """Read a pitch spec, a comma list of notes and ranges, to pitches in the order given, each once.

    Raises:
        UsageError: An entry is no note or range, lies outside 0 to 127, descends, the spec is empty, or its ranges have
            over MAX_NOTES notes.
    """
    pitches: dict[float, None] = {}
    asked = 0
    for entry in spec.split(","):
        text = entry.strip()
        matched = _RANGE.fullmatch(text)
        if not matched:
            pitches[parse_note(text)] = None
            continue
        low, high = parse_note(matched[1]), parse_note(matched[2])
        stride = float(matched[3] or 1)
        if high < low:
            raise UsageError(f"range {text!r} descends", f"write the lower note first; {_ALLOWED}")
        if stride < 0.01:  # file names tell notes apart to the cent
            raise UsageError(f"range {text!r} has a stride below one cent", "use a stride of 0.01 semitones or more")
        count = math.floor((high - low) / stride + 1e-9) + 1
        asked += count
        if asked > MAX_NOTES:
            raise UsageError(f"ranges of over {MAX_NOTES:,} notes", "every note is played once: give a range once")
        for index in range(count):
            pitches[round(low + index * stride, 2)] = None
    return tuple(pitches)


def unusual_pitches(pitches: Sequence[float]) -> tuple[float, ...]:
    """Those pitches that lie outside a piano's keys, 21 to 108."""
    return tuple(pitch for pitch in pitches if not USUAL_PITCHES[0] <= pitch <= USUAL_PITCHES[1])


def split_cents(pitch: float) -> tuple[int, int]:
    """Note at or below a pitch and the cents above it, 0 to 99."""
    hundredths = round(pitch * 100)
    return hundredths // 100, hundredths % 100


def nearest_note(pitch: float) -> tuple[int, float]:
    """Note nearest to a pitch and the signed distance to it in cents, -50 to 50."""
    note = math.floor(pitch + 0.5)
    return note, (pitch - note) * 100.0


def note_name(note: int) -> str:
    """Name of a MIDI note with sharps, `C4` for 60 and `C-1` for 0."""
    return f"{NOTE_NAMES[note % 12]}{note // 12 - 1}"


def describe_pitch(pitch: float) -> str:
    """A pitch for people: the nearest note's name and the signed cents, `A3 +12.3 cents`."""
    note, cents = nearest_note(pitch)
    return f"{note_name(note)} {cents:+.1f} cents"


def note_tag(pitch: float) -> str:
    """A pitch in a file name: `C4`, `Cs4`, `C4p50` for 50 cents above C4."""
    note, cents = split_cents(pitch)
    return note_name(note).replace("#", "s") + (f"p{cents:02d}" if cents else "")
