"""What a call writes: files named for their sounds and by a template; known before torch is loaded."""

from __future__ import annotations

import itertools
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hgs_cli.errors import UsageError
from hgs_cli.export.sources import INVERSION_SUFFIX, Source, comparable
from hgs_cli.pitch import MIDDLE_C, NoteKey, note_name, note_tag, split_cents

AUDIO_SUFFIXES = {"wav": ".wav", "flac": ".flac", "aiff": ".aiff"}
INSTRUMENT_SUFFIXES = {"sfz": ".sfz", "dspreset": ".dspreset", "sf2": ".sf2", "multisample": ".multisample"}
LISTING_FORMATS = ("sfz", "dspreset")  # name sound files, and so want some
PAGE, PICTURE = "audition", "plot"  # kinds of file beside the formats

DEFAULT_NAME = "{stem}_{midi:03d}_{note}"
LAYER_NAME, TAKE_NAME = "_v{layer}", "_take{take}"  # behind it, where there are several
_TEXT_FIELDS = ("stem", "note")
_LONGEST_SPEC = 3  # characters of a format spec: 03d; a width of millions would be a name of megabytes
_LONGEST_NAME = 255  # bytes, what file systems allow
_TEMPLATE_HELP = "use {stem}, {midi:03d}, {note}, {cents}, {layer}, {velocity} and {take}"


@dataclass(frozen=True)
class PlanOptions:
    """Which files every instrument of a call has."""

    pitches: Sequence[float]  # of the notes
    formats: Sequence[str]  # from `parse_formats`
    extras: Mapping[str, str] = field(default_factory=dict)  # suffix of each further file, by kind
    layers: int = 1  # number of dynamic layers
    template: str | None = None  # of the notes' file names without suffix; it may have folders. None for the usual one
    middle_c: int = MIDDLE_C  # octave number of MIDI 60 in names
    takes: int = 1  # of every note

    @property
    def n_notes(self) -> int:
        """Of one instrument, in all layers and takes."""
        return len(self.pitches) * self.layers * self.takes


@dataclass(frozen=True)
class Plan:
    """The files of one instrument."""

    name: str  # of the instrument
    # of every note, its sound files by format; none if the call asks for no sound files
    notes: Mapping[NoteKey, Mapping[str, Path]]
    instruments: Mapping[str, Path]  # files that samplers read, by format
    extras: Mapping[str, Path] = field(default_factory=dict)  # the page and the picture, by kind
    layers: int = 1  # number of dynamic layers
    middle_c: int = MIDDLE_C  # octave number of MIDI 60 in names
    takes: int = 1  # of every note

    @property
    def sounding(self) -> list[Path]:
        """Every file that plays, notes first."""
        return [*(path for one in self.notes.values() for path in one.values()), *self.instruments.values()]

    @property
    def files(self) -> list[Path]:
        """Every file, notes first."""
        return [*self.sounding, *self.extras.values()]


@dataclass(frozen=True)
class MixPlan:
    """One of the mixes of a call."""

    shares: Sequence[float]  # of every sound; they sum to 1
    plan: Plan  # the mix's files; its page and picture are those of all mixes


@dataclass(frozen=True)
class InversionPlan:
    """The files of one inversion."""

    inversion: Path  # the .hgs file
    audio: Path | None  # the sound as it is heard; None if the call does not ask for it
    picture: Path | None  # how near the reconstruction comes; likewise

    @property
    def files(self) -> list[Path]:
        """Every file."""
        return [path for path in (self.inversion, self.audio, self.picture) if path is not None]


def parse_formats(text: str) -> tuple[str, ...]:
    """Formats of a comma list, each once; sfz and dspreset bring wav unless another sound format is there.

    Raises:
        UsageError: One is unknown, or there is none.
    """
    known = [*AUDIO_SUFFIXES, *INSTRUMENT_SUFFIXES]
    formats = list(dict.fromkeys(part.strip().lower().lstrip(".") for part in text.split(",") if part.strip()))
    for one in formats:
        if one not in known:
            raise UsageError(f"format {one!r} is unknown", f"choose from {', '.join(known)}")
    if not formats:
        raise UsageError("--format names no format", f"choose from {', '.join(known)}")
    if any(one in LISTING_FORMATS for one in formats) and not any(one in AUDIO_SUFFIXES for one in formats):
        formats.insert(0, "wav")
    return tuple(formats)


def check_subtype(subtype: str, formats: Sequence[str]) -> None:
    """Refuse floating point where a format has none.

    Raises:
        UsageError: FLAC is to hold it.
    """
    if subtype == "FLOAT" and "flac" in formats:
        raise UsageError("FLAC holds no floating point", "choose --subtype PCM_24, or wav")


ONE_TAKE = "a SoundFont knows no round robin: it plays the first take of every note"


def check_takes(takes: int, formats: Sequence[str]) -> bool:
    """Whether there is a format, of several, that plays the first of several takes alone.

    Raises:
        UsageError: It is the only one.
    """
    if takes == 1 or "sf2" not in formats:
        return False
    if len(formats) == 1:
        raise UsageError("a SoundFont knows no round robin", "add sfz, dspreset or multisample to --format")
    return True


def layer_velocities(layers: int) -> list[tuple[int, int]]:
    """Lowest and highest MIDI velocity of each dynamic layer, softest first: 1 to 127 in even parts."""
    ends = [round(127 * (index + 1) / layers) for index in range(layers)]
    starts = [1, *(end + 1 for end in ends)][:layers]
    return list(zip(starts, ends, strict=True))


def extra_suffixes(audition: bool, plot: bool) -> dict[str, str]:
    """Suffixes of the files beside the notes, by kind."""
    return {**({PAGE: ".html"} if audition else {}), **({PICTURE: ".png"} if plot else {})}


def folder_of(source: Source, alone: bool, out: Path | None) -> Path:
    """Where a sound's notes go: flat where -o names a folder for a single sound, else in one of their own."""
    return out if out is not None and alone else (out or Path()) / source.folder / source.name


def make_plan(folder: Path, name: str, options: PlanOptions) -> Plan:
    """Name every file of an instrument.

    Args:
        folder: Where they go.
        name: Of the instrument, `{stem}` of the template.
        options: Which files there are.

    Raises:
        UsageError: The template is none, leaves the folder, or gives two notes one name.
    """
    template = options.template or "".join(
        [DEFAULT_NAME, LAYER_NAME if options.layers > 1 else "", TAKE_NAME if options.takes > 1 else ""]
    )
    suffixes = {one: AUDIO_SUFFIXES[one] for one in options.formats if one in AUDIO_SUFFIXES}
    notes: dict[NoteKey, dict[str, Path]] = {}
    seen: dict[str, NoteKey] = {}
    for layer, take, pitch in itertools.product(range(options.layers), range(options.takes), options.pitches):
        key = NoteKey(pitch, layer, take)
        relative = _note_path(template, name, key, options)
        for suffix in suffixes.values():
            relative = relative.removesuffix(suffix)
        if suffixes and comparable(relative) in seen:
            raise UsageError(
                f"name {template!r} is the same for two notes ({relative})",
                _what_tells(seen[comparable(relative)], key),
            )
        seen[comparable(relative)] = key
        notes[key] = {one: folder / f"{relative}{suffix}" for one, suffix in suffixes.items()}
    instruments = {
        one: folder / f"{name}{INSTRUMENT_SUFFIXES[one]}" for one in options.formats if one in INSTRUMENT_SUFFIXES
    }
    extras = {kind: folder / f"{name}{suffix}" for kind, suffix in options.extras.items()}
    return Plan(name, notes, instruments, extras, options.layers, options.middle_c, options.takes)


def _what_tells(one: NoteKey, other: NoteKey) -> str:
    """What to add to a template that gives two notes one name."""
    if one.pitch != other.pitch:
        return "add {midi} or {note}"
    return "add {layer}" if one.layer != other.layer else "add {take}"


def plan_mixes(name: str, mixes: Sequence[Sequence[float]], out: Path | None, options: PlanOptions) -> list[MixPlan]:
    """Name the files of every mix; the page and the picture are of all of them.

    Args:
        name: Of all of them, made of the sounds' names.
        mixes: Shares of the sounds in each.
        out: Where they go; None for a folder called as the mixes are.
        options: Which files there are.

    Raises:
        UsageError: The template gives files of two mixes one name.
    """
    folder = out or Path(name)
    shown = {kind: folder / f"{name}{suffix}" for kind, suffix in options.extras.items()}
    plans = [make_plan(folder, f"{name}_{_percents(shares)}", options) for shares in mixes]
    sounding = [path for plan in plans for path in plan.sounding]
    if len(set(sounding)) < len(sounding):
        raise UsageError(f"name {options.template!r} is the same for two mixes", "add {stem}, which tells their shares")
    return [MixPlan(shares, replace(plan, extras=shown)) for shares, plan in zip(mixes, plans, strict=True)]


def _percents(shares: Sequence[float]) -> str:
    """A mix in a file's name: the percents of all sounds but the first."""
    return "-".join(f"{round(100 * share):03d}" for share in shares[1:])


def plan_inversions(
    sources: Sequence[Source], alone: bool, out: Path | None, audio: bool, plot: bool
) -> list[InversionPlan]:
    """Name the files of every inversion.

    Args:
        sources: From `find_sources`.
        alone: Likewise.
        out: The one .hgs file, or a folder.
        audio: Whether the sound is written as it is heard.
        plot: Whether a picture is drawn.

    Raises:
        UsageError: A sound is an inversion, or one file is named for several.
    """
    for source in sources:
        if source.path.suffix.lower() == INVERSION_SUFFIX:
            raise UsageError(f"{source.path} is an inversion already", "give sounds")
    if out is not None and out.suffix.lower() == INVERSION_SUFFIX:
        if not alone:
            raise UsageError(f"one file {out} for {len(sources)} sounds", "give a folder with -o")
        named = [(out, out.parent, out.stem)]
    else:
        folders = [(out or Path()) / source.folder for source in sources]
        named = [
            (folder / f"{source.name}{INVERSION_SUFFIX}", folder, source.name)
            for folder, source in zip(folders, sources, strict=True)
        ]
    return [
        InversionPlan(
            inversion, folder / f"{stem}_heard.wav" if audio else None, folder / f"{stem}.png" if plot else None
        )
        for inversion, folder, stem in named
    ]


def _note_path(template: str, stem: str, key: NoteKey, options: PlanOptions) -> str:
    """The file of a note below its folder, without suffix."""
    midi, cents = split_cents(key.pitch)
    values: dict[str, str | int] = {
        "stem": stem,
        "midi": midi,
        "note": note_tag(key.pitch, options.middle_c),
        "cents": cents,
        "layer": key.layer + 1,
        "take": key.take + 1,
        "velocity": layer_velocities(options.layers)[key.layer][1],
    }
    parts: list[str] = []
    try:
        for text, name, spec, conversion in string.Formatter().parse(template):
            parts.append(text)
            if name is None:
                continue
            if name not in values or conversion or len(spec or "") > _LONGEST_SPEC or (spec and name in _TEXT_FIELDS):
                raise UsageError(f"name {template!r} has {{{name}{':' + spec if spec else ''}}}", _TEMPLATE_HELP)
            parts.append(format(values[name], spec or ""))
    except ValueError as error:
        raise UsageError(f"name {template!r} is no template: {error}", _TEMPLATE_HELP) from error
    path = "".join(parts)
    _check_relative(template, path)
    return path


def _check_relative(template: str, path: str) -> None:
    pieces = path.split("/")
    outside = Path(path).is_absolute() or ".." in pieces
    if outside or any(piece in ("", ".") for piece in pieces) or "\0" in path:
        raise UsageError(f"name {template!r} gives {path!r}", "give a name inside the output folder")
    if any(len(os.fsencode(piece)) + 10 > _LONGEST_NAME for piece in pieces):
        raise UsageError(f"name {template!r} gives a name of over {_LONGEST_NAME - 10} bytes", "give a shorter one")


def describe_note(key: NoteKey, middle_c: int = MIDDLE_C) -> dict[str, object]:
    """What tells a note, for JSON: midi, note, cents."""
    midi, cents = split_cents(key.pitch)
    return {"midi": midi, "note": note_name(midi, middle_c), "cents": cents}
