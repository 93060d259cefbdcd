"""Which written note sounds on which keys and velocities."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.audio.loop import Loop
from hgs_cli.errors import OutputError
from hgs_cli.export.naming import layer_velocities
from hgs_cli.pitch import nearest_note

N_KEYS = 128
MAX_VELOCITY = 127

_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # neither UTF-8 nor XML has undecodable bytes; XML no controls


@dataclass(frozen=True)
class Sample:
    """One written note as samplers need to know it."""

    path: Path  # the sound file, where it will stand in the end
    pitch: float  # MIDI note that it sounds at (69 is 440 Hz), fractions allowed, 0 … 127
    layer: int  # dynamic layer, 0 the softest
    n_frames: int  # samples a channel
    sample_rate: int  # in Hz
    channels: int  # 1 or 2
    loop: Loop | None  # sustain loop; None for a one-shot
    take: int = 0  # of several that are played in turn, 0 the first


@dataclass(frozen=True)
class Zone:
    """The keys and velocities on which a sample sounds."""

    sample: Sample  # which
    low_key: int  # lowest MIDI key
    high_key: int  # highest MIDI key, included
    root_key: int  # MIDI note nearest to the sample's pitch
    tune_cents: float  # what a player must add for the keys to sound in tune: -100 * (pitch - root_key), -50 … 50
    low_velocity: int  # softest velocity, 1 or more
    high_velocity: int  # hardest velocity, included, at most 127


def zones(samples: Sequence[Sample]) -> list[Zone]:
    """Spread samples over keyboard and velocities.

    A key plays the sample of nearest pitch, the lower of two that are as near; the lowest reaches down to key 0, the
    highest up to 127, so every key is in exactly one zone of each layer. A sample that no key is nearest to, since it
    has neighbours closer than a key, is in no zone. Layers share the velocities as `layer_velocities` says; of several
    takes each has all keys.

    Returns:
        Layer by layer, the softest first, in it take by take, from low keys to high.
    """
    layers = sorted({sample.layer for sample in samples})
    found: list[Zone] = []
    for layer, (low_velocity, high_velocity) in zip(layers, layer_velocities(len(layers)), strict=True):
        for take in sorted({sample.take for sample in samples if sample.layer == layer}):
            notes = [sample for sample in samples if (sample.layer, sample.take) == (layer, take)]
            found += _zones_of_take(notes, low_velocity, high_velocity)
    return found


def _zones_of_take(samples: Sequence[Sample], low_velocity: int, high_velocity: int) -> Iterator[Zone]:
    """Spread the samples of one layer and take over the keyboard, from low keys to high."""
    notes = sorted(samples, key=lambda sample: sample.pitch)
    low_key = 0
    for note, above in zip(notes, [*notes[1:], None], strict=True):
        high_key = N_KEYS - 1 if above is None else min(math.floor((note.pitch + above.pitch) / 2), N_KEYS - 1)
        if high_key >= low_key:
            root_key, _ = nearest_note(note.pitch)
            tune_cents = 100.0 * (root_key - note.pitch)
            yield Zone(note, low_key, high_key, root_key, tune_cents, low_velocity, high_velocity)
            low_key = high_key + 1


def n_layers(zones: Sequence[Zone]) -> int:
    """How many dynamic layers zones have."""
    return len({zone.sample.layer for zone in zones})


def n_takes(zones: Sequence[Zone]) -> int:
    """How many takes of every note zones have, which are played in turn."""
    return len({zone.sample.take for zone in zones})


def velocity_gain(velocity: int, layers: int) -> float:
    """What a player should multiply a sample by, besides choosing its layer: (velocity / 127) ** (2 / layers).

    The square is what SFZ and SoundFont players do of themselves. Layers are softer already; added to that, the whole
    square would count dynamics twice, and none of it would leave one loudness a layer and a step between two. An nth
    part of it, in dB, makes every velocity louder than the one below, and the softest layer at its hardest 6 dB
    softer than it was rendered, for any number of layers.
    """
    return math.pow(velocity / MAX_VELOCITY, 2.0 / layers)


def relative_path(path: Path, folder: Path) -> str:
    """A sound file's path as files in `folder` name it, with forward slashes.

    Raises:
        OutputError: It holds control characters, or bytes that are no text.
    """
    text = Path(os.path.relpath(path, folder)).as_posix()
    if _NO_TEXT.search(text):
        raise OutputError(f"{text!a} cannot be written into a text file", "choose a name of printable characters")
    return text
