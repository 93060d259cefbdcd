"""The level that is wanted of notes: one step after the other, from what G draws to how they are played.

`SOUND_STEPS` say what the sound is at a pitch, `give_tone` makes a note of what has none, `STYLE_STEPS` play it in
another way. Every step takes the notes that are asked for and the envelopes so far, and returns envelopes: the same
ones where it has nothing to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.models.generator import MAX_LEVEL, Envelopes, FoldedWeights
from hgs_cli.sampler.detail import noise_envelope, transfer_detail
from hgs_cli.sampler.dynamics import soften
from hgs_cli.sampler.instrument import Instrument, MixComponent
from hgs_cli.sampler.level_loudness import frame_powers, level_loudness_db, loudness_weight
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.settings import Settings
from hgs_cli.sampler.tone import apply_tonal
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, N_FRAMES, N_MELS


@dataclass(frozen=True)
class WantedRules:
    """What the steps go by."""

    # semitones from the source up to which notes have all of H's offsets, and from which none: 0.1 to 0.2 dB nearer
    # than without H; as near as where they fade over an octave, which takes G twice for nearly every note
    offset_reach: tuple[float, float] = (5.0, 9.0)
    # by which a note of a mix, or a moment of it, is brought to the level between its sounds
    max_levelled_db: float = 12.0
    silent_db: float = 60.0  # below its loudest moment a sound says nothing of a mix
    colour_knots: tuple[int, int] = (7, 4)  # over frequency and over a sound's length, on which variation is drawn
    # spread at them: sustained notes move by 2 to 3 dB; soft lies 3.4 dB from loud
    colour_db: float = 6.0
    noise_db: float = 4.0


WANTED = WantedRules()


@dataclass(frozen=True)
class NoteBatch:
    """Notes that are asked for of an instrument, and what is known of their carriers."""

    model: Model  # from `load_model`
    instrument: Instrument  # one sound, or a mix
    q: Tensor  # their pitches, (B,)
    settings: Settings  # how they are made
    own: Tensor | None = None  # log-mels of the carrier that is heard, (B, n_mels, n_frames); None where there is none
    ends: tuple[MixSource, ...] = ()  # of a mix, its sounds played alone
    # G's envelopes, from `with_drawn`, (B, n_mels, n_frames) each; None where nobody drew them yet
    drawn: Envelopes | None = None
    carried: Envelopes | None = None  # the same with the detail, from `with_detail`; None where nobody carried it yet

    @cached_property
    def offset_strength(self) -> Tensor:
        """λ(q): how much of H's offsets notes get, (B,), all around the pitch they were made for, none far from it.

        They are made of one note, and so in part for it: the further from it, the more G alone is right.
        """
        if self.instrument.offsets_made_at is None:
            return torch.ones_like(self.q)
        (near, far), interval = WANTED.offset_reach, (self.q - self.instrument.offsets_made_at).abs()
        return ((far - interval) / (far - near)).clamp(0.0, 1.0)

    def piece(self, chosen: slice) -> NoteBatch:
        """Some of the notes."""
        own, drawn = self.own, self.drawn
        return replace(
            self,
            q=self.q[chosen],
            own=None if own is None else own[chosen],
            drawn=None if drawn is None else Envelopes(drawn.harmonic[chosen], drawn.noise_part[chosen]),
        )

    @property
    def needs_no_networks(self) -> bool:
        """Whether the sound is its carrier, if it has one."""
        (part, *others), settings = self.instrument.parts, self.settings
        plain = settings.detail == 1.0 and not settings.variation
        return not others and part.trust == 0.0 and plain


@dataclass(frozen=True)
class MixSource:
    """A sound of a mix, played alone at the same pitches."""

    notes: NoteBatch  # its notes
    level: Tensor  # log-mel of all that they give, (B, n_mels, n_frames)


@dataclass(frozen=True)
class Wanted:
    """What is wanted of notes, each (B, n_mels, n_frames)."""

    base: Envelopes  # envelopes of the sound
    toned: Envelopes  # with the tone that an unpitched sound is given; `base` itself where there is none
    styled: Envelopes  # as another take or softer notes; `toned` itself where neither is asked for
    level: Tensor  # log-mel of `base`


def make_wanted(notes: NoteBatch) -> Wanted:
    """All steps in their order."""
    if notes.own is not None and notes.needs_no_networks:
        base, level = noise_envelope(notes.own), notes.own
    else:
        base = sound_envelopes(notes)
        level = notes.model.network.compose(base, notes.q)
    toned = give_tone(notes, base)
    styled = toned
    for step in STYLE_STEPS:
        styled = step(notes, styled)
    return Wanted(base, toned, styled, level)


def sound_envelopes(notes: NoteBatch) -> Envelopes:
    """What the sound is at the pitches of notes, by `SOUND_STEPS`."""
    envelopes = draw_envelopes(notes) if notes.drawn is None else notes.drawn
    for step in SOUND_STEPS:
        envelopes = step(notes, envelopes)
    return envelopes


# --- what the sound is ----------------------------------------------------------------------------------------------


def with_drawn(notes: NoteBatch) -> NoteBatch:
    """The same with G's envelopes."""
    return replace(notes, drawn=draw_envelopes(notes))


def with_detail(notes: NoteBatch) -> NoteBatch:
    """The same with the detail of a sound that has one whatever its carrier is."""
    part, *others = notes.instrument.parts
    if notes.drawn is None or others or part.source_pitch is None or notes.needs_no_networks:
        return notes
    return replace(notes, carried=_carried(notes, part, notes.drawn))


def draw_envelopes(notes: NoteBatch) -> Envelopes:
    """G(h, z, q; θ(1 + λ(q)·Δ)): between the envelopes with and without the offsets, as the detail is measured.

    Three times faster than offsets that differ by note.
    """
    q, strength = notes.q, notes.offset_strength
    n_pieces = min(len(q), torch.get_num_threads()) if q.device.type == "cpu" else 1
    if n_pieces == 1:
        return _draw_together(notes)
    # a piece for every thread, of as many calls of G each
    n_calls = (1 + ((strength > 0.0) & (strength < 1.0)).int()).cumsum(0)
    shares = torch.arange(1, n_pieces) * n_calls[-1] / n_pieces
    edges = [0, *(torch.searchsorted(n_calls, shares) + 1).tolist(), len(q)]
    pieces = side_by_side(
        lambda chosen: _draw_together(notes.piece(chosen)),
        [slice(low, high) for low, high in pairwise(edges) if low < high],
    )
    harmonic, noise_part = zip(*((piece.harmonic, piece.noise_part) for piece in pieces), strict=True)
    return Envelopes(torch.cat(harmonic), torch.cat(noise_part))


def _draw_together(notes: NoteBatch) -> Envelopes:
    """As `draw_envelopes`, in one batch."""
    model, instrument, q, strength = notes.model, notes.instrument, notes.q, notes.offset_strength
    h = instrument.feature.expand(q.shape[0], -1)
    z = _noise(notes)

    def drawn(weights: FoldedWeights, chosen: Tensor) -> Envelopes:
        """Of those notes alone that have any of it."""
        if bool(chosen.all()):
            return model.network.envelopes(h, q, weights, z)
        made = model.network.envelopes(h[chosen], q[chosen], weights, None if z is None else z[chosen])
        whole = [part.new_zeros(len(q), *part.shape[1:]).index_put_((chosen,), part) for part in vars(made).values()]
        return Envelopes(*whole)

    with_offsets, without = strength > 0.0, strength < 1.0
    if not bool(without.any()):
        return drawn(instrument.weights, with_offsets)
    if not bool(with_offsets.any()):
        return drawn(model.plain_weights, without)
    both = [(model.plain_weights, without), (instrument.weights, with_offsets)]
    plain, changed = side_by_side(lambda one: drawn(*one), both)
    return _between(plain, changed, strength[:, None, None])


def carry_detail(notes: NoteBatch, drawn: Envelopes) -> Envelopes:
    """G's envelopes with the detail of the sounds, carried to q; worth 0.4 to 0.9 dB.

    A sound without a pitch is what its carrier is: the networks' word for it would stay where it is.
    """
    instrument, detail = notes.instrument, notes.settings.detail
    if notes.carried is not None:
        return notes.carried
    if len(instrument.parts) > 1:
        return _carry_details_by_share(notes, drawn)
    part = instrument.parts[0]
    if part.source_pitch is None and notes.own is not None:
        return _between(drawn, noise_envelope(notes.own), detail)
    return _carried(notes, part, drawn)


def _carry_details_by_share(notes: NoteBatch, drawn: Envelopes) -> Envelopes:
    """Of a mix: the details of its sounds by their shares."""
    harmonic, noise_part = drawn.harmonic, drawn.noise_part
    for part in notes.instrument.parts:
        added_h, added_n = _added(part, _carried(notes, part, drawn), drawn)
        harmonic, noise_part = harmonic + part.share * added_h, noise_part + part.share * added_n
    unpitched = notes.instrument.unpitched
    if 0.0 < unpitched < 1.0 and notes.settings.detail > 0.0:
        harmonic = harmonic + notes.settings.detail * 10.0 / DB_PER_UNIT * math.log10(1.0 - unpitched)
    return Envelopes(harmonic, noise_part)


def _carried(notes: NoteBatch, part: MixComponent, drawn: Envelopes) -> Envelopes:
    """A sound's detail on G's envelopes."""
    transfer, strength = notes.model.network.detail_transfer, notes.offset_strength
    return transfer_detail(transfer, part.source, drawn, notes.q, notes.settings.detail, strength)


def _added(part: MixComponent, carried: Envelopes, drawn: Envelopes) -> tuple[Tensor, Tensor]:
    """What a sound's detail adds to E_h and E_n of a mix, each (B, n_mels, n_frames).

    Where the sound is silent, silence over what G took for silence says nothing of the others, and must not lift them.
    A sound without a pitch has no harmonics, 70 dB below G's: that is no detail, and the mix keeps its pitched share.
    """
    added_h, added_n = carried.harmonic - drawn.harmonic, carried.noise_part - drawn.noise_part
    silent = (part.loudness_db < part.loudness_db.max() - WANTED.silent_db).to(added_h.device)
    added_h, added_n = (torch.where(silent, added.clamp(max=0.0), added) for added in (added_h, added_n))
    return (torch.zeros_like(added_h) if part.source_pitch is None else added_h), added_n


def limit_levels(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """Envelopes whose powers are finite: where nothing of a band was heard, a residual is as large as G's error."""
    return Envelopes(envelopes.harmonic.clamp(max=MAX_LEVEL), envelopes.noise_part.clamp(max=MAX_LEVEL))


def follow_sources(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """A mix, corrected by what its sounds as they are played differ from the networks' word for them."""
    correction = torch.zeros_like(envelopes.harmonic)
    for part, end in zip(notes.instrument.parts, notes.ends, strict=False):
        if part.carrier is not None:
            # Not what is wanted of it: of a sound without trust or pitch that is its carrier's own level.
            assert end.notes.drawn is not None
            said = limit_levels(end.notes, _carry_details_by_share(end.notes, end.notes.drawn))
            word = notes.model.network.compose(said, notes.q)
            heard = word.maximum(end.level).amax((1, 2), keepdim=True) - WANTED.silent_db / DB_PER_UNIT
            # Where it is heard, all that the word lacks, however little that says; silence lifts nothing.
            unheard = end.level.maximum(heard) - word.maximum(heard)
            correction = correction + part.share * torch.where(end.level > heard, end.level - word, unheard)
    return Envelopes(envelopes.harmonic + correction, envelopes.noise_part + correction) if notes.ends else envelopes


def level_between_sources(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """Every note of a mix as loud as what lies between its sounds at that pitch.

    The mean of two levels in dB is quieter than the mean of two sounds wherever only one of them sounds: attacks that
    do not coincide, and bands in which one is silent, would make the middle of a mix a hole.
    """
    if not notes.ends:
        return envelopes
    instrument = notes.instrument
    wanted_db = torch.zeros_like(notes.q)
    for part, source, end in zip(instrument.parts, instrument.sources, notes.ends, strict=True):
        wanted_db = wanted_db + part.share * level_loudness_db(end.level, source.length_samples)
    made_db = level_loudness_db(notes.model.network.compose(envelopes, notes.q), instrument.length_samples)
    lacking_db = (wanted_db - made_db).clamp(-WANTED.max_levelled_db, WANTED.max_levelled_db)
    return _louder(envelopes, lacking_db[:, None, None])


def stay_between_sources(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """A mix at every moment no louder than its loudest sound, and no softer than its softest.

    What G makes of a mixed h may begin far louder: 20 dB between a marimba and a saxophone, a click before the note.
    """
    if not notes.ends:
        return envelopes
    made = frame_powers(notes.model.network.compose(envelopes, notes.q))
    ends = torch.stack([frame_powers(end.level) for end in notes.ends])
    louder_db = 10.0 * torch.log10((made.clamp(ends.amin(0), ends.amax(0)) + 1e-20) / (made + 1e-20))
    return _louder(envelopes, louder_db[:, None].clamp(max=WANTED.max_levelled_db))


# --- a note of what has none ----------------------------------------------------------------------------------------


def give_tone(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """Envelopes with the tone that is asked for, or that the unpitched share of the sound lacks."""
    tonal = notes.settings.tonal
    share = notes.instrument.unpitched if tonal is None else 1.0
    if not share or tonal == 0.0:
        return envelopes
    return _between(envelopes, apply_tonal(envelopes, notes.q, tonal), share)


# --- how it is played -----------------------------------------------------------------------------------------------


def vary(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """Another take: colour wanders smoothly over frequency and time, that of the noise a little more; loudness stays.

    z alone moves a note by 0.2 dB, which nobody hears; the next stroke of a player by 3 dB. The offsets are those of
    all notes, as another microphone's or stroke's would be.
    """
    settings = notes.settings
    if settings.variation == 0.0:
        return envelopes
    generator = torch.Generator().manual_seed(settings.seed)
    n_frames = min(N_FRAMES, notes.instrument.length_samples // HOP_LENGTH + 1)

    def wander(knots: tuple[int, int], spread_db: float) -> Tensor:
        drawn = torch.randn(1, 1, *knots, generator=generator)
        field = torch.nn.functional.interpolate(drawn, (N_MELS, n_frames), mode="bicubic", align_corners=True)[0, 0]
        field = torch.cat([field, field[:, -1:].expand(-1, N_FRAMES - n_frames)], 1)
        return (settings.variation * spread_db / DB_PER_UNIT * field).to(notes.q.device)

    colour = wander(WANTED.colour_knots, WANTED.colour_db)
    varied = Envelopes(
        envelopes.harmonic + colour, envelopes.noise_part + colour + wander(WANTED.colour_knots, WANTED.noise_db)
    )
    return _louder(varied, -_louder_db(notes, envelopes, varied)[:, None, None])


def play_softer(notes: NoteBatch, envelopes: Envelopes) -> Envelopes:
    """The colour of softer notes at the loudness of these: what plays them turns soft keys down by itself.

    At the most by WANTED.max_levelled_db: a note without bass cannot be as loud without its treble.
    """
    if notes.settings.softness == 0.0:
        return envelopes
    softer = soften(envelopes, notes.q, notes.settings.softness)
    quieter_db = (-_louder_db(notes, envelopes, softer)).clamp(0.0, WANTED.max_levelled_db)
    return _louder(softer, quieter_db[:, None, None])


Step = Callable[[NoteBatch, Envelopes], Envelopes]
MIX_STEPS: tuple[Step, ...] = (follow_sources, level_between_sources, stay_between_sources)
SOUND_STEPS: tuple[Step, ...] = (carry_detail, limit_levels, *MIX_STEPS)
STYLE_STEPS: tuple[Step, ...] = (vary, play_softer)


# --- what several steps need ----------------------------------------------------------------------------------------


def _between(first: Envelopes, second: Envelopes, share: Tensor | float) -> Envelopes:
    """Envelopes on the way from the first to the second."""
    weight = torch.as_tensor(share, device=first.harmonic.device)
    return Envelopes(
        torch.lerp(first.harmonic, second.harmonic, weight), torch.lerp(first.noise_part, second.noise_part, weight)
    )


def _louder(envelopes: Envelopes, louder_db: Tensor) -> Envelopes:
    """Both parts louder by decibels that are broadcast over them."""
    return Envelopes(*(part + louder_db / DB_PER_UNIT for part in vars(envelopes).values()))


def _noise(notes: NoteBatch) -> Tensor | None:
    """z of notes: one for the whole instrument, so that its notes belong together; None for the plain note."""
    settings, model = notes.settings, notes.model
    if settings.variation == 0.0:
        return None
    z_dim = model.network.config.generator.z_dim
    # Drawn on the CPU: the same seed gives the same z on every device.
    z = torch.randn(1, z_dim, generator=torch.Generator().manual_seed(settings.seed))
    return (settings.variation * z).to(model.device).expand(notes.q.shape[0], -1)


def _louder_db(notes: NoteBatch, envelopes: Envelopes, others: Envelopes) -> Tensor:
    """How much louder other envelopes of notes sound than these, (B,)."""
    generator, weight = notes.model.network.generator, loudness_weight().to(notes.q.device)
    before, after = (
        (torch.stack(generator.part_powers(each, notes.q)) * weight).sum((0, 2, 3)) for each in (envelopes, others)
    )
    return 10.0 * torch.log10((after + 1e-20) / (before + 1e-20))
