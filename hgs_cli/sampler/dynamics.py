"""How soft notes differ in colour from loud ones, and the notes of softer layers made of loud ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.models.generator import Envelopes
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import DB_PER_UNIT, mel_centres_hz


@dataclass(frozen=True)
class SoftnessLaw:
    """Colour of soft notes beside loud ones."""

    # as `hgs train eval --data` fits them: recorded and rendered training instruments, loud and soft notes of one key.
    # an octave above the fundamental
    harmonic_tilt_db: float = -2.8
    noise_tilt_db: float = -2.4  # of the noise, likewise
    noise_offset_db: float = -2.2  # breath, bow and hammer give way before the tone does
    reach_octaves: float = 5.0  # above the fundamental; further up the fit to the training instruments gains 0.05 dB


SOFTNESS = SoftnessLaw()


def softness_db(octaves: Tensor, softness: float) -> tuple[Tensor, Tensor]:
    """Change of the harmonic and the noise part in dB, at octaves above the fundamental, but for the level of all."""
    reached = softness * octaves.clamp(0.0, SOFTNESS.reach_octaves)
    return SOFTNESS.harmonic_tilt_db * reached, SOFTNESS.noise_tilt_db * reached + SOFTNESS.noise_offset_db * softness


def soften(envelopes: Envelopes, q: Tensor, softness: float) -> Envelopes:
    """Envelopes of notes at pitches q (B,), played softer; their level is left to whoever knows how loud they were.

    Attacks stay: those of soft notes are slower by less than a frame.

    Args:
        envelopes: Of the notes as loud as they are.
        q: MIDI note numbers, (B,).
        softness: 0 as they are … 1 as soft as the soft layers of sample libraries.
    """
    bands_hz = mel_centres_hz().to(q.device)
    octaves = torch.log2(bands_hz / midi_to_hz(q.float())[:, None])  # (B, n_mels)
    harmonic_db, noise_db = softness_db(octaves, softness)
    return Envelopes(
        envelopes.harmonic + harmonic_db[..., None] / DB_PER_UNIT,
        envelopes.noise_part + noise_db[..., None] / DB_PER_UNIT,
    )


def layer_softness(n_layers: int) -> list[float]:
    """Softness of dynamic layers, the softest first and the last as loud as the sound is: evenly apart."""
    return [1.0 - layer / (n_layers - 1) if n_layers > 1 else 0.0 for layer in range(n_layers)]
