"""Real recordings of a folder with a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.errors import InputError

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class Note:
    """One real recording of the manifest."""

    path: Path
    instrument: str
    family: str
    midi: float
    dynamic: str


def read_notes(real_dir: Path, instruments: Sequence[str]) -> dict[str, list[Note]]:
    """Pitched recordings of a manifest directory by instrument, by pitch.

    Raises:
        InputError: There is no manifest, or none of the instruments is in it.
    """
    path = real_dir / MANIFEST_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["files"]
        rows = [
            Note(real_dir / e["file"], e["instrument"], e["family"], float(e["midi_measured"]), e["dynamic"])
            for e in entries
            if e["pitched"] and e["instrument"] in instruments
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a manifest of recordings", "give the folder that holds one") from error
    if not rows:
        raise InputError(f"{path} holds none of the instruments asked for", "name instruments that it lists")
    by_name: dict[str, list[Note]] = {}
    for note in sorted(rows, key=lambda note: (note.instrument, note.midi)):
        by_name.setdefault(note.instrument, []).append(note)
    return by_name
