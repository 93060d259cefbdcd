"""What file names tell of an instrument's recordings: key, dynamics and take.

Names are read as a set. A word is only as good as what it tells apart, so `E2` in every name is a microphone where
other notes differ, and a bare number is a key where it is the only one that differs.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hgs_cli.errors import UsageError
from hgs_cli.pitch import MIDDLE_C, USUAL_PITCHES, parse_note

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
_LOWEST_LABELLED = 12  # below it, `note3` counts notes: 16 Hz and less is no recording
MAX_VELOCITY = 127

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
class SampleFacts:
    """What is told of a recording.

    Attributes:
        path: Its file.
        key: MIDI note; None if nothing tells it.
        layer: Rank of its dynamics among those of the set, 0 the softest; None if nothing tells them.
        dynamic: Its dynamics as written, empty if they are not.
        take: Rank among the recordings of that key and layer, 0 the first; of an unknown key, among those whose names
            say the same but for a number.
    """

    path: Path
    key: float | None
    layer: int | None
    dynamic: str
    take: int


@dataclass(frozen=True)
class _Field:
    """A part of a name, from start to end, and what it may say."""

    kind: Kind
    text: str
    value: float
    start: int
    end: int


def read_names(paths: Sequence[Path], middle_c: int = MIDDLE_C) -> list[SampleFacts]:
    """Read what the file names of one instrument's recordings say.

    Folders below the one that all files share count as parts of the names (`pp/C4.wav`).

    Args:
        paths: The recordings.
        middle_c: Octave number of MIDI 60 in names. Where names also hold the MIDI number, that decides.

    Returns:
        One for each path, in their order; no two of one key and layer have the same take.
    """
    fields = _read_fields(_texts(paths), middle_c)
    keys, used = _keys(fields)
    dynamics = _dynamics(fields, keys, used)
    ranks = {value: rank for rank, value in enumerate(sorted({field.value for field in dynamics if field}))}
    layers = [None if field is None else ranks[field.value] for field in dynamics]
    numbers = _take_numbers(fields, used)
    groups: list[object] = [
        (key, layer) if key is not None else (layer, *_wording(row, number))
        for key, layer, row, number in zip(keys, layers, fields, numbers, strict=True)
    ]
    takes = ranked(groups, [-1.0 if number is None else number.value for number in numbers], paths)
    return [
        SampleFacts(path, key, layer, field.text if field else "", take)
        for path, key, layer, field, take in zip(paths, keys, layers, dynamics, takes, strict=True)
    ]


def common_name(paths: Sequence[Path]) -> str:
    """Name of the instrument: the words that all its recordings' names share, else the folder that they are in."""
    if not paths:
        return ""
    fields = _read_fields([path.stem for path in paths], MIDDLE_C)
    _, used = _keys(fields)
    plain = [
        [field for field in row if field.kind in ("word", "number") and field not in taken]
        for row, taken in zip(fields, used, strict=True)
    ]
    shared = set.intersection(*({field.text.casefold() for field in row} for row in plain))
    run: list[_Field] = []
    for field in fields[0]:
        if field in plain[0] and field.text.casefold() in shared:
            run.append(field)
        elif any(each.kind == "word" for each in run):
            break
        else:
            run = []
    if any(each.kind == "word" for each in run):
        return paths[0].stem[run[0].start : run[-1].end]
    return os.path.basename(_shared_folder(paths)) or "instrument"


def _texts(paths: Sequence[Path]) -> list[str]:
    """Names without suffix, with the folders below the one that all share."""
    shared = _shared_folder(paths) if paths else ""
    return [
        os.path.relpath(os.path.abspath(path.parent / path.stem), shared) if shared else path.stem for path in paths
    ]


def _shared_folder(paths: Sequence[Path]) -> str:
    try:
        return os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    except ValueError:  # on several drives
        return ""


def _read_fields(texts: Sequence[str], middle_c: int) -> list[list[_Field]]:
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


def _as_word(field: _Field, condition: bool) -> _Field:
    return replace(field, kind="word") if condition else field


def _is_short_take(field: _Field) -> bool:
    return field.kind == "take" and field.text[:1].lower() == "r" and field.text[1:2].isdigit()


def _fields(text: str, splitter: re.Pattern[str], middle_c: int) -> list[_Field]:
    """Fields of one name, in their order."""
    found: list[_Field] = []
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
    joined: list[_Field] = []
    for field in found:  # `midi_60`, `RR 2`
        before = joined[-1] if joined else None
        label = _LABELS.get(before.text.lower()) if before and before.kind == "word" and len(before.text) > 1 else None
        if before and label and field.kind == "number" and len(field.text) <= 3:
            whole = text[before.start : field.end]
            joined[-1] = _Field(label, whole, field.value, before.start, field.end)
        else:
            joined.append(field)
    if _NSYNTH.search(text) and [field.kind for field in joined[-2:]] == ["number", "number"]:
        joined[-2:] = [replace(joined[-2], kind="midi"), replace(joined[-1], kind="layer")]
    return joined


def _pieces(part: str, start: int, middle_c: int) -> list[_Field]:
    """What a part of a name without separators consists of: `D#4v16` of a note and a layer, or one word."""
    pieces: list[_Field] = []
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
                return [_Field("word", part, 0.0, start, start + len(part))]
            middle = start + numbered.end(1)
            word = _Field("word", numbered[1], 0.0, start, middle)
            return [word, _Field("number", numbered[2], float(numbered[2]), middle, start + len(part))]
        pieces.append(piece)
        place = match.end()
    if sum(piece.kind == "note" for piece in pieces) > 1:  # C4B4: a scale
        return [_Field("word", part, 0.0, start, start + len(part))]
    return pieces


def _piece(match: re.Match[str], offset: int, middle_c: int) -> _Field | None:
    text, start, end = match[0], offset + match.start(), offset + match.end()
    if match["note"]:
        pitch = _pitch(match, middle_c)
        return None if pitch is None else _Field("note", text, pitch, start, end)
    if match["label"]:
        return _Field(_LABELS[match["label"].lower()], text, float(match["count"]), start, end)
    if match["dynamic"]:
        return _Field("dynamic", text, _DYNAMICS[re.sub(r"[ _-]", "", text.lower())], start, end)
    return _Field("number", text, float(text), start, end)


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


def _keys(fields: Sequence[Sequence[_Field]]) -> tuple[list[float | None], list[set[_Field]]]:
    """Key of every name, and the numbers of each that say it."""
    used: list[set[_Field]] = [set() for _ in fields]
    notes = [[field for field in row if field.kind == "note"] for row in fields]
    if any(note.text[0].isupper() for row in notes for note in row):  # `C4_b2`: b2 is no B
        capital = [[note for note in row if note.text[0].isupper()] for row in notes]
        notes = [upper or row for upper, row in zip(capital, notes, strict=True)]
    labelled = [[field for field in row if field.kind == "midi"] for row in fields]
    if any(not _LOWEST_LABELLED <= field.value <= MAX_VELOCITY for row in labelled for field in row):
        labelled = [[] for _ in fields]
    chosen = [note or midi for note, midi in zip(_choose(notes), _choose(labelled), strict=True)]
    keys = [field.value if field else None for field in chosen]
    columns = _columns(fields)
    if not any(chosen):
        said = [column for column in columns if _may_be_keys(column)]
        differing = [column for column in said if _differs(column)]
        said = differing or [column for column in said if all(_is_padded(field) for field in column)]
        if len(said) == 1:
            keys = [field.value for field in said[0]]
            used = [{field} for field in said[0]]
        return keys, used
    for column in columns:  # `snare_060_C4`; the number knows which octave the name means
        apart = {None if key is None else field.value - key // 1 for field, key in zip(column, keys, strict=True)}
        if len(apart) == 1 and apart <= {-12.0, 0.0, 12.0} and (_differs(column) or _is_padded(column[0])):
            shift = apart.pop() or 0.0
            keys = [None if key is None else key + shift for key in keys]
            used = [{field} for field in column]
            break
    return keys, used


def _choose(candidates: Sequence[Sequence[_Field]]) -> list[_Field | None]:
    """Of every name the field that tells it from the others best."""
    rows = _without_common(candidates)
    counts = {len(row) for row in rows}
    if len(counts) == 1 and counts != {0}:
        columns = list(zip(*rows, strict=True))
        best = max(columns[::-1], key=lambda column: len({field.value for field in column}))  # the last of the best
        return list(best)
    return [row[-1] if row else None for row in rows]


def _without_common(candidates: Sequence[Sequence[_Field]]) -> list[list[_Field]]:
    """Candidates less those that every name has, if what remains tells names apart."""
    rows = [list(row) for row in candidates]
    counts = [Counter(field.text.casefold() for field in row) for row in rows]
    common = counts[0].copy() if counts else Counter()
    for count in counts[1:]:
        common &= count
    left = []
    for row in rows:
        spare, kept = common.copy(), []
        for field in row:
            if spare[field.text.casefold()] > 0:
                spare[field.text.casefold()] -= 1
            else:
                kept.append(field)
        left.append(kept)
    return left if len({field.text.casefold() for row in left for field in row}) > 1 else rows


def _columns(fields: Sequence[Sequence[_Field]]) -> list[list[_Field]]:
    """Bare numbers that all names have: of each name the first, the second and so on."""
    numbers = [[field for field in row if field.kind == "number"] for row in fields]
    return [list(column) for column in zip(*numbers, strict=False)]


def _differs(column: Sequence[_Field]) -> bool:
    return len({field.value for field in column}) > 1


def _is_padded(field: _Field) -> bool:
    return len(field.text) == 3


def _may_be_keys(column: Sequence[_Field]) -> bool:
    low, high = USUAL_PITCHES
    return all(len(field.text) in (2, 3) and low <= field.value <= high for field in column)


def _dynamics(
    fields: Sequence[Sequence[_Field]], keys: Sequence[float | None], used: list[set[_Field]]
) -> list[_Field | None]:
    """The field of every name that tells its dynamics; bare numbers that do are added to those used."""
    words = _choose([[field for field in row if field.kind == "dynamic"] for row in fields])
    numbers = _choose([[field for field in row if field.kind == "layer"] for row in fields])
    for one, other in ((words, numbers), (numbers, words)):
        if len({field.value for field in one if field}) > 1 or not any(other):
            if any(one):
                return one
    if any(words):
        return words
    for column in _columns(fields):
        values = sorted({field.value for field in column})
        within: dict[float | None, set[float]] = {}
        for field, key in zip(column, keys, strict=True):
            within.setdefault(key, set()).add(field.value)
        # Counters go by ones or never repeat; velocities are the same few numbers at every key.
        repeats = len(within) == 1 or len(values) < len(column)
        steps = values[-1] - values[0] >= len(values)
        fits = all(len(field.text) in (2, 3) and 1 <= field.value <= MAX_VELOCITY for field in column)
        free = not any(field in taken for field, taken in zip(column, used, strict=True))
        if (
            free
            and fits
            and steps
            and repeats
            and None not in within
            and any(len(some) > 1 for some in within.values())
        ):
            for field, taken in zip(column, used, strict=True):
                taken.add(field)
            return list(column)
    return [None] * len(fields)


def _take_numbers(fields: Sequence[Sequence[_Field]], used: Sequence[set[_Field]]) -> list[_Field | None]:
    """The field of every name that numbers its take: one that says so, or a last number where all else is equal."""
    said = _choose([[field for field in row if field.kind == "take"] for row in fields])
    if any(said):
        return said
    last: list[_Field | None] = []
    for row, taken in zip(fields, used, strict=True):
        numbers = [field for field in row if field.kind == "number" and field not in taken]
        last.append(numbers[-1] if numbers else None)
    alike = Counter(_wording(row, number) for row, number in zip(fields, last, strict=True))
    return [number if alike[_wording(row, number)] > 1 else None for row, number in zip(fields, last, strict=True)]


def _wording(row: Sequence[_Field], number: _Field | None) -> tuple[str, ...]:
    """What a name says but for the number of its take."""
    return tuple(field.text.casefold() for field in row if field != number)


def ranked(groups: Sequence[object], numbers: Sequence[float], paths: Sequence[Path]) -> list[int]:
    """Rank of each within its group, by number and then by name."""
    order = sorted(range(len(groups)), key=lambda index: (numbers[index], _natural(paths[index]), index))
    counts: Counter[object] = Counter()
    ranks = [0] * len(groups)
    for index in order:
        ranks[index] = counts[groups[index]]
        counts[groups[index]] += 1
    return ranks


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """What names are sorted by, numbers by value."""
    parts = re.split(r"([0-9]+)", str(path).casefold())
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]
