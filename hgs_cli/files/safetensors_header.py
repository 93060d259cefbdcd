"""Files that are about to be read, looked at before anything in them is believed; imports errors alone.

A path may be a pipe that never ends, a device or a link to itself, and a safetensors file may tell of tensors that are
larger than any memory: both are found out here, from a few bytes, before something heavy opens the file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgs_cli.errors import InputError

MAX_HEADER_BYTES = 2**20  # of safetensors files; those of hgs have 5 and 20 kB
MAX_TENSORS = 4096
_MAX_DIMENSIONS = 8
_LENGTH_BYTES = 8  # of a header's length
_SIZES = {"F16": 2, "F32": 4, "U8": 1}  # bytes of the types that hgs writes


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of a tensor."""

    dtype: str  # `F16`, `F32` or `U8`
    shape: tuple[int, ...]  # its shape


@dataclass(frozen=True)
class Stored:
    """What the header of a safetensors file of hgs says."""

    facts: dict[str, Any]  # what hgs wrote beside the tensors
    tensors: dict[str, StoredTensor]  # by name


def check_file(path: Path, remedy: str) -> int:
    """Size in bytes of a file that can be read from end to end.

    Args:
        path: Of the file.
        remedy: What to give instead of a folder.

    Raises:
        InputError: It is missing, a folder, a pipe or a device, or cannot be reached or read.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} does not exist", "check the path") from error
    except (OSError, ValueError) as error:  # too long a name, links in a circle, a folder that may not be entered
        raise InputError(f"{path} cannot be reached: {_reason(error)}", "check its name and permissions") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a folder", remedy)
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{path} is a pipe or a device, not a file", f"give a sound as - < {path}, or store it in a file first"
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: permission denied", "check its permissions")
    return found.st_size


def read_stored(path: Path, max_bytes: int) -> Stored:
    """Header of a safetensors file of hgs, whose tensors lie within the file as it says.

    Args:
        path: Of a file, from `check_file`.
        max_bytes: That it may have.

    Raises:
        ValueError: It is larger, not such a file, or says something impossible.
        OSError: It cannot be read.

    Source: the safetensors format: eight bytes of length, little-endian, JSON, the tensors' bytes.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{size} bytes")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
            raise ValueError(f"a header of {length} bytes")
        text = file.read(length)
    try:
        header = json.loads(text)
        facts = json.loads(header.pop("__metadata__")["hgs"])
        tensors = {name: _stored_tensor(told, size - _LENGTH_BYTES - length) for name, told in header.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no header of hgs") from error
    if not isinstance(facts, dict) or len(tensors) > MAX_TENSORS:
        raise ValueError("no header of hgs")
    return Stored(facts, tensors)


def _stored_tensor(told: dict[str, Any], n_bytes: int) -> StoredTensor:
    dtype, shape, (start, end) = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("shape")
    if not all(type(number) is int and 0 <= number <= n_bytes for number in (*shape, start, end)):
        raise ValueError("numbers")
    if dtype not in _SIZES or end - start != math.prod(shape) * _SIZES[dtype]:
        raise ValueError("size")
    return StoredTensor(dtype, tuple(shape))


def _reason(error: OSError | ValueError) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
