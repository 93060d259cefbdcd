"""What lies between instruments of many recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hgs_cli.pitch import NoteKey
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import between_instruments, shares_by_sound
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.multisample import Multisample, Region, Voicing
from hgs_cli.sampler.multisample_compared import shift_trust
from hgs_cli.sampler.neighbours import Neighbour


@dataclass(frozen=True)
class MultisampleMix:
    """What lies between instruments of many recordings: at every key between the notes that they have there.

    Attributes:
        mixed: Their shares, above 0, which sum to 1, and they.
        between: Makes what lies between one recording of each, with its shift of trust, or has it at hand.
    """

    mixed: tuple[tuple[float, Multisample], ...]
    between: Callable[[tuple[tuple[Region, float], ...]], Instrument]

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

    def ready(self, voiced: Sequence[Sequence[Voicing]]) -> tuple[Instrument, list[list[Neighbour]]]:
        """As for `Multisample`."""
        by_instrument = list(zip((one for _, one in self.mixed), zip(*voiced, strict=True), strict=True))
        carriers = tuple(one.carrier(voicings[0]) for one, voicings in by_instrument)
        return self.between(carriers), [one.neighbours(voicings) for one, voicings in by_instrument]

    def takes_at(self, pitch: float) -> int:
        """Recorded takes of a key in the instrument that has most."""
        return max(one.takes_at(pitch) for _, one in self.mixed)

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
    def between(carriers: tuple[tuple[Region, float], ...]) -> Instrument:
        made = [shift_trust(region.make(), shift) for region, shift in carriers]
        sources = [(share, one) for (share, _), one in zip(mixed, made, strict=True)]
        return between_instruments(model, sources, max(region.passes for region, _ in carriers))

    return MultisampleMix(tuple(mixed), between)
