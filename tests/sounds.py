"""Sounds that are made for tests, at the front end's rate, and what is measured of them; see also conftest.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


def times(seconds: float) -> Tensor:
    """When each sample sounds, in seconds, (T,)."""
    return torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE


def sine(hz: float, seconds: float, level: float = 1.0) -> Tensor:
    """A sine, (T,)."""
    return (level * torch.sin(math.tau * hz * times(seconds))).float()


def harmonics(
    midi: float | Tensor,
    seconds: float = 1.0,
    level: Callable[[int], float] = lambda k: 1.0 / k,
    highest: int = 20,
    decay: float = 0.0,
) -> Tensor:
    """A tone whose harmonics have scattered phases and fall by `decay` nepers a second, (T,).

    Args:
        midi: Its pitch, or one for every sample.
        seconds: Its length.
        level: Of the harmonic of a number.
        highest: Number of harmonics, fewer where they do not fit under 0.45 of the sample rate.
        decay: How fast it falls.
    """
    time = times(seconds)
    f0_hz = 440.0 * 2.0 ** ((torch.as_tensor(midi, dtype=torch.float64) - 69.0) / 12.0)
    phase = math.tau * (f0_hz * time if f0_hz.dim() == 0 else torch.cumsum(f0_hz, 0) / SAMPLE_RATE)
    count = max(1, min(highest, int(0.45 * SAMPLE_RATE / float(f0_hz.max()))))
    waves = torch.stack([level(k) * torch.cos(k * phase + k * k) for k in range(1, count + 1)])
    return (waves.sum(0) * torch.exp(-decay * time)).float()


def partials(hz: Sequence[float], seconds: float, levels: Sequence[float], decays: Sequence[float]) -> Tensor:
    """Sines that begin at once, each at its level, and fall by so many nepers a second, (T,)."""
    time = times(seconds)
    total = torch.zeros_like(time)
    for index, (f_hz, level, decay) in enumerate(zip(hz, levels, decays, strict=True)):
        total += level * torch.sin(math.tau * f_hz * time + 2.4 * index**2) * torch.exp(-decay * time)
    return total.float()


def noise(seconds: float, level: float = 1.0, fade_s: float = math.inf, seed: int = 0) -> Tensor:
    """White noise of an effective level that falls by a neper in `fade_s`, (T,)."""
    time = times(seconds)
    drawn = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    return level * drawn * torch.exp(-time / fade_s).float()


def levels_db(audio: Tensor, seconds: float) -> Tensor:
    """Level of every so many seconds of audio (T,), dB."""
    size = round(seconds * SAMPLE_RATE)
    return 10.0 * torch.log10(audio[: len(audio) // size * size].view(-1, size).square().mean(1) + 1e-20)


def brightness_hz(audio: Tensor) -> float:
    """Centre of the power spectrum of audio (T,)."""
    power = torch.fft.rfft(audio).abs().square()
    return float((torch.fft.rfftfreq(audio.shape[-1], 1.0 / SAMPLE_RATE) * power).sum() / power.sum())
