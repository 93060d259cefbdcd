"""Root key and loop inside a sound file: chunks appended to WAV and AIFF files that a library has written.

Source: IBM and Microsoft, Multimedia Programming Interface and Data Specifications 1.0, and its 1994 supplement
(`smpl`, `inst`); Apple, Audio Interchange File Format 1.3 (`MARK`, `INST`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from hgs_cli.audio.loop import Loop

MAX_SIZE = 2**32 - 1  # of a chunk: its length has 32 bits
ALL_KEYS = (0, 127)
ALL_VELOCITIES = (1, 127)

_HEADER = 8  # bytes of a chunk before its data: name and length
_LOOP_MARKERS = {1: b"loop start", 2: b"loop end"}


def add_sampler_chunk(
    path: Path,
    root_key: int,
    cents: float,
    loop: Loop | None,
    sample_rate: int,
    *,
    keys: tuple[int, int] = ALL_KEYS,
    velocities: tuple[int, int] = ALL_VELOCITIES,
) -> None:
    """Tell samplers the note and the loop of a WAV file: a `smpl` and an `inst` chunk at its end.

    `smpl` has a fraction of a semitone above its note and none below, so a sample that is flat of its root key names
    the key below. Many samplers read the note alone; for them a sample less than a cent flat keeps its key.

    Args:
        path: Written in place.
        root_key: MIDI note nearest to the pitch.
        cents: How far the sample sounds above it, -50 … 50.
        loop: Forward and endless; None for a one-shot.
        sample_rate: In Hz.
        keys: Lowest and highest key of its zone.
        velocities: Softest and hardest velocity of its zone.
    """
    assert -50.0 <= cents <= 50.0, cents
    steps = round(cents * 2**32 / 100) if abs(cents) >= 1.0 else 0
    # Python's shift rounds down: -2 cents are the key below and 98 cents.
    unity_note, fraction = root_key + (steps >> 32), steps % 2**32
    if unity_note < 0:  # below the lowest note there is none to name
        unity_note, fraction = 0, 0
    # Manufacturer, product, nanoseconds a sample, note, its fraction, SMPTE format and offset, loops, further bytes.
    period_ns = round(1e9 / sample_rate)
    smpl = struct.pack("<9I", 0, 0, period_ns, unity_note, fraction, 0, 0, 1 if loop else 0, 0)
    if loop:
        # Cue point, forward, first sample, last sample (played as well), its fraction, times (0: endless).
        smpl += struct.pack("<6I", 0, 0, loop.start, loop.end - 1, 0, 0)
    # Note, cents that the player adds, gain in dB, ranges.
    inst = struct.pack("<Bbb4B", root_key, round(-cents), 0, *keys, *velocities)
    _append(path, b"RIFF", [(b"smpl", smpl), (b"inst", inst)])


def add_sampler_chunks_aiff(
    path: Path,
    root_key: int,
    cents: float,
    loop: Loop | None,
    *,
    keys: tuple[int, int] = ALL_KEYS,
    velocities: tuple[int, int] = ALL_VELOCITIES,
) -> None:
    """Tell samplers the note and the loop of an AIFF or AIFF-C file: `MARK` and `INST` chunks at its end.

    Arguments as for `add_sampler_chunk`; a marker stands before its sample, so the loop's second one is at its end.
    """
    assert -50.0 <= cents <= 50.0, cents
    chunks = []
    if loop:
        marks = struct.pack(">H", len(_LOOP_MARKERS))
        for (number, name), position in zip(_LOOP_MARKERS.items(), (loop.start, loop.end), strict=True):
            text = bytes([len(name)]) + name
            marks += struct.pack(">hI", number, position) + text + bytes(len(text) % 2)
        chunks.append((b"MARK", marks))
    sustain = (1, *_LOOP_MARKERS) if loop else (0, 0, 0)  # forward, from marker, to marker
    note = struct.pack(">Bb4Bh", root_key, round(-cents), *keys, *velocities, 0)
    chunks.append((b"INST", note + struct.pack(">6h", *sustain, 0, 0, 0)))
    _append(path, b"FORM", chunks)


def chunk(name: bytes, data: bytes, order: str = "<") -> bytes:
    """A chunk: its name, its length and its data, filled up to an even length.

    Args:
        name: Four letters.
        data: Its length is told without the filling.
        order: `<` in RIFF files, `>` in AIFF files.
    """
    return name + struct.pack(f"{order}I", len(data)) + data + bytes(len(data) % 2)


def _append(path: Path, form: bytes, chunks: Sequence[tuple[bytes, bytes]]) -> None:
    order = _order(form)
    with path.open("r+b") as file:
        end = 12
        for name, length in _walk(file):
            assert name not in dict(chunks), f"{path} has a chunk {name!r} already"
            end = file.tell() + length
        file.seek(end)
        file.write(bytes(end % 2) + b"".join(chunk(name, data, order) for name, data in chunks))
        size = file.tell() - _HEADER
        assert size <= MAX_SIZE, path
        file.seek(0)
        file.write(form + struct.pack(f"{order}I", size))


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Go from chunk to chunk, standing at the data of each.

    Yields:
        Name and length.
    """
    order = _order(file.read(4))
    position = 12
    file.seek(0, 2)
    end = file.tell()
    while position + _HEADER <= end:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(_HEADER))
        yield name, length
        position += _HEADER + length + length % 2


def _order(form: bytes) -> str:
    assert form in (b"RIFF", b"FORM"), form
    return "<" if form == b"RIFF" else ">"
