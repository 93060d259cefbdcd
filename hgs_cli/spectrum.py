"""The analysis grid and the one logarithm that networks, vocoder and front end share.

Below both `audio` and `models`, which do not know each other; imports torch alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.pitch import midi_to_hz
from hgs_cli.rate import SAMPLE_RATE as SAMPLE_RATE  # the constants of the grid are looked up here

N_FFT = 2048
HOP_LENGTH = 512
N_FREQS = N_FFT // 2 + 1
N_MELS = 128
N_FRAMES = 352
MODEL_SAMPLES = (N_FRAMES - 1) * HOP_LENGTH  # the last centred frame stands on the last sample: 4.075 s
N_BANDS = 32  # periodicity is measured over groups of four mel bands
N_STEPS = N_FRAMES // 4  # and for every fourth frame: the grid on which G's head stands

FLOOR_DB = -100.0
MIN_POWER = 1e-13  # keeps the logarithm of silence finite
BAND_CUTS = (0.0234, 0.0547, 0.125, 0.25)  # of n_fft: between them less than a fifth of the mel filters is left
DB_PER_UNIT = 50.0  # a scaled level runs from -1 (FLOOR_DB) to 1 (a full-scale sinusoid)
# A unit as a power of two, which takes torch a quarter of the time of one of e, and an eighth of one of ten.
POWER_OCTAVES = DB_PER_UNIT / 10.0 * math.log2(10.0)
AMPLITUDE_OCTAVES = POWER_OCTAVES / 2.0


@dataclass(frozen=True)
class MelConfig:
    """Sizes of the log-mel front end; travels in the weights bundle and must match it."""

    sample_rate: int = SAMPLE_RATE
    n_fft: int = N_FFT
    hop_length: int = HOP_LENGTH
    n_mels: int = N_MELS
    n_frames: int = N_FRAMES
    f_min_hz: float = 20.0
    f_max_hz: float = 20_000.0


def power_to_level(power: Tensor) -> Tensor:
    """Scale power to a level: 10·log10 with a floor at FLOOR_DB, mapped to -1 (floor) … 1 (0 dB).

    Power 1 is the peak bin of a full-scale sinusoid under the Hann window.
    """
    decibels = 10.0 * torch.log10(power + 10.0 ** (FLOOR_DB / 10.0))
    return decibels / DB_PER_UNIT + 1.0


def power_to_exact_level(power: Tensor) -> Tensor:
    """As `power_to_level` with no floor added: envelopes may lie below the floor of log-mels, which bands sum up to."""
    return torch.log10(power.clamp(min=MIN_POWER)) * (10.0 / DB_PER_UNIT) + 1.0


def level_to_power(level: Tensor) -> Tensor:
    """Undo the logarithm of `power_to_level`; the floor is not subtracted."""
    return torch.exp2((level - 1.0) * POWER_OCTAVES)


def hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's mel scale: linear below 1 kHz (200/3 Hz a mel), then 27 mels to a factor of 6.4.

    Source: Auditory Toolbox.
    """
    return torch.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * torch.log(hz / 1000.0) / math.log(6.4))


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of `hz_to_mel`."""
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))


def mel_points_hz(config: MelConfig) -> Tensor:
    """Lower edge, centres and upper edge of the mel bands in Hz, (n_mels + 2,), float64."""
    low, high = hz_to_mel(torch.tensor([config.f_min_hz, config.f_max_hz], dtype=torch.float64)).tolist()
    return mel_to_hz(torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64))


@lru_cache(maxsize=1)
def mel_centres_hz() -> Tensor:
    """Centres of the front end's mel bands in Hz, (N_MELS,)."""
    with torch.inference_mode(False):
        return mel_points_hz(MelConfig())[1:-1].float()


def mel_filters(config: MelConfig) -> Tensor:
    """Slaney-spaced triangular filters with unit peaks, (n_fft // 2 + 1, n_mels); neighbours sum to 1."""
    points = mel_points_hz(config)
    bins_hz = torch.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins_hz - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins_hz) / (points[2:] - points[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0).float()


@dataclass(frozen=True)
class BandBlock:
    """Some neighbouring bins, and the mel bands that have to do with them: most weights between both are zero."""

    bins: slice
    mels: slice


def band_blocks(filters: Tensor) -> tuple[BandBlock, ...]:
    """The bins between BAND_CUTS, with the mel bands that weights (n_freqs, n_mels) give them."""
    n_freqs = filters.shape[0]
    edges = [0, *(round(share * 2 * (n_freqs - 1)) for share in BAND_CUTS), n_freqs]
    blocks = []
    for low, high in pairwise(edges):
        bands = (filters[low:high] > 0).any(0).nonzero()[:, 0]
        blocks.append(BandBlock(slice(low, high), slice(int(bands[0]), int(bands[-1]) + 1)))
    return tuple(blocks)


def power_of(spectra: Tensor) -> Tensor:
    """Squared magnitudes of complex numbers: a quarter less time than by real and imaginary parts, a fifth of `abs`."""
    squares = torch.view_as_real(spectra).square()
    return squares[..., 0] + squares[..., 1]


def bins_to_bands(value: Tensor, filters: Tensor, blocks: tuple[BandBlock, ...]) -> Tensor:
    """The product of values (…, n, n_freqs) and filters (n_freqs, n_mels), block by block: (…, n_mels, n)."""
    bands = value.new_zeros(*value.shape[:-2], filters.shape[1], value.shape[-2])
    for block in blocks:
        weights = filters[block.bins, block.mels].T
        bands[..., block.mels, :] += torch.matmul(weights, value[..., block.bins].transpose(-1, -2))
    return bands


def bands_to_bins(value: Tensor, lines: Tensor, blocks: tuple[BandBlock, ...]) -> Tensor:
    """The product of values (n, n_mels) and lines (n_mels, n_freqs), block by block: (n, n_freqs)."""
    bins = value.new_empty(len(value), lines.shape[1])
    for block in blocks:
        torch.matmul(value[:, block.mels], lines[block.mels, block.bins], out=bins[:, block.bins])
    return bins


def lines_between_bands(filters: Tensor) -> Tensor:
    """Weights that draw straight lines from mel centre to mel centre, held beyond the first and the last.

    Args:
        filters: (n_freqs, n_mels); neighbouring triangles sum to 1.

    Returns:
        (n_mels, n_freqs).
    """
    weights = filters.clone()
    touched = (weights.sum(1) > 0).nonzero()[:, 0]
    weights[: int(touched[0])] = weights[touched[0]]
    weights[int(touched[-1]) + 1 :] = weights[touched[-1]]
    return (weights / weights.sum(1, keepdim=True)).T.contiguous()


def noise_log_mean(filters: Tensor) -> Tensor:
    """Factor by which the mean *logarithm* of noise power in mel bands lies below the logarithm of its mean, (n_mels,).

    A band's power follows about a gamma law of shape ν, the band's degrees of freedom given that Hann bins correlate in
    amplitude by 2/3 with their neighbours and by 1/6 with the next; E[ln] - ln E = ψ(ν) - ln ν.

    Args:
        filters: Mel filters, (n_freqs, n_mels).
    """
    filters = filters.double()
    variance = filters.square().sum(0)
    for distance, correlation in ((1, 2.0 / 3.0), (2, 1.0 / 6.0)):
        variance = variance + 2.0 * correlation**2 * (filters[distance:] * filters[:-distance]).sum(0)
    freedom = filters.sum(0).square() / variance
    return torch.exp(torch.special.digamma(freedom) - torch.log(freedom)).float()


def noise_template(filters: Tensor) -> Tensor:
    """Mel power whose logarithm is the mean logarithm of noise with unit power in every DFT bin, (n_mels,)."""
    return filters.sum(0) * noise_log_mean(filters)


@lru_cache(maxsize=1)
def front_end_filters() -> Tensor:
    """Mel filters of the front end, (N_FREQS, N_MELS)."""
    with torch.inference_mode(False):
        return mel_filters(MelConfig())


@lru_cache(maxsize=1)
def front_end_noise() -> Tensor:
    """The front end's `noise_template`, (N_MELS,)."""
    with torch.inference_mode(False):
        return noise_template(front_end_filters())


def hann_spectrum(offset_bins: Tensor) -> Tensor:
    """Spectrum of a Hann window, 1 at its peak, at a distance of `offset_bins` DFT bins (closed form)."""
    denominator = 1.0 - offset_bins**2
    near_pole = denominator.abs() < 1e-4  # the limit at ±1 bin is one half
    angle = math.pi * torch.where(offset_bins == 0.0, 1e-20, offset_bins)
    value = torch.sin(angle) / (angle * torch.where(near_pole, 1.0, denominator))  # `sinc` takes several times as long
    return torch.where(near_pole, 0.5, value)


def comb_power(f0_hz: Tensor, sample_rate: int = SAMPLE_RATE, n_fft: int = N_FFT) -> Tensor:
    """Power spectrum of unit-amplitude harmonics of f0 under a Hann window, phases averaged.

    Args:
        f0_hz: Fundamental frequencies, (B,).
        sample_rate: In Hz.
        n_fft: Window and transform length in samples.

    Returns:
        (B, n_fft // 2 + 1); 1 where a bin stands on a resolved harmonic.
    """
    bin_hz = sample_rate / n_fft
    bins_hz = torch.arange(n_fft // 2 + 1, device=f0_hz.device, dtype=f0_hz.dtype) * bin_hz
    nearest = torch.round(bins_hz / f0_hz[:, None])
    harmonic = nearest[:, None] + torch.arange(-3, 4, device=f0_hz.device)[:, None]  # (B, 7, n_fft // 2 + 1)
    harmonic_hz = harmonic * f0_hz[:, None, None]
    audible = (harmonic >= 1) & (harmonic_hz < sample_rate / 2)
    lobe = hann_spectrum((bins_hz - harmonic_hz) / bin_hz).square()
    return torch.where(audible, lobe, 0.0).sum(1)


def front_end_comb(pitch: Tensor) -> Tensor:
    """Mel power of unit harmonics at MIDI pitches (B,) in the front end's bands, (B, N_MELS)."""
    return torch.matmul(comb_power(midi_to_hz(pitch.float())), front_end_filters().to(pitch.device))
