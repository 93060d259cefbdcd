"""A file is looked at before anything in it is believed: what it is, and whether its tensors can lie within it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from damage import stored_bytes

from hgs_cli.errors import InputError
from hgs_cli.files.safetensors_header import (
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    Stored,
    StoredTensor,
    check_file,
    read_stored,
)

EMPTY = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}


def test_a_file_that_can_be_read_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"12345")
    assert check_file(tmp_path / "a.wav", "give a file") == 5


def test_each_path_that_is_no_file_is_told_for_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"12345")
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for name, said in (
        ("missing.wav", r"missing\.wav does not exist — check the path"),
        ("a.wav/b.wav", r"b\.wav does not exist — check the path"),
        ("x" * 300, "cannot be reached: file name too long — check its name"),
        ("nul\0.wav", "cannot be reached: embedded null byte — check its name"),
        ("circle.wav", r"circle\.wav cannot be reached: too many levels of symbolic links"),
        ("pipe.wav", r"pipe\.wav is a pipe or a device, not a file"),
        (".", "is a folder — give a sound$"),
    ):
        with pytest.raises(InputError, match=said):
            check_file(tmp_path / name, "give a sound")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(InputError, match=r"a\.wav cannot be read: permission denied"):
        check_file(tmp_path / "a.wav", "give a sound")


def read(path: Path, header: dict[str, Any], body: bytes = b"", most_bytes: int = 2**30) -> Stored:
    """What is read of a file of this header and these bytes."""
    path.write_bytes(stored_bytes({"__metadata__": {"hgs": {"format": "test"}}, **header}, body))
    return read_stored(path, most_bytes)


def test_a_header_tells_facts_types_and_shapes(tmp_path: Path) -> None:
    half = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    full = {"dtype": "F32", "shape": [1, 1, 1, 1, 1, 1, 1, 2], "data_offsets": [12, 20]}
    stored = read(tmp_path / "a.hgs", {"half": half, "full": full}, bytes(20))
    assert stored.facts == {"format": "test"}
    assert stored.tensors == {"half": StoredTensor("F16", (2, 3)), "full": StoredTensor("F32", (1,) * 7 + (2,))}
    assert read(tmp_path / "b.hgs", {}).tensors == {}


@pytest.mark.parametrize(
    "told",
    [
        {"shape": [1] * 7 + [2, 3]}, {"shape": "23"}, {"shape": [2, -3]}, {"shape": [-2, -3]}, {"shape": [2, True]},
        {"shape": [2, 3.0]}, {"shape": [2, 4]}, {"shape": [2, 2]},
        {"shape": {}, "data_offsets": [0, 2]}, {"dtype": "F32"}, {"dtype": "I64"}, {"dtype": []},
        {"data_offsets": [0, 11]}, {"data_offsets": [1, 13]}, {"data_offsets": [-1, 11]}, {"data_offsets": [0]},
        {"data_offsets": [0, 6, 12]}, {"data_offsets": [False, 12]}, {"data_offsets": None},
    ],
)  # fmt: skip
def test_a_tensor_that_cannot_lie_in_the_file_as_told_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    tensor = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    assert read(tmp_path / "good.hgs", {"a": tensor}, bytes(12)).tensors
    with pytest.raises(ValueError, match=r"^(shape|numbers|size|no header of hgs|.*values to unpack.*)$"):
        read(tmp_path / "a.hgs", {"a": {**tensor, **told}}, bytes(12))


def test_tensors_of_nothing_cannot_be_of_any_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="numbers"):
        read(tmp_path / "a.hgs", {"a": {**EMPTY, "shape": [0, 13]}}, bytes(12))


@pytest.mark.parametrize("header", [{"__metadata__": {}}, {"__metadata__": None}, {"__metadata__": {"hgs": [1]}},
                                    {"a": None}, {"a": [1]}])  # fmt: skip
def test_what_hgs_did_not_write_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no header of hgs"):
        read(tmp_path / "a.hgs", header)


def test_a_file_is_as_large_as_it_may_be_and_no_larger(tmp_path: Path) -> None:
    path = tmp_path / "a.hgs"
    read(path, {"a": EMPTY})
    size = path.stat().st_size
    assert read_stored(path, size).tensors
    with pytest.raises(ValueError, match="bytes"):
        read_stored(path, size - 1)


def test_a_header_has_a_mebibyte_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.hgs"
    read(path, {"a": EMPTY})
    text = path.read_bytes()[8:]
    for length in (2**20, 2**20 + 1):
        path.write_bytes(length.to_bytes(8, "little") + text.ljust(length))
        if length == MAX_HEADER_BYTES:
            assert read_stored(path, 2**30).tensors
        else:
            with pytest.raises(ValueError, match="header of 1048577 bytes"):
                read_stored(path, 2**30)


def test_a_header_that_ends_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hgs"
    read(path, {"a": EMPTY})
    text = path.read_bytes()[8:]
    path.write_bytes((len(text) + 1).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="a header of"):
        read_stored(path, 2**30)


def test_there_are_4096_tensors_at_most(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.hgs", {str(index): EMPTY for index in range(4096)}).tensors) == MAX_TENSORS
    with pytest.raises(ValueError, match="no header of hgs"):
        read(tmp_path / "a.hgs", {str(index): EMPTY for index in range(4097)})


@pytest.mark.parametrize("text", [b'{"__metadata__": {"hgs": "PLACE"}}', b'{"a": PLACE}', b"12"])
def test_no_header_and_lists_deeper_than_any_parser_goes_are_refused(tmp_path: Path, text: bytes) -> None:
    text = text.replace(b"PLACE", b"[" * 100_000)
    (tmp_path / "a.hgs").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="no header of hgs"):
        read_stored(tmp_path / "a.hgs", 2**30)
