"""The manifest of a folder of recordings, `manifest.json`: read, and checked entry by entry."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hgs_cli.errors import HgsError, TrainingError
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH

MANIFEST_NAME = "manifest.json"
DYNAMICS = ("loud", "soft")
MAX_BYTES = 64 * 2**20
DEFAULTS = {"dynamic": "loud", "licence": "unknown"}
"""What an entry need not say."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_pitch(value: object) -> bool:
    return type(value) in (int, float) and MIN_PITCH <= value <= MAX_PITCH  # type: ignore[operator]


_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "file": (_is_text, "give the sound file's path, relative to the manifest"),
    "instrument": (_is_text, "name the instrument; its notes share the name"),
    "family": (_is_text, "name its family, such as wind or plucked"),
    "pitched": (lambda value: isinstance(value, bool), "give true, or false for a sound without a pitch"),
    "dynamic": (lambda value: value in DYNAMICS, "give loud or soft"),
    "licence": (_is_text, "name its licence"),
}
"""What an entry says: key → whether a value can be, and what to write instead."""


def read_manifest(folder: Path, error: type[HgsError] = TrainingError) -> list[dict[str, Any]]:
    """Entries of a folder's manifest: file, instrument, family, pitched, midi_measured, dynamic, licence.

    Args:
        folder: That holds the manifest, and the recordings in it or below.
        error: What is raised.

    Raises:
        HgsError: There is none, or an entry has a fault: the line names manifest, entry and key.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path} is not a manifest: it has over {MAX_BYTES // 2**20} MB", "give one of a few")
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path} cannot be read ({cause.strerror})", f"recordings need a {MANIFEST_NAME}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not a manifest: no JSON ({cause})", "write it as hgs manual training says") from cause
    entries = told.get("files") if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise error(f"{path} is not a manifest: it has no list 'files'", "write it as hgs manual training says")
    if not entries:
        raise error(f"{path} lists no files", "add an entry for every recording")
    checked = [_checked(path, number, entry, error) for number, entry in enumerate(entries, 1)]
    kinds: dict[str, tuple[bool, str]] = {}
    for number, entry in enumerate(checked, 1):
        kind = bool(entry["pitched"]), str(entry["file"])
        first = kinds.setdefault(entry["instrument"], kind)
        if first[0] != kind[0]:
            raise error(
                f"{path}: entry {number} ({kind[1]}): pitched is {str(kind[0]).lower()}, and {first[1]}, of the same "
                "instrument, says otherwise",
                "give unpitched sounds an instrument of their own",
            )
    return checked


def _checked(path: Path, number: int, entry: object, error: type[HgsError]) -> dict[str, Any]:
    """An entry with all its keys."""
    if not isinstance(entry, dict):
        raise error(f"{path}: entry {number} is no object", "write it as hgs manual training says")
    whole = DEFAULTS | entry
    name = entry.get("file")
    where = f"{path}: entry {number}" + (f" ({name})" if _is_text(name) else "")
    for key, (can_be, remedy) in _KEYS.items():
        if key not in whole:
            raise error(f"{where}: {key} is missing", remedy)
        if not can_be(whole[key]):
            raise error(f"{where}: {key} is {json.dumps(whole[key])[:60]}", remedy)
    if whole["pitched"] and not _is_pitch(whole.get("midi_measured")):
        told = json.dumps(whole["midi_measured"])[:60] if "midi_measured" in whole else "missing"
        raise error(f"{where}: midi_measured is {told}", "give the MIDI note that it sounds at, cents included")
    file = Path(whole["file"])
    if file.is_absolute() or ".." in file.parts:
        raise error(f"{where}: file leads out of {path.parent}", "give a path inside the folder")
    if not os.path.isfile(path.parent / file):
        raise error(f"{where}: there is no such file", "complete the recordings, or leave the entry out")
    return whole
