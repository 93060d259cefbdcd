"""NSynth in its published layout: which instruments there are, and which notes of them are wanted.

A folder holds `examples.json` (note name → facts) and `audio/{note name}.wav`, four-second notes at 16 kHz.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgs_cli.errors import TrainingError

SOURCES = ("acoustic", "electronic", "synthetic")
VALIDATION_ENDINGS = ("valid", "test")  # of a folder's name: nsynth-valid and nsynth-test, which share instruments
LICENCE = "CC-BY-4.0"


@dataclass(frozen=True)
class Choice:
    """Which notes are wanted."""

    folders: Sequence[Path]  # unpacked ones; those named …valid and …test are never trained on
    sources: tuple[str, ...] = SOURCES  # how an instrument was made, of SOURCES
    pitches: frozenset[int] | None = None  # MIDI note numbers; all when None


@dataclass(frozen=True)
class Example:
    """A note."""

    path: Path  # its sound file
    pitch: int  # MIDI note number on its label
    velocity: int  # MIDI velocity


@dataclass(frozen=True)
class Instrument:
    """Notes of one instrument.

    Attributes:
        name: As NSynth spells it, such as `bass_electronic_018`.
        family: Such as `bass`.
        folder: Name of the folder where it was found first.
        validation: Never trained on.
        examples: Its wanted notes.
    """

    name: str
    family: str
    folder: str
    validation: bool
    examples: list[Example]


def is_validation(folder: Path) -> bool:
    """Whether a folder's name puts its instruments on the validation side: nsynth-valid and nsynth-test."""
    return folder.resolve().name.endswith(VALIDATION_ENDINGS)


def _entries(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Note names and facts of a folder's `examples.json`."""
    path = folder / "examples.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read ({error.strerror})", "name an unpacked NSynth folder, such as nsynth-train"
        ) from error
    except ValueError as error:
        raise TrainingError(f"{path} is not JSON", "unpack NSynth again") from error
    if not isinstance(entries, dict) or not all(isinstance(facts, dict) for facts in entries.values()):
        raise TrainingError(f"{path} does not map note names to facts", "unpack NSynth again")
    yield from entries.items()


def read_instruments(choice: Choice) -> list[Instrument]:
    """Instruments of NSynth with the notes that are wanted.

    Raises:
        TrainingError: When a folder is not laid out as NSynth is, an instrument stands on both sides of the split, or
            no note is left.
    """
    found: dict[str, Instrument] = {}
    seen: set[str] = set()
    for folder in choice.folders:
        validation = is_validation(folder)
        for note, facts in _entries(folder):
            try:
                name, family = str(facts["instrument_str"]), str(facts["instrument_family_str"])
                source, pitch, velocity = facts["instrument_source_str"], int(facts["pitch"]), int(facts["velocity"])
            except (KeyError, TypeError, ValueError) as error:
                raise TrainingError(
                    f"{folder / 'examples.json'} is wrong about {note}", "unpack NSynth again"
                ) from error
            if Path(name).name != name or Path(note).name != note:  # both become file names
                raise TrainingError(f"{folder / 'examples.json'} has a path for a name", "unpack NSynth again")
            if source not in choice.sources or (choice.pitches is not None and pitch not in choice.pitches):
                continue
            instrument = found.setdefault(name, Instrument(name, family, folder.resolve().name, validation, []))
            if instrument.validation != validation:
                raise TrainingError(
                    f"NSynth's {name} is in a training and in a validation folder", "keep the published split"
                )
            if note not in seen:
                seen.add(note)
                instrument.examples.append(Example(folder / "audio" / f"{note}.wav", pitch, velocity))
    if not found:
        raise TrainingError("no note of NSynth is left", "choose other sources or pitches")
    return [found[name] for name in sorted(found)]
