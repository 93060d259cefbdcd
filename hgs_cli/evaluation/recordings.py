"""Real recordings of a folder with a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def read_entries(real_dir: Path) -> list[dict[str, Any]]:
    """What a folder's manifest says of each of its recordings.

    Raises:
        InputError: There is no manifest.
    """
    path = real_dir / MANIFEST_NAME
    try:
        entries: list[dict[str, Any]] = list(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise not_a_manifest(real_dir) from error
    return entries


def not_a_manifest(real_dir: Path) -> InputError:
    """What to raise where a folder's manifest lacks something."""
    return InputError(f"{real_dir / MANIFEST_NAME} is not a manifest of recordings", "give the folder that holds one")


def read_notes(real_dir: Path, instruments: Sequence[str]) -> dict[str, list[Note]]:
    """Pitched recordings of a manifest directory by instrument, by pitch.

    Raises:
        InputError: There is no manifest, or none of the instruments is in it.
    """
    path = real_dir / MANIFEST_NAME
    try:
        rows = [
            Note(real_dir / e["file"], e["instrument"], e["family"], float(e["midi_measured"]), e["dynamic"])
            for e in read_entries(real_dir)
            if e["pitched"] and e["instrument"] in instruments
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise not_a_manifest(real_dir) from error
    if not rows:
        raise InputError(f"{path} holds none of the instruments asked for", "name instruments that it lists")
    by_name: dict[str, list[Note]] = {}
    for note in sorted(rows, key=lambda note: (note.instrument, note.midi)):
        by_name.setdefault(note.instrument, []).append(note)
    return by_name
