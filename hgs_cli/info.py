"""What is in an .hgs file or a weights bundle, told from its header; loads neither torch nor any tensor."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from hgs_cli.errors import InputError
from hgs_cli.pitch import describe_pitch
from hgs_cli.rate import SAMPLE_RATE

MAX_HEADER_BYTES = 16 * 2**20
_HELP = "give an .hgs file or a weights bundle"


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """Header of a safetensors file: type, shape and place of every tensor, and `__metadata__`.

    Raises:
        InputError: It is missing or no such file.

    Source: the safetensors format: eight bytes of length, little-endian, then JSON.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", _HELP)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
                raise ValueError(length)
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise TypeError(header)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", "check the path") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is neither an instrument nor weights", _HELP) from error
    return header


def describe_file(path: Path) -> dict[str, Any]:
    """Facts about an .hgs file or a weights bundle, by name, ready for JSON.

    Raises:
        InputError: It is neither, or its header is damaged.
    """
    header = read_safetensors_header(path)
    try:
        own = json.loads(header.pop("__metadata__")["hgs"])
        shapes = {name: tensor["shape"] for name, tensor in header.items()}
        facts = _describe_inversion(own, shapes) if "source_pitch" in own else _describe_bundle(own, shapes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is neither an instrument nor weights", _HELP) from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, **facts, "sha256": sha256}


def _describe_inversion(own: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, Any]:
    pitch = own["source_pitch"]
    return {
        "kind": "instrument",
        "format_version": own["format_version"],
        "pitch": "none" if pitch is None else describe_pitch(float(pitch)),
        "midi": pitch,
        "seconds": round(own["length_samples"] / SAMPLE_RATE, 3),
        "passes": own["passes"],
        "refined_layers": sum(name.startswith("offsets.") for name in shapes),
        "stretched": "detail.stretch" in shapes,
        "stereo": "side" in shapes,
        "lufs": round(own["reference_lufs"], 2),
        "weights_sha256": own["weights_sha256"],
    }


def _describe_bundle(own: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, Any]:
    parts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = name.split(".")[0]
        parts[part] = parts.get(part, 0) + math.prod(shape)
    return {
        "kind": "weights",
        "format_version": own["format_version"],
        "version": own["version"],
        "parameters": sum(parts.values()),
        **{f"parameters_{part}": count for part, count in parts.items()},
        "training": own.get("extra", {}).get("training"),
    }
