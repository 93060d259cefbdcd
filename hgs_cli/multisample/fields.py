"""Parts of file names: notes, dynamics, takes, numbers and words, as each name says them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hgs_cli.errors import UsageError
from hgs_cli.pitch import parse_note

Kind = Literal["note", "midi", "dynamic", "layer", "take", "number", "word"]

# Softest to loudest on one scale, for a set may use several ways of saying it.
_DYNAMICS: Mapping[str, float] = {
    "pppp": 0, "ppp": 1, "pp": 2, "p": 3, "mp": 4, "mf": 5, "f": 6, "ff": 7, "fff": 8, "ffff": 9,
    "pianissimo": 2, "piano": 3, "mezzopiano": 4, "mezzoforte": 5, "forte": 6, "fortissimo": 7,
    "softest": 1.5, "quiet": 2.4, "soft": 2.6, "med": 4.5, "medium": 4.5, "loud": 6.4, "hard": 6.6, "hardest": 7.5,
    "loudest": 7.6,
}  # fmt: skip
_ITALIAN = ("pianissimo", "mezzopiano", "mezzoforte", "forte", "fortissimo")  # beside which `piano` is a dynamic, too
_LABELS: Mapping[str, Kind] = {
    "velocity": "layer", "vel": "layer", "vl": "layer", "v": "layer", "layer": "layer", "lyr": "layer", "dyn": "layer",
    "rr": "take", "robin": "take", "roundrobin": "take", "take": "take", "tk": "take", "r": "take",
    "note": "midi", "midi": "midi", "key": "midi", "n": "midi",
}  # fmt: skip

_SEPARATORS = r"\s_\-./\\()\[\],+"
_WHOLE = rf"(?i:mezzo[ _-]?(?:piano|forte))|(?<![A-Za-z])[A-Ga-g][#♯bs♭]-[12](?!\d)|[^{_SEPARATORS}]+"
_FIELD = re.compile(_WHOLE)
# `C-1` is a note only among notes: elsewhere it is the first of several Cs.
_FIELD_BELOW_0 = re.compile(rf"(?<![A-Za-z0-9])[A-Ga-g]-[12](?![A-Za-z0-9])|{_WHOLE}")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # of PianoC4
_NOTE = (
    r"(?P<letter>[A-Ga-g])(?P<accidental>#|♯|♭|b|flat|[sS](?:harp)?|is)?"
    r"(?P<octave>10|-?\d)(?P<late>#)?(?:p(?P<cents>\d\d))?(?!\d)"
)
_PIECE = re.compile(
    rf"(?P<note>{_NOTE})|(?P<label>(?i:{'|'.join(sorted(_LABELS, key=len, reverse=True))}))(?P<count>\d{{1,3}})(?!\d)"
    rf"|(?P<dynamic>mezzo[ _-](?:piano|forte)|{'|'.join(sorted(_DYNAMICS, key=len, reverse=True))})|(?P<number>\d+)",
    re.ASCII,
)
_ANY_CASE = re.compile(_PIECE.pattern, re.ASCII | re.IGNORECASE)
_WORD_NUMBER = re.compile(r"([^\W\d_]{3,})(\d{1,5})")
_RUN = re.compile(r"[A-Ga-g][#b]?\d-[A-Ga-g][#b]?\d(?![\w#])")  # C4-B4: a scale in one file
_NSYNTH = re.compile(r"_\d{3}-\d{3}-\d{3}$")  # instrument, MIDI note, velocity


@dataclass(frozen=True)
class Field:
    """A part of a name, from start to end, and what it may say."""

    kind: Kind
    text: str
    value: float
    start: int
    end: int


def read_fields(texts: Sequence[str], middle_c: int) -> list[list[Field]]:
    """Fields of every name, and what each may say on its own or beside the other names."""
    fields = [_fields(text, _FIELD, middle_c) for text in texts]
    if any(field.kind == "note" for row in fields for field in row):
        fields = [_fields(text, _FIELD_BELOW_0, middle_c) for text in texts]
    words = {field.text.casefold().translate({45: "", 95: "", 32: ""}) for row in fields for field in row}
    if not words.intersection(_ITALIAN):
        fields = [[_as_word(field, field.text.lower() == "piano") for field in row] for row in fields]
    first = [next((field for field in row if field.kind == "dynamic"), None) for row in fields]
    spoken = [sum(field.kind == "dynamic" for field in row) for row in fields]
    if all(field and field.text.lower() == "piano" for field in first) and min(spoken, default=0) > 1:  # Piano_forte_C4
        fields = [[_as_word(field, field == piano) for field in row] for row, piano in zip(fields, first, strict=True)]
    once = {field.text.lower() for row in fields for field in row if _is_short_take(field)}
    if len(once) < 2:  # r1 without an r2 is anything
        fields = [[_as_word(field, _is_short_take(field)) for field in row] for row in fields]
    return fields


def _as_word(field: Field, condition: bool) -> Field:
    return replace(field, kind="word") if condition else field


def _is_short_take(field: Field) -> bool:
    return field.kind == "take" and field.text[:1].lower() == "r" and field.text[1:2].isdigit()


def _fields(text: str, splitter: re.Pattern[str], middle_c: int) -> list[Field]:
    """Fields of one name, in their order."""
    found: list[Field] = []
    for match in splitter.finditer(text):
        start = match.start()
        for part in _HUMP.split(match[0]):
            found += _pieces(part, start, middle_c)
            start += len(part)
    runs = [match.span() for match in _RUN.finditer(text)]
    found = [
        _as_word(field, any(low <= field.start and field.end <= high for low, high in runs) and field.kind == "note")
        for field in found
    ]
    joined: list[Field] = []
    for field in found:  # `midi_60`, `RR 2`
        before = joined[-1] if joined else None
        label = _LABELS.get(before.text.lower()) if before and before.kind == "word" and len(before.text) > 1 else None
        if before and label and field.kind == "number" and len(field.text) <= 3:
            whole = text[before.start : field.end]
            joined[-1] = Field(label, whole, field.value, before.start, field.end)
        else:
            joined.append(field)
    if _NSYNTH.search(text) and [field.kind for field in joined[-2:]] == ["number", "number"]:
        joined[-2:] = [replace(joined[-2], kind="midi"), replace(joined[-1], kind="layer")]
    return joined


def _pieces(part: str, start: int, middle_c: int) -> list[Field]:
    """What a part of a name without separators consists of: `D#4v16` of a note and a layer, or one word."""
    pieces: list[Field] = []
    place = 0
    while place < len(part):
        match = _PIECE.match(part, place) or _ANY_CASE.match(part, place)
        piece = _piece(match, start, middle_c) if match else None
        # `mf2` is the second mf; after anything else but a word's end a number makes a name of its own.
        glued = piece is not None and piece.kind == "number" and place > 0
        if (
            match is None
            or piece is None
            or (glued and not (pieces[-1].kind == "dynamic" and len(pieces[-1].text) > 1))
        ):
            numbered = _WORD_NUMBER.fullmatch(part)
            if numbered is None:
                return [Field("word", part, 0.0, start, start + len(part))]
            middle = start + numbered.end(1)
            word = Field("word", numbered[1], 0.0, start, middle)
            return [word, Field("number", numbered[2], float(numbered[2]), middle, start + len(part))]
        pieces.append(piece)
        place = match.end()
    if sum(piece.kind == "note" for piece in pieces) > 1:  # C4B4: a scale
        return [Field("word", part, 0.0, start, start + len(part))]
    return pieces


def _piece(match: re.Match[str], offset: int, middle_c: int) -> Field | None:
    text, start, end = match[0], offset + match.start(), offset + match.end()
    if match["note"]:
        pitch = _pitch(match, middle_c)
        return None if pitch is None else Field("note", text, pitch, start, end)
    if match["label"]:
        return Field(_LABELS[match["label"].lower()], text, float(match["count"]), start, end)
    if match["dynamic"]:
        return Field("dynamic", text, _DYNAMICS[re.sub(r"[ _-]", "", text.lower())], start, end)
    return Field("number", text, float(text), start, end)


def _pitch(match: re.Match[str], middle_c: int) -> float | None:
    letter, accidental = match["letter"], (match["accidental"] or match["late"] or "").lower()
    if accidental in ("s", "is", "sharp"):
        if letter.lower() in "be" and accidental != "sharp":  # Es is E flat in German; E sharp is hardly ever written
            return None
        accidental = "#"
    accidental = "b" if accidental == "flat" else accidental
    try:
        pitch = parse_note(f"{letter}{accidental}{match['octave']}", middle_c)
    except UsageError:
        return None
    return pitch + int(match["cents"] or 0) / 100
