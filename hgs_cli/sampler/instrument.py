"""What notes are made of: one inversion, or several mixed, and how they become envelopes and waveforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hgs_cli.audio.loop import fade_out
from hgs_cli.audio.loudness import note_lufs, reference_levels
from hgs_cli.errors import UsageError, WeightsError
from hgs_cli.inversion import Inversion, rounded_offsets
from hgs_cli.models.detail_transfer import Detail, wholeness
from hgs_cli.models.generator import MAX_LEVEL, Envelopes, Theta
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH
from hgs_cli.sampler import level
from hgs_cli.sampler.carrier import Carrier, analyse, bend, moved_spectra, sharpened, sound, straightened
from hgs_cli.sampler.detail import noise_envelope, transfer_detail
from hgs_cli.sampler.dynamics import soften
from hgs_cli.sampler.level import Voices
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.tone import apply_tonal
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    level_to_power,
    mel_centres_hz,
)

UNPITCHED_REFERENCE = 60.0  # the pitch at which an unpitched sound is reconstructed
BEGIN_S = 0.002  # at its beginning: what a window hears of an onset before it would start with a step
FADE_S = 0.005  # at a note's end, so that a sound cut in its decay does not click
REFINED_REACH = 12.0  # semitones over which the offsets of H fade
MOST_LEVELLED_DB = 12.0  # by which a note of a mix is brought to the level between its sounds
CROPPED_FADE_S = 0.25  # where what was read ends before the sound does
SILENT_DB = 60.0  # below its loudest moment a sound says nothing of a mix
COLOUR_KNOTS = (7, 4)  # over frequency and over a sound's length, on which variation is drawn
COLOUR_DB, NOISE_DB = 6.0, 4.0  # spread at them: sustained notes move by 2 to 3 dB; soft lies 3.4 dB from loud
UNMOVED = 1e-6  # 0.002 cents
NEAR_SEMITONES = 0.1  # within them a note is as loud as the recording everywhere
DRAWN_FADE_S = 0.5  # of the drawn voices, where the networks' window ends before the sound
CARRIED_OVER = 0.25  # of a share above one half, over which the lead's carrier takes a mix over
_RANGES = {
    "detail": (0.0, 1.0),
    "tonal": (0.0, 1.0),
    "variation": (0.0, 1.0),
    "lufs": (-100.0, 20.0),
    "tune_cents": (-2400.0, 2400.0),
    "softness": (0.0, 1.0),
}


@dataclass(frozen=True)
class Settings:
    """How notes are made of an instrument; what is not said here is in the inversion.

    Attributes:
        detail: How much of the sound's own detail is carried over, 0 … 1.
        tonal: How much of an unpitched sound's noise becomes tone, 0 … 1; None for as much as a clear pitch takes.
        variation: How far notes wander from the sound, as another take of it, by the seed, 0 … 1.
        keep_vibrato: Whether notes move in pitch as the sound does; otherwise they stand still.
        normalize: `lufs`, `peak` or `none`.
        lufs: Loudness aimed at, in LUFS.
        seed: Of everything random.
        tune_cents: What every note sounds above its name.
        stereo: Whether notes have two channels, the sound's own moved alike, if it had two.
        softness: How much darker notes are, as if played softer but equally loud, 0 … 1.

    Raises:
        UsageError: A value is out of range.
    """

    detail: float = 1.0
    tonal: float | None = None
    variation: float = 0.0
    keep_vibrato: bool = True
    normalize: str = "lufs"
    lufs: float = -18.0
    seed: int = 0
    tune_cents: float = 0.0
    stereo: bool = False
    softness: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:  # NaN is not in any range
                raise UsageError(f"{name} of {value}", f"give {least:g} to {most:g}")


@dataclass(frozen=True)
class Part:
    """One sound's share of an instrument.

    Attributes:
        share: Above 0; those of an instrument sum to 1.
        detail: Of the sound.
        known: The network's envelopes at the source pitch, which the detail was measured against.
        unrefined: The same without the offsets of H, None for an unpitched sound.
        source_pitch: MIDI note of the sound, None for an unpitched one.
        loudness_db: Power of the sound in every frame, (N_FRAMES,).
        cents: How its pitch moves, (n,), every HOP_LENGTH samples.
        carrier: The recording itself; None where its file holds none.
        stands_at: MIDI note at which the carrier is the recording.
        trust: How far the networks know the sound, 0 … 1.
    """

    share: float
    detail: Detail
    known: Envelopes
    unrefined: Envelopes | None
    source_pitch: float | None
    loudness_db: Tensor
    cents: Tensor
    carrier: Carrier | None
    stands_at: float
    trust: float

    @classmethod
    def of(cls, model: Model, inversion: Inversion) -> Part:
        """All of an inversion."""
        unrefined = carrier = None
        if inversion.source_pitch is not None:
            h = inversion.feature[None].to(model.device)
            unrefined = model.network.envelopes(h, h.new_tensor([inversion.source_pitch]), model.theta)
        if inversion.recording is not None:
            audio = inversion.recording * 10.0 ** (inversion.input_gain_db / 20.0)
            note = inversion.source_pitch if inversion.trust > 0.5 else None
            carrier = analyse(audio, inversion.mono_weights, pitch=note)
        return cls(
            share=1.0,
            detail=inversion.detail,
            known=inversion.first,
            unrefined=unrefined,
            source_pitch=inversion.source_pitch,
            loudness_db=10.0 * torch.log10(level_to_power(inversion.mel).sum(0)),
            cents=inversion.cents,
            carrier=carrier,
            stands_at=inversion.stands_at,
            trust=inversion.trust,
        )


@dataclass(frozen=True)
class End:
    """The level of one of the sounds of a mix, when it is played alone.

    Attributes:
        share: Of the mix.
        lufs: Loudness of the mix's reference notes when it plays them, before any gain, on the scale of the mix's own.
        reference_lufs, reference_peak_db, input_gain_db: Of its own instrument.
    """

    share: float
    lufs: float
    reference_lufs: float
    reference_peak_db: float
    input_gain_db: float


@dataclass(frozen=True)
class Instrument:
    """What notes are made of: one inversion, or several mixed.

    Attributes:
        feature: h, (1, h_dim).
        theta: θ(1 + Δ), G's weights with the offsets of H folded in.
        parts: Every sound's detail, source pitch and share; shares sum to 1.
        cents: Contour of the pitch, (N_FRAMES,).
        length_samples: Length of a note.
        input_gain_db: What the sound was raised by before it was analysed.
        reference_lufs: Median loudness of the reference notes, before any gain.
        reference_peak_db: Their peak, in dB, before any gain.
        refined_at: Pitch for which the offsets were made, None where they hold at every pitch.
        cropped: Whether a sound goes on behind what was read of it.
        ends: Of a mix, the sounds between whose levels its own lies.
        sources: Of a mix, its sounds as instruments of their own, in the order of `parts`.
    """

    feature: Tensor
    theta: Theta
    parts: tuple[Part, ...]
    cents: Tensor
    length_samples: int
    input_gain_db: float
    reference_lufs: float = 0.0
    reference_peak_db: float = 0.0
    refined_at: float | None = None
    cropped: bool = False
    ends: tuple[End, ...] = ()
    sources: tuple[Instrument, ...] = ()

    @property
    def unpitched(self) -> float:
        """The share of it that has no pitch, 0 … 1."""
        return sum(part.share for part in self.parts if part.source_pitch is None)


@torch.inference_mode()
def single(model: Model, inversion: Inversion, theta: Theta | None = None) -> Instrument:
    """The instrument that one inversion is.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`.
        theta: G's weights with its offsets, where they are at hand.
    """
    return Instrument(
        feature=inversion.feature[None].to(model.device),
        theta=theta or model.fold(inversion.offsets),
        parts=(Part.of(model, inversion),),
        cents=inversion.cents[:N_FRAMES].to(model.device),
        length_samples=inversion.length_samples,
        cropped=inversion.cropped,
        input_gain_db=inversion.input_gain_db,
        reference_lufs=inversion.reference_lufs,
        reference_peak_db=inversion.reference_peak_db,
        refined_at=inversion.source_pitch,
    )


@torch.inference_mode()
def blend(model: Model, inversions: Sequence[Inversion], shares: Sequence[float]) -> Instrument:
    """The instrument between several: features mixed, offsets made anew for the mix, details carried by share.

    Args:
        model: From `load_model`.
        inversions: At least one.
        shares: Of each, not negative; only their ratio counts.

    Raises:
        UsageError: The shares do not fit the inversions.
    """
    total = sum(shares)
    if len(shares) != len(inversions) or total <= 0.0 or min(shares) < 0.0:
        raise UsageError(f"{len(shares)} shares for {len(inversions)} sounds", "give each sound a share, none below 0")
    mixed: list[tuple[float, Inversion]] = []
    for share, inversion in zip(shares, inversions, strict=True):
        same = [index for index, (_, other) in enumerate(mixed) if other is inversion]
        if same:  # with itself a sound is itself
            mixed[same[0]] = mixed[same[0]][0] + share / total, inversion
        elif share > 0.0:
            mixed.append((share / total, inversion))
    if len(mixed) == 1:  # an end point is the plain instrument, with the very offsets of its inversion
        return single(model, mixed[0][1])
    h = sum((share * inversion.feature for share, inversion in mixed), torch.zeros(())).to(model.device)[None]
    pitched = [(share, inversion.source_pitch) for share, inversion in mixed if inversion.source_pitch is not None]
    p_ref = UNPITCHED_REFERENCE
    if pitched:
        p_ref = sum(share * pitch for share, pitch in pitched) / sum(share for share, _ in pitched)
    sources = tuple(single(model, one) for _, one in mixed)
    passes = max(inversion.passes for _, inversion in mixed)
    offsets = model.network.refine(h, h.new_tensor([p_ref]), passes)
    offsets = rounded_offsets(offsets)  # as precise as an inversion's own
    instrument = Instrument(
        feature=h,
        theta=model.fold(offsets),
        parts=tuple(replace(source.parts[0], share=share) for (share, _), source in zip(mixed, sources, strict=True)),
        cents=sum((share * one.cents[:N_FRAMES] for share, one in mixed), torch.zeros(())).to(model.device),
        length_samples=round(sum(share * one.length_samples for share, one in mixed)),
        cropped=any(one.cropped for _, one in mixed),
        input_gain_db=sum(share * one.input_gain_db for share, one in mixed),
        refined_at=p_ref if pitched else None,
        sources=sources,
    )
    lufs, peak = measure_references(model, instrument, p_ref)
    heard = _reference_lufs(model, instrument, p_ref)
    ends = []
    for part, one in zip(instrument.parts, sources, strict=True):  # note by note: their medians are other notes
        alone = _reference_lufs(model, one, p_ref)
        louder = [b - a for a, b in zip(heard, alone, strict=True) if math.isfinite(a) and math.isfinite(b)]
        louder_db = sum(louder) / len(louder) if louder else 0.0
        ends.append(End(part.share, lufs + louder_db, one.reference_lufs, one.reference_peak_db, one.input_gain_db))
    return replace(instrument, reference_lufs=lufs, reference_peak_db=peak, ends=tuple(ends))


def measure_references(model: Model, instrument: Instrument, source_pitch: float | None) -> tuple[float, float]:
    """Loudness and peak of the source pitch and the notes an octave below and above it."""
    return reference_levels(_reference_notes(model, instrument, source_pitch))


def _reference_lufs(model: Model, instrument: Instrument, source_pitch: float) -> list[float]:
    """Loudness of each reference note."""
    return [note_lufs(note) for note in _reference_notes(model, instrument, source_pitch)]


def _reference_notes(model: Model, instrument: Instrument, source_pitch: float | None) -> list[Tensor]:
    middle = UNPITCHED_REFERENCE if source_pitch is None else source_pitch
    pitches = [min(max(middle + interval, MIN_PITCH), MAX_PITCH) for interval in (-12.0, 0.0, 12.0)]
    short = replace(instrument, length_samples=min(instrument.length_samples, MODEL_SAMPLES))
    return list(synthesize(model, short, pitches, Settings()).cpu())


@torch.inference_mode()
def synthesize(model: Model, instrument: Instrument, pitches: Sequence[float], settings: Settings) -> Tensor:
    """Notes of an instrument before any gain, in one batch.

    Returns:
        (N, length_samples) on the model's device; in stereo (N, 2, length_samples), whose mean is what it would be in
        mono.

    Raises:
        WeightsError: The networks give numbers that are not finite.
    """
    pitches = [pitch + settings.tune_cents / 100.0 for pitch in pitches]
    q = torch.tensor(pitches, dtype=torch.float32, device=model.device)
    heads = carrier_heads(instrument, pitches, settings)
    voices = note_voices(model, instrument, q, settings, heads)
    if not bool(torch.isfinite(voices.drawn.harmonic.sum() + voices.drawn.noise_part.sum())):
        raise WeightsError(
            f"the weights {model.path} do not make finite notes of this sound", "use the released weights"
        )
    drawn = drawn_voices(model, instrument, q, settings, voices)
    lead = heads[_lead(instrument)]
    if lead is None or voices.gain is None:
        audio = drawn[:, None]
    else:
        gains = voices.gain.cpu()
        audio = torch.stack(
            side_by_side(
                lambda index: lead.sound(index, gains[index], instrument.length_samples, settings.seed),
                range(len(gains)),
            )
        ).to(q.device)
        if audio.shape[1] == 2 and not settings.stereo:
            audio = (audio * lead.carrier.mono[:, None].to(q.device)).sum(1, keepdim=True)
        carrier = lead.carrier
        drawn = torch.stack([sharpened(carrier, note[None].cpu())[0] for note in drawn]).to(q.device)
        balance = lead.balance if audio.shape[1] == 2 else torch.ones(1)
        audio[:, :, : drawn.shape[1]] += drawn[:, None] * balance[:, None].to(q.device)
    audio = _soft_ends(audio, instrument.cropped)
    if not settings.stereo:
        return audio[:, 0]
    return audio.expand(-1, 2, -1).contiguous() if audio.shape[1] == 1 else audio


@dataclass(frozen=True)
class CarrierHeads:
    """The carrier of one sound at the pitches of a batch, as far as the networks hear it.

    Attributes:
        carrier: Bent if the pitch of the notes does not move as the sound's.
        ratios: By which its frequencies are multiplied, of every note.
        spectra: Its frames, (C, n, n_freqs) each.
    """

    carrier: Carrier
    ratios: tuple[float, ...]
    spectra: tuple[Tensor, ...]

    @cached_property
    def own(self) -> Tensor:
        """Log-mels of the moved recording, (B, n_mels, n_frames)."""
        carrier = self.carrier
        return torch.stack(
            side_by_side(lambda each: level.carrier_level(each, carrier.mono, carrier.n_fft), self.spectra)
        )

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
            made = self.carrier.audio[:, :n_own]
        else:
            made = sound(self.carrier, self.ratios[index], self.spectra[index], factors, n_own, seed)
        return torch.nn.functional.pad(made, (0, n_samples - n_own))


def carrier_heads(instrument: Instrument, pitches: Sequence[float], settings: Settings) -> list[CarrierHeads | None]:
    """Every sound's carrier at the pitches; None where there is none, or none is asked for."""
    heads: list[CarrierHeads | None] = []
    for part in instrument.parts:
        if part.carrier is None or settings.detail == 0.0:
            heads.append(None)
            continue
        carrier = part.carrier
        if not settings.keep_vibrato and bool(part.cents.any()):
            note = part.source_pitch if part.trust > 0.5 else None
            carrier = analyse(straightened(carrier.audio, part.cents, HOP_LENGTH), carrier.mono, pitch=note)
        elif len(instrument.parts) > 1:  # all voices move as one
            carrier = bend(carrier, instrument.cents.cpu() - part.cents[:N_FRAMES], HOP_LENGTH)
        # Exactly 1 at the sound's own pitch, where the carrier is the recording.
        ratios = [2.0 ** ((pitch - part.stands_at) / 12.0) for pitch in pitches]
        ratios = [1.0 if abs(ratio - 1.0) < UNMOVED else ratio for ratio in ratios]
        n_head = carrier.frames_until(min(instrument.length_samples, MODEL_SAMPLES))
        spectra = moved_spectra(carrier, ratios, 0, n_head, settings.seed)
        heads.append(CarrierHeads(carrier, tuple(ratios), tuple(spectra)))
    return heads


def _lead(instrument: Instrument) -> int:
    """The sound whose carrier is heard: two would be a layer, and beat."""
    return max(range(len(instrument.parts)), key=lambda index: instrument.parts[index].share)


def drawn_voices(model: Model, instrument: Instrument, q: Tensor, settings: Settings, voices: Voices) -> Tensor:
    """Tone and noise, as far as the networks hear, (B, T)."""
    n_samples = min(instrument.length_samples, MODEL_SAMPLES)
    heard = torch.ones_like(q, dtype=torch.bool) if voices.heard is None else voices.heard
    audio = torch.zeros(len(q), n_samples, device=q.device)
    if bool(heard.any()):
        contour = q[heard, None].expand(-1, N_FRAMES)
        if settings.keep_vibrato:
            contour = contour + instrument.cents / 100.0
        audio[heard] = model.vocoder(
            voices.drawn.harmonic[heard],
            voices.drawn.noise_part[heard],
            contour,
            seed=settings.seed,
            length_samples=n_samples,
        )
    if instrument.length_samples > n_samples:  # the carrier goes on
        audio = fade_out(audio, round(DRAWN_FADE_S * SAMPLE_RATE))
    return audio


def note_voices(
    model: Model, instrument: Instrument, q: Tensor, settings: Settings, heads: Sequence[CarrierHeads | None]
) -> Voices:
    """What each voice gives to notes at pitches q (B,)."""
    if heads[0] is not None and _as_it_is(instrument, settings):
        nothing = torch.zeros(len(q), N_MELS, N_FRAMES, device=q.device)
        silence = Envelopes(nothing - 3.0, nothing - 3.0)
        return Voices(nothing, silence, nothing, nothing, torch.zeros_like(q, dtype=torch.bool))
    own = [None if each is None else each.own.to(q.device) for each in heads]
    if len(instrument.parts) == 1:
        return _single_voices(model, instrument, q, settings, own[0])
    plain = replace(settings, variation=0.0, softness=0.0)
    ends = [
        _single_voices(model, source, q, plain, own_level)
        for source, own_level in zip(instrument.sources, own, strict=True)
    ]
    return _mixed_voices(model, instrument, q, settings, own[_lead(instrument)], ends)


def _as_it_is(instrument: Instrument, settings: Settings) -> bool:
    """Whether notes are the moved recording and nothing else, so that no levels need be known."""
    part = instrument.parts[0]
    toned = instrument.unpitched > 0.0 if settings.tonal is None else settings.tonal > 0.0
    plain = settings.detail == 1.0 and not settings.variation and not settings.softness and not toned
    return plain and len(instrument.parts) == 1 and part.trust == 0.0


def _single_voices(model: Model, instrument: Instrument, q: Tensor, settings: Settings, own: Tensor | None) -> Voices:
    """The voices of one sound; its carrier's own log-mel is `own` (B, n_mels, n_frames)."""
    part, network = instrument.parts[0], model.network
    if own is not None and part.trust == 0.0 and settings.detail == 1.0 and not settings.variation:
        base, wanted = noise_envelope(own), own  # the networks are not asked
    else:
        base = _single_envelopes(model, instrument, q, settings, own)
        wanted = network.compose(base, q)
    toned = _toned(instrument, base, q, settings)
    styled = _styled(model, instrument, toned, q, settings)
    if own is None:
        return Voices(None, styled, network.compose(styled, q), wanted)
    away = ((q - part.stands_at).abs() - NEAR_SEMITONES).clamp(min=0.0)
    far = part.trust * (1.0 - wholeness(away))[:, None, None]
    gain = level.towards(own, wanted, level.RULES.weight * far)
    share = far * level.lacking_share(own + gain, wanted, level.RULES.spare_db)
    gain = gain + _given_to_tone(model, q, own, base, toned, wanted)
    return _joined(model, q, settings, own, gain, share, base, toned, styled, wanted)


def _given_to_tone(
    model: Model, q: Tensor, own: Tensor, base: Envelopes, toned: Envelopes, wanted: Tensor
) -> Tensor | float:
    """Gain by which carriers give way to the tone that was made of their noise, in level units; 0 where none was."""
    if toned is base:
        return 0.0
    less = model.network.compose(Envelopes(base.harmonic, toned.noise_part), q) - wanted
    return level.spare_attack(own, less)


def _joined(
    model: Model,
    q: Tensor,
    settings: Settings,
    own: Tensor,
    gain: Tensor,
    share: Tensor,
    base: Envelopes,
    toned: Envelopes,
    styled: Envelopes,
    wanted: Tensor,
) -> Voices:
    """Carrier and drawn voices together.

    Of the envelopes `share` is drawn, all tone that was added to them, and what `detail` leaves to the networks alone.
    """
    network, carried = model.network, settings.detail**2
    share = carried * share + 1.0 - carried
    harmonic = level.scaled(base.harmonic, share)
    if toned is not base:
        harmonic = torch.maximum(harmonic, level.added_power(toned.harmonic, base.harmonic))
    drawn = Envelopes(
        harmonic + styled.harmonic - toned.harmonic,
        level.scaled(toned.noise_part, share) + styled.noise_part - toned.noise_part,
    )
    if styled is not toned:
        gain = gain + network.compose(styled, q) - network.compose(toned, q)
    gain = gain + 20.0 / DB_PER_UNIT * math.log10(settings.detail)
    powers = network.generator.part_powers(drawn, q)
    total = 1.0 + 10.0 / DB_PER_UNIT * torch.log10(level_to_power(own + gain) + powers[0] + powers[1])
    return Voices(gain, drawn, total, wanted, level.is_heard(own + gain, total))


def _mixed_voices(
    model: Model, instrument: Instrument, q: Tensor, settings: Settings, own: Tensor | None, ends: Sequence[Voices]
) -> Voices:
    """The voices of a mix: the networks' own, corrected by what its sounds as they are played differ from theirs."""
    network = model.network
    base = _mixed_envelopes(model, instrument, q, settings)
    correction = torch.zeros_like(base.harmonic)
    plain = replace(settings, variation=0.0, softness=0.0)
    for part, source, end in zip(instrument.parts, instrument.sources, ends, strict=True):
        if part.carrier is not None:
            # Not end.wanted: of a sound without trust or pitch that is its carrier's own level.
            word = network.compose(_mixed_envelopes(model, source, q, plain), q)
            heard = word.maximum(end.level).amax((1, 2), keepdim=True) - SILENT_DB / DB_PER_UNIT
            # Where it is heard, all that the word lacks, however little that says; silence lifts nothing.
            unheard = end.level.maximum(heard) - word.maximum(heard)
            correction = correction + part.share * torch.where(end.level > heard, end.level - word, unheard)
    base = Envelopes(base.harmonic + correction, base.noise_part + correction)
    base = _levelled(model, instrument, base, q, ends)
    wanted = network.compose(base, q)
    toned = _toned(instrument, base, q, settings)
    styled = _styled(model, instrument, toned, q, settings)
    if own is None:
        return Voices(None, styled, network.compose(styled, q), wanted)
    lead = instrument.parts[_lead(instrument)].share
    known = min(part.trust for part in instrument.parts)
    carried = 1.0 - known * (1.0 - min(1.0, max(0.0, (lead - 0.5) / CARRIED_OVER)))
    gain = level.towards(own, wanted, 1.0)
    lacking = level.lacking_share(own + gain, wanted, 0.0)
    gain = gain + _given_to_tone(model, q, own, base, toned, wanted)
    gain = gain + 10.0 / DB_PER_UNIT * math.log10(max(carried, 1e-12))
    share = 1.0 - carried * (1.0 - lacking)
    return _joined(model, q, settings, own, gain, share, base, toned, styled, wanted)


def _single_envelopes(
    model: Model, instrument: Instrument, q: Tensor, settings: Settings, own: Tensor | None
) -> Envelopes:
    """Envelopes of notes at pitches q (B,) of one sound: G's with the detail carried to q.

    A sound without a pitch is what its carrier is: the networks' word for it would stay where it is.
    """
    part = instrument.parts[0]
    refined = _refined(instrument, q)
    first = _first(model, instrument, q, refined, _noise(model, q, settings))
    if part.source_pitch is None and own is not None:
        whole = noise_envelope(own)
        return _finite(
            Envelopes(
                torch.lerp(first.harmonic, whole.harmonic, settings.detail),
                torch.lerp(first.noise_part, whole.noise_part, settings.detail),
            )
        )
    return _finite(_carried(model, part, first, q, settings, refined))


def _mixed_envelopes(model: Model, instrument: Instrument, q: Tensor, settings: Settings) -> Envelopes:
    """Envelopes of notes of a mix: G's for the mixed feature, with the details of its sounds by share."""
    refined = _refined(instrument, q)
    first = _first(model, instrument, q, refined, _noise(model, q, settings))
    harmonic, noise_part = first.harmonic, first.noise_part
    for part in instrument.parts:
        added_h, added_n = _added(part, _carried(model, part, first, q, settings, refined), first)
        harmonic, noise_part = harmonic + part.share * added_h, noise_part + part.share * added_n
    if 0.0 < instrument.unpitched < 1.0 and settings.detail > 0.0:
        harmonic = harmonic + settings.detail * 10.0 / DB_PER_UNIT * math.log10(1.0 - instrument.unpitched)
    return _finite(Envelopes(harmonic, noise_part))


def _carried(model: Model, part: Part, first: Envelopes, q: Tensor, settings: Settings, refined: Tensor) -> Envelopes:
    """A sound's detail on G's envelopes of notes q (B,)."""
    return transfer_detail(
        model.network.detail_transfer,
        part.detail,
        part.known,
        first,
        part.source_pitch,
        q,
        settings.detail,
        part.unrefined,
        refined,
    )


def _finite(envelopes: Envelopes) -> Envelopes:
    """Envelopes whose powers are finite: where nothing of a band was heard, a residual is as large as G's error."""
    return Envelopes(envelopes.harmonic.clamp(max=MAX_LEVEL), envelopes.noise_part.clamp(max=MAX_LEVEL))


def _toned(instrument: Instrument, envelopes: Envelopes, q: Tensor, settings: Settings) -> Envelopes:
    """Envelopes with the tone that is asked for, or that the unpitched share of the sound lacks."""
    share = instrument.unpitched if settings.tonal is None else 1.0
    if not share or settings.tonal == 0.0:
        return envelopes
    tonal = apply_tonal(envelopes, q, settings.tonal)
    return Envelopes(
        torch.lerp(envelopes.harmonic, tonal.harmonic, share), torch.lerp(envelopes.noise_part, tonal.noise_part, share)
    )


def _styled(model: Model, instrument: Instrument, envelopes: Envelopes, q: Tensor, settings: Settings) -> Envelopes:
    """Envelopes of another take, or of softer notes; the same ones where neither is asked for."""
    if settings.variation > 0.0:
        envelopes = _vary(model, instrument, envelopes, q, settings)
    if settings.softness > 0.0:
        envelopes = _soften(model, envelopes, q, settings.softness)
    return envelopes


def _first(model: Model, instrument: Instrument, q: Tensor, refined: Tensor, z: Tensor | None) -> Envelopes:
    """G's envelopes of notes q (B,), with as much of the offsets of H as `refined` (B,) says.

    Between the envelopes with and without them, as the detail is measured, and three times faster than offsets that
    differ by note.
    """
    h = instrument.feature.expand(q.shape[0], -1)

    def drawn(theta: Theta, notes: Tensor) -> Envelopes:
        """Of those notes alone that have any of it."""
        if bool(notes.all()):
            return model.network.envelopes(h, q, theta, z)
        made = model.network.envelopes(h[notes], q[notes], theta, None if z is None else z[notes])
        whole = [part.new_zeros(len(q), *part.shape[1:]).index_put_((notes,), part) for part in vars(made).values()]
        return Envelopes(*whole)

    with_h, without_h = refined > 0.0, refined < 1.0
    if not bool(without_h.any()):
        return drawn(instrument.theta, with_h)
    plain = drawn(model.theta, without_h)
    if not bool(with_h.any()):
        return plain
    own, weight = drawn(instrument.theta, with_h), refined[:, None, None]
    return Envelopes(
        torch.lerp(plain.harmonic, own.harmonic, weight), torch.lerp(plain.noise_part, own.noise_part, weight)
    )


def _added(part: Part, carried: Envelopes, first: Envelopes) -> tuple[Tensor, Tensor]:
    """What a sound's detail adds to E_h and E_n of a mix, each (B, n_mels, n_frames).

    Where the sound is silent, silence over what G took for silence says nothing of the others, and must not lift them.
    A sound without a pitch has no harmonics, 70 dB below G's: that is no detail, and the mix keeps its pitched share.
    """
    added_h, added_n = carried.harmonic - first.harmonic, carried.noise_part - first.noise_part
    silent = (part.loudness_db < part.loudness_db.max() - SILENT_DB).to(added_h.device)
    added_h, added_n = (torch.where(silent, added.clamp(max=0.0), added) for added in (added_h, added_n))
    return (torch.zeros_like(added_h) if part.source_pitch is None else added_h), added_n


def _refined(instrument: Instrument, q: Tensor) -> Tensor:
    """How much of H's offsets notes q get, (B,): all at the pitch they were made for, none an octave away.

    They are made of one note, and so in part for it: the further from it, the more G alone is right.
    """
    if instrument.refined_at is None:
        return torch.ones_like(q)
    return (1.0 - (q - instrument.refined_at).abs() / REFINED_REACH).clamp(0.0, 1.0)


def _levelled(
    model: Model, instrument: Instrument, envelopes: Envelopes, q: Tensor, ends: Sequence[Voices]
) -> Envelopes:
    """Every note of a mix as loud as what lies between its sounds at that pitch.

    The mean of two levels in dB is quieter than the mean of two sounds wherever only one of them sounds: attacks that
    do not coincide, and bands in which one is silent, would make the middle of a mix a hole.
    """
    wanted_db = torch.zeros_like(q)
    for part, source, end in zip(instrument.parts, instrument.sources, ends, strict=True):
        wanted_db = wanted_db + part.share * _loudness_db(end.level, source.length_samples)
    lacking_db = wanted_db - _loudness_db(model.network.compose(envelopes, q), instrument.length_samples)
    louder = (lacking_db.clamp(-MOST_LEVELLED_DB, MOST_LEVELLED_DB) / DB_PER_UNIT)[:, None, None]
    return Envelopes(envelopes.harmonic + louder, envelopes.noise_part + louder)


def _loudness_db(x: Tensor, length_samples: int) -> Tensor:
    """About the loudness of log-mels (B, n_mels, n_frames), (B,), in dB: treble counts more, quiet frames do not count.

    Source: ITU-R BS.1770, the shelf and the relative gate; a single slope and a single step stand for them.
    """
    bands_hz = mel_centres_hz().to(x.device)
    shelf = torch.pow(10.0, 0.1 * (4.0 * torch.log2(bands_hz / 1000.0)).clamp(0.0, 4.0))
    frames = (level_to_power(x) * shelf[:, None]).sum(1)[:, : length_samples // HOP_LENGTH + 1]
    counted = (frames > 0.1 * frames.mean(1, keepdim=True)).float()
    return 10.0 * torch.log10((frames * counted).sum(1) / counted.sum(1).clamp_min(1.0) + 1e-20)


def _vary(model: Model, instrument: Instrument, envelopes: Envelopes, q: Tensor, settings: Settings) -> Envelopes:
    """Another take: colour wanders smoothly over frequency and time, that of the noise a little more; loudness stays.

    z alone moves a note by 0.2 dB, which nobody hears; the next stroke of a player by 3 dB. The offsets are those of
    all notes, as another microphone's or stroke's would be.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    n_frames = min(N_FRAMES, instrument.length_samples // HOP_LENGTH + 1)

    def wander(knots: tuple[int, int], spread_db: float) -> Tensor:
        drawn = torch.randn(1, 1, *knots, generator=generator)
        field = torch.nn.functional.interpolate(drawn, (N_MELS, n_frames), mode="bicubic", align_corners=True)[0, 0]
        field = torch.cat([field, field[:, -1:].expand(-1, N_FRAMES - n_frames)], 1)
        return (settings.variation * spread_db / DB_PER_UNIT * field).to(q.device)

    colour = wander(COLOUR_KNOTS, COLOUR_DB)
    varied = Envelopes(envelopes.harmonic + colour, envelopes.noise_part + colour + wander(COLOUR_KNOTS, NOISE_DB))
    louder = (_louder_db(model, envelopes, varied, q) / DB_PER_UNIT)[:, None, None]
    return Envelopes(varied.harmonic - louder, varied.noise_part - louder)


def _soften(model: Model, envelopes: Envelopes, q: Tensor, softness: float) -> Envelopes:
    """The colour of softer notes at the loudness of these: what plays them turns soft keys down by itself.

    At the most by MOST_LEVELLED_DB: a note without bass cannot be as loud without its treble.
    """
    softer = soften(envelopes, q, softness)
    quieter_db = (-_louder_db(model, envelopes, softer, q)).clamp(0.0, MOST_LEVELLED_DB)
    quieter = (quieter_db / DB_PER_UNIT)[:, None, None]
    return Envelopes(softer.harmonic + quieter, softer.noise_part + quieter)


def _louder_db(model: Model, envelopes: Envelopes, others: Envelopes, q: Tensor) -> Tensor:
    """How much louder other envelopes of notes q (B,) sound than these, (B,)."""
    weight = _heard_weight().to(q.device)
    before, after = (
        (torch.stack(model.network.generator.part_powers(each, q)) * weight).sum((0, 2, 3))
        for each in (envelopes, others)
    )
    return 10.0 * torch.log10((after + 1e-20) / (before + 1e-20))


def _heard_weight() -> Tensor:
    """How much a band's power counts for loudness, (n_mels, 1): about BS.1770's shelf of 4 dB above 1.5 kHz."""
    octaves = torch.log2(mel_centres_hz() / 1500.0)
    return torch.pow(10.0, 0.4 * torch.sigmoid(3.0 * octaves))[:, None]


def _noise(model: Model, q: Tensor, settings: Settings) -> Tensor | None:
    """z for notes q (B,): one for the whole instrument, so that its notes belong together; None for the plain note."""
    if settings.variation == 0.0:
        return None
    z_dim = model.network.config.generator.z_dim
    # Drawn on the CPU: the same seed gives the same z on every device.
    z = torch.randn(1, z_dim, generator=torch.Generator().manual_seed(settings.seed))
    return (settings.variation * z).to(model.device).expand(q.shape[0], -1)


def _soft_ends(audio: Tensor, cropped: bool) -> Tensor:
    """Fade notes (B, C, T) in and out; out for longer where the sound went on."""
    n_begin = min(round(BEGIN_S * SAMPLE_RATE), audio.shape[-1] // 4)
    begin = torch.sin(torch.linspace(0.0, torch.pi / 2, n_begin, device=audio.device)).square()
    audio = torch.cat([audio[..., :n_begin] * begin, audio[..., n_begin:]], dim=-1)
    seconds = CROPPED_FADE_S if cropped else FADE_S
    return fade_out(audio, min(round(seconds * SAMPLE_RATE), audio.shape[-1] // 4))
