"""What made sounds are built of: partials, oscillators, noise, moving filters and envelopes, at SAMPLE_RATE.

Time (T,) is in seconds from the onset, float64; all else follows it. What moves with the key is multiplied by a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class VoiceRules:
    """How made sounds are computed."""

    top_hz: float = 20e3  # nothing sounds above
    top_edge: float = 0.95  # of `top_hz`, from where what is no list of partials is faded out
    oversampling: int = 4  # of what is shaped by a curve, and would else alias
    block: int = 512  # samples that share one factor when partials are summed
    table: int = 2**16  # points of a period: 130 for the highest harmonic of 40 Hz
    hop: int = 256  # of moving filters, in samples


VOICES = VoiceRules()


SIXTY_DB = math.log(1000.0)

Array = NDArray[np.float64]
Level = Callable[[Tensor, Tensor], Tensor]
"""Takes frequencies in Hz and times in seconds, shaped so that they broadcast, gives factors."""


def _steady(hz: Tensor, time_s: Tensor) -> Tensor:
    return torch.ones_like(hz * time_s)


def seconds_from_onset(n_samples: int, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Time of so many samples, (n_samples,)."""
    return torch.arange(n_samples, dtype=torch.float64) / sample_rate


def partials(time_s: Tensor, hz: Array, gain: Array, phase: Array, t60_s: Array, level: Level = _steady) -> Tensor:
    """Sum of damped sinusoids, (T,); those at or above VOICES.top_hz are left out.

    Args:
        time_s: (T,).
        hz: Frequencies, (K,).
        gain: Amplitudes at the onset, (K,).
        phase: At the onset, in radians, (K,).
        t60_s: Time in which each falls by 60 dB, infinite for none, (K,).
        level: Factors on them over time; between blocks they go straight.
    """
    heard = (hz < VOICES.top_hz) & (hz > 0.0)
    # e^(s t) over a block times e^(s t) at its start: a matrix product instead of K sines of T samples.
    s = torch.from_numpy((-SIXTY_DB / t60_s + 1j * math.tau * hz)[heard] / SAMPLE_RATE)
    first = torch.from_numpy((gain * np.exp(1j * phase))[heard])
    n_blocks = math.ceil(len(time_s) / VOICES.block)
    begins = VOICES.block * torch.arange(n_blocks + 1, dtype=torch.float64)[:, None]
    starts = first * torch.exp(s * begins[:-1])  # (n_blocks, K)
    inside = torch.exp(s[:, None] * torch.arange(VOICES.block, dtype=torch.float64))  # (K, VOICES.block)
    if level is _steady:
        total = starts @ inside
    else:
        levels = level(torch.from_numpy(hz[heard]), begins / SAMPLE_RATE)  # (n_blocks + 1, K)
        share = torch.arange(VOICES.block, dtype=torch.float64) / VOICES.block
        total = (levels[:-1] * starts) @ ((1.0 - share) * inside) + (levels[1:] * starts) @ (share * inside)
    summed: Tensor = total.imag.reshape(-1)[: len(time_s)]
    return summed


def harmonics(waveform: Array, f0_hz: float, phase: float) -> tuple[Array, Array, Array]:
    """Frequencies, amplitudes and phases of a waveform whose harmonics have given amplitudes (K,), each (K',)."""
    n_heard = min(len(waveform), math.ceil(VOICES.top_hz / f0_hz) - 1)
    k = np.arange(1, n_heard + 1)
    sounding = waveform[:n_heard] != 0.0
    return (k * f0_hz)[sounding], waveform[:n_heard][sounding], (k * phase)[sounding]


def oscillator(f0_hz: Tensor, waveform: Array, phase: float) -> Tensor:
    """A waveform whose harmonics have given amplitudes (K,), at a frequency that moves, (T,); none too high."""
    n_heard = min(len(waveform), math.ceil(VOICES.top_hz / float(f0_hz.max())) - 1, VOICES.table // 2 - 1)
    spectrum = torch.zeros(VOICES.table // 2 + 1, dtype=torch.complex128)
    spectrum[1 : n_heard + 1] = -0.5j * VOICES.table * torch.from_numpy(waveform[:n_heard])
    table = torch.fft.irfft(spectrum, VOICES.table)
    place = ((f0_hz.cumsum(0) / SAMPLE_RATE + phase / math.tau) % 1.0) * VOICES.table
    index = place.long()
    share = place - index
    wave: Tensor = (1.0 - share) * table[index % VOICES.table] + share * table[(index + 1) % VOICES.table]
    return wave


def white(n_samples: int, seed: int) -> Tensor:
    """White Gaussian noise of unit variance, (n_samples,)."""
    return torch.randn(n_samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(time_s: Tensor, seed: int, ratio: float, colour: Callable[[Tensor], Tensor]) -> Tensor:
    """Noise whose spectrum moves with the key, (T,).

    Args:
        time_s: (T,).
        seed: Of the white noise, which is the same at every key.
        ratio: By which the spectrum is moved; its power stays, as far as it stays below VOICES.top_hz.
        colour: Takes frequencies (F,) at the patch's own key, gives factors (F,).
    """
    hz = torch.fft.rfftfreq(len(time_s), 1.0 / SAMPLE_RATE, dtype=torch.float64)
    gain = colour((hz / ratio).clamp(min=1.0)) * _below_top(hz) / math.sqrt(ratio)
    moved: Tensor = torch.fft.irfft(torch.fft.rfft(white(len(time_s), seed)) * gain, len(time_s))
    return moved


def moving_filter(audio: Tensor, level: Level, n_fft: int) -> Tensor:
    """Audio (T,) through a filter without phase that moves, as fine as n_fft; nothing above VOICES.top_hz is left."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    padded = torch.nn.functional.pad(audio, (0, n_fft))
    spectrum = torch.stft(padded, n_fft, VOICES.hop, window=window, pad_mode="constant", return_complex=True)  # (F, N)
    hz = torch.fft.rfftfreq(n_fft, 1.0 / SAMPLE_RATE, dtype=torch.float64)[:, None]
    time_s = torch.arange(spectrum.shape[1], dtype=torch.float64)[None] * (VOICES.hop / SAMPLE_RATE)
    shaped = spectrum * level(hz.clamp(min=1.0), time_s) * _below_top(hz)
    filtered: Tensor = torch.istft(shaped, n_fft, VOICES.hop, window=window, length=len(padded))[: len(audio)]
    return filtered


def band_limited(time_s: Tensor, lowest_hz: float, make: Callable[[Tensor], Tensor]) -> Tensor:
    """What `make` gives over a finer time, without its part below `lowest_hz` and above VOICES.top_hz, (T,)."""
    n_samples = 4096 * (len(time_s) // 4096 + 2)  # room behind: the filter goes round; and a length that FFTs like
    finer = make(seconds_from_onset(VOICES.oversampling * len(time_s), VOICES.oversampling * SAMPLE_RATE))
    spectrum = torch.fft.rfft(finer, VOICES.oversampling * n_samples)[: n_samples // 2 + 1]
    hz = torch.fft.rfftfreq(n_samples, 1.0 / SAMPLE_RATE, dtype=torch.float64)
    gain = _below_top(hz) * high_pass(hz.clamp(min=1e-3), lowest_hz)
    made: Tensor = torch.fft.irfft(spectrum * gain, n_samples)[: len(time_s)] / VOICES.oversampling
    return made


def _below_top(hz: Tensor) -> Tensor:
    """1 below VOICES.top_hz, 0 above, with a soft edge below it."""
    place = ((VOICES.top_hz - hz) / (VOICES.top_hz * (1.0 - VOICES.top_edge))).clamp(0.0, 1.0)
    return 0.5 - 0.5 * torch.cos(math.pi * place)


def decay(time_s: Tensor, t60_s: float) -> Tensor:
    """An envelope that falls by 60 dB in so many seconds, (T,)."""
    return torch.exp(-SIXTY_DB / t60_s * time_s.clamp(min=0.0))


def attack(time_s: Tensor, rise_s: float) -> Tensor:
    """An envelope that rises from 0 to 1, (T,)."""
    return 0.5 - 0.5 * torch.cos(math.pi * (time_s / rise_s).clamp(0.0, 1.0))


def held(time_s: Tensor, rise_s: float, release_s: float) -> Tensor:
    """An envelope that rises, stays, and falls to 0 at the end of time, (T,)."""
    return attack(time_s, rise_s) * attack(time_s[-1] - time_s, release_s)


def low_pass(hz: Tensor, edge_hz: float | Tensor, order: int = 2) -> Tensor:
    """Factors of a Butterworth low-pass filter."""
    return (1.0 + (hz / edge_hz) ** (2 * order)).rsqrt()


def high_pass(hz: Tensor, edge_hz: float | Tensor, order: int = 2) -> Tensor:
    """Factors of a Butterworth high-pass filter."""
    return (1.0 + (edge_hz / hz) ** (2 * order)).rsqrt()


def bell_curve(hz: Tensor, centre_hz: float | Tensor, octaves: float) -> Tensor:
    """Factors of a band with a Gaussian outline over octaves, `octaves` its sigma."""
    return torch.exp(-0.5 * (torch.log2(hz / centre_hz) / octaves) ** 2)
