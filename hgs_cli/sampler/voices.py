"""What each of the three voices gives to notes: the carrier its gain, tone and noise what it lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

import torch
from torch import Tensor

from hgs_cli.models.detail_transfer import source_weight
from hgs_cli.models.generator import Envelopes
from hgs_cli.sampler import level
from hgs_cli.sampler.carrier import Carrier, analyse, bend, straightened
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.level import Voices
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.moving import CarrierFrames, moved, read_frames, sound
from hgs_cli.sampler.neighbours import NeighbourSays
from hgs_cli.sampler.settings import Settings
from hgs_cli.sampler.wanted import MixSource, NoteBatch, Wanted, make_wanted, with_drawn
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, MODEL_SAMPLES, N_FRAMES, N_MELS, level_to_power


@dataclass(frozen=True)
class CarryRules:
    """Where a carrier is the recording, and where it gives way in a mix."""

    unmoved: float = 1e-6  # of a ratio, 0.002 cents
    near_semitones: float = 0.1  # within them a note is as loud as the recording everywhere
    carried_over: float = 0.25  # of a share above one half, over which the lead's carrier takes a mix over
    # frames of the front end behind the end of a sound that its carrier still asks gains for, and as many as an attack
    # needs at the least
    heard_behind: int = 48


CARRY = CarryRules()


@dataclass(frozen=True)
class CarrierHead:
    """The carrier of one sound, read as far as the networks hear it."""

    carrier: Carrier  # bent if the pitch of the notes does not move as the sound's
    stands_at: float  # its pitch
    frames: CarrierFrames  # the first of it


@dataclass(frozen=True)
class MovedHead:
    """The carrier of one sound at some pitches, as far as the networks hear it."""

    carrier: Carrier  # as read
    ratios: tuple[float, ...]  # by which its frequencies are multiplied, of every note
    spectra: tuple[Tensor, ...]  # its frames, (C, n, n_freqs) each

    @cached_property
    def own(self) -> Tensor:
        """Log-mels of the moved recording, (B, n_mels, n_frames)."""
        carrier = self.carrier
        return torch.stack(
            side_by_side(lambda each: level.carrier_level(each, carrier.mono, carrier.n_fft), self.spectra)
        )

    def listen(self) -> None:
        """Make `own` now."""
        assert self.own.ndim == 3

    @property
    def balance(self) -> Tensor:
        """Amplitude of both channels beside the mono sound's, (2,): drawn voices stand where the sound does."""
        energy = self.carrier.audio.square().sum(1)
        mixed = (self.carrier.audio * self.carrier.mono[:, None]).sum(0).square().sum()
        return (energy / mixed.clamp(min=1e-12)).sqrt().clamp(max=2.0)

    def sound(self, index: int, gain: Tensor, n_samples: int, seed: int) -> Tensor:
        """A note's carrier with its gain (n_mels, n_frames), silence behind its end, (C, n_samples)."""
        n_own = min(n_samples, self.carrier.audio.shape[1])
        factors = level.frame_gains(gain, self.carrier.n_fft)
        if not bool(gain.any()) and self.ratios[index] == 1.0 and self.carrier.bend is None:
            made = self.carrier.audio[:, :n_own].clone()
        else:
            made = sound(self.carrier, self.ratios[index], self.spectra[index], factors, n_own, seed)
        return torch.nn.functional.pad(made, (0, n_samples - n_own))


@lru_cache(maxsize=2)
def _head(carrier: Carrier, n_frames: int, upwards: bool) -> CarrierFrames:
    """The first frames of a carrier, kept for the notes that follow: 7 ms and 25 MB for four seconds."""
    return read_frames(carrier, 0, n_frames, upwards)


def read_carriers(instrument: Instrument, highest: float, settings: Settings) -> list[CarrierHead | None]:
    """Every sound's carrier, for notes up to a pitch; None where there is none, or none is asked for."""
    heads: list[CarrierHead | None] = []
    for part in instrument.parts:
        if part.carrier is None or settings.detail == 0.0:
            heads.append(None)
            continue
        carrier = part.carrier
        if not settings.keep_vibrato and bool(part.pitch_contour_cents.any()):
            note = part.source_pitch if part.trust > 0.5 else None
            carrier = analyse(
                straightened(carrier.audio, part.pitch_contour_cents, HOP_LENGTH), carrier.mono, pitch=note
            )
        elif len(instrument.parts) > 1:  # all voices move as one
            carrier = bend(
                carrier, instrument.pitch_contour_cents.cpu() - part.pitch_contour_cents[:N_FRAMES], HOP_LENGTH
            )
        n_head = carrier.frames_until(min(instrument.length_samples, MODEL_SAMPLES))
        heads.append(CarrierHead(carrier, part.stands_at, _head(carrier, n_head, highest > part.stands_at)))
    return heads


def move_carriers(
    heads: Sequence[CarrierHead | None], pitches: Sequence[float], settings: Settings
) -> list[MovedHead | None]:
    """The carriers at some pitches."""
    made: list[MovedHead | None] = []
    for head in heads:
        if head is None:
            made.append(None)
            continue
        # Exactly 1 at the sound's own pitch, where the carrier is the recording.
        ratios = [2.0 ** ((pitch - head.stands_at) / 12.0) for pitch in pitches]
        ratios = [1.0 if abs(ratio - 1.0) < CARRY.unmoved else ratio for ratio in ratios]
        spectra = side_by_side(partial(moved, head.frames, seed=settings.seed), ratios)
        made.append(MovedHead(head.carrier, tuple(ratios), tuple(spectra)))
    return made


def ask_networks(
    model: Model, instrument: Instrument, q: Tensor, settings: Settings, carried: bool
) -> tuple[NoteBatch, ...]:
    """Notes at pitches q (B,), and of a mix those of its sounds alone, with G's envelopes where they are needed.

    All notes at once, since weights are read once for all of them; what follows is done in pieces.
    """
    notes = NoteBatch(model, instrument, q, settings)
    if len(instrument.parts) > 1:
        plain = replace(settings, variation=0.0, softness=0.0)
        asked = [notes, *(NoteBatch(model, source, q, plain) for source in instrument.sources)]
        return tuple(with_drawn(each) for each in asked)
    return (notes if carried and notes.needs_no_networks else with_drawn(notes),)


def note_voices(
    asked: Sequence[NoteBatch],
    heads: Sequence[MovedHead | None],
    says: Sequence[Sequence[NeighbourSays]] = (),
    levels: bool = False,
) -> Voices:
    """What each voice gives to notes.

    Args:
        asked: From `ask_networks`.
        heads: Carriers at the same pitches.
        says: What other recordings of each sound say; empty where none has any.
        levels: Whether their levels are asked for where notes are the moved recording as it is.
    """
    notes, *sources = asked
    q, instrument = notes.q, notes.instrument
    says = says or [()] * len(heads)
    if heads[0] is not None and not levels and not says[0] and _moved_as_it_is(instrument, notes.settings):
        nothing = torch.zeros(len(q), N_MELS, N_FRAMES, device=q.device)
        silence = Envelopes(nothing - 3.0, nothing - 3.0)
        return Voices(nothing, silence, nothing, nothing, torch.zeros_like(q, dtype=torch.bool))
    own = [None if each is None else each.own.to(q.device) for each in heads]
    if own[0] is not None and notes.needs_no_networks and not sources and not levels and not says[0]:
        heard = min(N_FRAMES, instrument.length_samples // HOP_LENGTH + CARRY.heard_behind)
        return _allot(replace(notes, own=own[0][..., :heard]))
    alone = [replace(source, own=each) for source, each in zip(sources, own, strict=False)]
    ends = tuple(MixSource(each, _shaped(_allot(each), one).level) for each, one in zip(alone, says, strict=False))
    voices = _allot(replace(notes, own=own[instrument.lead], ends=ends))
    return voices if ends else _shaped(voices, says[0])


def _shaped(voices: Voices, says: Sequence[NeighbourSays]) -> Voices:
    """Voices of a sound, drawn to what other recordings of it say, one after the other."""
    for each in says:
        voices = level.between(voices, each.wanted(voices.level), torch.ones_like(each.share))
    return voices


def _moved_as_it_is(instrument: Instrument, settings: Settings) -> bool:
    """Whether notes are the moved recording and nothing else, so that no levels need be known."""
    part = instrument.parts[0]
    toned = instrument.unpitched > 0.0 if settings.tonal is None else settings.tonal > 0.0
    plain = settings.detail == 1.0 and not settings.variation and not settings.softness and not toned
    return plain and len(instrument.parts) == 1 and part.trust == 0.0


def _allot(notes: NoteBatch) -> Voices:
    """The carrier drawn towards what is wanted, the drawn voices where it lacks something."""
    wanted = make_wanted(notes)
    if notes.own is None:
        return Voices(None, wanted.styled, notes.model.network.compose(wanted.styled, notes.q), wanted.level)
    gain, drawn_share = (_gain_of_a_mix if notes.ends else _gain_of_a_sound)(notes, notes.own, wanted)
    if wanted.toned is not wanted.base:  # the carrier gives way to the tone that was made of its noise
        less = Envelopes(wanted.base.harmonic, wanted.toned.noise_part)
        gain = gain + level.spare_attack(notes.own, notes.model.network.compose(less, notes.q) - wanted.level)
    return _joined(notes, notes.own, wanted, gain, drawn_share)


def _gain_of_a_sound(notes: NoteBatch, own: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Gain of a carrier whose networks are trusted so far, and the share of the wanted power that is drawn."""
    part, rules = notes.instrument.parts[0], level.RULES
    interval = notes.q - part.stands_at
    away = (interval.abs() - CARRY.near_semitones).clamp(min=0.0)
    far = part.trust * (1.0 - source_weight(away))[:, None, None]
    gain = level.towards(own, wanted.level, level.weight_at(interval)[:, None, None] * far)
    return gain, far * level.lacking_share(own + gain, wanted.level, rules.spare_db)


def _gain_of_a_mix(notes: NoteBatch, own: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """The same of the lead's carrier in a mix, which gives way to the drawn voices towards the middle."""
    parts = notes.instrument.parts
    known = min(part.trust for part in parts)
    carried = 1.0 - known * (1.0 - min(1.0, max(0.0, (parts[notes.instrument.lead].share - 0.5) / CARRY.carried_over)))
    gain = level.towards(own, wanted.level, 1.0)
    lacking = level.lacking_share(own + gain, wanted.level, 0.0)
    return gain + 10.0 / DB_PER_UNIT * math.log10(max(carried, 1e-12)), 1.0 - carried * (1.0 - lacking)


def _joined(notes: NoteBatch, own: Tensor, wanted: Wanted, gain: Tensor, drawn_share: Tensor) -> Voices:
    """Carrier and drawn voices together.

    Of the envelopes `drawn_share` is drawn, all tone that was added to them, and what `detail` leaves to the networks.
    """
    network, q, detail = notes.model.network, notes.q, notes.settings.detail
    base, toned, styled = wanted.base, wanted.toned, wanted.styled
    drawn_share = detail**2 * drawn_share + 1.0 - detail**2
    harmonic = level.scaled(base.harmonic, drawn_share)
    if toned is not base:
        harmonic = torch.maximum(harmonic, level.added_power(toned.harmonic, base.harmonic))
    drawn = Envelopes(
        harmonic + styled.harmonic - toned.harmonic,
        level.scaled(toned.noise_part, drawn_share) + styled.noise_part - toned.noise_part,
    )
    if styled is not toned:
        gain = gain + network.compose(styled, q) - network.compose(toned, q)
    gain = gain + 20.0 / DB_PER_UNIT * math.log10(detail)
    powers = network.generator.part_powers(drawn, q)
    total = 1.0 + 10.0 / DB_PER_UNIT * torch.log10(level_to_power(own + gain) + powers[0] + powers[1])
    return Voices(gain, drawn, total, wanted.level, level.is_heard(own + gain, total))
