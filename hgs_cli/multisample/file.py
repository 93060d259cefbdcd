"""One .hgs file of many recordings: a zip of the .hgs file of each, with what is known of them beside."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.errors import InputError
from hgs_cli.inversion import MAX_BYTES, Inversion
from hgs_cli.multisample.index import DAMAGE, FORMAT, FORMAT_VERSION, INDEX, REMAKE, Recording, read_index


@dataclass(frozen=True)
class Recorded:
    """One of the recordings of an instrument."""

    recording: Recording  # what is known of it
    inversion: Inversion  # of it


def save_recordings(path: Path, recordings: Sequence[Recorded]) -> None:
    """Write the file in place; `files.atomic.OutputSet` gives the path of a file put aside."""
    index = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "recordings": [vars(each.recording) for each in recordings],
    }
    with tempfile.TemporaryDirectory(prefix="hgs-") as folder, zipfile.ZipFile(path, "w") as packed:
        packed.writestr(INDEX, json.dumps(index))
        for number, each in enumerate(recordings):
            member = Path(folder, _member(number))
            each.inversion.write(member)
            packed.write(member, member.name)
            member.unlink()


def load_recordings(path: Path) -> list[Recorded]:
    """Read and check the file.

    Raises:
        InputError: It is damaged, or of a version that this hgs does not read.
    """
    index = read_index(path)
    found = []
    try:
        with zipfile.ZipFile(path) as packed, tempfile.TemporaryDirectory(prefix="hgs-") as folder:
            for number, recording in enumerate(index):
                if packed.getinfo(_member(number)).file_size > MAX_BYTES:
                    raise ValueError(number)
                member = Path(packed.extract(_member(number), folder))
                found.append(Recorded(recording, Inversion.load(member)))
                member.unlink()
    except (*DAMAGE, InputError) as error:
        raise InputError(f"{path} is damaged: recording {len(found) + 1} cannot be read", REMAKE) from error
    return found


def _member(number: int) -> str:
    return f"{number:04d}.hgs"
