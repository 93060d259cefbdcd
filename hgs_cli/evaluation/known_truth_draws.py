"""Draws that families of made sounds share: waveforms, notes, envelopes, strokes and damped modes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hgs_cli.evaluation.known_truth_voices import (
    Array,
    Level,
    attack,
    bell_curve,
    decay,
    harmonics,
    held,
    noise,
    partials,
)
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

NOISE_MIDI = 60.0  # what is told of a sound in which nothing stands out
N_HARMONICS = 600

Random = np.random.Generator
Sound = Callable[[float, Tensor], Tensor]
"""Takes the ratio by which the key is moved and time (T,) in seconds from the onset, gives (T,) at any level."""


def log_uniform(rng: Random, low: float, high: float) -> float:
    """A number between two, evenly drawn on a logarithmic scale."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def chance(rng: Random, share: float) -> bool:
    """Whether something with this chance happens."""
    return bool(rng.random() < share)


def draw_seed(rng: Random) -> int:
    """A seed of noise."""
    return int(rng.integers(2**31))


def draw_phase(rng: Random) -> float:
    """A phase in radians."""
    return float(rng.uniform(0.0, math.tau))


def draw_key(rng: Random, low: float, high: float) -> float:
    """A MIDI note that is seldom exactly in tune."""
    return round(float(rng.integers(round(low), round(high) + 1) + rng.normal(0.0, 0.08)), 2)


def draw_levels(rng: Random, n: int, range_db: float) -> Array:
    """Amplitudes evenly spread in dB below 1, (n,)."""
    return np.asarray(10.0 ** (-rng.uniform(0.0, range_db, n) / 20.0))


def draw_waveform(rng: Random) -> Array:
    """Amplitudes of the harmonics of an oscillator, (N_HARMONICS,)."""
    k = np.arange(1, N_HARMONICS + 1, dtype=np.float64)
    odd = k % 2
    kind = rng.integers(10)
    if kind < 3:
        return 1.0 / k
    if kind < 5:
        return odd / k
    if kind < 7:
        return np.asarray(np.sin(math.pi * k * rng.uniform(0.08, 0.45)) / k)
    if kind == 7:
        return odd / k**2
    if kind == 8:  # an organ's stops
        stops = np.zeros(N_HARMONICS)
        stops[[0, 1, 2, 3, 5, 7]] = draw_levels(rng, 6, 20.0)
        return stops
    return np.asarray(k ** -rng.uniform(1.2, 2.5))


def close_waveform(rng: Random, waveform: Array, midi: float) -> Array:
    """A waveform (K,) behind a low-pass filter that moves with the key."""
    edge = log_uniform(rng, 1500.0, 16_000.0) / midi_to_hz(midi)
    return np.asarray(waveform / np.sqrt(1.0 + (np.arange(1, len(waveform) + 1) / edge) ** 4))


@dataclass(frozen=True)
class Tones:
    """Partials of several notes: frequencies at the patch's own key, amplitudes, phases, T60, each (K,)."""

    hz: Array
    gain: Array
    phase: Array
    t60_s: Array

    def play(self, ratio: float, time_s: Tensor, *level: Level) -> Tensor:
        """All of them, moved, (T,); `level` as for `partials`."""
        return partials(time_s, ratio * self.hz, self.gain, self.phase, self.t60_s, *level)


def write_notes(rng: Random, keys: list[float], waveform: Array, t60_s: float, level_db: float = 4.0) -> Tones:
    """Notes of one waveform, their higher partials decaying faster; below the key of the lowest note all are written.

    Partials are listed up to where they would be heard two octaves down.
    """
    parts = []
    damping = rng.uniform(0.2, 0.7)
    for midi, level in zip(keys, draw_levels(rng, len(keys), level_db), strict=True):
        f0_hz = midi_to_hz(midi)
        hz, gain, phase = harmonics(waveform, f0_hz / 4.0, draw_phase(rng))
        hz = 4.0 * hz
        parts.append((hz, level * gain, phase, t60_s * (hz / f0_hz) ** -damping))
    return Tones(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def draw_envelope(rng: Random, struck: bool) -> Callable[[Tensor], Tensor]:
    """Of a struck sound its sharp attack, of a held one attack and release."""
    rise_s = log_uniform(rng, 0.001, 0.008) if struck else log_uniform(rng, 0.005, 0.3)
    release_s = rng.uniform(0.1, 0.4)
    return lambda time_s: attack(time_s, rise_s) if struck else held(time_s, rise_s, release_s)


def stack_notes(rng: Random, keys: list[float], level_db: float = 4.0) -> Sound:
    """Notes that sound together, plucked or held."""
    struck = chance(rng, 0.5)
    waveform = close_waveform(rng, draw_waveform(rng), keys[0])
    tones = write_notes(rng, keys, waveform, log_uniform(rng, 2.0, 10.0) if struck else math.inf, level_db)
    envelope = draw_envelope(rng, struck)
    return lambda ratio, time_s: envelope(time_s) * tones.play(ratio, time_s)


def draw_hit(rng: Random, centre_hz: float, share: float) -> Sound:
    """The short noise of a stroke, in a band around a frequency; `share` is about its amplitude beside modes of 1."""
    seed, t60_s, octaves = draw_seed(rng), log_uniform(rng, 0.01, 0.06), rng.uniform(0.5, 1.2)
    # The same power in a wide band as in a narrow one.
    gain = share * math.sqrt(SAMPLE_RATE / 2.0 / (octaves * centre_hz))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        band = noise(time_s, seed, ratio, lambda hz: bell_curve(hz, centre_hz, octaves))
        return gain * band * decay(time_s, t60_s)

    return play


def strike_modes(rng: Random, f0_hz: float, ratios: Array, gain: Array, t60_s: Array, split: float = 0.0) -> Sound:
    """Damped modes (K,) and the stroke; with `split`, each mode is two that differ by about that share and beat."""
    shares = rng.uniform(0.5, 1.0, len(ratios)) if split else np.ones(len(ratios))
    apart = split * rng.uniform(0.3, 1.0, len(ratios))
    tones = Tones(
        f0_hz * np.concatenate([ratios, ratios * (1.0 + apart)]),
        np.concatenate([gain * shares, gain * (1.0 - shares)]),
        rng.uniform(0.0, math.tau, 2 * len(ratios)),
        np.concatenate([t60_s, t60_s]),
    )
    hit = draw_hit(rng, f0_hz * float(ratios.max()) ** 0.6, rng.uniform(0.0, 0.4))
    rise_s = log_uniform(rng, 0.0005, 0.004)
    return lambda ratio, time_s: attack(time_s, rise_s) * (tones.play(ratio, time_s) + hit(ratio, time_s))


def scatter(rng: Random, ratios: tuple[float, ...], spread: float) -> Array:
    """Ratios around physical ones, the first exact, (K,)."""
    scattered = np.asarray(ratios) * np.exp(rng.normal(0.0, spread, len(ratios)))
    return np.asarray(scattered * (ratios[0] / scattered[0]))
