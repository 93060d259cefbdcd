"""Log-mel front end and resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hgs_cli.spectrum import MelConfig, band_blocks, bins_to_bands, mel_filters, power_to_level


@dataclass(frozen=True)
class ResamplingRules:
    """A windowed sinc whose passband reaches close to the lower Nyquist frequency.

    Attributes:
        zeros: Of the sinc on either side.
        rolloff: Where the passband ends, of the lower Nyquist frequency.
        beta: Of the Kaiser window.
    """

    zeros: int = 64
    rolloff: float = 0.9475937167399596
    beta: float = 14.769656459379492


RESAMPLING = ResamplingRules()


def resample(audio: Tensor, orig_hz: int, new_hz: int) -> Tensor:
    """Audio (…, T) at another rate, (…, ⌈T · new_hz / orig_hz⌉); importing torchaudio for this takes longer.

    Source: Smith, Digital audio resampling.
    """
    if orig_hz == new_hz:
        return audio
    divisor = math.gcd(orig_hz, new_hz)
    orig, new = orig_hz // divisor, new_hz // divisor
    kernels = _sincs(orig, new).to(audio)
    reach = (kernels.shape[-1] - orig) // 2
    padded = torch.nn.functional.pad(audio.reshape(-1, 1, audio.shape[-1]), (reach, reach + orig))
    made = torch.nn.functional.conv1d(padded, kernels, stride=orig).transpose(1, 2)  # (B, n, new)
    length = math.ceil(audio.shape[-1] * new / orig)
    return made.reshape(*audio.shape[:-1], -1)[..., :length]


@lru_cache(maxsize=8)
def _sincs(orig: int, new: int) -> Tensor:
    """What makes `new` samples of the `orig` around them, (new, 1, 2 · reach + orig)."""
    with torch.inference_mode(False):
        cutoff = min(orig, new) * RESAMPLING.rolloff
        reach = math.ceil(RESAMPLING.zeros * orig / cutoff)
        place = torch.arange(-reach, reach + orig, dtype=torch.float64) / orig
        place = place - torch.arange(new, dtype=torch.float64)[:, None, None] / new
        place = (place * cutoff).clamp(-RESAMPLING.zeros, RESAMPLING.zeros)
        window = torch.i0(RESAMPLING.beta * (1.0 - (place / RESAMPLING.zeros).square()).sqrt())
        window = window / torch.i0(torch.tensor(RESAMPLING.beta, dtype=torch.float64))
        return (torch.sinc(place) * window * (cutoff / orig)).float()


class LogMel:
    """Log-mel spectrogram x of a sound: Hann window, centred frames, levels scaled to [-1, 1]."""

    def __init__(self, config: MelConfig | None = None, device: torch.device | str = "cpu") -> None:
        self.config = config or MelConfig()
        window = torch.hann_window(self.config.n_fft)
        self._window = (window / (window.sum() / 2)).to(device)  # a full-scale sinusoid peaks at 1
        filters = mel_filters(self.config)
        self.filters = filters.to(device)
        self._blocks = band_blocks(filters)

    def mel_power(self, audio: Tensor) -> Tensor:
        """Power in the mel bands of audio (B, T), silence beyond its end: (B, n_mels, n_frames)."""
        config, half = self.config, self.config.n_fft // 2
        # Frames that reach into the audio; in the others there is nothing to be transformed.
        n_heard = min(config.n_frames, math.ceil((audio.shape[-1] + half) / config.hop_length))
        wanted = (n_heard - 1) * config.hop_length + half
        audio = torch.nn.functional.pad(audio[..., :wanted], (half, max(0, wanted - audio.shape[-1])))
        spectrum = torch.fft.rfft(audio.unfold(-1, config.n_fft, config.hop_length) * self._window)
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        bands = bins_to_bands(power, self.filters, self._blocks).transpose(1, 2)
        return torch.nn.functional.pad(bands, (0, config.n_frames - n_heard)).contiguous()

    def __call__(self, audio: Tensor) -> Tensor:
        """Log-mel x of audio (B, T): (B, n_mels, n_frames), about [-1, 1]; 1 unit is 50 dB."""
        return power_to_level(self.mel_power(audio))
