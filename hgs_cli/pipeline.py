"""The main path: load_model → invert → render or mix.

sound → log-mel x → f → h → H → Δ, and what G could not say of x       `invert`, once per sound
(h, Δ, q) → G → E_h, E_n, + detail → level wanted at q ─┐              `render` and `mix`, per pitch, batched
the recording, moved to q ─────────────────── shaped to it, what it lacks drawn by the vocoder → waveform
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.hearing import Heard, contradiction, describe_heard, hear
from hgs_cli.audio.io import DEFAULT_SECONDS, Recording, from_array, read_audio
from hgs_cli.audio.loop import Loop, find_loop
from hgs_cli.audio.loudness import CEILING_DB, instrument_gain_db, peak_db
from hgs_cli.audio.onset import begin_at
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.audio.source_pitch import contour
from hgs_cli.errors import InputError, WeightsError
from hgs_cli.inversion import SUFFIX, Inversion, rounded_offsets, rounded_recording
from hgs_cli.models.generator import Envelopes, Theta
from hgs_cli.pitch import NoteKey, midi_to_hz
from hgs_cli.sampler.detail import measure_detail, transfer_detail
from hgs_cli.sampler.finish import Finish, finish_note
from hgs_cli.sampler.instrument import (
    UNPITCHED_REFERENCE,
    End,
    Instrument,
    Settings,
    blend,
    measure_references,
    single,
    synthesize,
)
from hgs_cli.sampler.model import Model, load_model
from hgs_cli.sampler.trust import judge_trust, measure_traits
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, MODEL_SAMPLES, N_BANDS, N_FRAMES, N_STEPS, SAMPLE_RATE

__all__ = [
    "Finish",
    "Instrument",
    "Inversion",
    "Model",
    "Note",
    "NoteKey",
    "Rendered",
    "Settings",
    "blend",
    "invert",
    "load_model",
    "mix",
    "reconstruct",
    "render",
    "single",
    "synthesize",
]

PLAIN = Finish()  # notes as long as the sound
BATCH_NOTES = 16  # notes synthesised at once; more are no faster and cost memory
BATCH_SAMPLES = 2 * BATCH_NOTES * MODEL_SAMPLES  # of long notes there are fewer
DISTANCE_FLOOR_DB = 70.0  # below the loudest bin: what is quieter counts as silence when distances are measured

SourceHint = float | Literal["auto"] | None
"""What is known of a sound's pitch: a MIDI note, nothing (`auto`), or that it has none (None)."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        key: Its pitch and dynamic layer.
        audio: (T,), or (T, 2) in stereo.
        loop: Where it can be held, None for a one-shot.
    """

    key: NoteKey
    audio: Tensor
    loop: Loop | None


@dataclass(frozen=True)
class Rendered:
    """Notes in memory.

    Attributes:
        notes: In the order of the pitches asked for, in [-1, 1].
        sample_rate: In Hz.
        gain_db: The instrument's gain, lowering included, which all notes have in common.
        lowered_db: What all of them were lowered by, because one would have clipped; 0 if none would.
    """

    notes: tuple[Note, ...]
    sample_rate: int
    gain_db: float
    lowered_db: float

    @property
    def audio(self) -> Tensor:
        """All notes together, (N, T) or (N, T, 2), silence behind the shorter ones."""
        return torch.nn.utils.rnn.pad_sequence([note.audio for note in self.notes], batch_first=True)


@dataclass(frozen=True)
class Reconstruction:
    """How the networks hear a sound, at its own pitch.

    Attributes:
        mel: Its log-mel x, (N_MELS, N_FRAMES).
        first: x_init, by G alone.
        refined: x̂, by G with the offsets of H.
        detailed: x̂ with the sound's detail.
        length_frames: Frames in which the sound is.
    """

    mel: Tensor
    first: Tensor
    refined: Tensor
    detailed: Tensor
    length_frames: int

    def distance_db(self, reconstruction: Tensor) -> float:
        """Mean absolute difference between x and a log-mel (N_MELS, N_FRAMES), in dB, while the sound lasts."""
        x, other = self.mel[:, : self.length_frames], reconstruction[:, : self.length_frames]
        floor = x.max() - DISTANCE_FLOOR_DB / DB_PER_UNIT
        return float((x.clamp(min=floor) - other.clamp(min=floor)).abs().mean()) * DB_PER_UNIT


# --- invert ---------------------------------------------------------------------------------------------------------


def invert(
    model: Model,
    audio: Tensor | NDArray[Any],
    sample_rate: int,
    *,
    pitch: SourceHint = "auto",
    passes: int | None = None,
    stereo: bool = False,
    start_s: float | None = None,
    max_seconds: float = DEFAULT_SECONDS,
) -> Inversion:
    """Turn one sound into an instrument.

    Args:
        model: From `load_model`.
        audio: Mono sound, (T,), or with channels, (T, C).
        sample_rate: In Hz.
        pitch: The sound's MIDI note if it is known, `auto` to find it, None if it has none.
        passes: Passes of the hypernetwork; as the weights say if not given, 0 for none.
        stereo: Keep the first two channels; all are mixed else.
        start_s: Where the sound begins, in seconds; None to find its onset and leave out what comes before.
        max_seconds: At most so much is used.

    Raises:
        InputError: The sound is empty, silent, too short or not finite, or has ended at `start_s`.
        UsageError: max_seconds is out of range.
    """
    recording = from_array(audio, sample_rate, stereo, max_seconds=max_seconds)
    return invert_recording(model, begin_at(recording, start_s), pitch, passes)


def open_sound(
    model: Model,
    path: Path,
    pitch: SourceHint = "auto",
    passes: int | None = None,
    report: Report = lambda line: None,
    stereo: bool = False,
    start_s: float | None = None,
    max_seconds: float = DEFAULT_SECONDS,
) -> Inversion:
    """Read a sound or an .hgs file as an instrument.

    Args:
        model: From `load_model`.
        path: A sound file, or an .hgs file, which is inverted again if other weights made it.
        pitch: As for `invert`; an .hgs file keeps its own.
        passes: As for `invert`; an .hgs file keeps its own.
        report: Takes a line where something was cropped, left out or made again.
        stereo: As for `invert`.
        start_s: As for `invert`; an .hgs file keeps its own.
        max_seconds: As for `invert`.

    Raises:
        InputError: The file cannot be used.
    """
    if path.suffix.lower() == SUFFIX:
        inversion = Inversion.load(path)
        if pitch != "auto" or passes is not None:
            report(f"{path} keeps the pitch and the passes that it was inverted with")
        if inversion.weights_sha256 != model.sha256:
            report(f"{path} was made with other weights; it is inverted again from its stored spectrogram")
            return reinvert(model, inversion)
        if not _fits(model, inversion):
            raise InputError(f"{path} is damaged: it does not fit the weights", "make it again with hgs invert")
        return inversion
    recording = read_audio(path, stereo, max_seconds=max_seconds)
    if recording.cropped_s:
        report(f"{path} is longer than {max_seconds:g} s; its last {recording.cropped_s:.2f} s are not used")
    if recording.cancelled:
        report(f"the channels of {path} cancel each other out; the networks hear the loudest alone")
    return invert_recording(
        model, begin_at(recording, start_s), pitch, passes, lambda line: report(f"{path.name} is {line}")
    )


@torch.inference_mode()
def invert_recording(
    model: Model,
    recording: Recording,
    pitch: SourceHint,
    passes: int | None,
    report: Report = lambda line: None,
) -> Inversion:
    """Turn a recording into an instrument; arguments as for `invert`, and `report` as for `open_sound`."""
    channels = recording.audio[None] if recording.channels is None else recording.channels
    channels = rounded_recording(channels)
    mono_weights = torch.full((len(channels),), 1.0 / len(channels))
    if recording.cancelled and len(channels) == 2:
        mono_weights = torch.eye(2)[int(channels.square().sum(1).argmax())]
    whole = (channels * mono_weights[:, None]).sum(0)
    heard_part = whole[:MODEL_SAMPLES]
    loudest = float(model.log_mel(heard_part[None].to(model.device)).max())
    input_gain_db = (1.0 - loudest) * DB_PER_UNIT  # the loudest mel bin comes to 0 dB
    audio = heard_part * 10.0 ** (input_gain_db / 20.0)
    x = model.log_mel(audio[None].to(model.device))

    heard = hear(audio, pitch)
    against = None if pitch == "auto" else contradiction(heard, pitch)
    if against is not None:
        report(against)
    source_pitch = None if pitch is None or (pitch == "auto" and not heard.pitched) else heard.midi
    periodicity = torch.zeros(N_BANDS, N_STEPS)
    if source_pitch is not None:
        periodicity = measure_periodicity(audio, midi_to_hz(source_pitch + heard.cents / 100.0))
    h = model.network.extract(x)
    p = x.new_tensor([UNPITCHED_REFERENCE if source_pitch is None else source_pitch])
    n_passes = model.network.config.hypernetwork.n_passes if passes is None else passes
    offsets = rounded_offsets(model.network.refine(h, p, n_passes))
    theta = model.fold(offsets)
    first = model.network.envelopes(h, p, theta)
    harmonic_share = heard.harmonic_share if source_pitch is not None and heard.kind == "pitched" else None
    inversion = Inversion(
        feature=h[0],
        offsets=offsets,
        passes=n_passes,
        source_pitch=source_pitch,
        cents=_whole_contour(whole, source_pitch, heard.cents),
        mel=x[0],
        first=_row(first),
        detail=measure_detail(x[0].cpu(), periodicity, source_pitch, _row(first)),
        length_samples=whole.shape[-1],
        input_gain_db=input_gain_db,
        reference_lufs=0.0,
        reference_peak_db=0.0,
        weights_sha256=model.sha256,
        recording=channels,
        mono_weights=mono_weights,
        stands_at=_stands_at(heard, pitch),
        harmonic_share=harmonic_share,
        trust=_trust(model, x[0], first, p, whole.shape[-1], harmonic_share),
        cropped=recording.cropped_s > 0.0,
        heard=describe_heard(heard),
        kind=heard.kind,
    )
    return _with_levels(model, inversion, theta)


@torch.inference_mode()
def reinvert(model: Model, inversion: Inversion) -> Inversion:
    """Invert again, with other weights, from what the inversion holds of its sound.

    The detail is what the old generator could not say; what the new one cannot say is that, plus the old
    reconstruction, minus the new one.
    """
    x = inversion.mel[None].to(model.device)
    h = model.network.extract(x)
    p = x.new_tensor([UNPITCHED_REFERENCE if inversion.source_pitch is None else inversion.source_pitch])
    offsets = rounded_offsets(model.network.refine(h, p, inversion.passes))
    theta = model.fold(offsets)
    first = model.network.envelopes(h, p, theta)
    old, new, detail = inversion.first, _row(first), inversion.detail
    moved = replace(
        detail,
        harmonic=detail.harmonic + old.harmonic - new.harmonic,
        noise_part=detail.noise_part + old.noise_part - new.noise_part,
    )
    again = replace(
        inversion,
        feature=h[0],
        offsets=offsets,
        first=_row(first),
        detail=moved,
        trust=_trust(model, x[0], first, p, inversion.length_samples, inversion.harmonic_share),
        weights_sha256=model.sha256,
    )
    return _with_levels(model, again, theta)


@torch.inference_mode()
def reconstruct(model: Model, inversion: Inversion) -> Reconstruction:
    """What the networks make of the sound itself: without H, with H, and with the sound's detail."""
    h = inversion.feature[None].to(model.device)
    source = inversion.source_pitch
    p = h.new_tensor([UNPITCHED_REFERENCE if source is None else source])
    network = model.network
    refined = network.envelopes(h, p, model.fold(inversion.offsets))
    detailed = transfer_detail(network.detail_transfer, inversion.detail, inversion.first, refined, source, p, 1.0)
    x_init, x_hat, x_detailed = (
        network.compose(envelopes, p)[0].cpu()
        for envelopes in (network.envelopes(h, p, model.theta), refined, detailed)
    )
    length_frames = min(N_FRAMES, inversion.length_samples // HOP_LENGTH + 1)
    return Reconstruction(inversion.mel, x_init, x_hat, x_detailed, length_frames)


def _trust(
    model: Model, x: Tensor, first: Envelopes, p: Tensor, length_samples: int, harmonic_share: float | None
) -> float:
    """How far the networks are believed for a sound with the log-mel x (n_mels, n_frames): not at all for no note."""
    if harmonic_share is None:
        return 0.0
    n_frames = min(N_FRAMES, length_samples // HOP_LENGTH + 1)
    x_hat = model.network.compose(first, p)[0]
    return judge_trust(measure_traits(x[:, :n_frames].cpu(), x_hat[:, :n_frames].cpu(), harmonic_share))


def _stands_at(heard: Heard, hint: SourceHint) -> float:
    """The note that a recording is: to the cent where it is one note, else as it is told to be."""
    if isinstance(hint, float | int) and heard.kind != "pitched":
        return float(hint)
    return UNPITCHED_REFERENCE if heard.midi is None else heard.midi


def _whole_contour(audio: Tensor, source_pitch: float | None, cents: Tensor) -> Tensor:
    """How the pitch of a sound (T,) moves, in cents, every HOP_LENGTH samples, also behind the networks' window."""
    pieces = [cents]
    if source_pitch is not None:
        step = N_FRAMES * HOP_LENGTH
        for start in range(step, audio.shape[-1], step):
            mean, more = contour(audio[start : start + step], midi_to_hz(source_pitch))
            pieces.append((more + mean).clamp(-100.0, 100.0))
    return torch.cat(pieces)


def _with_levels(model: Model, inversion: Inversion, theta: Theta) -> Inversion:
    """Round the inversion to what its file holds, and measure the reference notes of exactly that."""
    inversion = inversion.rounded()
    wrong = inversion.impossible()
    if wrong is not None:  # a sound was checked when it was read; a bundle's numbers may each be finite and no weights
        raise WeightsError(f"the weights {model.path} make a {wrong} of no sound", "use the released weights")
    lufs, peak = measure_references(model, single(model, inversion, theta), inversion.source_pitch)
    return replace(inversion, reference_lufs=lufs, reference_peak_db=peak)


# --- render and mix -------------------------------------------------------------------------------------------------


def render(
    model: Model,
    inversion: Inversion,
    pitches: Sequence[float],
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play an instrument.

    Args:
        model: From `load_model`.
        inversion: From `invert` or `Inversion.load`.
        pitches: MIDI note numbers, 0 … 127, fractions allowed; at least one.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.
    """
    return play(model, single(model, inversion), pitches, settings or Settings(), finish)


def mix(
    model: Model,
    inversions: Sequence[Inversion],
    shares: Sequence[float],
    pitches: Sequence[float],
    settings: Settings | None = None,
    finish: Finish = PLAIN,
) -> Rendered:
    """Play the instrument between several.

    Args:
        model: From `load_model`.
        inversions: At least one.
        shares: Of each, not negative; only their ratio counts.
        pitches: As for `render`.
        settings: How notes sound.
        finish: How long they are and how they end.

    Returns:
        One note per pitch.

    Raises:
        UsageError: The shares do not fit the inversions.
    """
    return play(model, blend(model, inversions, shares), pitches, settings or Settings(), finish)


def play(
    model: Model, instrument: Instrument, pitches: Sequence[float], settings: Settings, finish: Finish = PLAIN
) -> Rendered:
    """Notes of an instrument in memory, at its gain; lowered together if one would clip."""
    gain_db = note_gain_db(instrument, settings)
    notes = list(make_notes(model, instrument, [NoteKey(pitch) for pitch in pitches], settings, finish))
    loudest_db = max(peak_db(note.audio) for note in notes) + gain_db
    lowered_db = lowering_db(loudest_db)
    gained = [replace(note, audio=note.audio * 10.0 ** ((gain_db + lowered_db) / 20.0)) for note in notes]
    return Rendered(tuple(gained), finish.sample_rate, gain_db + lowered_db, lowered_db)


def make_notes(
    model: Model, instrument: Instrument, keys: Sequence[NoteKey], settings: Settings, finish: Finish
) -> Iterator[Note]:
    """Synthesise notes in batches, before any gain: memory does not grow with their number."""
    length_s = instrument.length_samples / SAMPLE_RATE
    may_be_held = finish.loop or (finish.duration_s is not None and (finish.trim or finish.duration_s > length_s))
    sustained = may_be_held and _is_sustained(model, instrument, keys, settings)
    per_note = instrument.length_samples * (2 if settings.stereo else 1)
    n_batch = max(1, min(BATCH_NOTES, BATCH_SAMPLES // per_note))
    for start in range(0, len(keys), n_batch):
        chosen = keys[start : start + n_batch]
        audio = synthesize(model, instrument, [key.pitch for key in chosen], settings).cpu()
        for key, one in zip(chosen, audio, strict=True):
            sounding_hz = midi_to_hz(key.pitch + settings.tune_cents / 100.0)
            finished, loop = finish_note(
                one if one.ndim == 2 else one[None], sounding_hz, finish, sustained, settings.seed
            )
            yield Note(key, finished.T if one.ndim == 2 else finished[0], loop)


def _is_sustained(model: Model, instrument: Instrument, keys: Sequence[NoteKey], settings: Settings) -> bool:
    """Whether the note nearest to the sound's own can be held: then all of them are asked, else none."""
    own = UNPITCHED_REFERENCE if instrument.refined_at is None else instrument.refined_at
    nearest = min((key.pitch for key in keys), key=lambda pitch: abs(pitch - own))
    plain = replace(settings, softness=0.0, stereo=False)  # all layers and channels are answered alike
    audio = synthesize(model, instrument, [nearest], plain)[0].cpu()
    return find_loop(audio, midi_to_hz(nearest + settings.tune_cents / 100.0), SAMPLE_RATE) is not None


def note_gain_db(instrument: Instrument, settings: Settings) -> float:
    """The instrument's one gain; that of a mix brings it to a loudness on the line between those of its sounds."""

    def gain_db(level: Instrument | End) -> float:
        reference = level.reference_lufs, level.reference_peak_db
        return instrument_gain_db(settings.normalize, settings.lufs, *reference, level.input_gain_db)

    own_db = gain_db(instrument)
    if not instrument.ends or settings.normalize == "peak":
        return own_db
    wanted_lufs = sum(end.share * (end.lufs + gain_db(end)) for end in instrument.ends)
    between_db = wanted_lufs - instrument.reference_lufs
    if settings.normalize == "none":
        return between_db
    return min(between_db, CEILING_DB - instrument.reference_peak_db)  # level goes before headroom


def lowering_db(loudest_db: float) -> float:
    """What notes must be lowered by so that the loudest does not clip, in dB; 0 or negative."""
    # The margin is for rounding: what was brought to the ceiling once is not lowered again.
    return CEILING_DB - loudest_db if loudest_db > CEILING_DB + 1e-4 else 0.0


def _row(envelopes: Envelopes) -> Envelopes:
    """Envelopes of a batch of one, without the batch axis, on the CPU, where detail is measured."""
    return Envelopes(envelopes.harmonic[0].cpu(), envelopes.noise_part[0].cpu())


def _fits(model: Model, inversion: Inversion) -> bool:
    """Whether feature and offsets have the shapes that the networks read."""
    if inversion.feature.shape != (model.network.config.feature_extractor.h_dim,):
        return False
    shapes = model.network.generator.offset_shapes()
    sizes = model.network.config.hypernetwork
    for name, factors in inversion.offsets.items():
        if name not in shapes:
            return False
        rank = inversion.passes * (sizes.head_rank if name == "head" else sizes.rank)  # every pass adds its own
        if factors.shape != (1, sum(shapes[name]), *([rank] if shapes[name][1] else [])):
            return False
    return set(inversion.offsets) == (set(shapes) if inversion.passes else set())
