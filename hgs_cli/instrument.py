"""What notes are made of: one inversion, or several mixed, and how they become envelopes and waveforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hgs_cli.audio.loop import fade_out
from hgs_cli.audio.loudness import note_lufs, reference_levels
from hgs_cli.errors import UsageError, WeightsError
from hgs_cli.inversion import Inversion, rounded_offsets
from hgs_cli.models.detail import N_PHASES, Detail, apply_tonal, keep_ringing, transfer_detail
from hgs_cli.models.detail_transfer import FORMANT_WIDTH, FORMANT_WIDTH_MELS, mel_blur
from hgs_cli.models.dynamics import soften
from hgs_cli.models.generator import MAX_LEVEL, Envelopes, Theta
from hgs_cli.models.motion import Motion, carried_motion, measure_motion, movement
from hgs_cli.models.stretch import Stretch
from hgs_cli.models.vocoder import mel_points_hz
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    level_to_power,
    midi_to_hz,
)
from hgs_cli.weights import Model

UNPITCHED_REFERENCE = 60.0  # the pitch at which an unpitched sound is reconstructed
BEGIN_S = 0.002  # at its beginning: what a window hears of an onset before it would start with a step
FADE_S = 0.005  # at a note's end, so that a sound cut in its decay does not click
REFINED_REACH = 12.0  # semitones over which the offsets of H fade
MOST_LEVELLED_DB = 12.0  # by which a note of a mix is brought to the level between its sounds
CROPPED_FADE_S = 0.25  # where the model's length ends before the sound does
LOUDER_DB = 4.0  # how much louder than its source a moment of a note may be
LOUDER_DB_PER_SEMITONE = 0.2
HUSHED_DB = 40.0  # further down a sound of a mix does not quieten the others
SILENT_DB = 60.0  # below its loudest moment a sound says nothing of a mix
SLOWEST_DECAY = 0.5  # of the source's, in dB a second: a lower note may ring longer
FAR_FROM, FAR_TO = 24.0, 30.0  # semitones from a sound's own note, between which a clear tone begins to be made sure of
COLOUR_KNOTS = (7, 4)  # over frequency and over a sound's length, on which variation is drawn
COLOUR_DB, NOISE_DB = 6.0, 4.0  # spread at them: sustained notes move by 2 to 3 dB; soft lies 3.4 dB from loud
SIDE_SEED = 2**31  # beside the seed: the noise of the side is not that of the middle
MOST_LEVEL = 4.0  # of an envelope before it is restrained: 150 dB above a full-scale sinusoid
NEARBY_FRAMES = 9  # 0.1 s: a note may rise a little before its source does
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
        stereo: Whether notes have two channels, which differ as those of the sound did, if it had two.
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
        loudness_db: Power of the sound in every frame, the loudest within NEARBY_FRAMES, (N_FRAMES,).
        motion: How its harmonics move, None for an unpitched one.
        side: Level of its side above its middle, smooth across bands, (N_MELS, N_FRAMES); None for a mono sound.
    """

    share: float
    detail: Detail
    known: Envelopes
    unrefined: Envelopes | None
    source_pitch: float | None
    loudness_db: Tensor
    motion: Motion | None
    side: Tensor | None = None

    @classmethod
    def of(cls, model: Model, inversion: Inversion, elsewhere: bool = True) -> Part:
        """All of an inversion; what is only heard at other pitches than its own is left out unless `elsewhere`."""
        power = level_to_power(inversion.mel).sum(0)
        nearby = torch.nn.functional.max_pool1d(power[None, None], 2 * NEARBY_FRAMES + 1, 1, NEARBY_FRAMES)[0, 0]
        motion, unrefined = None, None
        if inversion.source_pitch is not None and elsewhere:
            h = inversion.feature[None].to(model.device)
            unrefined = model.network.envelopes(h, h.new_tensor([inversion.source_pitch]), model.theta)
            first, detail = inversion.first, inversion.detail
            whole = Envelopes(
                (first.harmonic + detail.harmonic).clamp(max=MOST_LEVEL),
                (first.noise_part + detail.noise_part).clamp(max=MOST_LEVEL),
            )
            p = inversion.source_pitch
            motion = measure_motion(inversion.mel, whole, p, detail.stretch_at(p, p))
        loudness_db = 10.0 * torch.log10(nearby)
        return cls(
            1.0, inversion.detail, inversion.first, unrefined, inversion.source_pitch, loudness_db, motion,
            _smooth_side(inversion),
        )  # fmt: skip


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
    ends: tuple[End, ...] = ()
    sources: tuple[Instrument, ...] = ()

    @property
    def unpitched(self) -> float:
        """The share of it that has no pitch, 0 … 1."""
        return sum(part.share for part in self.parts if part.source_pitch is None)


@torch.inference_mode()
def single(model: Model, inversion: Inversion, theta: Theta | None = None, *, elsewhere: bool = True) -> Instrument:
    """The instrument that one inversion is.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`.
        theta: G's weights with its offsets, where they are at hand.
        elsewhere: Whether it will be played at other pitches than its own.
    """
    return Instrument(
        feature=inversion.feature[None].to(model.device),
        theta=theta or model.fold(inversion.offsets),
        parts=(Part.of(model, inversion, elsewhere),),
        cents=inversion.cents.to(model.device),
        length_samples=inversion.length_samples,
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
    mixed = [(share / total, inversion) for share, inversion in zip(shares, inversions, strict=True) if share > 0.0]
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
        cents=sum((share * one.cents for share, one in mixed), torch.zeros(())).to(model.device),
        length_samples=round(sum(share * one.length_samples for share, one in mixed)),
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
    return list(synthesize(model, instrument, pitches, Settings()).cpu())


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
    envelopes = note_envelopes(model, instrument, q, settings)
    if not bool(torch.isfinite(envelopes.harmonic.sum() + envelopes.noise_part.sum())):
        raise WeightsError(
            f"the weights {model.path} do not make finite notes of this sound", "use the released weights"
        )
    contour = q[:, None].expand(-1, N_FRAMES)
    if settings.keep_vibrato:
        contour = contour + instrument.cents / 100.0
    stretches = _stretches(instrument, pitches, settings)

    def sounding(drawn: Envelopes, seed: int, phases: Tensor | None) -> Tensor:
        audio = model.vocoder(
            drawn.harmonic,
            drawn.noise_part,
            contour,
            seed=seed,
            time_gain=_time_gain(instrument, settings),
            phases=phases,
            stretches=stretches,
            length_samples=instrument.length_samples,
        )
        return _soft_ends(audio)

    middle = sounding(envelopes, settings.seed, _phases(instrument, settings))
    if not settings.stereo:
        return middle
    level = _side_level(instrument)
    if level is None:
        return torch.stack([middle, middle], 1)
    level = level.to(q.device)
    beside = Envelopes(envelopes.harmonic + level, envelopes.noise_part + level)
    side = sounding(beside, settings.seed + SIDE_SEED, _strange_phases(settings.seed).to(q.device))
    return torch.stack([middle + side, middle - side], 1)


def _strange_phases(seed: int) -> Tensor:
    """Phases of the side's harmonics, (N_PHASES,): unlike those of the middle, so that left and right part."""
    drawn = torch.rand(N_PHASES, generator=torch.Generator().manual_seed(seed + SIDE_SEED))
    return (2.0 * drawn - 1.0) * torch.pi


def _smooth_side(inversion: Inversion) -> Tensor | None:
    """The sound's side above its middle, smoothed over a harmonic spacing: formants stay where they are."""
    if inversion.side is None or inversion.source_pitch is None:
        return inversion.side
    f0_hz = midi_to_hz(torch.tensor([inversion.source_pitch]))
    weights = mel_blur(f0_hz, FORMANT_WIDTH, FORMANT_WIDTH_MELS)[0]
    return (weights / weights.sum(1, keepdim=True)) @ inversion.side.float().cpu()


def _side_level(instrument: Instrument) -> Tensor | None:
    """How far the side lies above the middle, (N_MELS, N_FRAMES), the powers of the sounds' added by share."""
    sides = [(part.share, part.side) for part in instrument.parts if part.side is not None]
    if not sides:
        return None
    power = sum((share * torch.pow(10.0, side * DB_PER_UNIT / 10.0) for share, side in sides), torch.zeros(()))
    return 10.0 / DB_PER_UNIT * torch.log10(power)


def note_envelopes(model: Model, instrument: Instrument, q: Tensor, settings: Settings) -> Envelopes:
    """Envelopes of notes at pitches q (B,): G's, the detail carried to q, and tone for what had no pitch."""
    network = model.network
    refined = _refined(instrument, q)
    z = _noise(model, q, settings)
    first = _first(model, instrument, q, refined, z)
    harmonic, noise_part = first.harmonic, first.noise_part
    for part in instrument.parts:
        carried = transfer_detail(
            network.detail_transfer,
            part.detail,
            part.known,
            first,
            part.source_pitch,
            q,
            settings.detail,
            part.unrefined,
            refined,
        )
        if part.share == 1.0:
            harmonic, noise_part = carried.harmonic, carried.noise_part
        else:
            added_h, added_n = _added(part, carried, first)
            harmonic, noise_part = harmonic + part.share * added_h, noise_part + part.share * added_n
    if 0.0 < instrument.unpitched < 1.0 and settings.detail > 0.0:
        harmonic = harmonic + settings.detail * 10.0 / DB_PER_UNIT * math.log10(1.0 - instrument.unpitched)
    # Where nothing of a band was heard, a residual may be as large as G's error there. The clamp keeps powers finite.
    harmonic, noise_part = harmonic.clamp(max=MOST_LEVEL), noise_part.clamp(max=MOST_LEVEL)
    envelopes = Envelopes(_move(instrument, harmonic, q, settings), noise_part)
    # A tone is asked for outright, or it is what the unpitched share of the sound lacks.
    share = _tonal_share(instrument, q) if settings.tonal is None else torch.ones_like(q)
    if bool(share.any()):
        tonal = apply_tonal(envelopes, q, settings.tonal)
        weight = share[:, None, None]
        envelopes = Envelopes(
            torch.lerp(envelopes.harmonic, tonal.harmonic, weight), torch.lerp(noise_part, tonal.noise_part, weight)
        )
    if settings.variation > 0.0:
        envelopes = _vary(model, instrument, envelopes, q, settings)
    if settings.softness > 0.0:
        envelopes = _soften(model, envelopes, q, settings.softness)
    envelopes = _restrain(model, instrument, envelopes, q)
    return _level(model, instrument, envelopes, q, settings) if instrument.sources else envelopes


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


def _level(model: Model, instrument: Instrument, envelopes: Envelopes, q: Tensor, settings: Settings) -> Envelopes:
    """Every note of a mix as loud as what lies between its sounds at that pitch.

    The mean of two levels in dB is quieter than the mean of two sounds wherever only one of them sounds: attacks that
    do not coincide, and bands in which one is silent, would make the middle of a mix a hole.
    """
    wanted_db = torch.zeros_like(q)
    for part, source in zip(instrument.parts, instrument.sources, strict=True):
        alone = note_envelopes(model, source, q, settings)
        wanted_db = wanted_db + part.share * _loudness_db(model, alone, q, source.length_samples)
    lacking_db = wanted_db - _loudness_db(model, envelopes, q, instrument.length_samples)
    louder = (lacking_db.clamp(-MOST_LEVELLED_DB, MOST_LEVELLED_DB) / DB_PER_UNIT)[:, None, None]
    return Envelopes(envelopes.harmonic + louder, envelopes.noise_part + louder)


def _loudness_db(model: Model, envelopes: Envelopes, q: Tensor, length_samples: int) -> Tensor:
    """About the loudness of notes, (B,), in dB: treble counts more, frames far below the mean do not count.

    Source: ITU-R BS.1770, the shelf and the relative gate; a single slope and a single step stand for them.
    """
    bands_hz = mel_points_hz(MelConfig())[1:-1].float().to(q.device)
    shelf = torch.pow(10.0, 0.1 * (4.0 * torch.log2(bands_hz / 1000.0)).clamp(0.0, 4.0))
    powers = model.network.generator.part_powers(envelopes, q)
    frames = ((powers[0] + powers[1]) * shelf[:, None]).sum(1)[:, : length_samples // HOP_LENGTH + 1]
    counted = (frames > 0.1 * frames.mean(1, keepdim=True)).float()
    return 10.0 * torch.log10((frames * counted).sum(1) / counted.sum(1).clamp_min(1.0) + 1e-20)


def _move(instrument: Instrument, harmonic: Tensor, q: Tensor, settings: Settings) -> Tensor:
    """E_h of notes (B, n_mels, n_frames) that moves as the sounds' own harmonics do, by share and by `detail`."""
    moving = [(settings.detail * part.share, part.motion) for part in instrument.parts if part.motion is not None]
    if not moving or settings.detail == 0.0:
        return harmonic
    own, added = movement(harmonic), torch.zeros_like(harmonic)
    for share, motion in moving:
        level, weight = (value.to(q.device) for value in carried_motion(motion, q))
        added = added + share * weight * (level - own)
    return harmonic + added


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
    octaves = torch.log2(mel_points_hz(MelConfig())[1:-1].float() / 1500.0)
    return torch.pow(10.0, 0.4 * torch.sigmoid(3.0 * octaves))[:, None]


def _tonal_share(instrument: Instrument, q: Tensor) -> Tensor:
    """Share of the instrument that gets a tone made at pitches q, (B,): without a pitch, or far from its own.

    Beyond two octaves the harmonics of a sound say little of the note, and noise that stayed in place outweighs them.
    """
    share = torch.zeros_like(q)
    for part in instrument.parts:
        if part.source_pitch is None:
            share = share + part.share
        else:
            share = share + part.share * (((q - part.source_pitch).abs() - FAR_FROM) / (FAR_TO - FAR_FROM)).clamp(
                0.0, 1.0
            )
    return share


def _restrain(model: Model, instrument: Instrument, envelopes: Envelopes, q: Tensor) -> Envelopes:
    """Envelopes that are nowhere much louder than the source is at that moment, a lower note's slower decay granted.

    Where G at q and the detail from p disagree, late in a decay above all, their sum can be tens of dB too loud; one
    such moment would turn the gain of the whole instrument down. At the source pitch nothing is changed.
    """
    allowed_db = torch.zeros(q.shape[0], N_FRAMES, device=q.device)
    for part in instrument.parts:
        interval = torch.zeros_like(q) if part.source_pitch is None else q - part.source_pitch
        decay = torch.pow(2.0, interval / 12.0).clamp(SLOWEST_DECAY, 1.0)[:, None]
        source_db = part.loudness_db.to(q.device)
        if part.share < 1.0:  # the end of its file is no step in the others
            source_db = source_db.clamp(min=float(source_db.max()) - HUSHED_DB)
        louder_db = (LOUDER_DB + LOUDER_DB_PER_SEMITONE * interval.abs())[:, None]
        allowed_db = allowed_db + part.share * (torch.lerp(source_db.max(), source_db, decay) + louder_db)
    harmonic, noise_part = envelopes.harmonic.clamp(max=MAX_LEVEL), envelopes.noise_part.clamp(max=MAX_LEVEL)
    powers = model.network.generator.part_powers(Envelopes(harmonic, noise_part), q)
    loudness_db = 10.0 * torch.log10(powers[0].sum(1) + powers[1].sum(1) + 1e-20)
    excess = ((loudness_db - allowed_db).clamp(min=0.0) / DB_PER_UNIT)[:, None]
    return Envelopes(harmonic - excess, noise_part - excess)


def _noise(model: Model, q: Tensor, settings: Settings) -> Tensor | None:
    """z for notes q (B,): one for the whole instrument, so that its notes belong together; None for the plain note."""
    if settings.variation == 0.0:
        return None
    z_dim = model.network.config.generator.z_dim
    # Drawn on the CPU: the same seed gives the same z on every device.
    z = torch.randn(1, z_dim, generator=torch.Generator().manual_seed(settings.seed))
    return (settings.variation * z).to(model.device).expand(q.shape[0], -1)


def _time_gain(instrument: Instrument, settings: Settings) -> Tensor | None:
    """The sounds' own attacks, weighted by share and by `detail`; None where no sound has one."""
    attacks = [(part.share, part.detail.attack) for part in instrument.parts if part.detail.attack is not None]
    if not attacks or settings.detail == 0.0:
        return None
    exponent = sum((share * attack.clamp(min=1e-4).log() for share, attack in attacks), torch.zeros(()))
    gain = (settings.detail * exponent).exp()
    made_tone = instrument.unpitched if settings.tonal is None else settings.tonal
    return torch.lerp(gain, keep_ringing(gain), made_tone)[None].to(instrument.feature.device)


def _phases(instrument: Instrument, settings: Settings) -> Tensor | None:
    """The sounds' own phases of the harmonics, averaged as directions by share; None where no sound has them."""
    parts = [(part.share, part.detail.phases) for part in instrument.parts if part.detail.phases is not None]
    if not parts or settings.detail == 0.0:
        return None
    real = sum((share * torch.cos(phases) for share, phases in parts), torch.zeros(()))
    imaginary = sum((share * torch.sin(phases) for share, phases in parts), torch.zeros(()))
    return torch.atan2(imaginary, real)


def _stretches(instrument: Instrument, pitches: Sequence[float], settings: Settings) -> list[Stretch | None] | None:
    """How partials stand in each note, the sounds' stretches averaged by share; None where no sound is stretched."""
    parts = [part for part in instrument.parts if part.detail.stretch is not None and part.source_pitch is not None]
    if not parts or settings.detail == 0.0:
        return None
    stretches: list[Stretch | None] = []
    for pitch in pitches:
        coefficient = cents = 0.0
        for part in parts:
            each = part.detail.stretch_at(part.source_pitch or 0.0, pitch)
            if each is not None:
                coefficient += settings.detail * part.share * each.coefficient
                cents += settings.detail * part.share * each.cents
        stretches.append(Stretch(coefficient, cents))
    return stretches


def _soft_ends(audio: Tensor) -> Tensor:
    """Fade notes (B, T) in and out; out for longer where the model's length cut the sound."""
    n_begin = min(round(BEGIN_S * SAMPLE_RATE), audio.shape[-1] // 4)
    begin = torch.sin(torch.linspace(0.0, torch.pi / 2, n_begin, device=audio.device)).square()
    audio = torch.cat([audio[:, :n_begin] * begin, audio[:, n_begin:]], dim=1)
    seconds = CROPPED_FADE_S if audio.shape[-1] == MODEL_SAMPLES else FADE_S
    n_fade = min(round(seconds * SAMPLE_RATE), audio.shape[-1] // 4)
    return fade_out(audio, n_fade)
