"""The level wanted at a pitch, and what of it the carrier and the drawn voices give.

What the networks and the carried detail want is one opinion of how loud every band should be, the moved recording's own
level is another: the carrier is drawn towards the first as far as the sound can be trusted to be one harmonic note, and
tone and noise fill what it has not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.audio.mel import LogMel
from hgs_cli.models.generator import Envelopes
from hgs_cli.sampler.carrier import OVERLAP, bell
from hgs_cli.sampler.moving import overlap_add
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    HOP_LENGTH,
    N_FRAMES,
    SAMPLE_RATE,
    BandBlock,
    MelConfig,
    band_blocks,
    bands_to_bins,
    level_to_power,
    lines_between_bands,
    mel_filters,
)


@dataclass(frozen=True)
class LevelRules:
    """How far a carrier is drawn towards the wanted level.

    Measured on the 13 validation instruments, at most three notes a band, 1-5 / 6-12 / 13-24 semitones: drawn voices
    alone, as before, 4.88 / 5.00 / 5.81 dB, the carrier alone 5.27 / 6.07 / 7.81, both as here 4.79 / 5.00 / 5.78.
    """

    # of the wanted level against the carrier's own where the networks are trusted. 0.6 gives 4.80 / 5.03 / 5.84, 0.7
    # 4.79 / 5.01 / 5.80
    weight: float = 0.8
    # up by more than the first it grows, to all of it from the second on: the recording has least in common with such
    # notes. All everywhere is 0.05 dB nearer above an octave on 67 training instruments that the networks of 0.2.0 had
    # not heard, and up to 0.04 further away below; on validation instruments 5.51 -> 5.37 above it, else 0.01
    far_up: tuple[float, float] = (6.0, 18.0)
    # below its loudest frame a carrier has arrived, held_frames later its gain is its own: before, the attack is the
    # recording's. Rise times are 10 ms from the real notes' instead of 16, distances the same
    arrived_db: float = 6.0
    held_frames: int = 4
    # by which an attack gives way to tone at the most. With 6 dB 28 of 30 drums are in tune, with 0 21
    attack_db: float = 6.0
    most_db: float = 8.0  # by which the carrier is raised; what is lacking still is drawn. 4 to 20 dB differ by 0.02 dB
    # of level that drawn voices add on average, below which they are left out: for a quarter of the notes above, which
    # are 0.003 dB worse without them
    unheard_db: float = 0.6
    spare_db: float = 4.0  # below the wanted level that nothing is drawn for
    held_s: float = 0.4  # from the end of the networks' window back, over which a gain is averaged that then holds
    fade_s: float = 4.0  # after that, over which it fades to none
    lowest: float = -2.0  # gain in level units, 100 dB: nothing is lowered by more
    attack_frames: int = 2  # over which the gain of an attack becomes that of what follows
    audible: float = 1.2  # level units below the loudest point, 60 dB
    latest_arrival: int = 40  # in frames, 0.5 s: what swells for longer is no attack
    filled_frames: int = 3  # on either side: drawn voices that come and go with every frame flutter


RULES = LevelRules()


@lru_cache(maxsize=4)
def _lines(n_fft: int) -> tuple[Tensor, tuple[BandBlock, ...]]:
    """Straight lines from mel bands to the bins of a window, (n_mels, n_freqs), and where they are not zero."""
    with torch.inference_mode(False):
        lines = lines_between_bands(mel_filters(MelConfig(n_fft=n_fft)))
    return lines, band_blocks(lines.T)


@lru_cache(maxsize=1)
def _front_end() -> LogMel:
    with torch.inference_mode(False):
        return LogMel()


def carrier_level(spectra: Tensor, mono: Tensor, n_fft: int) -> Tensor:
    """Log-mel of moved frames (C, n, n_freqs) in mono, (n_mels, N_FRAMES).

    Of the sound that they make, as the front end hears it: bands of the frames themselves, whose windows are longer,
    are blurred in time, and a gain made of them brings notes 0.05 dB less near to the real ones.
    """
    if len(mono) == 1:  # there are fewer samples than bins
        audio = overlap_add(spectra, n_fft) * mono
    else:
        audio = overlap_add((spectra * mono[:, None, None]).sum(0, keepdim=True), n_fft)
    x: Tensor = _front_end()(audio[:, n_fft:])[0]
    return x


def frame_gains(gain: Tensor, n_fft: int) -> Callable[[int, int], Tensor]:
    """Factors on a carrier's bins, from gains in level units on the front end's grid (n_mels, n_frames).

    Behind the last of them it holds, and behind the networks' window it fades, so that the recording goes on without a
    step.
    """
    n_held = round(RULES.held_s * SAMPLE_RATE / HOP_LENGTH)
    last = gain[:, -n_held:].mean(1, keepdim=True)
    lines, blocks = _lines(n_fft)

    def factors(start: int, end: int) -> Tensor:
        place = (torch.arange(start, end) * (n_fft // OVERLAP) - n_fft // 2) / HOP_LENGTH  # in frames of the grid
        inside = place.clamp(0.0, gain.shape[1] - 1.0)
        low = inside.long().clamp(max=gain.shape[1] - 2)
        at = torch.lerp(gain[:, low], gain[:, low + 1], inside - low)
        beyond = ((place - (N_FRAMES - 1 - n_held)) / n_held).clamp(0.0, 1.0)  # from the last gains to their mean
        faded = 0.5 + 0.5 * torch.cos(
            math.pi * ((place - N_FRAMES) * HOP_LENGTH / SAMPLE_RATE / RULES.fade_s).clamp(0, 1)
        )
        at = torch.lerp(at, last.expand(-1, len(place)), beyond) * faded if float(place[-1]) > N_FRAMES - n_held else at
        of_bands = torch.exp(at.T * (DB_PER_UNIT / 20.0 * math.log(10.0)))
        return bands_to_bins(of_bands, lines, blocks)

    return factors


@dataclass(frozen=True)
class Voices:
    """What each voice gives to notes, in level units, each (B, n_mels, n_frames), as many frames as the sound has."""

    gain: Tensor | None  # on the carrier; None where there is none
    drawn: Envelopes  # envelopes of tone and noise
    level: Tensor  # log-mel of all of it
    wanted: Tensor  # log-mel of what the networks and the detail say
    # whether notes are not the same without what is drawn, (B,), bool; None where all are drawn
    heard: Tensor | None = None


def between(voices: Voices, other: Tensor, share: Tensor) -> Voices:
    """Voices of notes drawn towards another log-mel (B, n_mels, n_frames) by a share (B,), all of them alike."""
    share = share[:, None, None]
    gain = towards(voices.level, torch.lerp(voices.level, other, share), 1.0)
    return replace(
        voices,
        gain=None if voices.gain is None else voices.gain + gain,
        drawn=Envelopes(voices.drawn.harmonic + gain, voices.drawn.noise_part + gain),
        level=voices.level + gain,
    )


def is_heard(before: Tensor, after: Tensor) -> Tensor:
    """Whether log-mels (B, n_mels, n_frames) differ where they can be heard, by unheard_db on average, (B,), bool."""
    audible = after > after.amax((1, 2), keepdim=True) - RULES.audible
    raised = ((after - before) * audible).sum((1, 2)) / audible.sum((1, 2)).clamp(min=1)
    return raised * DB_PER_UNIT > RULES.unheard_db


def _arrival(own: Tensor) -> Tensor:
    """Frame at which carriers with log-mels (B, n_mels, n_frames) have arrived, (B, 1, 1): attack comes before."""
    loudness = level_to_power(own).sum(1)
    arrived = (loudness > loudness.amax(1, keepdim=True) * 10.0 ** (-RULES.arrived_db / 10.0)).float().argmax(1)
    clamped: Tensor = arrived.clamp(max=RULES.latest_arrival)[:, None, None]
    return clamped


def spare_attack(own: Tensor, gain: Tensor) -> Tensor:
    """Gains (B, n_mels, n_frames) that lower the attack of carriers with log-mels `own` by attack_db at the most."""
    frame = torch.arange(own.shape[2], device=own.device)
    behind = ((frame - _arrival(own)) / RULES.attack_frames).clamp(0.0, 1.0)
    return torch.lerp(gain.clamp(min=-RULES.attack_db / DB_PER_UNIT), gain, behind)


def weight_at(interval: Tensor) -> Tensor:
    """Of the wanted level, against the own one of carriers that are moved by semitones upwards, (B,)."""
    low, high = RULES.far_up
    return RULES.weight + (1.0 - RULES.weight) * ((interval - low) / (high - low)).clamp(0.0, 1.0)


def towards(own: Tensor, wanted: Tensor, weight: Tensor | float) -> Tensor:
    """Gain in level units that draws carriers' own log-mels (B, n_mels, n_frames) towards the wanted ones."""
    lacking = wanted - own
    held = _arrival(own) + RULES.held_frames
    later = _smooth(lacking[..., : RULES.latest_arrival + 2 * RULES.held_frames], 2)
    later = later.gather(2, held.expand(-1, own.shape[1], 1))
    lacking = torch.where(torch.arange(own.shape[2], device=own.device) < held, later, lacking)
    return (weight * lacking).clamp(RULES.lowest, RULES.most_db / DB_PER_UNIT)


def _smooth(level: Tensor, reach: int) -> Tensor:
    """Levels (B, n_mels, n_frames) averaged over 2 · reach + 1 frames."""
    padded = torch.nn.functional.pad(level, (reach, reach), mode="replicate")
    n_frames = level.shape[-1]
    smooth = torch.zeros_like(level)  # sums of whole tensors: a convolution of one channel is many times slower
    for step, weight in enumerate(bell(reach).tolist()):
        smooth.add_(padded[..., step : step + n_frames], alpha=weight)
    return smooth


def lacking_share(level: Tensor, wanted: Tensor, spare_db: float) -> Tensor:
    """Share of the wanted power that a level leaves to be drawn, 0 … 1, steadier than either."""
    lacking = _smooth(wanted - level, RULES.filled_frames) - spare_db / DB_PER_UNIT
    return (1.0 - level_to_power(1.0 - lacking)).clamp(0.0, 1.0)


def scaled(envelope: Tensor, share: Tensor | float) -> Tensor:
    """An envelope of so much of its power."""
    share = torch.as_tensor(share, device=envelope.device)
    return envelope + 10.0 / DB_PER_UNIT * torch.log10(share.clamp(min=1e-12))


def added_power(more: Tensor, less: Tensor) -> Tensor:
    """Level of the power that one envelope has above another."""
    power = (level_to_power(more) - level_to_power(less)).clamp(min=1e-13)
    return 1.0 + 10.0 / DB_PER_UNIT * torch.log10(power)
