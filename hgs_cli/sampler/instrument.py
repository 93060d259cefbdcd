"""An instrument as data: the sounds that it is made of, their shares and carriers, and θ(1 + Δ)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hgs_cli.models.generator import FoldedWeights
from hgs_cli.sampler.carrier import Carrier
from hgs_cli.sampler.detail import SourceDetail


@dataclass(frozen=True)
class MixComponent:
    """One sound's share of an instrument."""

    share: float  # above 0; those of an instrument sum to 1
    source: SourceDetail  # its pitch, and its detail beside what G draws there
    loudness_db: Tensor  # power of the sound in every frame, (N_FRAMES,)
    pitch_contour_cents: Tensor  # how its pitch moves, (n,), every HOP_LENGTH samples
    carrier: Carrier | None  # the recording itself; None where its file holds none
    stands_at: float  # MIDI note at which the carrier is the recording
    trust: float  # how far the networks know the sound, 0 … 1

    @property
    def source_pitch(self) -> float | None:
        """MIDI note of the sound, None for an unpitched one."""
        return self.source.pitch


@dataclass(frozen=True)
class MixEnd:
    """The level of one of the sounds of a mix, when it is played alone."""

    share: float  # of the mix
    # loudness of the mix's reference notes when it plays them, before any gain, on the scale of the mix's own
    lufs: float
    # of its own instrument
    reference_lufs: float
    reference_peak_db: float
    own_gain_db: float


@dataclass(frozen=True)
class Instrument:
    """What notes are made of: one inversion, or several mixed.

    Attributes:
        feature: h, (1, h_dim).
        weights: θ(1 + Δ), G's weights with the offsets of H folded in.
        parts: Every sound's detail, source pitch and share; shares sum to 1.
        pitch_contour_cents: Contour of the pitch, (N_FRAMES,).
        length_samples: Length of a note.
        own_gain_db: What brings notes as loud as the reference to the level that the sound had when it came in.
        reference_lufs: Median loudness of the reference notes, before any gain: all notes are brought to it.
        reference_peak_db: Their peak, in dB, once they are.
        offsets_made_at: Pitch for which the offsets were made, None where they hold at every pitch.
        cropped: Whether a sound goes on behind what was read of it.
        ends: Of a mix, the sounds between whose levels its own lies.
        sources: Of a mix, its sounds as instruments of their own, in the order of `parts`.
    """

    feature: Tensor
    weights: FoldedWeights
    parts: tuple[MixComponent, ...]
    pitch_contour_cents: Tensor
    length_samples: int
    own_gain_db: float
    reference_lufs: float = 0.0
    reference_peak_db: float = 0.0
    offsets_made_at: float | None = None
    cropped: bool = False
    ends: tuple[MixEnd, ...] = ()
    sources: tuple[Instrument, ...] = ()

    @property
    def unpitched(self) -> float:
        """The share of it that has no pitch, 0 … 1."""
        return sum(part.share for part in self.parts if part.source_pitch is None)

    @property
    def stands_at(self) -> float:
        """Pitch at which its lead is the recording."""
        return self.parts[self.lead].stands_at

    @property
    def lead(self) -> int:
        """The sound whose carrier is heard: two would be a layer, and beat."""
        return max(range(len(self.parts)), key=lambda index: self.parts[index].share)
