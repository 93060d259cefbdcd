"""Families of made sounds that are struck: bells, bars, plates, drums of skin and of circuits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hgs_cli.evaluation.known_truth_draws import (
    N_HARMONICS,
    NOISE_MIDI,
    Random,
    Sound,
    Tones,
    draw_hit,
    draw_key,
    draw_levels,
    draw_seed,
    log_uniform,
    scatter,
    strike_modes,
    write_notes,
)
from hgs_cli.evaluation.known_truth_voices import (
    attack,
    decay,
    high_pass,
    low_pass,
    noise,
)
from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

_BELLS = (
    (0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166, 5.433, 6.796, 8.215),  # a church bell
    (0.98, 1.48, 2.0, 3.0, 4.17, 5.43, 6.8, 8.3),  # a tubular bell
    (1.0, 2.71, 5.0, 7.9, 11.3, 15.2),  # a bowl
)
_BARS = (
    (1.0, 2.756, 5.404, 8.933, 13.345, 18.64),  # free
    (1.0, 3.93, 9.6, 16.3, 24.0),  # a marimba's
    (1.0, 3.0, 6.1, 11.5, 18.0),  # a xylophone's
    (1.0, 6.267, 17.55, 34.39),  # clamped, as a kalimba's
)
_MEMBRANES = (
    (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 3.652, 4.06, 4.154),  # ideal
    (1.0, 1.5, 1.98, 2.44, 2.9, 3.35),  # kettledrum
    (1.0, 2.0, 3.01, 4.02, 5.05),  # loaded, as a tabla's
)


def bell(rng: Random) -> tuple[float, Sound]:
    """A church bell, a tubular bell or a bowl, its modes beating."""
    midi = draw_key(rng, 50, 80)
    ratios = scatter(rng, _BELLS[rng.integers(len(_BELLS))], 0.02)
    strike = int(np.argmin(np.abs(ratios - 1.0)))
    ratios = ratios / ratios[strike]
    t60_s = log_uniform(rng, 4.0, 20.0) * ratios ** -rng.uniform(0.4, 1.0)
    gain = draw_levels(rng, len(ratios), 18.0)
    return midi, strike_modes(rng, midi_to_hz(midi), ratios, gain, t60_s, split=log_uniform(rng, 5e-4, 6e-3))


def bar(rng: Random) -> tuple[float, Sound]:
    """A bar that is free, tuned or clamped."""
    midi = draw_key(rng, 48, 84)
    ratios = scatter(rng, _BARS[rng.integers(len(_BARS))], 0.02)
    t60_s = log_uniform(rng, 1.0, 8.0) * ratios ** -rng.uniform(0.5, 1.2)
    gain = draw_levels(rng, len(ratios), 12.0) * ratios ** -rng.uniform(0.0, 0.8)
    return midi, strike_modes(rng, midi_to_hz(midi), ratios, gain, t60_s)


def plate(rng: Random) -> tuple[float, Sound]:
    """Many modes of a rectangular plate: gongs, sheets, dull cymbals."""
    lowest_hz = log_uniform(rng, 50.0, 220.0)
    m, n = np.meshgrid(np.arange(1, 10), np.arange(1, 10))
    ratios = np.sort((m**2 + (n * rng.uniform(1.05, 1.9)) ** 2).ravel().astype(np.float64))[: rng.integers(20, 50)]
    ratios = ratios / ratios[0] * np.exp(rng.normal(0.0, 0.015, len(ratios)))
    gain = draw_levels(rng, len(ratios), 24.0) * ratios ** -rng.uniform(0.0, 0.5)
    t60_s = log_uniform(rng, 3.0, 12.0) * ratios ** -rng.uniform(0.2, 0.6)
    strongest = float(ratios[np.argmax(gain**2 * t60_s)])
    return hz_to_midi(lowest_hz * strongest), strike_modes(rng, lowest_hz, ratios, gain, t60_s, split=2e-3)


def membrane(rng: Random) -> tuple[float, Sound]:
    """A drum's skin, ideal, of a kettledrum or loaded."""
    midi = draw_key(rng, 38, 65)
    ratios = scatter(rng, _MEMBRANES[rng.integers(len(_MEMBRANES))], 0.02)
    t60_s = log_uniform(rng, 1.0, 4.0) * ratios ** -rng.uniform(0.2, 1.0)
    gain = draw_levels(rng, len(ratios), 15.0) * ratios ** -rng.uniform(0.0, 1.0)
    gain[0] = 1.0
    return midi, strike_modes(rng, midi_to_hz(midi), ratios, gain, t60_s)


def _dropping(f0_hz: float, times: float, drop_s: float, ratio: float, time_s: Tensor) -> Tensor:
    """Phase in radians of a mode that begins `times` higher and drops, (T,)."""
    return math.tau * ratio * f0_hz * (1.0 + (times - 1.0) * torch.exp(-time_s / drop_s)).cumsum(0) / SAMPLE_RATE


def kick(rng: Random) -> tuple[float, Sound]:
    """A sinusoid that drops, driven, and a stroke."""
    f0_hz = log_uniform(rng, 45.0, 90.0)
    times, drop_s, t60_s = log_uniform(rng, 2.0, 7.0), log_uniform(rng, 0.01, 0.06), log_uniform(rng, 0.6, 2.5)
    drive = rng.uniform(0.5, 3.0)
    hit = draw_hit(rng, log_uniform(rng, 800.0, 4000.0), rng.uniform(0.0, 0.3))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        body = torch.sin(_dropping(f0_hz, times, drop_s, ratio, time_s)) * decay(time_s, t60_s)
        return attack(time_s, 0.001) * (torch.tanh(drive * body) / math.tanh(drive) + hit(ratio, time_s))

    return hz_to_midi(f0_hz), play


def tom(rng: Random) -> tuple[float, Sound]:
    """Four modes that drop together, and a stroke."""
    midi = draw_key(rng, 41, 60)
    times, drop_s = rng.uniform(1.1, 1.9), log_uniform(rng, 0.03, 0.15)
    ratios = scatter(rng, (1.0, 1.594, 2.136, 2.296), 0.03)
    gain, t60_s = draw_levels(rng, 4, 15.0), log_uniform(rng, 0.8, 3.0) * ratios**-0.7
    gain[0] = 1.0
    hit = draw_hit(rng, log_uniform(rng, 400.0, 2500.0), rng.uniform(0.1, 0.4))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        total = hit(ratio, time_s)
        for times_f0, level, seconds in zip(ratios, gain, t60_s, strict=True):
            phase = float(times_f0) * _dropping(midi_to_hz(midi), times, drop_s, ratio, time_s)
            total = total + float(level) * torch.sin(phase) * decay(time_s, float(seconds))
        return attack(time_s, 0.001) * total

    return midi, play


def _squares(rng: Random, tones_hz: list[float]) -> Tones:
    """Square waves without decay."""
    k = np.arange(1, N_HARMONICS + 1)
    waveform = (k % 2) / k
    return write_notes(rng, [hz_to_midi(hz) for hz in tones_hz], waveform, math.inf, level_db=3.0)


def cowbell(rng: Random) -> tuple[float, Sound]:
    """Two square waves through a band, with a sharp start."""
    low_hz = log_uniform(rng, 350.0, 750.0)
    tones = _squares(rng, [low_hz, low_hz * rng.uniform(1.3, 1.65)])
    centre_hz, octaves = low_hz * rng.uniform(1.5, 5.0), rng.uniform(0.7, 1.4)
    tones = Tones(
        tones.hz,
        tones.gain * np.exp(-0.5 * (np.log2(tones.hz / centre_hz) / octaves) ** 2),
        tones.phase,
        tones.t60_s,
    )
    t60_s, spike_s, spike = log_uniform(rng, 0.6, 2.5), log_uniform(rng, 0.02, 0.08), rng.uniform(0.3, 2.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        envelope = attack(time_s, 0.001) * (decay(time_s, t60_s) + spike * decay(time_s, spike_s))
        return envelope * tones.play(ratio, time_s)

    return hz_to_midi(low_hz), play


def snare(rng: Random) -> tuple[float, Sound]:
    """Two modes that drop a little, and noise."""
    midi = draw_key(rng, 50, 60)
    second, level = rng.uniform(1.5, 2.0), rng.uniform(0.2, 0.9)
    times, t60_s = rng.uniform(1.0, 1.5), log_uniform(rng, 0.3, 1.0)
    seed, low_hz, high_hz = draw_seed(rng), log_uniform(rng, 400.0, 2500.0), log_uniform(rng, 5000.0, 12_000.0)
    noise_s, noise_level = log_uniform(rng, 0.4, 1.6), rng.uniform(0.3, 1.5)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        phase = _dropping(midi_to_hz(midi), times, 0.02, ratio, time_s)
        modes = (torch.sin(phase) + level * torch.sin(second * phase)) * decay(time_s, t60_s)
        rattle = noise(time_s, seed, ratio, lambda hz: high_pass(hz, low_hz) * low_pass(hz, high_hz))
        return attack(time_s, 0.001) * (modes + noise_level * rattle * decay(time_s, noise_s))

    return midi, play


def hat(rng: Random) -> tuple[float, Sound]:
    """Six square waves without a common period and some noise, above an edge: closed and open hats, small cymbals."""
    tones = _squares(rng, [log_uniform(rng, 200.0, 900.0) for _ in range(6)])
    edge_hz = log_uniform(rng, 2000.0, 5000.0)
    tones = Tones(tones.hz, tones.gain / np.sqrt(1.0 + (edge_hz / tones.hz) ** 6), tones.phase, tones.t60_s)
    seed, noise_level = draw_seed(rng), rng.uniform(0.0, 0.5)
    t60_s = log_uniform(rng, 0.3, 3.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        hiss = noise(time_s, seed, ratio, lambda hz: high_pass(hz, edge_hz, 3) * low_pass(hz, 15e3))
        return attack(time_s, 0.001) * decay(time_s, t60_s) * (tones.play(ratio, time_s) + noise_level * hiss)

    return NOISE_MIDI, play
