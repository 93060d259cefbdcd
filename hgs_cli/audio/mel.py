"""Log-mel front end and resampling; the only torchaudio import on the road from sound to instrument."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor

from hgs_cli.spectrum import MelConfig, band_blocks, bins_to_bands, mel_filters, power_to_level


def resample(audio: Tensor, orig_hz: int, new_hz: int) -> Tensor:
    """Resample audio (…, T) with a windowed sinc whose passband reaches close to the lower Nyquist frequency."""
    if orig_hz == new_hz:
        return audio
    resampled: Tensor = torchaudio.functional.resample(
        audio,
        orig_hz,
        new_hz,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return resampled


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
        config = self.config
        wanted = (config.n_frames - 1) * config.hop_length + config.n_fft // 2
        audio = torch.nn.functional.pad(audio[..., :wanted], (config.n_fft // 2, max(0, wanted - audio.shape[-1])))
        spectrum = torch.fft.rfft(audio.unfold(-1, config.n_fft, config.hop_length) * self._window)
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        return bins_to_bands(power, self.filters, self._blocks).transpose(1, 2).contiguous()

    def __call__(self, audio: Tensor) -> Tensor:
        """Log-mel x of audio (B, T): (B, n_mels, n_frames), about [-1, 1]; 1 unit is 50 dB."""
        return power_to_level(self.mel_power(audio))
