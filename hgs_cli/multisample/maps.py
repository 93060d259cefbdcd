"""What is told of an instrument's recordings by a map of them: a CSV, or an SFZ that exists already."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hgs_cli.errors import InputError, UsageError
from hgs_cli.multisample.names import MAX_VELOCITY, SampleFacts, ranked
from hgs_cli.pitch import MIDDLE_C, parse_note

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
class MappedSample:
    """A recording as a map tells of it."""

    path: Path  # its file
    key: float  # MIDI note
    # softest and hardest MIDI velocity at which it sounds; None if the map has none
    velocities: tuple[int, int] | None = None
    layer: int | None = None  # its layer's number in the map, whatever the first one's is; likewise
    take: int = 0  # its number among round robins, whatever the first one's is


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
    takes = ranked(groups, [float(sample.take) for sample in samples], [sample.path for sample in samples])
    return [
        SampleFacts(sample.path, sample.key, layer, word, take)
        for sample, layer, word, take in zip(samples, layers, words, takes, strict=True)
    ]


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
    if not low <= high <= MAX_VELOCITY:
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
    if not 0 <= key <= MAX_VELOCITY:
        raise place.error(f"key {key:g} is outside the MIDI range", "give one between 0 and 127")
    velocities = None
    if "lovel" in region or "hivel" in region:
        low, high = _sfz_number(region, "lovel", 1, place), _sfz_number(region, "hivel", MAX_VELOCITY, place)
        velocities = (max(1, int(low)), max(1, int(high)))
    path = _recording(folder, (control.get("default_path", "") + name).replace("\\", "/"), place)
    yield MappedSample(path, key, velocities, None, int(_sfz_number(region, "seq_position", 1, place)))


def _sfz_key(region: Mapping[str, str], place: _Place) -> float:
    for opcode in ("pitch_keycenter", "key"):
        if region.get(opcode, "sample") != "sample":  # that would be the sound file's own note
            return _sfz_number(region, opcode, 0, place)
    low, high = _sfz_number(region, "lokey", 0, place), _sfz_number(region, "hikey", MAX_VELOCITY, place)
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
