"""Families of made sounds of tones: chords, stacks, modulation, filters and voices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hgs_cli.evaluation.known_truth_draws import (
    N_HARMONICS,
    Random,
    Sound,
    Tones,
    chance,
    close_waveform,
    draw_envelope,
    draw_key,
    draw_phase,
    draw_seed,
    draw_waveform,
    log_uniform,
    stack_notes,
    write_notes,
)
from hgs_cli.evaluation.known_truth_voices import (
    attack,
    band_limited,
    decay,
    moving_filter,
    oscillator,
    white,
)
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

VOWEL_N_FFT = 1024  # fine enough for formants


_CHORDS = (
    (0, 4, 7), (0, 3, 7), (0, 4, 8), (0, 3, 6), (0, 5, 7), (0, 2, 7), (0, 4, 7, 11), (0, 4, 7, 10), (0, 3, 7, 10),
    (0, 3, 6, 9), (0, 4, 7, 9), (0, 7, 16), (0, 7, 15, 22), (0, 4, 7, 12, 16), (0, 3, 7, 10, 14), (0, 7, 12, 16, 19),
)  # fmt: skip


def chord(rng: Random) -> tuple[float, Sound]:
    """Three to five notes of a chord."""
    midi = draw_key(rng, 41, 64)
    return midi, stack_notes(rng, [midi + step for step in _CHORDS[rng.integers(len(_CHORDS))]])


def stacked_intervals(rng: Random) -> tuple[float, Sound]:
    """Two to four notes at equal distances, in tune or not."""
    midi = draw_key(rng, 41, 64)
    step = float(rng.integers(1, 13)) if chance(rng, 0.7) else rng.uniform(1.0, 12.0)
    return midi, stack_notes(rng, [midi + step * index for index in range(rng.integers(2, 5))])


def detuned_stack(rng: Random) -> tuple[float, Sound]:
    """Two to nine oscillators around one pitch, sometimes some of them an octave away."""
    midi = draw_key(rng, 38, 70)
    width = log_uniform(rng, 0.03, 0.5)
    keys = [midi + width * (rng.uniform(-1.0, 1.0) if index else 0.0) for index in range(rng.integers(2, 10))]
    if chance(rng, 0.3):
        keys += [key + 12.0 for key in keys[1:3]]
    return midi, stack_notes(rng, keys, level_db=8.0)


def _fm(rng: Random, midi: float, modulator: float) -> Sound:
    """Frequency modulation by one oscillator, whose index decays; what turns about 0 Hz is filtered out.

    Source: Chowning, The synthesis of complex audio spectra by means of frequency modulation (JAES 1973).
    """
    struck = chance(rng, 0.7)
    index, left = log_uniform(rng, 0.8, 7.0) * min(1.0, 3.0 / modulator), rng.uniform(0.05, 0.6)
    index_s, t60_s = log_uniform(rng, 0.5, 5.0), log_uniform(rng, 2.0, 10.0)
    phase, envelope = draw_phase(rng), draw_envelope(rng, struck)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        def finer(time_s: Tensor) -> Tensor:
            turn = math.tau * ratio * midi_to_hz(midi) * time_s
            depth = index * (left + (1.0 - left) * decay(time_s, index_s))
            return torch.sin(turn + depth * torch.sin(modulator * turn + phase))

        fading = decay(time_s, t60_s) if struck else 1.0
        return envelope(time_s) * fading * band_limited(time_s, 0.1 * ratio * midi_to_hz(midi), finer)

    return play


def harmonic_fm(rng: Random) -> tuple[float, Sound]:
    """Frequency modulation whose side bands are harmonics, or nearly so."""
    midi = draw_key(rng, 40, 72)
    return midi, _fm(rng, midi, float(rng.choice([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])) * (1.0 + rng.normal(0.0, 5e-4)))


def inharmonic_fm(rng: Random) -> tuple[float, Sound]:
    """Frequency modulation whose side bands fit no harmonics."""
    midi = draw_key(rng, 45, 80)
    return midi, _fm(rng, midi, float(rng.integers(0, 6)) + rng.uniform(0.2, 0.8) + 0.2)


def ring_modulation(rng: Random) -> tuple[float, Sound]:
    """A tone times a sinusoid that none of its harmonics fits: every partial becomes two."""
    midi = draw_key(rng, 45, 72)
    f0_hz = midi_to_hz(midi)
    other_hz = f0_hz * log_uniform(rng, 0.3, 5.0)
    struck = chance(rng, 0.5)
    tone = write_notes(rng, [midi], close_waveform(rng, draw_waveform(rng), midi)[:24], log_uniform(rng, 2.0, 8.0))
    dry = rng.uniform(0.0, 0.5) if chance(rng, 0.4) else 0.0
    tones = Tones(
        np.concatenate([np.abs(tone.hz - other_hz), tone.hz + other_hz, tone.hz]),
        np.concatenate([tone.gain, tone.gain, dry * tone.gain]),
        np.concatenate([tone.phase, tone.phase + math.pi, tone.phase]),
        np.tile(tone.t60_s if struck else np.full_like(tone.t60_s, math.inf), 3),
    )
    envelope = draw_envelope(rng, struck)
    return midi, lambda ratio, time_s: envelope(time_s) * tones.play(ratio, time_s)


def two_notes(rng: Random) -> tuple[float, Sound]:
    """One note, then another; the first stops or rings on."""
    midi = draw_key(rng, 45, 70)
    step = float(rng.integers(1, 13)) * (1.0 if chance(rng, 0.5) else -1.0)
    waveform, t60_s = close_waveform(rng, draw_waveform(rng), midi), log_uniform(rng, 2.0, 8.0)
    first, second = (write_notes(rng, [key], waveform, t60_s) for key in (midi, midi + step))
    start_s, rise_s, rings = rng.uniform(0.3, 0.8), log_uniform(rng, 0.002, 0.03), chance(rng, 0.4)

    def play(ratio: float, time_s: Tensor) -> Tensor:
        n_first = min(round(start_s * SAMPLE_RATE), len(time_s))
        one = first.play(ratio, time_s) * attack(time_s, rise_s)
        if not rings:
            one = one * attack(start_s - time_s, 0.02)
        rest_s = time_s[: len(time_s) - n_first]
        two = second.play(ratio, rest_s) * attack(rest_s, rise_s)
        return one + torch.nn.functional.pad(two, (n_first, 0))

    return midi, play


def filter_sweep(rng: Random) -> tuple[float, Sound]:
    """A bright oscillator through a resonant low-pass filter that moves once, or to and fro."""
    midi = draw_key(rng, 36, 62)
    k = np.arange(1, N_HARMONICS + 1)
    tones = write_notes(rng, [midi, midi + rng.uniform(0.0, 0.12)], 1.0 / k, math.inf)
    low_hz, high_hz, q = log_uniform(rng, 150.0, 500.0), log_uniform(rng, 1500.0, 6000.0), log_uniform(rng, 1.0, 8.0)
    pace_s, rate_hz = log_uniform(rng, 0.15, 1.2), log_uniform(rng, 0.5, 4.0)
    kind, envelope = rng.integers(3), draw_envelope(rng, False)

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
    rate_hz, phase, onset_s = rng.uniform(4.5, 6.8), draw_phase(rng), rng.uniform(0.05, 0.5)
    return lambda time_s: torch.exp2(
        depth_cents / 1200.0 * attack(time_s, onset_s) * torch.sin(math.tau * rate_hz * time_s + phase)
    )


def vowel(rng: Random) -> tuple[float, Sound]:
    """A voice that goes from one vowel to another: the source moves with the key, formants and breath stay."""
    midi = draw_key(rng, 43, 67)
    source = np.asarray(np.arange(1.0, N_HARMONICS + 1) ** -rng.uniform(1.0, 1.6), np.float64)
    first, last = (np.asarray(_VOWELS_HZ[index]) for index in rng.choice(len(_VOWELS_HZ), 2, replace=False))
    size, width = rng.uniform(0.9, 1.2), rng.uniform(80.0, 160.0)
    begin_s, glide_s = rng.uniform(0.1, 0.8), rng.uniform(0.2, 1.2)
    vibrato, phase, envelope = _vibrato(rng, rng.uniform(0.0, 45.0)), draw_phase(rng), draw_envelope(rng, False)
    seed, breath = draw_seed(rng), log_uniform(rng, 0.002, 0.03)

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


def ensemble(rng: Random) -> tuple[float, Sound]:
    """Several players of one note, each with a vibrato, a tuning and a start of its own."""
    midi = draw_key(rng, 43, 76)
    waveform = close_waveform(rng, draw_waveform(rng), midi)
    depth = rng.uniform(5.0, 35.0)
    players = [
        (
            rng.normal(0.0, 0.08), _vibrato(rng, depth * rng.uniform(0.6, 1.4)), draw_phase(rng),
            rng.uniform(0.0, 0.05), log_uniform(rng, 0.02, 0.25), rng.uniform(0.6, 1.0),
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
