"""What an .hgs file of many recordings says of them; reads no sound and loads no torch."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgs_cli.errors import InputError

FORMAT, FORMAT_VERSION = "hgs-multisample", 1
INDEX = "index.json"
MAX_RECORDINGS = 1024
MAX_INDEX_BYTES = 2**20
MAX_NAME = 255  # characters
DAMAGE = (zipfile.BadZipFile, OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, NotImplementedError)
REMAKE = "make it again with hgs invert --multisample"


@dataclass(frozen=True)
class Recording:
    """What is known of one of the recordings of an instrument."""

    name: str  # what it is called
    layer: int  # its dynamic layer, 0 the softest
    key: float | None  # pitch that it counts as, as it is tuned; None for the one that it was found at
    stands_at: float  # pitch that it was found at

    @property
    def pitch(self) -> float:
        """At which it is played as it is."""
        return self.stands_at if self.key is None else self.key


def holds_recordings(path: Path) -> bool:
    """Whether a file is one of many recordings, by how it begins; a pipe, which is read once, is none."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read_index(path: Path) -> list[Recording]:
    """What a file says of its recordings; reads no sound.

    Raises:
        InputError: It is damaged, or of a version that this hgs does not read.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            if packed.getinfo(INDEX).file_size > MAX_INDEX_BYTES:
                raise ValueError(INDEX)
            index = json.loads(packed.read(INDEX))
        if index["format"] != FORMAT:
            raise ValueError(index["format"])
        version = index["format_version"]
        entries = [_recording(entry) for entry in index["recordings"]] if version == FORMAT_VERSION else []
        if version == FORMAT_VERSION and not 0 < len(entries) <= MAX_RECORDINGS:
            raise ValueError(len(entries))
    except DAMAGE as error:
        raise InputError(f"{path} is not an inversion of hgs", REMAKE) from error
    if not entries:
        raise InputError(f"{path} has multisample format {version!r}; this hgs reads {FORMAT_VERSION}", REMAKE)
    return entries


def _recording(entry: dict[str, Any]) -> Recording:
    """An entry of the index, or ValueError, KeyError or TypeError for what `save_recordings` does not write."""
    name, layer = entry["name"], entry["layer"]
    if not isinstance(name, str) or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(name)
    if type(layer) is not int or not 0 <= layer < MAX_RECORDINGS:
        raise ValueError(layer)
    for pitch in (entry["stands_at"], *([] if entry["key"] is None else [entry["key"]])):
        if type(pitch) not in (int, float) or not 0.0 <= pitch <= 127.0:
            raise ValueError(pitch)
    return Recording(name, layer, entry["key"], entry["stands_at"])
