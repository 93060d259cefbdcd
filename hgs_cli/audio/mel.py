"""Log-mel front end and resampling; the only torchaudio import on the road from sound to instrument."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor

from hgs_cli.spectrum import MelConfig, mel_filters, power_to_level


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
        self.window = torch.hann_window(self.config.n_fft).to(device)
        self.filters = mel_filters(self.config).to(device)

    def power_spectrum(self, audio: Tensor) -> Tensor:
        """Power spectrogram of audio (B, T), silence beyond its end: (B, n_fft // 2 + 1, n_frames).

        A full-scale sinusoid peaks at 1.
        """
        config = self.config
        wanted = (config.n_frames - 1) * config.hop_length + config.n_fft // 2
        audio = torch.nn.functional.pad(audio[..., :wanted], (config.n_fft // 2, max(0, wanted - audio.shape[-1])))
        spectrum = torch.stft(
            audio, config.n_fft, config.hop_length, window=self.window, center=False, return_complex=True
        )
        scale = (self.window.sum() / 2) ** 2
        return spectrum.abs().square() / scale

    def __call__(self, audio: Tensor) -> Tensor:
        """Log-mel x of audio (B, T): (B, n_mels, n_frames), about [-1, 1]; 1 unit is 50 dB."""
        mel_power = torch.matmul(self.filters.T, self.power_spectrum(audio))
        return power_to_level(mel_power)
