"""One instrument of many recordings: every note from the nearest, shaped to what its neighbour says too.

A note is carried by one recording, never a chorus of two. Its level is that which this one gives at the wanted pitch
and that which the known note on the other side gives there, averaged by distance: at a known key it is that recording,
and where carriers change both sides say the same. What either lacks of the other at its key, it lacks in part here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import pairwise

from hgs_cli.audio.loudness import SILENCE_DB, instrument_gain_db, note_lufs, struck_lufs
from hgs_cli.errors import UsageError
from hgs_cli.inversion import Inversion
from hgs_cli.pitch import NoteKey
from hgs_cli.sampler.dynamics import layer_softness
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import make_instrument, own_gain_db
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.multisample_compared import compare, shift_trust
from hgs_cli.sampler.neighbours import Compared, Neighbour
from hgs_cli.spectrum import MODEL_SAMPLES


@dataclass(frozen=True)
class MultisampleRules:
    """How recordings are put together.

    Measured on 28 validation instruments with three notes known (`hgs train eval --several`): the nearest recording
    alone 4.54 dB from real notes between them and 4.79 beyond, with its neighbour 4.32 and 4.79.
    With the moved recordings' own levels averaged in by half, or by the square of the distance, it is further away.

    Keys are as loud as their neighbours by their loud moments: of nine instruments of 5 recordings, 23 to 37 keys each,
    nine of ten steps of the loudest 0.4 s are below 0.1 to 0.7 dB and all below 0.9; levelled by integrated loudness
    below 0.3 to 2.1, and up to 5.3.
    """

    same_key: float = 0.5  # semitones within which recordings are takes of one key
    reference_lufs: float = -23.0  # that all notes are brought to before the one gain
    kept: int = 6  # recordings that are kept ready to be played, 40 MB each; the others are made ready again
    compared: int = 32  # pairs of which is kept what they say of each other, 0.4 MB each


MULTISAMPLE = MultisampleRules()


@dataclass(frozen=True)
class Region:
    """One recording, and how it is made ready to be played."""

    name: str  # what it is called
    stands_at: float  # pitch at which it is the recording
    own_lufs: float  # its loudness as it came in, by its loud moments
    struck_db: float  # what that is above its integrated loudness
    reference_peak_db: float  # peak of its reference notes, in dB above their loudness
    length_samples: int  # length of its notes
    pitched: bool  # whether it has a pitch
    passes: int  # of the hypernetwork
    make: Callable[[], Instrument]  # makes it ready, or has it at hand


@dataclass(frozen=True)
class Voicing:
    """Which recordings a note is made of."""

    carrier: int  # its index, in the order of the layer
    neighbour: int | None = None  # of the other one that has a say; None where there is none
    share: float = 0.0  # what that says, 0 … 1 / 2
    between: bool = True  # whether the note lies between both, not beyond the carrier
    dynamic: int | None = None  # index of the recording of another dynamic that has a say; None where there is none
    dynamic_share: float = 0.0  # what that says, 0 … 1 / 2


@dataclass(frozen=True)
class Layer:
    """The recordings of one dynamic, from low to high; takes of one key follow each other."""

    regions: tuple[Region, ...]  # one for each

    @cached_property
    def keys(self) -> tuple[float, ...]:
        """Pitches of the recordings."""
        return tuple(region.stands_at for region in self.regions)

    def voicing(self, pitch: float, take: int = 0) -> Voicing:
        """What a note at a pitch is made of; other takes of a key are used in turn."""
        takes = self.takes(pitch)
        key = min((self.keys[index] for index in takes), key=lambda one: abs(one - pitch))
        carrier = takes[take % len(takes)]
        others = [index for index in range(len(self.keys)) if index not in takes]
        # The other side's; beyond the outermost the next one.
        beyond = [index for index in others if (self.keys[index] - pitch) * (pitch - key) > 0.0]
        chosen = beyond or others
        if not chosen or pitch == key:
            return Voicing(carrier)
        other = min(chosen, key=lambda index: abs(self.keys[index] - pitch))
        near_away, away = abs(pitch - key), abs(self.keys[other] - pitch)
        return Voicing(carrier, other, near_away / (near_away + away), bool(beyond))

    def takes(self, pitch: float) -> list[int]:
        """Recordings of the key nearest to a pitch."""
        near = min(self.keys, key=lambda key: abs(key - pitch))
        return [index for index, key in enumerate(self.keys) if abs(key - near) < MULTISAMPLE.same_key]

    def played_db(self, pitch: float) -> float:
        """Level of a key as it was played, beside the median of the recordings, in dB: lines between known ones."""
        known = sorted((each.stands_at, each.own_lufs) for each in self.regions if each.own_lufs > SILENCE_DB)
        if not known:
            return 0.0
        level = known[0][1] if pitch <= known[0][0] else known[-1][1]
        for (low, low_lufs), (high, high_lufs) in pairwise(known):
            if low <= pitch <= high and high > low:
                level = low_lufs + (high_lufs - low_lufs) * (pitch - low) / (high - low)
        return level - _median_lufs(self.regions)


@dataclass(frozen=True)
class Multisample:
    """An instrument of many recordings.

    Attributes:
        layers: From soft to loud, at least one.
        struck_db: By which notes are louder by their loud moments than on the whole; median of the recordings.
        reference_peak_db: Peak that the reference notes of all recordings have at MULTISAMPLE.reference_lufs, in dB.
        own_gain_db: What brings notes as loud as that to the median level of the recordings.
        compare: What two recordings say of each other, or None; made once, or at hand.
        aside: Of a layer between recorded ones, the further of them and what it says, 0 … 1 / 2; else None.
    """

    layers: tuple[Layer, ...]
    struck_db: float
    reference_peak_db: float
    own_gain_db: float
    compare: Callable[[Region, Region], Compared | None]
    aside: tuple[Layer, float] | None = None

    @property
    def regions(self) -> list[Region]:
        """All recordings."""
        return [region for layer in self.layers for region in layer.regions]

    @property
    def unpitched(self) -> float:
        """Share of the recordings without a pitch, 0 … 1."""
        return statistics.fmean(not region.pitched for region in self.regions)

    @property
    def length_samples(self) -> int:
        """Of its longest note."""
        return max(region.length_samples for region in self.regions)

    @property
    def n_layers(self) -> int:
        """Dynamic layers that were recorded."""
        return len(self.layers)

    @property
    def n_takes(self) -> int:
        """Takes of the key that has most."""
        return max(
            sum(abs(other - key) < MULTISAMPLE.same_key for other in layer.keys)
            for layer in self.layers
            for key in layer.keys
        )

    def layer(self, index: int, n_layers: int) -> tuple[Multisample, float]:
        """The instrument for one of so many dynamic layers, 0 the softest, and how much softer it is to sound, 0 … 1.

        Recorded layers are spread over those that are asked for. Where there are fewer of them, those between are made
        as keys are: carried by the nearer, shaped to what both say. Of a single one softer notes are made.
        """
        if len(self.layers) == 1:
            return self, layer_softness(n_layers)[index]
        place = (1.0 if n_layers == 1 else index / (n_layers - 1)) * (len(self.layers) - 1)
        near = math.floor(place + 0.5)  # in the middle the louder one: what it has too much is easily taken away
        away, aside = place - near, None
        if n_layers > len(self.layers) and abs(away) > 1e-6:
            aside = self.layers[near + (1 if away > 0.0 else -1)], abs(away)
        return replace(self, layers=(self.layers[near],), aside=aside), 0.0

    def voicings(self, key: NoteKey) -> tuple[Voicing, ...]:
        """What a note is made of; of a mix, what those of its instruments are."""
        voicing = self.layers[-1].voicing(key.pitch, key.take)
        if self.aside is None:
            return (voicing,)
        layer, share = self.aside
        return (replace(voicing, dynamic=layer.voicing(key.pitch, key.take).carrier, dynamic_share=share),)

    def ready(self, voiced: Sequence[Sequence[Voicing]]) -> tuple[Instrument, list[list[Neighbour]]]:
        """What carries notes that are made of the same recordings, and what shapes them."""
        voicings = [one for (one,) in voiced]
        region, shift = self.carrier(voicings[0])
        return shift_trust(region.make(), shift), [self.neighbours(voicings)]

    def carrier(self, voicing: Voicing) -> tuple[Region, float]:
        """What carries a note, and by how much its trust is shifted."""
        compared = self._compared(voicing)
        return self.layers[-1].regions[voicing.carrier], 0.0 if compared is None else compared.shift

    def _compared(self, voicing: Voicing) -> Compared | None:
        """What its carrier and its neighbour say of each other."""
        regions, one, other = self.layers[-1].regions, voicing.carrier, voicing.neighbour
        if other is None:
            return None
        found = self.compare(regions[min(one, other)], regions[max(one, other)])
        return found if found is None or one < other else found.turned

    def neighbours(self, voicings: Sequence[Voicing]) -> list[Neighbour]:
        """What shapes notes that are made of the same recordings."""
        other, dynamic = voicings[0].neighbour, voicings[0].dynamic
        found = []
        if other is not None:
            made, compared = self.layers[-1].regions[other].make(), self._compared(voicings[0])
            made = made if compared is None else shift_trust(made, compared.shift)
            found.append(Neighbour(made, [each.share for each in voicings], compared, voicings[0].between))
        if dynamic is not None and self.aside is not None:
            shares = [each.dynamic_share for each in voicings]
            found.append(Neighbour(self.aside[0].regions[dynamic].make(), shares))
        return found

    def takes_at(self, pitch: float) -> int:
        """Recorded takes of a key."""
        return len(self.layers[-1].takes(pitch))

    def played_db(self, pitch: float) -> float:
        """Level of a key as it was played, beside the median of the recordings, in dB."""
        return self.layers[-1].played_db(pitch)

    def gain_db(self, normalize: str, target_lufs: float) -> float:
        """The instrument's one gain; see `instrument_gain_db`."""
        reference = MULTISAMPLE.reference_lufs, self.reference_peak_db
        return instrument_gain_db(normalize, target_lufs, *reference, self.own_gain_db)


def _median_lufs(regions: Sequence[Region]) -> float:
    heard = [region.own_lufs for region in regions if region.own_lufs > SILENCE_DB]
    return statistics.median(heard) if heard else MULTISAMPLE.reference_lufs


def make_multisample(
    model: Model,
    inversions: Sequence[Inversion],
    names: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    keys: Sequence[float | None] | None = None,
) -> Multisample:
    """One instrument of many recordings.

    Args:
        model: From `load_model`.
        inversions: Of each, at least one.
        names: What they are called; their numbers when None.
        layers: Dynamic layer of each, 0 the softest; all alike when None.
        keys: Pitch that each is to count as, as it is tuned; None for the one that it has.

    Raises:
        UsageError: There are none, or lists do not fit.
    """
    names = [str(number) for number in range(1, len(inversions) + 1)] if names is None else names
    layers = [0] * len(inversions) if layers is None else layers
    keys = [None] * len(inversions) if keys is None else keys
    if not inversions or not len(inversions) == len(names) == len(layers) == len(keys):
        raise UsageError(f"{len(inversions)} recordings, {len(names)} names, {len(layers)} layers", "give one each")

    @lru_cache(maxsize=MULTISAMPLE.kept)
    def ready(index: int) -> Instrument:
        made, key = make_instrument(model, inversions[index]), keys[index]
        return made if key is None else replace(made, parts=(replace(made.parts[0], stands_at=key),))

    @lru_cache(maxsize=MULTISAMPLE.compared)
    def compared(first: Region, second: Region) -> Compared | None:
        return compare(model, first.make(), second.make())

    by_layer: dict[int, list[Region]] = {}
    for index, (one, key) in enumerate(zip(inversions, keys, strict=True)):
        region = _region(names[index], one, key, partial(ready, index))
        by_layer.setdefault(layers[index], []).append(region)
    made = tuple(
        Layer(tuple(sorted(by_layer[layer], key=lambda region: region.stands_at))) for layer in sorted(by_layer)
    )
    regions = [region for layer in made for region in layer.regions]
    struck_db = statistics.median(region.struck_db for region in regions)
    return Multisample(
        made,
        struck_db,
        MULTISAMPLE.reference_lufs + max(each.reference_peak_db - each.struck_db for each in regions) + struck_db,
        _median_lufs(regions) - struck_db - MULTISAMPLE.reference_lufs,
        compared,
    )


def _region(name: str, one: Inversion, key: float | None, make: Callable[[], Instrument]) -> Region:
    """A recording, and what it counts as."""
    struck_db = _struck_db(one)
    return Region(
        name=name,
        stands_at=one.stands_at if key is None else key,
        own_lufs=one.reference_lufs + own_gain_db(one) + struck_db,
        struck_db=struck_db,
        reference_peak_db=one.reference_peak_db - one.reference_lufs,
        length_samples=one.length_samples,
        pitched=one.source_pitch is not None,
        passes=one.passes,
        make=make,
    )


def _struck_db(inversion: Inversion) -> float:
    """By which a recording is louder by its loud moments than on the whole."""
    if inversion.recording is None or inversion.mono_weights is None:
        return 0.0
    sound = (inversion.recording * inversion.mono_weights[:, None]).sum(0)[:MODEL_SAMPLES]
    struck_db = struck_lufs(sound) - note_lufs(sound)
    return struck_db if math.isfinite(struck_db) else 0.0
