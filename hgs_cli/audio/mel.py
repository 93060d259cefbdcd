"""Log-mel front end and resampling."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor

from hgs_cli.spectrum import MelConfig, band_blocks, bins_to_bands, mel_filters, power_of, power_to_level


def resample(audio: Tensor, orig_hz: int, new_hz: int) -> Tensor:
    """Audio (…, T) at another rate, (…, ⌈T · new_hz / orig_hz⌉)."""
    if orig_hz == new_hz:
        return audio
    resampled: Tensor = _resampler(orig_hz, new_hz).to(audio.device)(audio)
    return resampled


@lru_cache(maxsize=8)
def _resampler(orig_hz: int, new_hz: int) -> torchaudio.transforms.Resample:
    """A windowed sinc, kept, whose passband reaches close to the lower Nyquist frequency."""
    with torch.inference_mode(False):
        return torchaudio.transforms.Resample(
            orig_hz,
            new_hz,
            lowpass_filter_width=64,
            rolloff=0.9475937167399596,
            resampling_method="sinc_interp_kaiser",
            beta=14.769656459379492,
        )


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
        bands = bins_to_bands(power_of(spectrum), self.filters, self._blocks)
        return torch.nn.functional.pad(bands, (0, config.n_frames - n_heard))

    def __call__(self, audio: Tensor) -> Tensor:
        """Log-mel x of audio (B, T): (B, n_mels, n_frames), about [-1, 1]; 1 unit is 50 dB."""
        return power_to_level(self.mel_power(audio))
