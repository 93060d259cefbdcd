"""What a call reads: sounds found in folders and told apart by name; known before torch is loaded."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hgs_cli.errors import InputError, UsageError
from hgs_cli.export.piped import DASH, STDIN, keep_substituted, name_of, read_stdin
from hgs_cli.files.kinds import FFMPEG_SUFFIXES, FILM_SUFFIXES, SOUND_SUFFIXES

INVERSION_SUFFIX = ".hgs"
LISTENED_SUFFIXES = (*SOUND_SUFFIXES, *FFMPEG_SUFFIXES)
PLAYED_SUFFIXES = (*LISTENED_SUFFIXES, INVERSION_SUFFIX)


@dataclass(frozen=True)
class Source:
    """A sound to read, and where its files go."""

    path: Path  # the sound
    # below the output folder, as the sound's own lies below the folder that was given; empty for one given by itself
    folder: Path
    name: str  # its stem, with what tells it from another sound of that stem


def looks_like_sound(name: str) -> bool:
    """Whether a word is called as sounds and instruments are."""
    return os.path.splitext(name)[1].lower() in (*PLAYED_SUFFIXES, *FILM_SUFFIXES)


def find_sources(
    arguments: Sequence[Path], recursive: bool, stdin: BinaryIO, suffixes: Sequence[str]
) -> tuple[list[Source], bool]:
    """Sounds that arguments stand for: files, folders of sounds, pipes, `-` for a sound or paths on stdin.

    Args:
        arguments: As given; the same sound twice counts once.
        recursive: Look into folders of folders, too.
        stdin: Read for `-`.
        suffixes: Of the files that a folder is searched for, in lower case.

    Returns:
        The sounds in the order given, those of a folder sorted, with names that differ; and whether there is only one,
        given as a file or a sound on stdin.

    Raises:
        InputError: A folder holds no sounds, or cannot be read, or what comes through a pipe is too large.
        OutputError: There is no room for what comes through a pipe.
        UsageError: There is nothing to read at all.
    """
    found: dict[Path, tuple[Path, Path, str]] = {}
    alone = len(arguments) == 1
    for argument in arguments:
        given, listed = _given(argument, stdin)
        alone = alone and not listed
        for path, name in given:
            if os.path.isdir(path):  # unlike Path's own, never raises
                alone = False
                for sound in _sounds_in(path, recursive, suffixes):
                    found.setdefault(_normal(sound), (sound, sound.parent.relative_to(path), sound.stem))
            else:
                found.setdefault(_normal(path), (path, Path(), name))
    if not found:
        raise UsageError("there is no sound to read", "give files or folders, or a sound or paths on stdin for -")
    return _named(list(found.values())), alone


def list_sounds(arguments: Sequence[Path], stdin: BinaryIO) -> list[Source]:
    """Sounds to mix, each as often as it is given; `-` is a sound, or paths of some, on stdin.

    Raises:
        InputError: What comes through a pipe is too large.
        OutputError: There is no room for it.
    """
    return [Source(path, Path(), name) for argument in arguments for path, name in _given(argument, stdin)[0]]


def _given(argument: Path, stdin: BinaryIO) -> tuple[list[tuple[Path, str]], bool]:
    """The paths that an argument stands for with what their files are called, and whether stdin lists them."""
    if argument != DASH:
        return [(keep_substituted(argument), name_of(argument))], False
    read = read_stdin(stdin)
    if isinstance(read, Path):
        return [(read, name_of(STDIN))], False
    return [(path, path.stem) for path in read], True


def _normal(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _sounds_in(folder: Path, recursive: bool, suffixes: Sequence[str]) -> list[Path]:
    sounds: list[Path] = []

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {(error.strerror or '').lower()}", "check its permissions")

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                sounds.append(Path(where, name))
    if not sounds:
        deeper = "" if recursive else ", or look deeper with --recursive"
        raise InputError(f"folder {folder} holds no sounds", f"give one with sound files in it{deeper}")
    return sounds


def comparable(text: str) -> str:
    """What two names are compared by: file systems may tell neither case nor composed letters apart."""
    return unicodedata.normalize("NFC", text).casefold()


def _named(sounds: Sequence[tuple[Path, Path, str]]) -> list[Source]:
    """Name sounds for their stem; those of one stem also for their suffix, or the folders that they are in."""
    alike: dict[tuple[str, str], list[int]] = {}
    for index, (_, folder, name) in enumerate(sounds):
        alike.setdefault((comparable(str(folder)), comparable(name)), []).append(index)
    # A stem of dots alone, of a file called `...wav`, would be the folder above.
    names = [name if name.strip(".") else path.name.strip(".") or "sound" for path, _, name in sounds]
    for group in alike.values():
        if len(group) > 1 and all(sounds[index][0].stem == sounds[index][2] for index in group):  # no pipes
            for index, name in zip(group, _told_apart([sounds[index][0] for index in group]), strict=True):
                names[index] = name
    taken: set[tuple[str, str]] = set()
    counts: dict[tuple[str, str], int] = {}
    sources = []
    for (path, folder, _), plain in zip(sounds, names, strict=True):
        name, place = plain, comparable(str(folder))
        while (place, comparable(name)) in taken:
            counts[place, plain] = counts.get((place, plain), 1) + 1
            name = f"{plain}-{counts[place, plain]}"
        taken.add((place, comparable(name)))
        sources.append(Source(path, folder, name))
    return sources


def _told_apart(paths: Sequence[Path]) -> list[str]:
    suffixed = [f"{path.stem}-{path.suffix.lstrip('.')}" for path in paths]
    if len({comparable(name) for name in suffixed}) == len(paths):
        return suffixed
    whole = [_normal(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in whole)):
        folders = [[part for part in path.parent.parts[-depth:] if part != path.anchor] for path in whole]
        names = ["-".join([*parts, path.stem]) for parts, path in zip(folders, whole, strict=True)]
        if len({comparable(name) for name in names}) == len(paths):
            return names
    return suffixed
