"""Which written note sounds on which key and velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.audio.loop import Loop
from hgs_cli.pitch import nearest_note


@dataclass(frozen=True)
class Sample:
    """One written note as samplers need to know it.

    Attributes:
        path: The sound file, where it will stand in the end.
        pitch: MIDI note that it sounds at, fractions allowed.
        layer: Dynamic layer, 0 the softest.
        n_frames: Samples a channel.
        sample_rate: In Hz.
        channels: 1 or 2.
        loop: Sustain loop; None for a one-shot.
    """

    path: Path
    pitch: float
    layer: int
    n_frames: int
    sample_rate: int
    channels: int
    loop: Loop | None


@dataclass(frozen=True)
class Zone:
    """The keys and velocities on which a sample sounds.

    Attributes:
        sample: The sample.
        low_key: First MIDI key.
        high_key: Last MIDI key.
        root_key: MIDI note nearest to the sample's pitch.
        tune_cents: What a player must add at root_key so that the key sounds in tune.
        low_velocity: From 1.
        high_velocity: To 127.
    """

    sample: Sample
    low_key: int
    high_key: int
    root_key: int
    tune_cents: float
    low_velocity: int
    high_velocity: int


def zones(samples: Sequence[Sample]) -> list[Zone]:
    """The keyboard shared out among samples: every key of every layer plays the sample nearest in pitch.

    A sample that no key is nearest to, between two that are closer together than a key, gets no zone.
    """
    layers = sorted({sample.layer for sample in samples})
    found = []
    for index, layer in enumerate(layers):
        members = [sample for sample in samples if sample.layer == layer]
        keys: dict[int, list[int]] = {}
        for key in range(128):
            nearest = min(range(len(members)), key=lambda i: (abs(members[i].pitch - key), members[i].pitch))
            keys.setdefault(nearest, []).append(key)
        low, high = (round(127 * (index + step) / len(layers)) for step in (0, 1))
        for nearest, own in keys.items():
            root, cents = nearest_note(members[nearest].pitch)
            found.append(Zone(members[nearest], own[0], own[-1], root, -cents, low + 1, high))
    return found
