"""What is told of an instrument's recordings: key, dynamics and take, by their file names or by a map of them.

Names are read as a set. A word is only as good as what it tells apart, so `E2` in every name is a microphone where
other notes differ, and a bare number is a key where it is the only one that differs.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hgs_cli.errors import InputError, UsageError
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
_MAX_VELOCITY = 127

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
class MappedSample:
    """A recording as a map tells of it.

    Attributes:
        path: Its file.
        key: MIDI note.
        velocities: Softest and hardest MIDI velocity at which it sounds; None if the map has none.
        layer: Its layer's number in the map, whatever the first one's is; likewise.
        take: Its number among round robins, whatever the first one's is.
    """

    path: Path
    key: float
    velocities: tuple[int, int] | None = None
    layer: int | None = None
    take: int = 0


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
    takes = _ranked(groups, [-1.0 if number is None else number.value for number in numbers], paths)
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


def facts_of_map(samples: Sequence[MappedSample]) -> list[SampleFacts]:
    """What a map says, in the form of what names say: layers ranked by number or velocity, takes counted from 0.

    Where keys split the velocities differently, a layer is that of the finest split whose velocities are nearest.

    Returns:
        One for each sample, in their order; `dynamic` is the layer or the velocities as `1-63`.
    """
    bands = _velocity_bands(samples)
    numbered = sorted({sample.layer for sample in samples if sample.layer is not None})
    layers: list[int | None] = []
    words = []
    for sample in samples:
        if sample.layer is not None:
            layers.append(numbered.index(sample.layer))
            words.append(str(sample.layer))
        elif sample.velocities is not None:
            low, high = sample.velocities
            nearest = [(abs((low + high) / 2 - middle), rank) for rank, middle in enumerate(bands)]
            layers.append(min(nearest)[1])
            words.append(str(low) if low == high else f"{low}-{high}")
        else:
            layers.append(None)
            words.append("")
    groups = [(sample.key, layer) for sample, layer in zip(samples, layers, strict=True)]
    takes = _ranked(groups, [float(sample.take) for sample in samples], [sample.path for sample in samples])
    return [
        SampleFacts(sample.path, sample.key, layer, word, take)
        for sample, layer, word, take in zip(samples, layers, words, takes, strict=True)
    ]


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
    if any(not _LOWEST_LABELLED <= field.value <= _MAX_VELOCITY for row in labelled for field in row):
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
        fits = all(len(field.text) in (2, 3) and 1 <= field.value <= _MAX_VELOCITY for field in column)
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


def _ranked(groups: Sequence[object], numbers: Sequence[float], paths: Sequence[Path]) -> list[int]:
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


def _velocity_bands(samples: Sequence[MappedSample]) -> list[float]:
    """Middle velocity of each layer of a map, the softest first."""
    told = [sample for sample in samples if sample.velocities is not None]
    apart: list[tuple[int, int]] = []
    by_key: dict[float, set[tuple[int, int]]] = {}
    for sample in sorted(told, key=lambda one: one.velocities or (0, 0)):
        assert sample.velocities is not None
        low, high = sample.velocities
        by_key.setdefault(sample.key, set()).add((low, high))
        if apart and low <= apart[-1][1]:  # a split that overlaps is another way to have the same layer
            apart[-1] = (apart[-1][0], max(high, apart[-1][1]))
        else:
            apart.append((low, high))
    finest = max(by_key.values(), key=len, default=set())
    return [(low + high) / 2 for low, high in (sorted(finest) if len(finest) > len(apart) else apart)]


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "sample", "path"),
    "key": ("key", "note", "pitch", "midi"),
    "layer": ("layer",),
    "velocity": ("velocity", "vel"),
    "take": ("take", "rr"),
}
_CSV_REMEDY = "begin it with the line file,key and, where there are several, layer or velocity, and take"
_SFZ_HEADERS = ("control", "global", "master", "group", "region")  # each empties those after it
_SFZ_DEFAULT_KEY = 60.0  # of the format, for a region without pitch_keycenter
_SFZ_DEEPEST = 8  # files that include one another
_TOKEN = re.compile(r"<(?P<header>\w+)>|(?P<opcode>\w+)=(?P<value>.*?)(?=\s+\w+=|\s*<\w+>|\s*$)")
_DEFINE = re.compile(r"#define\s+(\$\w+)\s+(\S+)")
_INCLUDE = re.compile(r'#include\s+"([^"]+)"')
_BLOCK_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)


@dataclass(frozen=True)
class _Place:
    """A line of a map, as errors name it."""

    path: Path
    line: int

    def error(self, what: str, remedy: str) -> InputError:
        return InputError(f"{self.path}, line {self.line}: {what}", remedy)


def read_map(path: Path, folder: Path | None = None, middle_c: int = MIDDLE_C) -> list[MappedSample]:
    """Read which recording is which key, layer and take, from a CSV or an SFZ file.

    A CSV has a header of `file,key` and may have `layer` or `velocity` (`64`, `1-64`), and `take`. Of an SFZ, regions
    with sound files count that a key plays; `tune` does not, for tuning is measured. A region without pitch_keycenter
    or key is that of its only key, else 60 (the format's default) where that is among its keys, else their middle. A
    file of several regions has the velocities of all and the key of the first.

    Args:
        path: The map.
        folder: In which the recordings are; None for the map's own.
        middle_c: Octave number of MIDI 60 in a CSV's note names; in SFZ it is 4.

    Returns:
        Recordings in the order of the map, each once.

    Raises:
        InputError: The map cannot be read, names no recordings or one that is missing, or a line is not understood.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".sfz"):
        raise InputError(f"{path} is no map of recordings", "give a .csv or an .sfz file")
    folder = path.parent if folder is None else folder
    found = _read_sfz(path, folder) if suffix == ".sfz" else _read_csv(path, folder, middle_c)
    merged: dict[Path, MappedSample] = {}
    for sample in found:
        before = merged.setdefault(sample.path, sample)
        if before.velocities and sample.velocities:
            whole = (*before.velocities, *sample.velocities)
            merged[sample.path] = replace(before, velocities=(min(whole), max(whole)))
    if not merged:
        raise InputError(f"{path} names no recordings", "give a line or a <region> for each")
    return list(merged.values())


def _map_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or '').lower()}", "check its name") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")  # of older programs on Windows


def _recording(folder: Path, name: str, place: _Place) -> Path:
    """The file that a map names, with slashes of either kind and, if there is no such file, in any case of letters."""
    path = folder / name
    try:
        if not path.is_file():
            path = folder / name.replace("\\", "/")
        if not path.is_file() and path.parent.is_dir():  # maps from Windows, where case does not count
            same = [each for each in path.parent.iterdir() if each.name.casefold() == path.name.casefold()]
            path = same[0] if same else path
        there = path.is_file()
    except (OSError, ValueError):  # a name too long, or with a null character
        there = False
    if not there:
        raise place.error(f"there is no file {name}", f"give names as seen from {folder}")
    return path


def _read_csv(path: Path, folder: Path, middle_c: int) -> Iterator[MappedSample]:
    text = _map_text(path)
    header = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: dict[str, int] = {}
    line = 0
    while True:
        line = rows.line_num + 1
        try:
            row = [cell.strip() for cell in next(rows, ["\0end"])]
        except csv.Error as error:
            raise _Place(path, line).error(f"it is no CSV ({error})", _CSV_REMEDY) from error
        if row == ["\0end"]:
            break
        if not any(row):
            continue
        if columns:
            cells = {name: row[index] for name, index in columns.items() if index < len(row)}
            yield _csv_sample(cells, folder, _Place(path, line), middle_c)
        else:
            columns = _csv_columns(row, _Place(path, line))
    if not columns:
        raise InputError(f"{path} is empty", _CSV_REMEDY)


def _csv_columns(header: Sequence[str], place: _Place) -> dict[str, int]:
    columns: dict[str, int] = {}
    for index, cell in enumerate(header):
        for name, ways in _COLUMNS.items():
            if cell.casefold() in ways:
                columns.setdefault(name, index)
    for name in ("file", "key"):
        if name not in columns:
            raise place.error(f"there is no column {name!r}", _CSV_REMEDY)
    return columns


def _csv_sample(cells: Mapping[str, str], folder: Path, place: _Place, middle_c: int) -> MappedSample:
    name, key = cells.get("file", ""), cells.get("key", "")
    if not name:
        raise place.error("no file is named", "write file,key")
    try:
        pitch = parse_note(key.replace(",", "."), middle_c)
    except UsageError as error:
        raise place.error(error.what if key else f"{name} has no key", "write it as 60, C4, F#3 or Bb2") from error
    velocities = re.fullmatch(r"(\d{1,3})(?:\s*(?:-|–|\.\.)\s*(\d{1,3}))?", cells.get("velocity") or "0")
    low, high = (int(velocities[1]), int(velocities[2] or velocities[1])) if velocities else (1, 0)
    if not low <= high <= _MAX_VELOCITY:
        raise place.error(f"velocity {cells['velocity']!r} is none", "write 1 to 127, or a range as 1-64")
    counts: dict[str, int] = {}
    for column in ("layer", "take"):
        text = cells.get(column) or "0"
        if not re.fullmatch(r"\d{1,4}", text, re.ASCII):
            raise place.error(f"{column} {text!r} is no whole number", f"number each {column} from 1")
        counts[column] = int(text)
    path = _recording(folder, name, place)
    layer = counts["layer"] if cells.get("layer") else None
    return MappedSample(path, pitch, (low, high) if cells.get("velocity") else None, layer, counts["take"])


def _read_sfz(path: Path, folder: Path) -> Iterator[MappedSample]:
    opcodes: dict[str, dict[str, str]] = {header: {} for header in _SFZ_HEADERS}
    header, begun = "", _Place(path, 1)
    for place, line in _sfz_lines(path, {}, 0):
        for token in _TOKEN.finditer(line):
            if token["opcode"]:
                if header in opcodes:
                    opcodes[header][token["opcode"].lower()] = token["value"].strip()
                continue
            if header == "region":
                yield from _sfz_sample(opcodes, folder, begun)
            header, begun = token["header"].lower(), place
            if header == "control":
                opcodes["control"] = {}
            elif header in opcodes:
                for inner in _SFZ_HEADERS[_SFZ_HEADERS.index(header) :]:
                    opcodes[inner] = {}
    if header == "region":
        yield from _sfz_sample(opcodes, folder, begun)


def _sfz_lines(path: Path, defined: dict[str, str], depth: int) -> Iterator[tuple[_Place, str]]:
    """Lines without comments, with those of included files, and with what defined names stand for."""
    text = _BLOCK_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), _map_text(path))
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.partition("//")[0], _Place(path, number)
        for name, value in _DEFINE.findall(line):
            defined[name] = value
        line = _DEFINE.sub("", line)
        for name in sorted(defined, key=len, reverse=True):  # $KEY1 before $KEY
            line = line.replace(name, defined[name])
        included = _INCLUDE.search(line)
        if included is None:
            yield place, line
        elif depth >= _SFZ_DEEPEST:
            raise place.error("files include one another without end", "take an #include away")
        else:
            yield from _sfz_lines(_recording(path.parent, included[1], place), defined, depth + 1)


def _sfz_sample(opcodes: Mapping[str, Mapping[str, str]], folder: Path, place: _Place) -> Iterator[MappedSample]:
    """The recording of a region; none for a generator, a release, and a region that no key plays."""
    control = opcodes["control"]
    region: dict[str, str] = {}
    for header in _SFZ_HEADERS[1:]:
        region.update(opcodes[header])
    name = region.get("sample", "")
    silent = region.get("hikey", region.get("key", "")) == "-1"
    if not name or name.startswith("*") or silent or region.get("trigger", "attack") in ("release", "release_key"):
        return
    key = _sfz_key(region, place)
    key += 12 * _sfz_number(control, "octave_offset", 0, place) + _sfz_number(control, "note_offset", 0, place)
    if not 0 <= key <= _MAX_VELOCITY:
        raise place.error(f"key {key:g} is outside the MIDI range", "give one between 0 and 127")
    velocities = None
    if "lovel" in region or "hivel" in region:
        low, high = _sfz_number(region, "lovel", 1, place), _sfz_number(region, "hivel", _MAX_VELOCITY, place)
        velocities = (max(1, int(low)), max(1, int(high)))
    path = _recording(folder, (control.get("default_path", "") + name).replace("\\", "/"), place)
    yield MappedSample(path, key, velocities, None, int(_sfz_number(region, "seq_position", 1, place)))


def _sfz_key(region: Mapping[str, str], place: _Place) -> float:
    for opcode in ("pitch_keycenter", "key"):
        if region.get(opcode, "sample") != "sample":  # that would be the sound file's own note
            return _sfz_number(region, opcode, 0, place)
    low, high = _sfz_number(region, "lokey", 0, place), _sfz_number(region, "hikey", _MAX_VELOCITY, place)
    if "lokey" not in region and "hikey" not in region and "pitch_keycenter" in region:
        raise place.error("pitch_keycenter=sample tells no key", "give pitch_keycenter a number")
    return _SFZ_DEFAULT_KEY if low <= _SFZ_DEFAULT_KEY <= high else float((low + high) // 2)


def _sfz_number(opcodes: Mapping[str, str], name: str, default: float, place: _Place) -> float:
    text = opcodes.get(name)
    if text is None:
        return default
    try:
        if re.fullmatch(r"[+-]?\d{1,6}(?:\.\d{1,9})?", text, re.ASCII):
            return float(text)
        return parse_note(text) if name.endswith(("key", "keycenter")) else float("")
    except (UsageError, ValueError) as error:
        raise place.error(f"{name}={text} is not understood", "give a number, or a key as c4") from error
