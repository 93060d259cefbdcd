"""Notes: the carrier, moved and shaped, and what is drawn beside it, as one waveform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.audio.loop import fade_out
from hgs_cli.errors import WeightsError
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.level import Voices
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.moving import sharpened
from hgs_cli.sampler.settings import Settings
from hgs_cli.sampler.voices import CarrierHeads, carrier_heads, note_voices
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, SAMPLE_RATE


@dataclass(frozen=True)
class EndRules:
    """How notes begin and end.

    Attributes:
        begin_s: At its beginning: what a window hears of an onset before it would start with a step.
        fade_s: At a note's end, so that a sound cut in its decay does not click.
        cropped_fade_s: Where what was read ends before the sound does.
        drawn_fade_s: Of the drawn voices, where the networks' window ends before the sound.
    """

    begin_s: float = 0.002
    fade_s: float = 0.005
    cropped_fade_s: float = 0.25
    drawn_fade_s: float = 0.5


ENDS = EndRules()


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
    audio = drawn_voices(model, instrument, q, settings, voices)[:, None]
    lead = heads[instrument.lead]
    if lead is not None and voices.gain is not None:
        audio = _beside_carrier(instrument, lead, voices.gain.cpu(), settings, audio)
    audio = _soft_ends(audio, instrument.cropped)
    if not settings.stereo:
        return audio[:, 0]
    return audio.expand(-1, 2, -1).contiguous() if audio.shape[1] == 1 else audio


def drawn_voices(model: Model, instrument: Instrument, q: Tensor, settings: Settings, voices: Voices) -> Tensor:
    """Tone and noise, as far as the networks hear, (B, T)."""
    n_samples = min(instrument.length_samples, MODEL_SAMPLES)
    heard = torch.ones_like(q, dtype=torch.bool) if voices.heard is None else voices.heard
    audio = torch.zeros(len(q), n_samples, device=q.device)
    if bool(heard.any()):
        contour = q[heard, None].expand(-1, N_FRAMES)
        if settings.keep_vibrato:
            contour = contour + instrument.pitch_contour_cents / 100.0
        audio[heard] = model.vocoder(
            voices.drawn.harmonic[heard],
            voices.drawn.noise_part[heard],
            contour,
            seed=settings.seed,
            length_samples=n_samples,
        )
    if instrument.length_samples > n_samples:  # the carrier goes on
        audio = fade_out(audio, round(ENDS.drawn_fade_s * SAMPLE_RATE))
    return audio


def _beside_carrier(
    instrument: Instrument, lead: CarrierHeads, gains: Tensor, settings: Settings, drawn: Tensor
) -> Tensor:
    """The carriers of notes with their gains (B, n_mels, n_frames), and what is drawn beside them, (B, C, T)."""
    carrier = lead.carrier
    carried = side_by_side(
        lambda index: lead.sound(index, gains[index], instrument.length_samples, settings.seed), range(len(gains))
    )
    audio = torch.stack(carried).to(drawn.device)
    if audio.shape[1] == 2 and not settings.stereo:
        audio = (audio * carrier.mono[:, None].to(drawn.device)).sum(1, keepdim=True)
    drawn = torch.stack([sharpened(carrier, note.cpu()) for note in drawn]).to(drawn.device)
    balance = lead.balance if audio.shape[1] == 2 else torch.ones(1)
    audio[:, :, : drawn.shape[2]] += drawn * balance[:, None].to(drawn.device)
    return audio


def _soft_ends(audio: Tensor, cropped: bool) -> Tensor:
    """Fade notes (B, C, T) in and out; out for longer where the sound went on."""
    n_begin = min(round(ENDS.begin_s * SAMPLE_RATE), audio.shape[-1] // 4)
    begin = torch.sin(torch.linspace(0.0, torch.pi / 2, n_begin, device=audio.device)).square()
    audio = torch.cat([audio[..., :n_begin] * begin, audio[..., n_begin:]], dim=-1)
    seconds = ENDS.cropped_fade_s if cropped else ENDS.fade_s
    return fade_out(audio, min(round(seconds * SAMPLE_RATE), audio.shape[-1] // 4))
