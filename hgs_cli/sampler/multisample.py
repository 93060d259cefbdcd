"""One instrument of many recordings: every note from the nearest, shaped to what its neighbour says too.

A note is carried by one recording, never a chorus of two. Its level is that which this one gives at the wanted pitch
and that which the known note on the other side gives there, averaged in decibels by distance: at a known key it is that
recording, and where carriers change both sides say the same.
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
from hgs_cli.sampler.making import between_instruments, make_instrument, own_gain_db, shares_by_sound
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.notes import Neighbour
from hgs_cli.spectrum import MODEL_SAMPLES


@dataclass(frozen=True)
class MultisampleRules:
    """How recordings are put together.

    Measured on 28 validation instruments with three notes known (`hgs train eval --several`): the nearest recording
    alone 4.54 dB from real notes between them and 4.79 beyond, with its neighbour's level by distance 4.41 and 4.81.
    With the moved recordings' own levels averaged in by half, or by the square of the distance, it is further away.

    Keys are as loud as their neighbours by their loud moments: of nine instruments of 5 recordings, 23 to 37 keys each,
    nine of ten steps of the loudest 0.4 s are below 0.1 to 0.7 dB and all below 0.9; levelled by integrated loudness
    below 0.3 to 2.1, and up to 5.3.

    Attributes:
        same_key: Semitones within which recordings are takes of one key.
        reference_lufs: That all notes are brought to before the one gain.
        kept: Recordings that are kept ready to be played, 40 MB each; the others are made ready again.
    """

    same_key: float = 0.5
    reference_lufs: float = -23.0
    kept: int = 6


MULTISAMPLE = MultisampleRules()


@dataclass(frozen=True)
class Region:
    """One recording, and how it is made ready to be played.

    Attributes:
        name: What it is called.
        stands_at: Pitch at which it is the recording.
        own_lufs: Its loudness as it came in, by its loud moments.
        struck_db: What that is above its integrated loudness.
        reference_peak_db: Peak of its reference notes, in dB above their loudness.
        length_samples: Length of its notes.
        pitched: Whether it has a pitch.
        passes: Of the hypernetwork.
        make: Makes it ready, or has it at hand.
    """

    name: str
    stands_at: float
    own_lufs: float
    struck_db: float
    reference_peak_db: float
    length_samples: int
    pitched: bool
    passes: int
    make: Callable[[], Instrument]


@dataclass(frozen=True)
class Voicing:
    """Which recordings a note is made of.

    Attributes:
        carrier: Its index, in the order of the layer.
        neighbour: Of the other one that has a say; None where there is none.
        share: What that says, 0 … 1 / 2.
    """

    carrier: int
    neighbour: int | None = None
    share: float = 0.0


@dataclass(frozen=True)
class Layer:
    """The recordings of one dynamic, from low to high; takes of one key follow each other.

    Attributes:
        regions: One for each.
    """

    regions: tuple[Region, ...]

    @cached_property
    def keys(self) -> tuple[float, ...]:
        """Pitches of the recordings."""
        return tuple(region.stands_at for region in self.regions)

    def voicing(self, pitch: float, take: int = 0) -> Voicing:
        """What a note at a pitch is made of; other takes of a key are used in turn."""
        near = min(range(len(self.keys)), key=lambda index: abs(self.keys[index] - pitch))
        key = self.keys[near]
        takes = [index for index, other in enumerate(self.keys) if abs(other - key) < MULTISAMPLE.same_key]
        carrier = takes[take % len(takes)]
        others = [index for index in range(len(self.keys)) if index not in takes]
        # The other side's; beyond the outermost the next one.
        beyond = [index for index in others if (self.keys[index] - pitch) * (pitch - key) > 0.0]
        chosen = beyond or others
        if not chosen or pitch == key:
            return Voicing(carrier)
        other = min(chosen, key=lambda index: abs(self.keys[index] - pitch))
        near_away, away = abs(pitch - key), abs(self.keys[other] - pitch)
        return Voicing(carrier, other, near_away / (near_away + away))

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
    """

    layers: tuple[Layer, ...]
    struck_db: float
    reference_peak_db: float
    own_gain_db: float

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

        Recorded layers are spread over those that are asked for; of a single one softer notes are made.
        """
        if len(self.layers) == 1:
            return self, layer_softness(n_layers)[index]
        share = 1.0 if n_layers == 1 else index / (n_layers - 1)
        return replace(self, layers=(self.layers[round(share * (len(self.layers) - 1))],)), 0.0

    def voicings(self, key: NoteKey) -> tuple[Voicing, ...]:
        """What a note is made of; of a mix, what those of its instruments are."""
        return (self.layers[-1].voicing(key.pitch, key.take),)

    def ready(self, voiced: Sequence[Sequence[Voicing]]) -> tuple[Instrument, list[Neighbour | None]]:
        """What carries notes that are made of the same recordings, and what shapes them."""
        return self._region(voiced[0][0].carrier).make(), [self.neighbour([one for (one,) in voiced])]

    def neighbour(self, voicings: Sequence[Voicing]) -> Neighbour | None:
        """What shapes notes that are made of the same recordings."""
        other = voicings[0].neighbour
        return None if other is None else Neighbour(self._region(other).make(), [each.share for each in voicings])

    def _region(self, index: int) -> Region:
        return self.layers[-1].regions[index]

    def played_db(self, pitch: float) -> float:
        """Level of a key as it was played, beside the median of the recordings, in dB."""
        return self.layers[-1].played_db(pitch)

    def gain_db(self, normalize: str, target_lufs: float) -> float:
        """The instrument's one gain; see `instrument_gain_db`."""
        reference = MULTISAMPLE.reference_lufs, self.reference_peak_db
        return instrument_gain_db(normalize, target_lufs, *reference, self.own_gain_db)


@dataclass(frozen=True)
class MultisampleMix:
    """What lies between instruments of many recordings: at every key between the notes that they have there.

    Attributes:
        mixed: Their shares, above 0, which sum to 1, and they.
        between: Makes what lies between one recording of each, or has it at hand.
    """

    mixed: tuple[tuple[float, Multisample], ...]
    between: Callable[[tuple[Region, ...]], Instrument]

    def _mean(self, of: Callable[[Multisample], float]) -> float:
        return sum(share * of(one) for share, one in self.mixed)

    @property
    def unpitched(self) -> float:
        """The share of it without a pitch, 0 … 1."""
        return self._mean(lambda one: one.unpitched)

    @property
    def struck_db(self) -> float:
        """As for `Multisample`."""
        return self._mean(lambda one: one.struck_db)

    @property
    def length_samples(self) -> int:
        """Of its longest note, about."""
        return round(self._mean(lambda one: one.length_samples))

    @property
    def n_layers(self) -> int:
        """Dynamic layers of the instrument that has most."""
        return max(one.n_layers for _, one in self.mixed)

    @property
    def n_takes(self) -> int:
        """Takes of the instrument that has most."""
        return max(one.n_takes for _, one in self.mixed)

    def layer(self, index: int, n_layers: int) -> tuple[MultisampleMix, float]:
        """As for `Multisample`; of instruments of which only some are to sound softer, the softness is their share."""
        layers = [(share, *one.layer(index, n_layers)) for share, one in self.mixed]
        mixed = tuple((share, one) for share, one, _ in layers)
        return replace(self, mixed=mixed), sum(share * softness for share, _, softness in layers)

    def voicings(self, key: NoteKey) -> tuple[Voicing, ...]:
        """What the notes of its instruments are made of."""
        return tuple(voicing for _, one in self.mixed for voicing in one.voicings(key))

    def ready(self, voiced: Sequence[Sequence[Voicing]]) -> tuple[Instrument, list[Neighbour | None]]:
        """As for `Multisample`."""
        by_instrument = list(zip((one for _, one in self.mixed), zip(*voiced, strict=True), strict=True))
        carriers = tuple(one.layers[-1].regions[voicings[0].carrier] for one, voicings in by_instrument)
        return self.between(carriers), [one.neighbour(voicings) for one, voicings in by_instrument]

    def played_db(self, pitch: float) -> float:
        """As for `Multisample`."""
        return self._mean(lambda one: one.played_db(pitch))

    def gain_db(self, normalize: str, target_lufs: float) -> float:
        """As for `Multisample`."""
        return self._mean(lambda one: one.gain_db(normalize, target_lufs))


def mix_multisamples(
    model: Model, instruments: Sequence[Multisample], shares: Sequence[float]
) -> Multisample | MultisampleMix:
    """The instrument between several of many recordings; the very one where all the share is its.

    Args:
        model: From `load_model`.
        instruments: At least one.
        shares: Of each, not negative; only their ratio counts.

    Raises:
        UsageError: The shares do not fit the instruments.
    """
    mixed = shares_by_sound(instruments, shares)
    if len(mixed) == 1:
        return mixed[0][1]

    @lru_cache(maxsize=1)
    def between(carriers: tuple[Region, ...]) -> Instrument:
        sources = [(share, one.make()) for (share, _), one in zip(mixed, carriers, strict=True)]
        return between_instruments(model, sources, max(one.passes for one in carriers))

    return MultisampleMix(tuple(mixed), between)


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

    by_layer: dict[int, list[Region]] = {}
    for index, (one, key) in enumerate(zip(inversions, keys, strict=True)):
        gated_lufs = one.reference_lufs + own_gain_db(one)
        struck_db = _struck_db(one)
        region = Region(
            name=names[index],
            stands_at=one.stands_at if key is None else key,
            own_lufs=gated_lufs + struck_db,
            struck_db=struck_db,
            reference_peak_db=one.reference_peak_db - one.reference_lufs,
            length_samples=one.length_samples,
            pitched=one.source_pitch is not None,
            passes=one.passes,
            make=partial(ready, index),
        )
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
    )


def _struck_db(inversion: Inversion) -> float:
    """By which a recording is louder by its loud moments than on the whole."""
    if inversion.recording is None or inversion.mono_weights is None:
        return 0.0
    sound = (inversion.recording * inversion.mono_weights[:, None]).sum(0)[:MODEL_SAMPLES]
    struck_db = struck_lufs(sound) - note_lufs(sound)
    return struck_db if math.isfinite(struck_db) else 0.0
