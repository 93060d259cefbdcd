"""Ways to damage files that know how they are built, for test_fuzz.py: RIFF, IFF, safetensors."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import soundfile
from conftest import tone
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 24, 64, 65, 127, 128, 255, 256, 1023, 1024, 4000, 44_100, 2**15, 2**16 - 1, 2**16,
               2**24, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
ODD_FACTS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 10**9, 10**30, 0.5, -0.0, 1e-300, 1e308, math.inf, -math.inf, math.nan, "",
    "A4", "F16", "F64", "F8_E4M3", "I64", "BOOL", "C64", "\ud800", "\x1b[2J\n", "x" * 3000, [], [0], [1, 2], [-1, 4],
    [2**40, 2**40], [[]], {}, {"a": 1}, [10**9] * 20,
)  # fmt: skip
ODD_VALUES = (0.0, 1.0, -1.0, 6e4, -6e4, 1e-7, 1e30, -1e30, 3e38, math.nan, math.inf, -math.inf)

SOUND_FORMS = (
    ("wav", "WAV", "PCM_16"), ("wav", "WAV", "PCM_U8"), ("wav", "WAV", "PCM_24"), ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"), ("wav", "WAV", "ULAW"), ("wav", "WAV", "IMA_ADPCM"), ("wav", "WAV", "MS_ADPCM"),
    ("wav", "WAV", "GSM610"), ("wav", "WAVEX", "PCM_16"), ("wav", "RF64", "PCM_16"), ("w64", "W64", "PCM_16"),
    ("aiff", "AIFF", "PCM_16"), ("aiff", "AIFF", "FLOAT"), ("flac", "FLAC", "PCM_16"), ("flac", "FLAC", "PCM_24"),
    ("ogg", "OGG", "VORBIS"), ("ogg", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III"), ("caf", "CAF", "PCM_16"),
    ("caf", "CAF", "ALAC_16"), ("au", "AU", "PCM_16"),
)  # fmt: skip


def sound_corpus() -> list[tuple[str, bytes]]:
    """Short sounds in every form that hgs reads, mono and stereo, as suffix and bytes."""
    corpus = []
    for suffix, file_format, subtype in SOUND_FORMS:
        for channels in (1, 2):
            if subtype == "GSM610" and channels == 2:
                continue
            rate = 48_000 if subtype == "OPUS" else 44_100
            samples = np.repeat(tone(220.0, 0.05, rate)[:, None], channels, 1) * np.linspace(1.0, 0.4, channels)
            file = io.BytesIO()
            soundfile.write(file, samples, rate, subtype=subtype, format=file_format)
            corpus.append((suffix, file.getvalue()))
    return corpus


def damage_bytes(draw: Draw, data: bytes) -> bytes:
    """Some bytes flipped, cut out, put in, doubled, or overwritten by numbers that headers should not hold."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        size = len(spoilt)
        place = draw(st.one_of(st.integers(0, min(size, 160)), st.integers(0, size)))
        kind = draw(st.sampled_from(("flip", "number", "number", "cut", "insert", "double", "end")))
        if kind == "flip" and place < size:
            spoilt[place] ^= draw(st.integers(1, 255))
        elif kind == "number":
            width = draw(st.sampled_from((1, 2, 4, 8)))
            order = draw(st.sampled_from(("little", "big")))
            number = draw(st.sampled_from(ODD_NUMBERS)) % 2 ** (8 * width)
            spoilt[place : place + width] = number.to_bytes(width, order)
        elif kind == "cut":
            del spoilt[place : place + draw(st.integers(1, 64))]
        elif kind == "insert":
            spoilt[place:place] = draw(st.binary(min_size=1, max_size=32))
        elif kind == "double":
            spoilt[place:place] = spoilt[place : place + draw(st.integers(1, 4096))]
        elif kind == "end":
            del spoilt[place:]
    return bytes(spoilt)


def damage_chunks(draw: Draw, data: bytes) -> bytes:
    """RIFF and IFF chunks in another order, dropped, doubled, or with sizes that are not theirs; else bytes."""
    order = {b"RIFF": "<", b"FORM": ">"}.get(data[:4])
    if order is None:
        return damage_bytes(draw, data)
    chunks, place = [], 12
    while place + 8 <= len(data):
        (size,) = struct.unpack(order + "I", data[place + 4 : place + 8])
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    kept = draw(st.lists(st.sampled_from(range(len(chunks))), min_size=1, max_size=6))
    body = b""
    for index in kept:
        name, content = chunks[index]
        if draw(st.integers(0, 3)) == 0:
            content = damage_bytes(draw, content)
        size = draw(st.one_of(st.just(len(content)), st.just(len(content)), st.sampled_from(ODD_NUMBERS))) % 2**32
        body += name + struct.pack(order + "I", size) + content + b"\0" * (len(content) % 2)
    return data[:4] + struct.pack(order + "I", len(body) + 4) + data[8:12] + body


def stored_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header, what hgs wrote in it unpacked, and tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["hgs"] = json.loads(header["__metadata__"]["hgs"])
    return header, data[8 + length :]


def stored_bytes(header: dict[str, Any], body: bytes, length: int | None = None) -> bytes:
    """A safetensors file of header and tensors, which may be lies; the library would not write such."""
    header = dict(header)
    if isinstance(header.get("__metadata__"), dict) and "hgs" in header["__metadata__"]:
        header["__metadata__"] = {**header["__metadata__"], "hgs": json.dumps(header["__metadata__"]["hgs"])}
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def damage_stored(draw: Draw, data: bytes) -> bytes:
    """A safetensors file with other facts, other types, shapes and places of tensors, and other values in them."""
    header, body = stored_parts(data)
    header = json.loads(json.dumps(header))
    values = bytearray(body)
    names = [name for name in header if name != "__metadata__"]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("fact", "fact", "value", "value", "tensor", "shape", "drop", "stranger", "bytes")))
        name = draw(st.sampled_from(names))
        told = header.get(name)
        if kind == "fact":
            _change_one(draw, header["__metadata__"]["hgs"])
        elif kind == "tensor" and isinstance(told, dict):
            _change_one(draw, told)
        elif kind == "value" and isinstance(told, dict) and told.get("dtype") in ("F16", "F32", "U8"):
            _overwrite(draw, values, told)
        elif kind == "shape" and isinstance(told, dict) and isinstance(told.get("shape"), list):  # of as many values
            told["shape"] = draw(st.permutations((*told["shape"], 1)))
        elif kind == "drop":
            header.pop(name, None)
        elif kind == "stranger":
            stranger = draw(
                st.sampled_from(("offsets.head", "offsets.x", "detail.attack", "recording", "__class__", "side", "\n"))
            )
            header[stranger] = deepcopy(told) if isinstance(told, dict) else deepcopy(draw(st.sampled_from(ODD_FACTS)))
        elif kind == "bytes" and draw(st.booleans()):
            return damage_bytes(draw, stored_bytes(header, bytes(values)))
    return stored_bytes(header, bytes(values))


def _change_one(draw: Draw, facts: dict[str, Any]) -> None:
    """Put something odd in the place of one fact, however deep it lies."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            visit(value)

    visit(facts)
    if places:
        node, key = draw(st.sampled_from(places))
        node[key] = deepcopy(draw(st.sampled_from(ODD_FACTS)))


def _overwrite(draw: Draw, values: bytearray, told: dict[str, Any]) -> None:
    """Overwrite all of a tensor, or one number of it."""
    try:
        start, end = told["data_offsets"]
        if told["dtype"] == "U8":  # packed sound: a byte of its header, or of a frame
            number = bytes([draw(st.integers(0, 255))])
        else:
            kind = {"F16": np.float16, "F32": np.float32}[told["dtype"]]
            with np.errstate(over="ignore"):
                number = np.array(draw(st.sampled_from(ODD_VALUES)), kind).tobytes()
        if not 0 <= start < end <= len(values):
            return
        n_bytes = len(number)
        if draw(st.booleans()):
            values[start:end] = number * ((end - start) // n_bytes)
        else:
            place = start + n_bytes * draw(st.integers(0, (end - start) // n_bytes - 1))
            values[place : place + n_bytes] = number
    except (TypeError, ValueError, KeyError):  # damaged already
        return
