"""What is in an .hgs file or a weights bundle, told from its header; loads neither torch nor any tensor."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from hgs_cli.errors import InputError
from hgs_cli.files.safetensors_header import StoredTensor, check_file, read_stored
from hgs_cli.multisample.index import holds_recordings, read_index
from hgs_cli.pitch import MIDDLE_C, describe_pitch, rename_notes
from hgs_cli.rate import SAMPLE_RATE

MAX_BYTES = 512 * 2**20  # of any file of hgs: more is not read for its checksum either
_LONGEST_TEXT = 200  # characters of a version or a name
_HELP = "give an .hgs file or a weights bundle"


def describe_file(path: Path, middle_c: int = MIDDLE_C) -> dict[str, Any]:
    """Facts about an .hgs file or a weights bundle, by name, ready for JSON.

    Args:
        path: Of the file.
        middle_c: Octave number of MIDI 60 in names.

    Raises:
        InputError: It is neither, or its header is damaged.
    """
    size = check_file(path, _HELP)
    if holds_recordings(path):
        return {"path": str(path), "bytes": size, **_describe_recordings(path, middle_c), "sha256": _sha256(path)}
    try:
        stored = read_stored(path, MAX_BYTES)
        if "source_pitch" in stored.facts:
            facts = _describe_inversion(stored.facts, stored.tensors, middle_c)
        else:
            facts = _describe_bundle(stored.facts, stored.tensors)
        sha256 = _sha256(path)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is neither an instrument nor weights", _HELP) from error
    return {"path": str(path), "bytes": size, **facts, "sha256": sha256}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_recordings(path: Path, middle_c: int) -> dict[str, Any]:
    recordings = read_index(path)
    return {
        "kind": "multisample",
        "recordings": [
            {
                "name": each.name,
                "pitch": describe_pitch(each.stands_at, middle_c),
                "midi": each.stands_at,
                "key": each.key,
                "layer": each.layer + 1,
            }
            for each in recordings
        ],
    }


def _describe_inversion(facts: dict[str, Any], tensors: dict[str, StoredTensor], middle_c: int) -> dict[str, Any]:
    pitch = None if facts["source_pitch"] is None else _number(facts["source_pitch"])
    return {
        "kind": "instrument",
        "format_version": _count(facts["format_version"]),
        "pitch": "none" if pitch is None else describe_pitch(pitch, middle_c),
        "midi": pitch,
        "seconds": round(_count(facts["length_samples"]) / SAMPLE_RATE, 3),
        "passes": _count(facts["passes"]),
        "refined_layers": sum(name.startswith("offsets.") for name in tensors),
        "recording": "recording" in tensors,
        "stereo": facts.get("channels", 1) == 2,
        "heard": rename_notes(_text(facts.get("heard", "")), middle_c),
        "trust": round(_number(facts.get("trust", 1.0)), 3),
        "lufs": round(_number(facts["reference_lufs"]), 2),
        "weights_sha256": _text(facts["weights_sha256"]),
    }


def _describe_bundle(facts: dict[str, Any], tensors: dict[str, StoredTensor]) -> dict[str, Any]:
    parts: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = _text(name.split(".")[0])
        parts[part] = parts.get(part, 0) + math.prod(tensor.shape)
    return {
        "kind": "weights",
        "format_version": _count(facts["format_version"]),
        "version": _text(facts["version"]),
        "parameters": sum(parts.values()),
        **{f"parameters_{part}": count for part, count in parts.items()},
        "training": facts.get("extra", {}).get("training"),
    }


def _number(value: Any) -> int | float:
    """A number that a musician could mean, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1000.0:
        raise ValueError(value)
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2**31:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    """Text that can be printed as it is, or ValueError."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise ValueError(value)
    return value
