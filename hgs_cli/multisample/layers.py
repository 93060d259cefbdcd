"""Which recordings of a key are soft and which are loud: as names say, by loudness, or by colour.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hgs_cli.multisample.names import SampleFacts

if TYPE_CHECKING:
    from hgs_cli.pipeline import Inversion


@dataclass(frozen=True)
class LayerRules:
    """How dynamics are told apart by ear.

    Of 23 instruments with soft and loud recordings of three keys and more, 14 differ in loudness by `level_db`, and 5
    of the others, whose recordings are normalised, in colour by `colour_db`: of their 84 keys the brighter recording is
    the loud one at 83. Keys beside each other, which differ more than takes of one do, are mistaken for two dynamics in
    2 % of draws of three and 0.8 % of five. A single key says too little: 27 % of its dynamics would be found where 5 %
    of takes are. Nor do levels tell dynamics of keys that differ: two groups are found in 3 of 19 sets that have them,
    and in 1 of 88 of one.
    """

    level_db: float = 3.0  # between recordings of one key: two dynamics, no takes
    colour_db: float = 4.0  # the same of `brightness_db`, at most of the keys
    colour_keys: int = 3  # with several recordings, from which colour is believed
    lasting_db: float = 20.0  # below its loudest frame a sound says nothing of its colour
    range_db: float = 60.0  # below its loudest band all are alike
    below_pitch: float = 3.6  # semitones under its pitch from which bands are its own


LAYERS = LayerRules()


def settle_layers(facts: Sequence[SampleFacts], found: Sequence[Inversion]) -> tuple[list[int], bool]:
    """Dynamic layer of every recording, 0 the softest, and whether they were told apart by colour.

    Most keys decide how many there are: takes of one may differ by as much as dynamics do.
    """
    if any(fact.layer is not None for fact in facts):
        loudest = max(fact.layer or 0 for fact in facts)
        return [loudest if fact.layer is None else fact.layer for fact in facts], False
    by_key: dict[int, list[int]] = {}
    for index, inversion in enumerate(found):
        by_key.setdefault(round(inversion.stands_at), []).append(index)
    several = [key for key, alike in by_key.items() if len(alike) > 1]
    if not several:
        return [0] * len(found), False
    levels = [_level_db(inversion) for inversion in found]
    most = statistics.median_low(_n_groups([levels[index] for index in by_key[key]]) for key in several)
    if most > 1:
        return _ranked(by_key.values(), levels, most), False
    if len(several) < LAYERS.colour_keys:
        return [0] * len(found), False
    colours = [brightness_db(inversion) for inversion in found]
    if statistics.median(max(_steps([colours[index] for index in by_key[key]])) for key in several) < LAYERS.colour_db:
        return [0] * len(found), False
    return _ranked(by_key.values(), colours, 2), True


def brightness_db(inversion: Inversion) -> float:
    """Mean level of a recording's bands from its pitch on, beside the strongest one, while it sounds, in dB."""
    from hgs_cli.pitch import midi_to_hz
    from hgs_cli.spectrum import level_to_power, mel_centres_hz

    power = level_to_power(inversion.mel)  # (n_mels, n_frames)
    frames = power.sum(0)
    sounding = power[:, frames > frames.max() * 10.0 ** (-LAYERS.lasting_db / 10.0)].mean(1)
    level_db = 10.0 * (sounding / sounding.max()).clamp(min=10.0 ** (-LAYERS.range_db / 10.0)).log10()
    return float(level_db[mel_centres_hz() > midi_to_hz(inversion.stands_at - LAYERS.below_pitch)].mean())


def _level_db(inversion: Inversion) -> float:
    return inversion.reference_lufs - inversion.input_gain_db


def _steps(values: Sequence[float]) -> list[float]:
    """From each value to the next higher one."""
    return [high - low for low, high in pairwise(sorted(values))]


def _n_groups(levels: Sequence[float]) -> int:
    return 1 + sum(step >= LAYERS.level_db for step in _steps(levels))


def _ranked(keys: Iterable[Sequence[int]], values: Sequence[float], most: int) -> list[int]:
    """Layers of recordings that are parted, key by key, at the widest of the steps between their values.

    Args:
        keys: Recordings of each.
        values: By which they go, of all.
        most: Layers; of a key with fewer recordings they are the upper ones, since a single one is a loud one.
    """
    layers = [most - 1] * len(values)
    for alike in keys:
        ordered = sorted(alike, key=lambda index: values[index])
        steps = _steps([values[index] for index in alike])
        widest = sorted(range(len(steps)), key=lambda place: -steps[place])[: most - 1]
        for place, index in enumerate(ordered):
            layers[index] = most - 1 - sum(place <= parted for parted in widest)
    return layers
