"""How a sound's harmonics move from frame to frame, and how notes at other pitches are given the same movement.

Beating strings, tremolo, the shimmer that vibrato makes of a body's resonances: a network says the mean course of a
level, and detail that is carried to another pitch brings what fluctuated between the harmonics of the source, where
nothing was heard, onto the harmonics of the note. There the movement of the source's own harmonics takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.models.generator import Envelopes
from hgs_cli.models.stretch import Stretch
from hgs_cli.models.vocoder import mel_points_hz, mel_triangles, noise_template
from hgs_cli.spectrum import MelConfig, comb_power, level_to_power, midi_to_hz, partial_number, partial_ratio

SLOW_FRAMES = 12.0  # 0.14 s, the Gaussian below which a level moves: beating and vibrato of more than about 2 Hz
MOST = 0.12  # 6 dB: an onset, an end or a hole is no movement
EDGE_DB = 4.0  # where loudness is further from its mean around it than a tremolo, and surely at twice this, a note
# begins or ends and stays as it is
KNOWN_SHARE = 0.3  # of a band's power: much below it the movement is that of noise
REACH = 1.0  # semitones over which the note's own movement gives way to that of the source


@dataclass(frozen=True)
class Motion:
    """The movement of a sound's harmonics around their slow course, in level units.

    Attributes:
        level: (n_mels, n_frames), at most ±MOST.
        share: How much of a band's power was harmonic, and so how far `level` can be believed, (n_mels, n_frames).
        steady: 1 where the sound is steady, 0 at its edges, (n_frames,).
        source_pitch: Of the sound, a MIDI note number.
        stretch: Of the sound's partials.
    """

    level: Tensor
    share: Tensor
    steady: Tensor
    source_pitch: float
    stretch: Stretch | None = None


@lru_cache(maxsize=2)
def _slow(n_frames: int) -> Tensor:
    """Matrix that smooths over time, (n_frames, n_frames); at either end over the frames that there are."""
    frame = torch.arange(n_frames, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((frame[:, None] - frame[None]) / SLOW_FRAMES) ** 2)
    return weights / weights.sum(0)


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    return mel_triangles(MelConfig())


def movement(level: Tensor) -> Tensor:
    """How levels (…, n_frames) differ from their slow course, at most ±MOST."""
    return (level - level @ _slow(level.shape[-1]).to(level.device)).clamp(-MOST, MOST)


def measure_motion(x: Tensor, envelopes: Envelopes, p: float, stretch: Stretch | None = None) -> Motion:
    """Measure the movement of a sound's harmonics.

    Args:
        x: Log-mel of the sound, (n_mels, n_frames).
        envelopes: Which give x on their templates, each (n_mels, n_frames).
        p: Pitch of the sound.
        stretch: Of its partials.
    """
    comb = comb_power(midi_to_hz(torch.tensor([p])), stretch=0.0 if stretch is None else stretch.coefficient)
    comb = comb @ _filters()
    harmonic = level_to_power(envelopes.harmonic) * comb[0][:, None]
    noise = level_to_power(envelopes.noise_part) * noise_template(_filters())[:, None]
    loudness_db = 10.0 * torch.log10(level_to_power(x).sum(0))
    edge = (loudness_db - loudness_db @ _slow(x.shape[-1])).abs()
    return Motion(
        level=movement(envelopes.harmonic),
        share=harmonic / (harmonic + noise + 1e-20),
        steady=(2.0 - edge / EDGE_DB).clamp(0.0, 1.0),
        source_pitch=p,
        stretch=stretch,
    )


def carried_motion(motion: Motion, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """The movement of a sound's harmonics on the harmonics of notes.

    Args:
        motion: Of the sound.
        pitch: MIDI note numbers, (B,).

    Returns:
        The movement, and how much of a note's own gives way to it, each (B, n_mels, n_frames): none at the source
        pitch and where the sound begins or ends, all of it further than REACH away.
    """
    pitch = pitch.float().cpu()
    centres = mel_points_hz(MelConfig())[1:-1].float()
    ratio = centres / midi_to_hz(pitch)[:, None]  # (B, n_mels)
    here = 0.0
    if motion.stretch is not None:
        here, there = motion.stretch.coefficient, [motion.stretch.at(motion.source_pitch, q) for q in pitch.tolist()]
        ratio = torch.stack([partial_number(row, each.coefficient) for row, each in zip(ratio, there, strict=True)])
    nearest = torch.round(ratio).clamp(min=1.0)
    origin_hz = partial_ratio(nearest, here) * midi_to_hz(torch.tensor(motion.source_pitch))
    high = torch.searchsorted(centres, origin_hz).clamp(1, len(centres) - 1)
    fraction = ((origin_hz - centres[high - 1]) / (centres[high] - centres[high - 1])).clamp(0.0, 1.0)[..., None]
    low_share, high_share = motion.share[high - 1] * (1.0 - fraction), motion.share[high] * fraction
    share = low_share + high_share
    level = (low_share * motion.level[high - 1] + high_share * motion.level[high]) / (share + KNOWN_SHARE)
    level = (1.0 + KNOWN_SHARE) * level * (origin_hz <= centres[-1])[..., None]
    weight = motion.steady * (1.0 - torch.exp(-(pitch - motion.source_pitch).abs() / REACH))[:, None]
    return level, weight[:, None].expand_as(level)
