"""Families of made sounds: what draws a patch of each, its pitch and how it sounds at any key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hgs_cli.evaluation.known_truth_voices import (
    Array,
    Level,
    attack,
    band_limited,
    bell_curve,
    decay,
    harmonics,
    held,
    high_pass,
    low_pass,
    moving_filter,
    noise,
    oscillator,
    partials,
    white,
)
from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

NOISE_MIDI = 60.0  # what is told of a sound in which nothing stands out
N_HARMONICS = 600
VOWEL_N_FFT = 1024  # fine enough for formants
BAND_N_FFT = 4096  # for bands of noise two octaves down

Random = np.random.Generator
Sound = Callable[[float, Tensor], Tensor]
"""Takes the ratio by which the key is moved and time (T,) in seconds from the onset, gives (T,) at any level."""


# --- draws that families share ----------------------------------------------------------------------------------------


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _chance(rng: Random, share: float) -> bool:
    return bool(rng.random() < share)


def _seed(rng: Random) -> int:
    return int(rng.integers(2**31))


def _phase(rng: Random) -> float:
    return float(rng.uniform(0.0, math.tau))


def _key(rng: Random, low: float, high: float) -> float:
    """A MIDI note that is seldom exactly in tune."""
    return round(float(rng.integers(round(low), round(high) + 1) + rng.normal(0.0, 0.08)), 2)


def _levels(rng: Random, n: int, range_db: float) -> Array:
    """Amplitudes evenly spread in dB below 1, (n,)."""
    return np.asarray(10.0 ** (-rng.uniform(0.0, range_db, n) / 20.0))


def _waveform(rng: Random) -> Array:
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
        stops[[0, 1, 2, 3, 5, 7]] = _levels(rng, 6, 20.0)
        return stops
    return np.asarray(k ** -rng.uniform(1.2, 2.5))


def _closed(rng: Random, waveform: Array, midi: float) -> Array:
    """A waveform (K,) behind a low-pass filter that moves with the key."""
    edge = _log_uniform(rng, 1500.0, 16_000.0) / midi_to_hz(midi)
    return np.asarray(waveform / np.sqrt(1.0 + (np.arange(1, len(waveform) + 1) / edge) ** 4))


@dataclass(frozen=True)
class _Tones:
    """Partials of several notes: frequencies at the patch's own key, amplitudes, phases, T60, each (K,)."""

    hz: Array
    gain: Array
    phase: Array
    t60_s: Array

    def play(self, ratio: float, time_s: Tensor, *level: Level) -> Tensor:
        """All of them, moved, (T,); `level` as for `partials`."""
        return partials(time_s, ratio * self.hz, self.gain, self.phase, self.t60_s, *level)


def _notes(rng: Random, keys: list[float], waveform: Array, t60_s: float, level_db: float = 4.0) -> _Tones:
    """Notes of one waveform, their higher partials decaying faster; below the key of the lowest note all are written.

    Partials are listed up to where they would be heard two octaves down.
    """
    parts = []
    damping = rng.uniform(0.2, 0.7)
    for midi, level in zip(keys, _levels(rng, len(keys), level_db), strict=True):
        f0_hz = midi_to_hz(midi)
        hz, gain, phase = harmonics(waveform, f0_hz / 4.0, _phase(rng))
        hz = 4.0 * hz
        parts.append((hz, level * gain, phase, t60_s * (hz / f0_hz) ** -damping))
    return _Tones(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _envelope(rng: Random, struck: bool) -> Callable[[Tensor], Tensor]:
    """Of a struck sound its sharp attack, of a held one attack and release."""
    rise_s = _log_uniform(rng, 0.001, 0.008) if struck else _log_uniform(rng, 0.005, 0.3)
    release_s = rng.uniform(0.1, 0.4)
    return lambda time_s: attack(time_s, rise_s) if struck else held(time_s, rise_s, release_s)


def _stack(rng: Random, keys: list[float], level_db: float = 4.0) -> Sound:
    """Notes that sound together, plucked or held."""
    struck = _chance(rng, 0.5)
    waveform = _closed(rng, _waveform(rng), keys[0])
    tones = _notes(rng, keys, waveform, _log_uniform(rng, 2.0, 10.0) if struck else math.inf, level_db)
    envelope = _envelope(rng, struck)
    return lambda ratio, time_s: envelope(time_s) * tones.play(ratio, time_s)


def _hit(rng: Random, centre_hz: float, share: float) -> Sound:
    """The short noise of a stroke, in a band around a frequency; `share` is about its amplitude beside modes of 1."""
    seed, t60_s, octaves = _seed(rng), _log_uniform(rng, 0.01, 0.06), rng.uniform(0.5, 1.2)
    # The same power in a wide band as in a narrow one.
    gain = share * math.sqrt(SAMPLE_RATE / 2.0 / (octaves * centre_hz))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        band = noise(time_s, seed, ratio, lambda hz: bell_curve(hz, centre_hz, octaves))
        return gain * band * decay(time_s, t60_s)

    return play


def _modes(rng: Random, f0_hz: float, ratios: Array, gain: Array, t60_s: Array, split: float = 0.0) -> Sound:
    """Damped modes (K,) and the stroke; with `split`, each mode is two that differ by about that share and beat."""
    shares = rng.uniform(0.5, 1.0, len(ratios)) if split else np.ones(len(ratios))
    apart = split * rng.uniform(0.3, 1.0, len(ratios))
    tones = _Tones(
        f0_hz * np.concatenate([ratios, ratios * (1.0 + apart)]),
        np.concatenate([gain * shares, gain * (1.0 - shares)]),
        rng.uniform(0.0, math.tau, 2 * len(ratios)),
        np.concatenate([t60_s, t60_s]),
    )
    hit = _hit(rng, f0_hz * float(ratios.max()) ** 0.6, rng.uniform(0.0, 0.4))
    rise_s = _log_uniform(rng, 0.0005, 0.004)
    return lambda ratio, time_s: attack(time_s, rise_s) * (tones.play(ratio, time_s) + hit(ratio, time_s))


def _scattered(rng: Random, ratios: tuple[float, ...], spread: float) -> Array:
    """Ratios around physical ones, the first exact, (K,)."""
    scattered = np.asarray(ratios) * np.exp(rng.normal(0.0, spread, len(ratios)))
    return np.asarray(scattered * (ratios[0] / scattered[0]))


# --- families ---------------------------------------------------------------------------------------------------------

_CHORDS = (
    (0, 4, 7), (0, 3, 7), (0, 4, 8), (0, 3, 6), (0, 5, 7), (0, 2, 7), (0, 4, 7, 11), (0, 4, 7, 10), (0, 3, 7, 10),
    (0, 3, 6, 9), (0, 4, 7, 9), (0, 7, 16), (0, 7, 15, 22), (0, 4, 7, 12, 16), (0, 3, 7, 10, 14), (0, 7, 12, 16, 19),
)  # fmt: skip


def _chord(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 41, 64)
    return midi, _stack(rng, [midi + step for step in _CHORDS[rng.integers(len(_CHORDS))]])


def _stacked_intervals(rng: Random) -> tuple[float, Sound]:
    """Two to four notes at equal distances, in tune or not."""
    midi = _key(rng, 41, 64)
    step = float(rng.integers(1, 13)) if _chance(rng, 0.7) else rng.uniform(1.0, 12.0)
    return midi, _stack(rng, [midi + step * index for index in range(rng.integers(2, 5))])


def _detuned_stack(rng: Random) -> tuple[float, Sound]:
    """Two to nine oscillators around one pitch, sometimes some of them an octave away."""
    midi = _key(rng, 38, 70)
    width = _log_uniform(rng, 0.03, 0.5)
    keys = [midi + width * (rng.uniform(-1.0, 1.0) if index else 0.0) for index in range(rng.integers(2, 10))]
    if _chance(rng, 0.3):
        keys += [key + 12.0 for key in keys[1:3]]
    return midi, _stack(rng, keys, level_db=8.0)


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


def _bell(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 50, 80)
    ratios = _scattered(rng, _BELLS[rng.integers(len(_BELLS))], 0.02)
    strike = int(np.argmin(np.abs(ratios - 1.0)))
    ratios = ratios / ratios[strike]
    t60_s = _log_uniform(rng, 4.0, 20.0) * ratios ** -rng.uniform(0.4, 1.0)
    gain = _levels(rng, len(ratios), 18.0)
    return midi, _modes(rng, midi_to_hz(midi), ratios, gain, t60_s, split=_log_uniform(rng, 5e-4, 6e-3))


def _bar(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 48, 84)
    ratios = _scattered(rng, _BARS[rng.integers(len(_BARS))], 0.02)
    t60_s = _log_uniform(rng, 1.0, 8.0) * ratios ** -rng.uniform(0.5, 1.2)
    gain = _levels(rng, len(ratios), 12.0) * ratios ** -rng.uniform(0.0, 0.8)
    return midi, _modes(rng, midi_to_hz(midi), ratios, gain, t60_s)


def _plate(rng: Random) -> tuple[float, Sound]:
    """Many modes of a rectangular plate: gongs, sheets, dull cymbals."""
    lowest_hz = _log_uniform(rng, 50.0, 220.0)
    m, n = np.meshgrid(np.arange(1, 10), np.arange(1, 10))
    ratios = np.sort((m**2 + (n * rng.uniform(1.05, 1.9)) ** 2).ravel().astype(np.float64))[: rng.integers(20, 50)]
    ratios = ratios / ratios[0] * np.exp(rng.normal(0.0, 0.015, len(ratios)))
    gain = _levels(rng, len(ratios), 24.0) * ratios ** -rng.uniform(0.0, 0.5)
    t60_s = _log_uniform(rng, 3.0, 12.0) * ratios ** -rng.uniform(0.2, 0.6)
    strongest = float(ratios[np.argmax(gain**2 * t60_s)])
    return hz_to_midi(lowest_hz * strongest), _modes(rng, lowest_hz, ratios, gain, t60_s, split=2e-3)


def _membrane(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 38, 65)
    ratios = _scattered(rng, _MEMBRANES[rng.integers(len(_MEMBRANES))], 0.02)
    t60_s = _log_uniform(rng, 1.0, 4.0) * ratios ** -rng.uniform(0.2, 1.0)
    gain = _levels(rng, len(ratios), 15.0) * ratios ** -rng.uniform(0.0, 1.0)
    gain[0] = 1.0
    return midi, _modes(rng, midi_to_hz(midi), ratios, gain, t60_s)


def _fm(rng: Random, midi: float, modulator: float) -> Sound:
    """Frequency modulation by one oscillator, whose index decays; what turns about 0 Hz is filtered out.

    Source: Chowning, The synthesis of complex audio spectra by means of frequency modulation (JAES 1973).
    """
    struck = _chance(rng, 0.7)
    index, left = _log_uniform(rng, 0.8, 7.0) * min(1.0, 3.0 / modulator), rng.uniform(0.05, 0.6)
    index_s, t60_s = _log_uniform(rng, 0.5, 5.0), _log_uniform(rng, 2.0, 10.0)
    phase, envelope = _phase(rng), _envelope(rng, struck)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        def finer(time_s: Tensor) -> Tensor:
            turn = math.tau * ratio * midi_to_hz(midi) * time_s
            depth = index * (left + (1.0 - left) * decay(time_s, index_s))
            return torch.sin(turn + depth * torch.sin(modulator * turn + phase))

        fading = decay(time_s, t60_s) if struck else 1.0
        return envelope(time_s) * fading * band_limited(time_s, 0.1 * ratio * midi_to_hz(midi), finer)

    return play


def _harmonic_fm(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 40, 72)
    return midi, _fm(rng, midi, float(rng.choice([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])) * (1.0 + rng.normal(0.0, 5e-4)))


def _inharmonic_fm(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 45, 80)
    return midi, _fm(rng, midi, float(rng.integers(0, 6)) + rng.uniform(0.2, 0.8) + 0.2)


def _ring_modulation(rng: Random) -> tuple[float, Sound]:
    """A tone times a sinusoid that none of its harmonics fits: every partial becomes two."""
    midi = _key(rng, 45, 72)
    f0_hz = midi_to_hz(midi)
    other_hz = f0_hz * _log_uniform(rng, 0.3, 5.0)
    struck = _chance(rng, 0.5)
    tone = _notes(rng, [midi], _closed(rng, _waveform(rng), midi)[:24], _log_uniform(rng, 2.0, 8.0))
    dry = rng.uniform(0.0, 0.5) if _chance(rng, 0.4) else 0.0
    tones = _Tones(
        np.concatenate([np.abs(tone.hz - other_hz), tone.hz + other_hz, tone.hz]),
        np.concatenate([tone.gain, tone.gain, dry * tone.gain]),
        np.concatenate([tone.phase, tone.phase + math.pi, tone.phase]),
        np.tile(tone.t60_s if struck else np.full_like(tone.t60_s, math.inf), 3),
    )
    envelope = _envelope(rng, struck)
    return midi, lambda ratio, time_s: envelope(time_s) * tones.play(ratio, time_s)


def _dropping(f0_hz: float, times: float, drop_s: float, ratio: float, time_s: Tensor) -> Tensor:
    """Phase in radians of a mode that begins `times` higher and drops, (T,)."""
    return math.tau * ratio * f0_hz * (1.0 + (times - 1.0) * torch.exp(-time_s / drop_s)).cumsum(0) / SAMPLE_RATE


def _kick(rng: Random) -> tuple[float, Sound]:
    f0_hz = _log_uniform(rng, 45.0, 90.0)
    times, drop_s, t60_s = _log_uniform(rng, 2.0, 7.0), _log_uniform(rng, 0.01, 0.06), _log_uniform(rng, 0.6, 2.5)
    drive = rng.uniform(0.5, 3.0)
    hit = _hit(rng, _log_uniform(rng, 800.0, 4000.0), rng.uniform(0.0, 0.3))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        body = torch.sin(_dropping(f0_hz, times, drop_s, ratio, time_s)) * decay(time_s, t60_s)
        return attack(time_s, 0.001) * (torch.tanh(drive * body) / math.tanh(drive) + hit(ratio, time_s))

    return hz_to_midi(f0_hz), play


def _tom(rng: Random) -> tuple[float, Sound]:
    midi = _key(rng, 41, 60)
    times, drop_s = rng.uniform(1.1, 1.9), _log_uniform(rng, 0.03, 0.15)
    ratios = _scattered(rng, (1.0, 1.594, 2.136, 2.296), 0.03)
    gain, t60_s = _levels(rng, 4, 15.0), _log_uniform(rng, 0.8, 3.0) * ratios**-0.7
    gain[0] = 1.0
    hit = _hit(rng, _log_uniform(rng, 400.0, 2500.0), rng.uniform(0.1, 0.4))

    def play(ratio: float, time_s: Tensor) -> Tensor:
        total = hit(ratio, time_s)
        for times_f0, level, seconds in zip(ratios, gain, t60_s, strict=True):
            phase = float(times_f0) * _dropping(midi_to_hz(midi), times, drop_s, ratio, time_s)
            total = total + float(level) * torch.sin(phase) * decay(time_s, float(seconds))
        return attack(time_s, 0.001) * total

    return midi, play


def _squares(rng: Random, tones_hz: list[float]) -> _Tones:
    """Square waves without decay."""
    k = np.arange(1, N_HARMONICS + 1)
    waveform = (k % 2) / k
    return _notes(rng, [hz_to_midi(hz) for hz in tones_hz], waveform, math.inf, level_db=3.0)


def _cowbell(rng: Random) -> tuple[float, Sound]:
    """Two square waves through a band, with a sharp start."""
    low_hz = _log_uniform(rng, 350.0, 750.0)
    tones = _squares(rng, [low_hz, low_hz * rng.uniform(1.3, 1.65)])
    centre_hz, octaves = low_hz * rng.uniform(1.5, 5.0), rng.uniform(0.7, 1.4)
    tones = _Tones(
        tones.hz,
        tones.gain * np.exp(-0.5 * (np.log2(tones.hz / centre_hz) / octaves) ** 2),
        tones.phase,
        tones.t60_s,
    )
    t60_s, spike_s, spike = _log_uniform(rng, 0.6, 2.5), _log_uniform(rng, 0.02, 0.08), rng.uniform(0.3, 2.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        envelope = attack(time_s, 0.001) * (decay(time_s, t60_s) + spike * decay(time_s, spike_s))
        return envelope * tones.play(ratio, time_s)

    return hz_to_midi(low_hz), play


def _snare(rng: Random) -> tuple[float, Sound]:
    """Two modes that drop a little, and noise."""
    midi = _key(rng, 50, 60)
    second, level = rng.uniform(1.5, 2.0), rng.uniform(0.2, 0.9)
    times, t60_s = rng.uniform(1.0, 1.5), _log_uniform(rng, 0.3, 1.0)
    seed, low_hz, high_hz = _seed(rng), _log_uniform(rng, 400.0, 2500.0), _log_uniform(rng, 5000.0, 12_000.0)
    noise_s, noise_level = _log_uniform(rng, 0.4, 1.6), rng.uniform(0.3, 1.5)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        phase = _dropping(midi_to_hz(midi), times, 0.02, ratio, time_s)
        modes = (torch.sin(phase) + level * torch.sin(second * phase)) * decay(time_s, t60_s)
        rattle = noise(time_s, seed, ratio, lambda hz: high_pass(hz, low_hz) * low_pass(hz, high_hz))
        return attack(time_s, 0.001) * (modes + noise_level * rattle * decay(time_s, noise_s))

    return midi, play


def _hat(rng: Random) -> tuple[float, Sound]:
    """Six square waves without a common period and some noise, above an edge: closed and open hats, small cymbals."""
    tones = _squares(rng, [_log_uniform(rng, 200.0, 900.0) for _ in range(6)])
    edge_hz = _log_uniform(rng, 2000.0, 5000.0)
    tones = _Tones(tones.hz, tones.gain / np.sqrt(1.0 + (edge_hz / tones.hz) ** 6), tones.phase, tones.t60_s)
    seed, noise_level = _seed(rng), rng.uniform(0.0, 0.5)
    t60_s = _log_uniform(rng, 0.3, 3.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        hiss = noise(time_s, seed, ratio, lambda hz: high_pass(hz, edge_hz, 3) * low_pass(hz, 15e3))
        return attack(time_s, 0.001) * decay(time_s, t60_s) * (tones.play(ratio, time_s) + noise_level * hiss)

    return NOISE_MIDI, play


def _two_notes(rng: Random) -> tuple[float, Sound]:
    """One note, then another; the first stops or rings on."""
    midi = _key(rng, 45, 70)
    step = float(rng.integers(1, 13)) * (1.0 if _chance(rng, 0.5) else -1.0)
    waveform, t60_s = _closed(rng, _waveform(rng), midi), _log_uniform(rng, 2.0, 8.0)
    first, second = (_notes(rng, [key], waveform, t60_s) for key in (midi, midi + step))
    start_s, rise_s, rings = rng.uniform(0.3, 0.8), _log_uniform(rng, 0.002, 0.03), _chance(rng, 0.4)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        n_first = min(round(start_s * SAMPLE_RATE), len(time_s))
        one = first.play(ratio, time_s) * attack(time_s, rise_s)
        if not rings:
            one = one * attack(start_s - time_s, 0.02)
        rest_s = time_s[: len(time_s) - n_first]
        two = second.play(ratio, rest_s) * attack(rest_s, rise_s)
        return one + torch.nn.functional.pad(two, (n_first, 0))

    return midi, play


def _filter_sweep(rng: Random) -> tuple[float, Sound]:
    """A bright oscillator through a resonant low-pass filter that moves once, or to and fro."""
    midi = _key(rng, 36, 62)
    k = np.arange(1, N_HARMONICS + 1)
    tones = _notes(rng, [midi, midi + rng.uniform(0.0, 0.12)], 1.0 / k, math.inf)
    low_hz, high_hz, q = _log_uniform(rng, 150.0, 500.0), _log_uniform(rng, 1500.0, 6000.0), _log_uniform(rng, 1.0, 8.0)
    pace_s, rate_hz = _log_uniform(rng, 0.15, 1.2), _log_uniform(rng, 0.5, 4.0)
    kind, envelope = rng.integers(3), _envelope(rng, False)

    def height(time_s: Tensor) -> Tensor:
        if kind == 0:
            return torch.exp(-time_s / pace_s)
        if kind == 1:
            return 1.0 - torch.exp(-time_s / pace_s)
        return 0.5 - 0.5 * torch.cos(math.tau * rate_hz * time_s)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        def level(hz: Tensor, time_s: Tensor) -> Tensor:
            x = hz / (ratio * low_hz * (high_hz / low_hz) ** height(time_s))
            return ((1.0 - x**2) ** 2 + (x / q) ** 2).rsqrt()

        return envelope(time_s) * tones.play(ratio, time_s, level)

    return midi, play


_VOWELS_HZ = (
    (800.0, 1150.0, 2900.0, 3900.0),
    (400.0, 1900.0, 2600.0, 3600.0),
    (280.0, 2200.0, 2950.0, 3900.0),
    (450.0, 800.0, 2830.0, 3800.0),
    (325.0, 700.0, 2700.0, 3800.0),
)
_FORMANT_LEVELS = (1.0, 0.5, 0.2, 0.12)


def _vibrato(rng: Random, depth_cents: float) -> Callable[[Tensor], Tensor]:
    """Factors on a frequency over time (T,); the vibrato sets in within half a second."""
    rate_hz, phase, onset_s = rng.uniform(4.5, 6.8), _phase(rng), rng.uniform(0.05, 0.5)
    return lambda time_s: torch.exp2(
        depth_cents / 1200.0 * attack(time_s, onset_s) * torch.sin(math.tau * rate_hz * time_s + phase)
    )


def _vowel(rng: Random) -> tuple[float, Sound]:
    """A voice that goes from one vowel to another: the source moves with the key, formants and breath stay."""
    midi = _key(rng, 43, 67)
    source = np.asarray(np.arange(1.0, N_HARMONICS + 1) ** -rng.uniform(1.0, 1.6), np.float64)
    first, last = (np.asarray(_VOWELS_HZ[index]) for index in rng.choice(len(_VOWELS_HZ), 2, replace=False))
    size, width = rng.uniform(0.9, 1.2), rng.uniform(80.0, 160.0)
    begin_s, glide_s = rng.uniform(0.1, 0.8), rng.uniform(0.2, 1.2)
    vibrato, phase, envelope = _vibrato(rng, rng.uniform(0.0, 45.0)), _phase(rng), _envelope(rng, False)
    seed, breath = _seed(rng), _log_uniform(rng, 0.002, 0.03)

    def level(hz: Tensor, time_s: Tensor) -> Tensor:
        share = attack(time_s - begin_s, glide_s)
        total = torch.full_like(hz * time_s, 0.01)
        for low, high, height in zip(first, last, _FORMANT_LEVELS, strict=True):
            centre_hz = size * float(low) * (float(high) / float(low)) ** share
            total = total + height / (1.0 + ((hz - centre_hz) / width) ** 2)
        return total

    def play(ratio: float, time_s: Tensor) -> Tensor:
        voiced = oscillator(ratio * midi_to_hz(midi) * vibrato(time_s), source, phase)
        return envelope(time_s) * moving_filter(voiced + breath * white(len(time_s), seed), level, VOWEL_N_FFT)

    return midi, play


def _ensemble(rng: Random) -> tuple[float, Sound]:
    """Several players of one note, each with a vibrato, a tuning and a start of its own."""
    midi = _key(rng, 43, 76)
    waveform = _closed(rng, _waveform(rng), midi)
    depth = rng.uniform(5.0, 35.0)
    players = [
        (
            rng.normal(0.0, 0.08), _vibrato(rng, depth * rng.uniform(0.6, 1.4)), _phase(rng), rng.uniform(0.0, 0.05),
            _log_uniform(rng, 0.02, 0.25), rng.uniform(0.6, 1.0),
        )
        for _ in range(rng.integers(4, 9))
    ]  # fmt: skip
    release_s = rng.uniform(0.1, 0.4)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        total = torch.zeros_like(time_s)
        for tuning, vibrato, phase, start_s, rise_s, level in players:
            f0_hz = ratio * midi_to_hz(midi + tuning) * vibrato(time_s)
            total += level * attack(time_s - start_s, rise_s) * oscillator(f0_hz, waveform, phase)
        return total * attack(time_s[-1] - time_s, release_s)

    return midi, play


def _swept_noise(rng: Random) -> tuple[float, Sound]:
    """Noise in one or two bands that move."""
    bands = [
        (*(_log_uniform(rng, 250.0, 4000.0) for _ in range(2)), rng.uniform(0.2, 0.6), rng.uniform(0.4, 1.0))
        for _ in range(rng.integers(1, 3))
    ]
    seed, sweep_s, envelope = _seed(rng), rng.uniform(0.4, 2.5), _envelope(rng, False)
    t60_s = _log_uniform(rng, 1.0, 8.0)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        def level(hz: Tensor, time_s: Tensor) -> Tensor:
            share = (time_s / sweep_s).clamp(max=1.0)
            total = torch.zeros_like(hz * time_s)
            for first_hz, last_hz, octaves, height in bands:
                total += height * bell_curve(hz, ratio * first_hz * (last_hz / first_hz) ** share, octaves)
            return total

        return envelope(time_s) * decay(time_s, t60_s) * moving_filter(white(len(time_s), seed), level, BAND_N_FFT)

    return NOISE_MIDI, play


def _band_noise(rng: Random) -> tuple[float, Sound]:
    """Noise between two edges, with a slope, decaying."""
    low_hz = _log_uniform(rng, 60.0, 1500.0)
    high_hz = low_hz * _log_uniform(rng, 1.5, 12.0)
    seed, slope, order = _seed(rng), rng.uniform(-6.0, 3.0), int(rng.integers(2, 9))
    t60_s, rise_s = _log_uniform(rng, 0.8, 6.0), _log_uniform(rng, 0.001, 0.02)

    def colour(hz: Tensor) -> Tensor:
        tilt = (hz / low_hz) ** (slope / 20.0 / math.log10(2.0))
        return tilt * high_pass(hz, low_hz, order) * low_pass(hz, high_hz, order)

    return (
        NOISE_MIDI,
        lambda ratio, time_s: attack(time_s, rise_s) * decay(time_s, t60_s) * noise(time_s, seed, ratio, colour),
    )


RECIPES: dict[str, tuple[float, float, Callable[[Random], tuple[float, Sound]]]] = {
    "chord": (1.5, 4.0, _chord),
    "stacked intervals": (1.5, 4.0, _stacked_intervals),
    "detuned stack": (1.5, 4.0, _detuned_stack),
    "bell": (2.0, 4.0, _bell),
    "bar": (1.5, 3.0, _bar),
    "plate": (2.0, 4.0, _plate),
    "membrane": (1.5, 2.5, _membrane),
    "harmonic FM": (1.5, 4.0, _harmonic_fm),
    "inharmonic FM": (1.5, 4.0, _inharmonic_fm),
    "ring modulation": (1.5, 4.0, _ring_modulation),
    "kick": (1.5, 2.0, _kick),
    "tom": (1.5, 2.0, _tom),
    "cowbell": (1.5, 2.0, _cowbell),
    "snare": (1.5, 2.0, _snare),
    "hat": (1.5, 2.0, _hat),
    "two notes": (1.5, 3.0, _two_notes),
    "filter sweep": (1.5, 4.0, _filter_sweep),
    "vowel": (1.5, 4.0, _vowel),
    "ensemble": (1.5, 4.0, _ensemble),
    "swept noise": (1.5, 3.0, _swept_noise),
    "band noise": (1.5, 3.0, _band_noise),
}
"""Family → least and most seconds, and what draws its pitch and its sound."""
