"""Instruments made of inversions: of one, or between several, with the levels that their notes are brought to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from hgs_cli.audio.loudness import natural_slope_db, note_lufs, reference_levels
from hgs_cli.checked import as_number
from hgs_cli.errors import UsageError
from hgs_cli.inversion import Inversion
from hgs_cli.models.generator import FoldedWeights
from hgs_cli.models.hyperganstrument import rounded_offsets
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH
from hgs_cli.sampler.carrier import analyse
from hgs_cli.sampler.detail import SourceDetail
from hgs_cli.sampler.instrument import Instrument, MixComponent, MixEnd
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.notes import synthesize
from hgs_cli.sampler.settings import Settings
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, level_to_power

Sound = TypeVar("Sound")
UNPITCHED_REFERENCE = 60.0  # the pitch at which an unpitched sound is reconstructed
REFERENCE_INTERVALS = (-12.0, 0.0, 12.0)  # from the sound's own pitch: of the notes that levels are made from


@torch.inference_mode()
def make_instrument(model: Model, inversion: Inversion, weights: FoldedWeights | None = None) -> Instrument:
    """The instrument that one inversion is.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`.
        weights: G's weights with its offsets, where they are at hand.
    """
    return Instrument(
        feature=inversion.feature[None].to(model.device),
        weights=weights or model.fold(inversion.offsets),
        parts=(_component(model, inversion),),
        pitch_contour_cents=inversion.pitch_contour_cents[:N_FRAMES].to(model.device),
        length_samples=inversion.length_samples,
        cropped=inversion.cropped,
        own_gain_db=own_gain_db(inversion),
        reference_lufs=inversion.reference_lufs,
        reference_peak_db=inversion.reference_peak_db,
        offsets_made_at=inversion.source_pitch,
    )


def own_gain_db(inversion: Inversion) -> float:
    """What brings notes as loud as the reference to the level of the sound."""
    if inversion.recording is None or inversion.mono_weights is None:
        return -inversion.input_gain_db
    sound = (inversion.recording * inversion.mono_weights[:, None]).sum(0)[:MODEL_SAMPLES]
    own_lufs = note_lufs(sound)
    return own_lufs - inversion.reference_lufs if math.isfinite(own_lufs) else -inversion.input_gain_db


def _component(model: Model, inversion: Inversion) -> MixComponent:
    """All of an inversion."""
    without_offsets = carrier = None
    if inversion.source_pitch is not None:
        h = inversion.feature[None].to(model.device)
        without_offsets = model.network.envelopes(h, h.new_tensor([inversion.source_pitch]), model.plain_weights)
    if inversion.recording is not None:
        audio = inversion.recording * 10.0 ** (inversion.input_gain_db / 20.0)
        note = inversion.source_pitch if inversion.trust > 0.5 else None
        carrier = analyse(audio, inversion.mono_weights, pitch=note)
    return MixComponent(
        share=1.0,
        source=SourceDetail(inversion.source_pitch, inversion.detail, inversion.source_envelopes, without_offsets),
        loudness_db=10.0 * torch.log10(level_to_power(inversion.mel).sum(0)),
        pitch_contour_cents=inversion.pitch_contour_cents,
        carrier=carrier,
        stands_at=inversion.stands_at,
        trust=inversion.trust,
    )


@torch.inference_mode()
def mix_instruments(model: Model, inversions: Sequence[Inversion], shares: Sequence[float]) -> Instrument:
    """The instrument between several: features mixed, offsets made anew for the mix, details carried by share.

    Args:
        model: From `load_model`.
        inversions: At least one.
        shares: Of each, not negative; only their ratio counts.

    Raises:
        UsageError: The shares do not fit the inversions.
    """
    mixed = shares_by_sound(inversions, shares)
    if len(mixed) == 1:  # an end point is the plain instrument, with the very offsets of its inversion
        return make_instrument(model, mixed[0][1])
    sources = [(share, make_instrument(model, one)) for share, one in mixed]
    instrument = between_instruments(model, sources, max(inversion.passes for _, inversion in mixed))
    return _between_levels(model, instrument)


@torch.inference_mode()
def between_instruments(model: Model, mixed: Sequence[tuple[float, Instrument]], passes: int) -> Instrument:
    """What lies between the instruments of several sounds, whose shares sum to 1; its levels are those between theirs.

    Args:
        model: From `load_model`.
        mixed: Their shares, and they.
        passes: Of the hypernetwork, for offsets of its own.
    """
    sources = tuple(source for _, source in mixed)

    def between(of: Callable[[Instrument], float]) -> float:
        return sum(share * of(source) for share, source in mixed)

    pitched = [(share, one.offsets_made_at) for share, one in mixed if one.offsets_made_at is not None]
    p_ref = UNPITCHED_REFERENCE
    if pitched:
        p_ref = sum(share * pitch for share, pitch in pitched) / sum(share for share, _ in pitched)
    h = sum((share * source.feature for share, source in mixed), torch.zeros((), device=model.device))
    offsets = rounded_offsets(model.network.refine(h, h.new_tensor([p_ref]), passes, plain=model.plain_weights))
    contours = [share * source.pitch_contour_cents for share, source in mixed]
    return Instrument(
        feature=h,
        weights=model.fold(offsets),
        parts=tuple(replace(source.parts[0], share=share) for share, source in mixed),
        pitch_contour_cents=sum(contours, torch.zeros((), device=model.device)),
        length_samples=round(between(lambda source: source.length_samples)),
        cropped=any(source.cropped for source in sources),
        own_gain_db=between(lambda source: source.own_gain_db),
        reference_lufs=between(lambda source: source.reference_lufs),
        reference_peak_db=between(lambda source: source.reference_peak_db),
        offsets_made_at=p_ref if pitched else None,
        sources=sources,
    )


def shares_by_sound(sounds: Sequence[Sound], shares: Sequence[float]) -> list[tuple[float, Sound]]:
    """Every sound once, with its share of the whole; those without any are left out.

    Raises:
        UsageError: The shares do not fit the sounds.
    """
    shares = [as_number(share, "a share", 0.0) for share in shares]
    total = sum(shares)
    if len(shares) != len(sounds) or not 0.0 < total < math.inf:
        raise UsageError(f"{len(shares)} shares for {len(sounds)} sounds", "give each sound a share, none below 0")
    mixed: list[tuple[float, Sound]] = []
    for share, sound in zip(shares, sounds, strict=True):
        same = [index for index, (_, other) in enumerate(mixed) if other is sound]
        if same:  # with itself a sound is itself
            mixed[same[0]] = mixed[same[0]][0] + share / total, sound
        elif share > 0.0:
            mixed.append((share / total, sound))
    return mixed


def _between_levels(model: Model, instrument: Instrument) -> Instrument:
    """A mix that knows its levels, and those of its sounds on the same scale."""
    p_ref = UNPITCHED_REFERENCE if instrument.offsets_made_at is None else instrument.offsets_made_at
    lufs, peak = measure_references(model, instrument, p_ref)
    heard = _reference_lufs(model, instrument, p_ref)
    ends = []
    for part, one in zip(instrument.parts, instrument.sources, strict=True):  # note by note: their medians are others
        alone = _reference_lufs(model, one, p_ref)
        louder = [b - a for a, b in zip(heard, alone, strict=True) if math.isfinite(a) and math.isfinite(b)]
        louder_db = sum(louder) / len(louder) if louder else 0.0
        ends.append(MixEnd(part.share, lufs + louder_db, one.reference_lufs, one.reference_peak_db, one.own_gain_db))
    return replace(instrument, reference_lufs=lufs, reference_peak_db=peak, ends=tuple(ends))


@torch.inference_mode()
def natural_slope(model: Model, instrument: Instrument) -> float:
    """By which the loudness of its notes rises over an octave, as real instruments' does, in dB."""
    own = UNPITCHED_REFERENCE if instrument.offsets_made_at is None else instrument.offsets_made_at
    return natural_slope_db(REFERENCE_INTERVALS, _reference_lufs(model, instrument, own))


def measure_references(model: Model, instrument: Instrument, source_pitch: float | None) -> tuple[float, float]:
    """Loudness and peak of the source pitch and the notes an octave below and above it."""
    return reference_levels(_reference_notes(model, instrument, source_pitch))


def _reference_lufs(model: Model, instrument: Instrument, source_pitch: float) -> list[float]:
    """Loudness of each reference note."""
    return [note_lufs(note) for note in _reference_notes(model, instrument, source_pitch)]


def _reference_notes(model: Model, instrument: Instrument, source_pitch: float | None) -> list[Tensor]:
    middle = UNPITCHED_REFERENCE if source_pitch is None else source_pitch
    pitches = [min(max(middle + interval, MIN_PITCH), MAX_PITCH) for interval in REFERENCE_INTERVALS]
    short = replace(instrument, length_samples=min(instrument.length_samples, MODEL_SAMPLES))
    return list(synthesize(model, short, pitches, Settings()).cpu())
