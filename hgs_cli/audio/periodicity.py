"""How much of each band of a recording is tone and how much is noise, measured on the waveform.

A mel-spectrogram cannot tell: at 46 ms and 128 mels the harmonics and the noise of a low note look alike.
Two measures with opposite weaknesses are taken and the more tonal one believed. A comb filter of one period follows
vibrato but calls stretched partials (piano, bars) noise; the valleys of a long spectrum see those but are filled up
by vibrato. Neither finds tone in noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgs_cli.spectrum import (
    HOP_LENGTH,
    MODEL_SAMPLES,
    N_BANDS,
    N_FFT,
    N_FRAMES,
    N_MELS,
    N_STEPS,
    SAMPLE_RATE,
    MelConfig,
    mel_filters,
)

SINC_HALF_TAPS = 8
VALLEY_QUANTILE = 0.2
VALLEY_MEAN = -math.log(1.0 - VALLEY_QUANTILE)  # this quantile of an exponential distribution of mean 1
HARMONIC_BINS = 6.0  # harmonics this many bins apart leave a valley between their main lobes


def delay(audio: Tensor, delay_samples: Tensor) -> Tensor:
    """Delay audio (T,) by a varying, fractional number of samples (T,), by windowed sinc; silence before 0."""
    n_samples = audio.shape[-1]
    position = torch.arange(n_samples, dtype=torch.float64) - delay_samples.double()
    whole = torch.floor(position)
    fraction = (position - whole).float()
    taps = torch.arange(1 - SINC_HALF_TAPS, SINC_HALF_TAPS + 1)
    padding = SINC_HALF_TAPS
    padded = torch.nn.functional.pad(audio, (padding, padding))
    result = torch.zeros_like(audio)
    for tap in taps.tolist():
        distance = fraction - tap
        weight = torch.sinc(distance) * torch.cos(distance * (math.pi / (2 * SINC_HALF_TAPS + 1))) ** 2
        index = whole.long() + tap
        inside = (index >= -padding) & (index < n_samples + padding)
        result = result + torch.where(inside, padded[(index + padding).clamp(0, padded.shape[-1] - 1)] * weight, 0.0)
    return result


def _band_power(audio: Tensor, filters: Tensor) -> Tensor:
    """Power of audio (2, T) in every band and step: (2, N_BANDS, N_STEPS)."""
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(
        audio, N_FFT, HOP_LENGTH, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = torch.matmul(filters.T, spectrum.abs().square())[..., :N_FRAMES]
    return power.reshape(-1, N_BANDS, N_MELS // N_BANDS, N_STEPS, N_FRAMES // N_STEPS).sum((2, 4))


def _comb_periodicity(audio: Tensor, f0_hz: Tensor, filters: Tensor) -> Tensor:
    """Share of each band that repeats after one period, (N_BANDS, N_STEPS)."""
    period = SAMPLE_RATE / f0_hz
    frame = torch.arange(audio.shape[-1]) / HOP_LENGTH
    low = frame.long().clamp(0, N_FRAMES - 1)
    high = (low + 1).clamp(0, N_FRAMES - 1)
    period_at = torch.lerp(period[low], period[high], (frame - low).clamp(0, 1))
    heard = audio.nonzero()
    reach = int(heard[-1]) + math.ceil(float(period_at.max())) + SINC_HALF_TAPS + 2 if len(heard) else 0
    delayed = delay(audio[:reach], period_at[:reach])  # after that, all is silence
    delayed = torch.nn.functional.pad(delayed, (0, len(audio) - len(delayed)))
    same, different = _band_power(torch.stack([audio + delayed, audio - delayed]), filters)
    # Noise falls in equal parts on both; what repeats falls on the sum alone.
    noise: Tensor = 2.0 * different / (same + different + 1e-12)
    return (1.0 - noise).clamp(0.0, 1.0)


def _valley_periodicity(audio: Tensor, f0_hz: Tensor, config: MelConfig) -> Tensor:
    """Share of each band that stands above the noise floor seen between partials, (N_BANDS, N_STEPS)."""
    f0_median = float(f0_hz.median())
    n_fft = 4096
    while n_fft < 8192 and f0_median < HARMONIC_BINS * SAMPLE_RATE / n_fft:
        n_fft *= 2
    bin_hz = SAMPLE_RATE / n_fft
    if f0_median < 0.8 * HARMONIC_BINS * bin_hz:
        return torch.zeros(N_BANDS, N_STEPS)  # a note so low shows no valleys
    step = HOP_LENGTH * (N_FRAMES // N_STEPS)
    centre = (step - HOP_LENGTH) // 2  # the middle of the four frames of a step
    padded = torch.nn.functional.pad(audio, (n_fft // 2 - centre, n_fft // 2 + step))
    spectrum = torch.stft(padded, n_fft, step, window=torch.hann_window(n_fft), center=False, return_complex=True)
    power = spectrum.abs().square()[:, :N_STEPS]
    filters = mel_filters(config)
    n_freqs = filters.shape[0]
    result = torch.zeros(N_BANDS, N_STEPS)
    mels = N_MELS // N_BANDS
    for band in range(N_BANDS):
        rows = filters[:, band * mels : (band + 1) * mels].sum(1).nonzero()
        low = float(rows[0]) * (n_fft / 2) / (n_freqs - 1)
        high = float(rows[-1] + 1) * (n_fft / 2) / (n_freqs - 1)
        lacking = max(0.0, 2.0 * f0_median / bin_hz - (high - low)) / 2
        part = power[max(0, int(low - lacking)) : int(high + lacking) + 1]
        floor = torch.quantile(part, VALLEY_QUANTILE, dim=0) / VALLEY_MEAN
        mean = power[int(low) : int(high) + 1].mean(0)
        result[band] = 1.0 - floor / (mean + 1e-12)
    return result.clamp(0.0, 1.0)


def measure_periodicity(audio: Tensor, f0_hz: Tensor) -> Tensor:
    """Share of the power in each band that is tone, not noise.

    Args:
        audio: Mono at 44.1 kHz, (T,); what is beyond the model's length is ignored, what lacks is silence.
        f0_hz: Fundamental frequency of every analysis frame, (N_FRAMES,).

    Returns:
        (N_BANDS, N_STEPS) in [0, 1]; a band is four mels, a step four frames. 0 where there is silence.
    """
    audio = audio[:MODEL_SAMPLES].float()
    audio = torch.nn.functional.pad(audio, (0, MODEL_SAMPLES - audio.shape[-1]))
    config = MelConfig()
    comb = _comb_periodicity(audio, f0_hz, mel_filters(config))
    return torch.maximum(comb, _valley_periodicity(audio, f0_hz, config))
