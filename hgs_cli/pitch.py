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

MIDDLE_C = 4  # octave number of MIDI 60: C4 in science and in most programs, C3 with Yamaha, C5 with some

MAX_LAYERS = 8  # dynamic layers of an instrument
MAX_TAKES = 16  # of a note, which samplers play in turn
_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_DECIMAL = r"(?:\.\d{1,6})?"
_UNIT = r"(?:cents?|ct|c)(?![\w#♯♭])"  # C4+50c; what follows is no other note
# Of fewer cents only with their unit: C4-50 is a range.
_CENTS = rf"(?:\s*\+\s*\d{{1,4}}{_DECIMAL}(?:\s*{_UNIT})?|\s*-\s*\d{{1,4}}{_DECIMAL}\s*{_UNIT})"
_NOTE = rf"(?:\d{{1,6}}{_DECIMAL}\s*[Kk]?[Hh][Zz]|[A-Ga-g][#♯b♭]?-?\d{{1,2}}|\d{{1,3}}{_DECIMAL}){_CENTS}?"
_TO = r"(?:-|–|…|\.{2,3}|to)"
_SINGLE = re.compile(_NOTE, re.ASCII)
_PARTS = re.compile(rf"([A-Ga-g])([#♯b♭]?)(-?\d{{1,2}})|(\d+{_DECIMAL})\s*([Kk]?[Hh][Zz])?", re.ASCII)
_ENTRY = re.compile(rf"({_NOTE})(?:\s*{_TO}\s*({_NOTE})(?:\s*:\s*(\d{{1,3}}{_DECIMAL}))?)?(?=[\s,]|$)", re.ASCII)
_BETWEEN = re.compile(r"\s*,\s*|\s+", re.ASCII)
_WORD = re.compile(rf"(?:{_TO}|,)?(?:{_NOTE}(?:{_TO}{_NOTE})?(?::\d{{1,3}}{_DECIMAL})?)?(?:{_TO}|,)?", re.ASCII)
_NAMED = re.compile(r"(?<![\w#])([A-G]#?)(-?\d{1,2})(?![\w.])", re.ASCII)
_ALLOWED = (
    "write notes as 60, C4, F#3, Bb2, 60.5, C4+50 (cents) or 440Hz, between 0 and 127; "
    "ranges as 48-72, C3..C5 or 48-72:3"
)


@dataclass(frozen=True)
class NoteKey:
    """A note of an instrument.

    Attributes:
        pitch: MIDI note, fractions allowed.
        layer: Dynamic layer, 0 the softest.
        take: Of several that samplers play in turn, 0 the first.
    """

    pitch: float
    layer: int = 0
    take: int = 0


def midi_to_hz(pitch: P) -> P:
    """Frequency in Hz of MIDI note numbers, fractions included (A4 = 69 = 440 Hz)."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)  # type: ignore[no-any-return]


def hz_to_midi(f0_hz: float) -> float:
    """MIDI note number, with its fraction, of a frequency above 0 Hz."""
    return 69.0 + 12.0 * math.log2(f0_hz / 440.0)


def parse_note(text: str, middle_c: int = MIDDLE_C, a4_hz: float = 440.0) -> float:
    """Read one note, `60`, `60.5`, `C4`, `F#3`, `Bb2`, `C4+50`, `A3 -10 cents` or `440Hz`, to the nearest cent.

    Args:
        text: The note.
        middle_c: Octave number of MIDI 60 in names.
        a4_hz: What MIDI 69 sounds at, for a frequency.

    Raises:
        UsageError: The text is no note, or lies outside 0 to 127.
    """
    note = text.strip()
    if not _SINGLE.fullmatch(note):
        raise UsageError(f"{text!r} is not a note", _ALLOWED)
    parts = _PARTS.match(note)
    assert parts is not None
    letter, accidental, octave, number, unit = parts.groups()
    if letter:
        pitch = float(12 * (int(octave) + 5 - middle_c) + _STEPS[letter.lower()] + _ACCIDENTALS[accidental])
    elif unit:
        f0_hz = float(number) * (1000.0 if unit[0] in "Kk" else 1.0)
        pitch = hz_to_midi(f0_hz * 440.0 / a4_hz) if f0_hz > 0.0 else -math.inf
    else:
        pitch = float(number)
    cents = re.sub(r"[^-+0-9.]", "", note[parts.end() :])
    pitch = pitch + float(cents) / 100.0 if cents else pitch
    if not MIN_PITCH - 0.005 <= pitch <= MAX_PITCH + 0.005:
        raise UsageError(f"note {text!r} is outside the MIDI range", _ALLOWED)
    return min(max(round(pitch, 2), MIN_PITCH), MAX_PITCH)


def parse_pitches(spec: str, middle_c: int = MIDDLE_C, a4_hz: float = 440.0) -> tuple[float, ...]:
    """Read a pitch spec to pitches in the order given, each once.

    Args:
        spec: Notes and ranges, with commas or spaces between them; a range may go down.
        middle_c: As for `parse_note`.
        a4_hz: Likewise.

    Raises:
        UsageError: An entry is no note or range, lies outside 0 to 127, the spec is empty, or its ranges have over
            MAX_NOTES notes.
    """
    pitches: dict[float, None] = {}
    text, place, asked = spec.strip(), 0, 0
    while True:
        matched = _ENTRY.match(text, place)
        if not matched:
            rest = text[place:].split(",")[0].strip()
            raise UsageError(f"{rest or spec!r} is not a note", _ALLOWED)
        first = parse_note(matched[1], middle_c, a4_hz)
        last = first if matched[2] is None else parse_note(matched[2], middle_c, a4_hz)
        stride = float(matched[3] or 1)
        if stride < 0.01:  # file names tell notes apart to the cent
            raise UsageError(
                f"range {matched[0]!r} has a stride below one cent", "use a stride of 0.01 semitones or more"
            )
        count = math.floor(abs(last - first) / stride + 1e-9) + 1
        asked += count if matched[2] is not None else 0
        if asked > MAX_NOTES:
            raise UsageError(f"ranges of over {MAX_NOTES:,} notes", "every note is played once: give a range once")
        for index in range(count):
            pitches[round(first + math.copysign(index * stride, last - first), 2)] = None
        if matched.end() == len(text):
            return tuple(pitches)
        between = _BETWEEN.match(text, matched.end())
        assert between is not None
        place = between.end()


def is_several(text: str) -> bool:
    """Whether a text names notes, and more than one."""
    try:
        return len(parse_pitches(text)) > 1
    except UsageError:
        return False


def is_note_word(word: str) -> bool:
    """Whether a word of a command line may go on with a pitch spec: a note, a range, or what stands between them."""
    return bool(word) and _WORD.fullmatch(word) is not None


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


def note_name(note: int, middle_c: int = MIDDLE_C) -> str:
    """Name of a MIDI note with sharps, `C4` for 60 and `C-1` for 0; middle_c is the octave number of 60."""
    return f"{NOTE_NAMES[note % 12]}{note // 12 - 5 + middle_c}"


def describe_pitch(pitch: float, middle_c: int = MIDDLE_C) -> str:
    """A pitch for people: the nearest note's name and the signed cents, `A3 +12.3 cents`."""
    note, cents = nearest_note(pitch)
    return f"{note_name(note, middle_c)} {cents:+.1f} cents"


def note_tag(pitch: float, middle_c: int = MIDDLE_C) -> str:
    """A pitch in a file name: `C4`, `Cs4`, `C4p50` for 50 cents above C4."""
    note, cents = split_cents(pitch)
    return note_name(note, middle_c).replace("#", "s") + (f"p{cents:02d}" if cents else "")


def rename_notes(text: str, middle_c: int) -> str:
    """A sentence about notes whose MIDI 60 is C4, with the octave numbers of another middle C."""
    return _NAMED.sub(lambda found: f"{found[1]}{int(found[2]) + middle_c - MIDDLE_C}", text)
