"""What `invert` measures of a sound: its pitch and colour, what the networks say of it, and what they cannot say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hgs_cli.audio.clarity import clarity_db
from hgs_cli.audio.hearing import Heard, contradiction, describe_heard, hear, hear_cycle
from hgs_cli.audio.io import Recording
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.audio.source_pitch import contour
from hgs_cli.console import Report
from hgs_cli.errors import WeightsError
from hgs_cli.inversion import Inversion, rounded_recording
from hgs_cli.models.generator import Envelopes, FoldedWeights
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.detail import SourceDetail, measure_detail, transfer_detail
from hgs_cli.sampler.making import UNPITCHED_REFERENCE, make_instrument, measure_references
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.settings import SourceHint
from hgs_cli.sampler.trust import Traits, judge_trust, measure_traits
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, MODEL_SAMPLES, N_BANDS, N_FRAMES, N_STEPS

DISTANCE_FLOOR_DB = 70.0  # below the loudest bin: what is quieter counts as silence when distances are measured


@dataclass(frozen=True)
class Reconstruction:
    """How the networks hear a sound, at its own pitch.

    Attributes:
        mel: Its log-mel x, (N_MELS, N_FRAMES).
        x_init: By G alone.
        x_hat: By G with the offsets of H.
        detailed: x̂ with the sound's detail.
        length_frames: Frames in which the sound is.
    """

    mel: Tensor
    x_init: Tensor
    x_hat: Tensor
    detailed: Tensor
    length_frames: int

    def distance_db(self, reconstruction: Tensor) -> float:
        """Mean absolute difference between x and a log-mel (N_MELS, N_FRAMES), in dB, while the sound lasts."""
        x, other = self.mel[:, : self.length_frames], reconstruction[:, : self.length_frames]
        floor = x.max() - DISTANCE_FLOOR_DB / DB_PER_UNIT
        return float((x.clamp(min=floor) - other.clamp(min=floor)).abs().mean()) * DB_PER_UNIT


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

    cycle_midi = recording.cycle_midi if pitch == "auto" else None
    heard = hear(audio, pitch) if cycle_midi is None else hear_cycle(audio, cycle_midi)
    against = None if pitch == "auto" else contradiction(heard, pitch)
    if against is not None:
        report(against)
    source_pitch = None if pitch is None or (pitch == "auto" and not heard.pitched) else heard.midi
    periodicity = torch.zeros(N_BANDS, N_STEPS)
    if source_pitch is not None:
        periodicity = measure_periodicity(audio, midi_to_hz(source_pitch + heard.pitch_contour_cents / 100.0))
    p = x.new_tensor([UNPITCHED_REFERENCE if source_pitch is None else source_pitch])
    n_passes = model.network.config.hypernetwork.n_passes if passes is None else passes
    played = model.network(x, p, p, n_passes, model.plain_weights)
    drawn = _row(played.envelopes)
    harmonic_share = heard.harmonic_share if source_pitch is not None and heard.kind == "pitched" else None
    inversion = Inversion(
        feature=played.h[0],
        offsets=played.offsets,
        passes=n_passes,
        source_pitch=source_pitch,
        pitch_contour_cents=_whole_contour(whole, source_pitch, heard.pitch_contour_cents),
        mel=x[0],
        source_envelopes=drawn,
        detail=measure_detail(x[0].cpu(), periodicity, source_pitch, drawn),
        length_samples=whole.shape[-1],
        input_gain_db=input_gain_db,
        reference_lufs=0.0,
        reference_peak_db=0.0,
        weights_sha256=model.sha256,
        recording=channels,
        mono_weights=mono_weights,
        stands_at=_stands_at(heard, pitch),
        harmonic_share=harmonic_share,
        cropped=recording.cropped_s > 0.0,
        heard=describe_heard(heard),
        kind=heard.kind,
    )
    return _with_levels(model, _judged(inversion, played.x_hat[0]), played.weights)


@torch.inference_mode()
def reinvert(model: Model, inversion: Inversion) -> Inversion:
    """Invert again, with other weights, from what the inversion holds of its sound.

    The detail is what the old generator could not say; what the new one cannot say is that, plus the old
    reconstruction, minus the new one.
    """
    x = inversion.mel[None].to(model.device)
    p = x.new_tensor([UNPITCHED_REFERENCE if inversion.source_pitch is None else inversion.source_pitch])
    played = model.network(x, p, p, inversion.passes, model.plain_weights)
    old, new, detail = inversion.source_envelopes, _row(played.envelopes), inversion.detail
    moved = replace(
        detail,
        harmonic=detail.harmonic + old.harmonic - new.harmonic,
        noise_part=detail.noise_part + old.noise_part - new.noise_part,
    )
    again = replace(
        inversion,
        feature=played.h[0],
        offsets=played.offsets,
        source_envelopes=new,
        detail=moved,
        weights_sha256=model.sha256,
    )
    return _with_levels(model, _judged(again, played.x_hat[0]), played.weights)


@torch.inference_mode()
def reconstruct(model: Model, inversion: Inversion) -> Reconstruction:
    """What the networks make of the sound itself: without H, with H, and with the sound's detail."""
    h = inversion.feature[None].to(model.device)
    source = inversion.source_pitch
    p = h.new_tensor([UNPITCHED_REFERENCE if source is None else source])
    network = model.network
    refined = network.envelopes(h, p, model.fold(inversion.offsets))
    own = SourceDetail(source, inversion.detail, inversion.source_envelopes)
    detailed = transfer_detail(network.detail_transfer, own, refined, p)
    x_init, x_hat, x_detailed = (
        network.compose(envelopes, p)[0].cpu()
        for envelopes in (network.envelopes(h, p, model.plain_weights), refined, detailed)
    )
    length_frames = min(N_FRAMES, inversion.length_samples // HOP_LENGTH + 1)
    return Reconstruction(inversion.mel, x_init, x_hat, x_detailed, length_frames)


def traits_of(inversion: Inversion, x_hat: Tensor) -> Traits | None:
    """The traits that an inversion is judged by, whose networks draw x̂ (n_mels, n_frames); None for what is no note."""
    recording, weights, source_pitch = inversion.recording, inversion.mono_weights, inversion.source_pitch
    if inversion.harmonic_share is None or source_pitch is None or recording is None or weights is None:
        return None
    n_frames = min(N_FRAMES, inversion.length_samples // HOP_LENGTH + 1)
    mono = (recording[:, :MODEL_SAMPLES] * weights[:, None]).sum(0)
    x, drawn = (each[:, :n_frames].cpu() for each in (inversion.mel, x_hat))
    return measure_traits(x, drawn, inversion.harmonic_share, clarity_db(mono, midi_to_hz(source_pitch)))


def _judged(inversion: Inversion, x_hat: Tensor) -> Inversion:
    """With how far the networks are believed, who draw x̂ of it."""
    traits = traits_of(inversion, x_hat)
    return replace(inversion, trust=0.0 if traits is None else judge_trust(traits))


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


def _with_levels(model: Model, inversion: Inversion, theta: FoldedWeights) -> Inversion:
    """Round the inversion to what its file holds, and measure the reference notes of exactly that."""
    inversion = inversion.rounded()
    wrong = inversion.impossible()
    if wrong is not None:  # a sound was checked when it was read; a bundle's numbers may each be finite and no weights
        raise WeightsError(f"the weights {model.path} make a {wrong} of no sound", "use the released weights")
    lufs, peak = measure_references(model, make_instrument(model, inversion, theta), inversion.source_pitch)
    return replace(inversion, reference_lufs=lufs, reference_peak_db=peak)


def _row(envelopes: Envelopes) -> Envelopes:
    """Envelopes of a batch of one, without the batch axis, on the CPU, where detail is measured."""
    return Envelopes(envelopes.harmonic[0].cpu(), envelopes.noise_part[0].cpu())


def fits(model: Model, inversion: Inversion) -> bool:
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
