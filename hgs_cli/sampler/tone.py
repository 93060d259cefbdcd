"""Tone for sounds without a pitch: as much of their noise as makes a note of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.models.generator import Envelopes
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.detail import TINY
from hgs_cli.spectrum import (
    HOP_LENGTH,
    N_FFT,
    SAMPLE_RATE,
    front_end_comb,
    front_end_filters,
    level_to_power,
    mel_centres_hz,
    power_to_exact_level,
)


@dataclass(frozen=True)
class ToneRules:
    """How a sound without a pitch becomes a note."""

    # the promise is 6 dB in 0.1-5 kHz; a tracker asks for more, and the attack keeps its noise
    auto_hnr_db: float = 12.0
    low_hz: float = 100.0  # between this
    high_hz: float = 5000.0  # and this the ratio is promised
    # of its frequency, sigma of a line that becomes tone: a single harmonic would be heard as a note itself
    spread: float = 0.12
    spread_harmonics: float = 0.5  # and of a harmonic spacing at least
    # in which a tone may fall by 60 dB: of fewer periods the ear, or a tracker, makes no pitch
    ring_periods: float = 16.0


TONE = ToneRules()


@lru_cache(maxsize=1)
def _promised_bands() -> Tensor:
    """Bands in which a harmonic-to-noise ratio is promised, (n_mels,), bool."""
    return (mel_centres_hz() >= TONE.low_hz) & (mel_centres_hz() <= TONE.high_hz)


def _part_powers(envelopes: Envelopes) -> tuple[Tensor, Tensor]:
    return level_to_power(envelopes.harmonic.float().cpu()), level_to_power(envelopes.noise_part.float().cpu())


def _band_energies(harmonic: Tensor, noise: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of both parts between 0.1 and 5 kHz, of notes at pitches (B,): (B,) each."""
    inside = _promised_bands()
    comb = (front_end_comb(pitch.cpu()) * inside)[..., None]
    return (harmonic * comb).sum((1, 2)), (noise * (front_end_filters().sum(0) * inside)[:, None]).sum((1, 2))


def apply_tonal(envelopes: Envelopes, pitch: Tensor, tonal: float | None = None) -> Envelopes:
    """Give an unpitched sound a pitch: move energy from its noise to the harmonics of the wanted note.

    Colour and envelope stay, as the power in every band does, with three exceptions without which no note is heard:
    what lies below the fundamental moves to it; a line of the spectrum, which as a single harmonic would be a note of
    its own, is spread over its neighbours; and a tone rings for at least TONE.ring_periods of its periods.

    Args:
        envelopes: Of the notes, batch B.
        pitch: Wanted pitches, (B,).
        tonal: Share of the noise that becomes tone, 0 … 1. None: so much that the harmonic-to-noise ratio between
            0.1 and 5 kHz reaches TONE.auto_hnr_db; a note that has it already stays as it is.
    """
    if tonal == 0.0:
        return envelopes
    device = envelopes.harmonic.device
    f0_hz = midi_to_hz(pitch.float().cpu())
    points = mel_centres_hz()
    noise_template = front_end_filters().sum(0)
    # Unit harmonics f0 apart have this much power in an average bin: a Hann lobe sums to 1.5 bins.
    density = (1.5 * (SAMPLE_RATE / N_FFT) / f0_hz)[:, None, None]
    harmonic, noise = _part_powers(envelopes)

    if tonal is None:
        h_energy, n_energy = _band_energies(harmonic, noise, pitch)
        wanted = 1.0 / (1.0 + 10.0 ** (-TONE.auto_hnr_db / 10.0))
        share = ((wanted * (h_energy + n_energy) - h_energy) / (n_energy + 1e-20)).clamp(0.0, 1.0)
    else:
        share = torch.full_like(f0_hz, tonal)
    share = share[:, None, None]
    # No harmonic stands below the fundamental: that energy joins the first one, so that a kick sounds at the note.
    below = torch.sigmoid((0.75 * f0_hz[:, None] - points[None]) / (0.1 * f0_hz[:, None]))[..., None]
    # What is left there falls faster than elsewhere: a thump would be heard as another note.
    moved = noise * (1.0 - (1.0 - share) ** (1.0 + below))
    lost = (moved * below * noise_template[None, :, None]).sum(1, keepdim=True)
    around = torch.exp(-0.5 * ((points[None] - f0_hz[:, None]) / (0.25 * f0_hz[:, None] + 30.0)) ** 2)[..., None]
    # A unit harmonic has 1.5 bins of power, whichever its band.
    added = _ringing(_spread(moved * (1.0 - below), f0_hz) / density + lost * around / 1.5, f0_hz)
    tone = Envelopes(power_to_exact_level(harmonic + added).to(device), power_to_exact_level(noise - moved).to(device))
    changed = (share > 0.0).to(device)
    return Envelopes(
        torch.where(changed, tone.harmonic, envelopes.harmonic),
        torch.where(changed, tone.noise_part, envelopes.noise_part),
    )


def _spread(power: Tensor, f0_hz: Tensor) -> Tensor:
    """Power per bin (B, n_mels, n_frames) with every line spread over its neighbours; none of it is lost."""
    points, width = mel_centres_hz(), front_end_filters().sum(0)
    sigma_hz = torch.maximum(
        TONE.spread * points[None], TONE.spread_harmonics * f0_hz[:, None]
    )  # (B, n_mels), of the origin
    to = torch.exp(-0.5 * ((points[None, :, None] - points[None, None]) / sigma_hz[:, None]) ** 2)
    to = to / (width[:, None] * to).sum(1, keepdim=True)  # (B, n_mels to, n_mels from)
    return torch.matmul(to * width, power)


def _ringing(power: Tensor, f0_hz: Tensor) -> Tensor:
    """Power (B, n_mels, n_frames) that nowhere falls faster than by 60 dB in TONE.ring_periods periods of f0 (B,)."""
    frame_db = 60.0 * HOP_LENGTH / SAMPLE_RATE * f0_hz / TONE.ring_periods
    fall_db = frame_db[:, None, None] * torch.arange(power.shape[-1])
    # The loudest moment before, less what it has fallen by since: a running maximum of what is tilted upwards.
    tilted = 10.0 * torch.log10(power + TINY) + fall_db
    return torch.pow(10.0, (tilted.cummax(-1).values - fall_db) / 10.0)
