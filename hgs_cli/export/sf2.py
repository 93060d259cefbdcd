"""SoundFont 2: samples, zones and their parameters in one file.

Source: E-mu Systems, SoundFont Technical Specification 2.04; sections are named where they matter.
"""

from __future__ import annotations

import math
import struct
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hgs_cli.errors import OutputError
from hgs_cli.export.riff import MAX_SIZE, chunk
from hgs_cli.export.zones import Sample, Zone, n_layers
from hgs_cli.pitch import MIDDLE_C, note_name


@dataclass(frozen=True)
class Limits:
    """Of the format; numbers in brackets are sections of its specification."""

    gap_frames: int = 46  # zeros after every sample (6.1), which players read ahead into
    min_frames: int = 48  # of a sample (7.10)
    min_loop_frames: int = 32  # (7.10)
    loop_margin: int = 8  # sample points that players read around a loop (7.10)
    max_records: int = 2**16 - 1  # records of a list are counted with 16 bits
    max_release_s: float = 100.0  # (8.1.3, releaseVolEnv)
    velocity_depth_cb: int = 960  # of the default velocity to attenuation modulator (8.4.1)


LIMITS = Limits()


DEFAULT_NAME = "hgs"  # where nothing of a name is ASCII

_NAME_BYTES = 20
_LINEAR_16 = 2**15


class _Generator(IntEnum):
    """What a zone says (8.1.2)."""

    PAN = 17
    RELEASE = 38
    INSTRUMENT = 41
    KEYS = 43
    VELOCITIES = 44
    SAMPLE = 53
    MODES = 54
    ROOT_KEY = 58
    ATTENUATION = 48
    FILTER = 8


class _Source(IntEnum):
    """What moves a modulator (8.2)."""

    CONCAVE_VELOCITY = 0x0502
    LINEAR_VELOCITY = 0x0102
    SWITCHED_VELOCITY = 0x0D02


class _Channel(IntEnum):
    """Sample types (7.10)."""

    MONO = 1
    RIGHT = 2
    LEFT = 4


_LOOP_CONTINUOUSLY = 1  # sampleModes (8.1.3)

Read = Callable[[Sample], NDArray[np.float32]]
"""Reads a sample in [-1, 1], (n_frames,) or (n_frames, channels)."""


@dataclass(frozen=True)
class _Layout:
    """How one channel of a sample lies in the file, in sample points."""

    repeats: int  # times that the loop is there
    loop_start: int  # of the loop that players play
    loop_end: int  # one past its last
    length: int  # all that is written before the gap


def write_sf2(
    path: Path, name: str, zones: Sequence[Zone], read: Read, release_s: float, middle_c: int = MIDDLE_C
) -> None:
    """Write a SoundFont of one preset, the sound of which does not depend on the player.

    Samples are rounded to 16 bits, the depth that every player reads. Notes are in tune to half a cent: corrections
    are whole cents. Loops go on while the sound fades (sampleModes 1, not 3): what follows a loop in a sound file need
    not continue it, so it is left out, and players interpolate across the loop's end into its own continuation.

    Velocity sets the attenuation by the default modulator's curve; of n layers by an nth part of its depth, as
    `velocity_gain` says. The default modulator from velocity to filter is switched off, both as 2.01 and as 2.04 have
    it: some players darken soft notes by it and some do not, and soft layers are dark themselves.

    Args:
        path: Written in place.
        name: Of the preset.
        zones: From `zones`.
        read: Called once a sample, one after another, so that one is in memory at a time.
        release_s: How long a note takes to fade by 100 dB after its key; infinite for sounds without a loop that
            always ring out.
        middle_c: Octave number of MIDI 60 in the samples' names.

    Raises:
        OutputError: There is more than a SoundFont can hold.
    """
    samples = list(dict.fromkeys(zone.sample for zone in zones))
    layouts = {sample: _layout(sample) for sample in samples}
    n_points = sum((layouts[sample].length + LIMITS.gap_frames) * sample.channels for sample in samples)
    info = _info(name)
    records = _records(name, zones, layouts, release_s, middle_c)
    # RIFF, its kind; LIST sdta, smpl.
    total = 12 + len(info) + 20 + 2 * n_points + len(records)
    if total - 8 > MAX_SIZE:
        raise OutputError(
            f"the SoundFont would be {total / 2**30:.1f} GB and can be 4 GB at most", "render fewer or shorter notes"
        )
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", total - 8) + b"sfbk" + info)
        file.write(b"LIST" + struct.pack("<I", 12 + 2 * n_points) + b"sdta")
        file.write(b"smpl" + struct.pack("<I", 2 * n_points))
        for sample in samples:
            _write_sample(file, sample, layouts[sample], read(sample))
        file.write(records)
        assert file.tell() == total


def _layout(sample: Sample) -> _Layout:
    loop = sample.loop
    if loop is None:
        return _Layout(0, 0, 0, max(sample.n_frames, LIMITS.min_frames))
    assert 0 <= loop.start < loop.end <= sample.n_frames, loop
    # A loop that is too short is played several times over; one too near the sample's start is as good further on.
    period = loop.end - loop.start
    length = period * math.ceil(LIMITS.min_loop_frames / period)
    start = max(loop.start, LIMITS.loop_margin)
    end = start + length
    total = max(end + LIMITS.loop_margin, LIMITS.min_frames)
    return _Layout(math.ceil((total - loop.start) / period), start, end, total)


def _write_sample(file: BinaryIO, sample: Sample, layout: _Layout, audio: NDArray[np.float32]) -> None:
    assert audio.shape in ((sample.n_frames,), (sample.n_frames, sample.channels)), audio.shape
    steps = np.clip(np.rint(audio.astype(np.float64) * _LINEAR_16), -_LINEAR_16, _LINEAR_16 - 1).astype("<i2")
    steps = steps.reshape(sample.n_frames, sample.channels)
    if sample.loop:
        cycle = steps[sample.loop.start : sample.loop.end]
        steps = np.concatenate([steps[: sample.loop.start], *[cycle] * layout.repeats])[: layout.length]
    gap = layout.length + LIMITS.gap_frames - steps.shape[0]
    for channel in steps.T:
        file.write(channel.tobytes() + bytes(2 * gap))


def _info(name: str) -> bytes:
    def text(words: str) -> bytes:
        return _ascii(words)[:255].encode() + b"\0"

    version = chunk(b"ifil", struct.pack("<2H", 2, 4))
    named = [(b"isng", "EMU8000"), (b"INAM", _ascii(name) or DEFAULT_NAME), (b"ISFT", "hgs")]
    # Texts are even by their own zeros (5.1), not by the chunk's filling.
    texts = [chunk(key, value + bytes(len(value) % 2)) for key, value in ((key, text(words)) for key, words in named)]
    return chunk(b"LIST", b"INFO" + version + b"".join(texts))


def _records(
    name: str, zones: Sequence[Zone], layouts: dict[Sample, _Layout], release_s: float, middle_c: int
) -> bytes:
    """The pdta list: one preset, its one instrument, zones and sample headers (7).

    Raises:
        OutputError: There are more records than can be counted.
    """
    # The first zone has no sample: it holds for all others (7.3).
    bags = [(0, 0)]
    generators = [
        _generator(_Generator.RELEASE, round(1200.0 * math.log2(min(max(release_s, 0.001), LIMITS.max_release_s))))
    ]
    modulators = _modulators(n_layers(zones))
    headers: list[bytes] = []
    numbers: dict[Sample, range] = {}
    position = 0  # in sample points
    for zone in zones:
        sample = zone.sample
        assert sample.loop is None or math.isfinite(release_s), "a looped note would never end"
        if sample not in numbers:
            numbers[sample] = range(len(headers), len(headers) + sample.channels)
            for number in numbers[sample]:
                headers.append(_sample_header(zone, layouts[sample], number, numbers[sample], position, middle_c))
                position += layouts[sample].length + LIMITS.gap_frames
        for number in numbers[sample]:
            bags.append((len(generators), len(modulators)))
            generators += _zone_generators(zone, number, numbers[sample])
    bags.append((len(generators), len(modulators)))
    if max(len(generators), len(headers)) >= LIMITS.max_records:
        raise OutputError(f"{len(zones)} zones are more than a SoundFont can hold", "render fewer notes or layers")
    title = _name(_ascii(name) or DEFAULT_NAME)
    data = {
        b"phdr": title + struct.pack("<3H3I", 0, 0, 0, 0, 0, 0) + _name("EOP") + struct.pack("<3H3I", 0, 0, 1, 0, 0, 0),
        b"pbag": struct.pack("<4H", 0, 0, 1, 0),
        b"pmod": bytes(10),
        b"pgen": _generator(_Generator.INSTRUMENT, 0) + bytes(4),
        b"inst": title + struct.pack("<H", 0) + _name("EOI") + struct.pack("<H", len(bags) - 1),
        b"ibag": b"".join(struct.pack("<2H", *bag) for bag in bags),
        b"imod": b"".join(modulators) + bytes(10),
        b"igen": b"".join(generators) + bytes(4),
        b"shdr": b"".join(headers) + _name("EOS") + bytes(26),
    }
    return chunk(b"LIST", b"pdta" + b"".join(chunk(key, value) for key, value in data.items()))


def _zone_generators(zone: Zone, number: int, channels: range) -> list[bytes]:
    """In the order that the specification asks for: keys, velocities, anything else, sample (8.1.2)."""
    sides = {1: (0,), 2: (-500, 500)}[len(channels)]
    side = sides[number - channels.start]
    return [
        struct.pack("<H2B", _Generator.KEYS, zone.low_key, zone.high_key),
        struct.pack("<H2B", _Generator.VELOCITIES, zone.low_velocity, zone.high_velocity),
        *([_generator(_Generator.PAN, side)] if side else []),
        *([_generator(_Generator.MODES, _LOOP_CONTINUOUSLY)] if zone.sample.loop else []),
        _generator(_Generator.ROOT_KEY, zone.root_key),
        _generator(_Generator.SAMPLE, number),
    ]


def _sample_header(zone: Zone, layout: _Layout, number: int, channels: range, position: int, middle_c: int) -> bytes:
    """A channel's place, loop, rate and pitch (7.10); its name begins with its number, so no two are alike."""
    sample, index = zone.sample, number - channels.start
    if sample.loop:
        loop = layout.loop_start, layout.loop_end
    else:  # never played, but players check it
        loop = LIMITS.loop_margin, layout.length - LIMITS.loop_margin
    kind, linked = (
        (_Channel.MONO, 0) if len(channels) == 1 else ((_Channel.LEFT, _Channel.RIGHT)[index], channels[1 - index])
    )
    title = f"{number + 1:03d} {note_name(zone.root_key, middle_c)} {sample.path.stem}"
    points = (position, position + layout.length, position + loop[0], position + loop[1])
    pitch = zone.root_key, round(zone.tune_cents)
    return _name(title) + struct.pack("<5IBb2H", *points, sample.sample_rate, *pitch, linked, kind)


def _modulators(layers: int) -> list[bytes]:
    """What supersedes default modulators (8.4): source, destination, amount, amount's source, transform."""
    depth_cb = round(LIMITS.velocity_depth_cb / layers)
    return [
        struct.pack("<2Hh2H", _Source.CONCAVE_VELOCITY, _Generator.ATTENUATION, depth_cb, 0, 0),
        struct.pack("<2Hh2H", _Source.LINEAR_VELOCITY, _Generator.FILTER, 0, 0, 0),
        struct.pack("<2Hh2H", _Source.LINEAR_VELOCITY, _Generator.FILTER, 0, _Source.SWITCHED_VELOCITY, 0),
    ]


def _generator(kind: int, amount: int) -> bytes:
    return struct.pack("<Hh", kind, amount)


def _name(text: str) -> bytes:
    """A name in its 20 bytes, the last of which is zero."""
    return _ascii(text)[: _NAME_BYTES - 1].encode().ljust(_NAME_BYTES, b"\0")


def _ascii(text: str) -> str:
    """A text as SoundFonts hold it: letters lose their accents, and what has no ASCII is left out."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
