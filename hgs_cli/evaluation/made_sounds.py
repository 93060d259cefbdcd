"""Odd sounds made here: noise, sweeps, clangs, clicks, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class MadeRules:
    """What all made sounds have in common."""

    peak: float = 0.5  # of every sound
    onset_s: float = 0.02  # of silence before it
    octave_width: float = 0.35  # of a swept band: the Gaussian's sigma, in octaves


MADE = MadeRules()


def made_sounds() -> dict[str, Tensor]:
    """Sounds without a note, or with a strange one, by name; each (T,) at SAMPLE_RATE, with a peak of MADE.peak."""
    sounds = {name: make(_time(seconds)) for name, (seconds, make) in _RECIPES.items()}
    return {name: _finished(audio) for name, audio in sounds.items()}


def _time(seconds: float) -> Tensor:
    return torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE


def _finished(audio: Tensor) -> Tensor:
    """Audio (T,) after a short silence, at MADE.peak."""
    silence = torch.zeros(round(MADE.onset_s * SAMPLE_RATE), dtype=audio.dtype)
    return (MADE.peak * torch.cat([silence, audio / audio.abs().max()])).float()


def _noise(time_s: Tensor, seed: int, slope_db: float = 0.0, low_hz: float = 30.0, high_hz: float = 20e3) -> Tensor:
    """Noise between two frequencies, its density falling or rising by `slope_db` an octave, unit variance, (T,)."""
    white = torch.randn(len(time_s), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    hz = torch.arange(len(time_s) // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / len(time_s))
    octaves = torch.log2(hz.clamp(min=1.0) / 1000.0)
    gain = torch.pow(10.0, slope_db * octaves / 20.0) * ((hz >= low_hz) & (hz <= high_hz))
    coloured = torch.fft.irfft(torch.fft.rfft(white) * gain, len(time_s))
    noise: Tensor = coloured / coloured.std()
    return noise


def _decay(time_s: Tensor, seconds: float) -> Tensor:
    """An envelope that falls by 60 dB in so many seconds."""
    return torch.pow(10.0, -3.0 * time_s / seconds)


def _chirp(time_s: Tensor, start_hz: float, end_hz: float) -> Tensor:
    """A tone whose frequency moves evenly in octaves, silent at its end."""
    share = time_s / time_s[-1]
    f0_hz = start_hz * (end_hz / start_hz) ** share
    return torch.sin(math.tau * f0_hz.cumsum(0) / SAMPLE_RATE) * torch.sin(math.pi * share).sqrt()


def _fm(time_s: Tensor, carrier_hz: float, ratio: float, index: float, seconds: float) -> Tensor:
    """Frequency modulation by an inharmonic ratio, its index decaying with the sound.

    Source: Chowning, The synthesis of complex audio spectra by means of frequency modulation (JAES 1973).
    """
    envelope = _decay(time_s, seconds)
    modulator = index * envelope.sqrt() * torch.sin(math.tau * carrier_hz * ratio * time_s)
    return envelope * torch.sin(math.tau * carrier_hz * time_s + modulator)


def _swept_noise(time_s: Tensor, seed: int, start_hz: float, end_hz: float) -> Tensor:
    """Noise through a band that moves evenly in octaves."""
    n_fft, hop = 2048, 512
    window = torch.hann_window(n_fft, dtype=torch.float64)
    spectrum = torch.stft(_noise(time_s, seed), n_fft, hop, window=window, return_complex=True)
    hz = (torch.arange(spectrum.shape[0]) * (SAMPLE_RATE / n_fft)).clamp(min=1.0)[:, None]
    centre_hz = start_hz * (end_hz / start_hz) ** torch.linspace(0.0, 1.0, spectrum.shape[1], dtype=torch.float64)
    gain = torch.exp(-0.5 * (torch.log2(hz / centre_hz) / MADE.octave_width) ** 2)
    return torch.istft(spectrum * gain, n_fft, hop, window=window, length=len(time_s)) * _decay(time_s, 2.0)


def _ring(time_s: Tensor) -> Tensor:
    """A tone of five harmonics, each multiplied with a tone that no harmonic fits."""
    tone = sum((torch.sin(math.tau * 196.0 * k * time_s) / k for k in range(1, 6)), torch.zeros_like(time_s))
    return tone * torch.sin(math.tau * 523.7 * time_s) * _decay(time_s, 1.2)


def _metal(time_s: Tensor) -> Tensor:
    """Six square waves without a common period, as in analogue cymbals."""
    waves = [torch.sign(torch.sin(math.tau * hz * time_s)) for hz in (263.0, 400.0, 421.0, 474.0, 587.0, 845.0)]
    return sum(waves, torch.zeros_like(time_s)) * _decay(time_s, 0.8)


def _bars(time_s: Tensor) -> Tensor:
    """Partials of a free bar, struck, the higher ones shorter."""
    partials = zip((1.0, 2.756, 5.404, 8.933, 13.345), (1.0, 0.7, 0.6, 0.5, 0.4), strict=True)
    tones = [gain * torch.sin(math.tau * 370.0 * k * time_s) * _decay(time_s, 1.5 / k**0.5) for k, gain in partials]
    return sum(tones, torch.zeros_like(time_s))


def _crackle(time_s: Tensor) -> Tensor:
    """Single short pulses at random moments, ever fewer."""
    chance = torch.rand(len(time_s), generator=torch.Generator().manual_seed(31), dtype=torch.float64)
    pulses = (chance < 2e-3 * _decay(time_s, 1.5)) * _noise(time_s, 32)
    return torch.nn.functional.conv1d(
        torch.nn.functional.pad(pulses[None, None], (63, 0)), _decay(_time(64 / SAMPLE_RATE), 1e-3).flip(0)[None, None]
    )[0, 0]


def _click(time_s: Tensor) -> Tensor:
    """One pulse of half a millisecond, with silence behind it."""
    return _decay(time_s, 5e-4)


def _clap(time_s: Tensor) -> Tensor:
    """Four bursts within 30 ms, then a tail."""
    starts = ((0.0, 0.012), (0.01, 0.012), (0.02, 0.012), (0.03, 0.25))
    envelope = sum(
        ((time_s >= start) * _decay((time_s - start).clamp(min=0.0), length) for start, length in starts),
        torch.zeros_like(time_s),
    )
    return envelope * _noise(time_s, 41, low_hz=700.0, high_hz=6000.0)


_RECIPES: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "white noise, short": (0.25, lambda t: _noise(t, 1) * _decay(t, 0.15)),
    "white noise, long": (1.5, lambda t: _noise(t, 2) * _decay(t, 1.5)),
    "pink noise": (0.6, lambda t: _noise(t, 3, -3.0) * _decay(t, 0.5)),
    "brown noise": (0.8, lambda t: _noise(t, 4, -6.0) * _decay(t, 0.8)),
    "blue noise": (0.4, lambda t: _noise(t, 5, 3.0) * _decay(t, 0.3)),
    "hiss above 7 kHz": (0.3, lambda t: _noise(t, 6, low_hz=7000.0) * _decay(t, 0.25)),
    "rumble below 120 Hz": (0.8, lambda t: _noise(t, 7, high_hz=120.0) * _decay(t, 0.8)),
    "noise swept up": (1.0, lambda t: _swept_noise(t, 8, 200.0, 8000.0)),
    "noise swept down": (1.0, lambda t: _swept_noise(t, 9, 8000.0, 150.0)),
    "chirp up": (0.6, lambda t: _chirp(t, 90.0, 6000.0)),
    "chirp down": (0.4, lambda t: _chirp(t, 5000.0, 60.0)),
    "fm clang": (1.2, lambda t: _fm(t, 310.0, math.sqrt(2.0), 6.0, 1.0)),
    "fm glass": (0.9, lambda t: _fm(t, 1230.0, 2.71, 3.0, 0.8)),
    "ring modulation": (1.2, _ring),
    "square waves": (0.8, _metal),
    "free bar": (1.5, _bars),
    "clap": (0.4, _clap),
    "crackle": (1.2, _crackle),
    "click": (0.3, _click),
}
"""Name → seconds, and the sound over time."""
