"""Families of made sounds of noise alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgs_cli.evaluation.known_truth_draws import (
    NOISE_MIDI,
    Random,
    Sound,
    draw_envelope,
    draw_seed,
    log_uniform,
)
from hgs_cli.evaluation.known_truth_voices import (
    attack,
    bell_curve,
    decay,
    high_pass,
    low_pass,
    moving_filter,
    noise,
    white,
)

BAND_N_FFT = 4096  # for bands of noise two octaves down


def swept_noise(rng: Random) -> tuple[float, Sound]:
    """Noise in one or two bands that move."""
    bands = [
        (*(log_uniform(rng, 250.0, 4000.0) for _ in range(2)), rng.uniform(0.2, 0.6), rng.uniform(0.4, 1.0))
        for _ in range(rng.integers(1, 3))
    ]
    seed, sweep_s, envelope = draw_seed(rng), rng.uniform(0.4, 2.5), draw_envelope(rng, False)
    t60_s = log_uniform(rng, 1.0, 8.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        def level(hz: Tensor, time_s: Tensor) -> Tensor:
            share = (time_s / sweep_s).clamp(max=1.0)
            total = torch.zeros_like(hz * time_s)
            for first_hz, last_hz, octaves, height in bands:
                total += height * bell_curve(hz, ratio * first_hz * (last_hz / first_hz) ** share, octaves)
            return total

        return envelope(time_s) * decay(time_s, t60_s) * moving_filter(white(len(time_s), seed), level, BAND_N_FFT)

    return NOISE_MIDI, play


def band_noise(rng: Random) -> tuple[float, Sound]:
    """Noise between two edges, with a slope, decaying."""
    low_hz = log_uniform(rng, 60.0, 1500.0)
    high_hz = low_hz * log_uniform(rng, 1.5, 12.0)
    seed, slope, order = draw_seed(rng), rng.uniform(-6.0, 3.0), int(rng.integers(2, 9))
    t60_s, rise_s = log_uniform(rng, 0.8, 6.0), log_uniform(rng, 0.001, 0.02)

    def colour(hz: Tensor) -> Tensor:
        tilt = (hz / low_hz) ** (slope / 20.0 / math.log10(2.0))
        return tilt * high_pass(hz, low_hz, order) * low_pass(hz, high_hz, order)

    return (
        NOISE_MIDI,
        lambda ratio, time_s: attack(time_s, rise_s) * decay(time_s, t60_s) * noise(time_s, seed, ratio, colour),
    )
