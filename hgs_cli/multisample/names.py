"""What file names tell of an instrument's recordings: key, dynamics and take.

Names are read as a set. A word is only as good as what it tells apart, so `E2` in every name is a microphone where
other notes differ, and a bare number is a key where it is the only one that differs.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.multisample.fields import Field, read_fields
from hgs_cli.pitch import MIDDLE_C, USUAL_PITCHES

_LOWEST_LABELLED = 12  # below it, `note3` counts notes: 16 Hz and less is no recording
MAX_VELOCITY = 127


@dataclass(frozen=True)
class SampleFacts:
    """What is told of a recording."""

    path: Path  # its file
    key: float | None  # MIDI note; None if nothing tells it
    layer: int | None  # rank of its dynamics among those of the set, 0 the softest; None if nothing tells them
    dynamic: str  # its dynamics as written, empty if they are not
    # rank among the recordings of that key and layer, 0 the first; of an unknown key, among those whose names say the
    # same but for a number
    take: int


def read_names(paths: Sequence[Path], middle_c: int = MIDDLE_C) -> list[SampleFacts]:
    """Read what the file names of one instrument's recordings say.

    Folders below the one that all files share count as parts of the names (`pp/C4.wav`).

    Args:
        paths: The recordings.
        middle_c: Octave number of MIDI 60 in names. Where names also hold the MIDI number, that decides.

    Returns:
        One for each path, in their order; no two of one key and layer have the same take.
    """
    fields = read_fields(_texts(paths), middle_c)
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
    fields = read_fields([path.stem for path in paths], MIDDLE_C)
    _, used = _keys(fields)
    plain = [
        [field for field in row if field.kind in ("word", "number") and field not in taken]
        for row, taken in zip(fields, used, strict=True)
    ]
    shared = set.intersection(*({field.text.casefold() for field in row} for row in plain))
    run: list[Field] = []
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


def _keys(fields: Sequence[Sequence[Field]]) -> tuple[list[float | None], list[set[Field]]]:
    """Key of every name, and the numbers of each that say it."""
    used: list[set[Field]] = [set() for _ in fields]
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


def _choose(candidates: Sequence[Sequence[Field]]) -> list[Field | None]:
    """Of every name the field that tells it from the others best."""
    rows = _without_common(candidates)
    counts = {len(row) for row in rows}
    if len(counts) == 1 and counts != {0}:
        columns = list(zip(*rows, strict=True))
        best = max(columns[::-1], key=lambda column: len({field.value for field in column}))  # the last of the best
        return list(best)
    return [row[-1] if row else None for row in rows]


def _without_common(candidates: Sequence[Sequence[Field]]) -> list[list[Field]]:
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


def _columns(fields: Sequence[Sequence[Field]]) -> list[list[Field]]:
    """Bare numbers that all names have: of each name the first, the second and so on."""
    numbers = [[field for field in row if field.kind == "number"] for row in fields]
    return [list(column) for column in zip(*numbers, strict=False)]


def _differs(column: Sequence[Field]) -> bool:
    return len({field.value for field in column}) > 1


def _is_padded(field: Field) -> bool:
    return len(field.text) == 3


def _may_be_keys(column: Sequence[Field]) -> bool:
    low, high = USUAL_PITCHES
    return all(len(field.text) in (2, 3) and low <= field.value <= high for field in column)


def _dynamics(
    fields: Sequence[Sequence[Field]], keys: Sequence[float | None], used: list[set[Field]]
) -> list[Field | None]:
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


def _take_numbers(fields: Sequence[Sequence[Field]], used: Sequence[set[Field]]) -> list[Field | None]:
    """The field of every name that numbers its take: one that says so, or a last number where all else is equal."""
    said = _choose([[field for field in row if field.kind == "take"] for row in fields])
    if any(said):
        return said
    last: list[Field | None] = []
    for row, taken in zip(fields, used, strict=True):
        numbers = [field for field in row if field.kind == "number" and field not in taken]
        last.append(numbers[-1] if numbers else None)
    alike = Counter(_wording(row, number) for row, number in zip(fields, last, strict=True))
    return [number if alike[_wording(row, number)] > 1 else None for row, number in zip(fields, last, strict=True)]


def _wording(row: Sequence[Field], number: Field | None) -> tuple[str, ...]:
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
