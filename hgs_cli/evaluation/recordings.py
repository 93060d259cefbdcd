"""Real recordings of a folder with a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hgs_cli.audio.io import MODEL_SECONDS, read_audio
from hgs_cli.audio.onset import begin_at
from hgs_cli.errors import InputError
from hgs_cli.spectrum import SAMPLE_RATE
from hgs_cli.training.manifest import MANIFEST_NAME, read_manifest


@dataclass(frozen=True)
class Note:
    """One real recording of the manifest."""

    path: Path
    instrument: str
    family: str
    midi: float
    dynamic: str


def read_sound(path: Path) -> Tensor:
    """A recording, as much of it as the networks hear, mono at 44.1 kHz, (T,).

    Raises:
        InputError: It cannot be read.
    """
    return read_audio(path, max_seconds=MODEL_SECONDS).audio


def read_note(path: Path) -> Tensor:
    """A recording from its onset on, where notes made of it begin too, mono at 44.1 kHz, (T,).

    It is heard from its first sample: without the room before it breath may be taken for a lead-in, and cut as well.

    Raises:
        InputError: It cannot be read.
    """
    whole = read_audio(path, max_seconds=2 * MODEL_SECONDS)  # breath and bow noise can last for a second
    return begin_at(whole, None).audio[: round(MODEL_SECONDS * SAMPLE_RATE)]


def choose_source(recordings: Sequence[Note]) -> tuple[Note, list[Note]]:
    """The middle loud note of an instrument, and its loud notes."""
    loud = [note for note in recordings if note.dynamic == "loud"] or list(recordings)
    return loud[len(loud) // 2], loud


def semitones_between(source: Note, target: Note) -> int:
    """Whole semitones between two notes, without sign."""
    return abs(round(target.midi - source.midi))


def notes_of_band(source: Note, notes: Iterable[Note], least: int, most: int) -> list[Note]:
    """Those of some notes that are so many semitones from a source."""
    return [note for note in notes if least <= semitones_between(source, note) <= most]


def read_entries(real_dir: Path) -> list[dict[str, Any]]:
    """What a folder's manifest says of each of its recordings.

    Raises:
        InputError: There is no manifest, or it has a fault.
    """
    return read_manifest(real_dir, InputError)


def read_known(real_dir: Path, instruments: Sequence[str]) -> dict[str, list[Note]]:
    """As `read_notes`, of those instruments that the folder has.

    Raises:
        InputError: As there.
    """
    there = {entry.get("instrument") for entry in read_entries(real_dir)}
    return read_notes(real_dir, [name for name in instruments if name in there] or instruments)


def read_notes(real_dir: Path, instruments: Sequence[str]) -> dict[str, list[Note]]:
    """Pitched recordings of a manifest directory by instrument, by pitch.

    Raises:
        InputError: There is no manifest, it has a fault, or none of the instruments is in it.
    """
    rows = [
        Note(real_dir / e["file"], e["instrument"], e["family"], float(e["midi_measured"]), e["dynamic"])
        for e in read_entries(real_dir)
        if e["pitched"] and e["instrument"] in instruments
    ]
    if not rows:
        raise InputError(
            f"{real_dir / MANIFEST_NAME} holds none of the instruments asked for", "name instruments that it lists"
        )
    by_name: dict[str, list[Note]] = {}
    for note in sorted(rows, key=lambda note: (note.instrument, note.midi)):
        by_name.setdefault(note.instrument, []).append(note)
    return by_name
