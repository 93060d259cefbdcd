"""Make tests/golden/snare.wav, the sound that the README's first command plays: `python tests/golden/make_snare.py`.

A snare drum in three parts, as a drum maker would name them: the head's two lowest modes at 190 and 330 Hz, which
drop a little in pitch as they decay; the stick's click; and the wires, broadband noise that answers a little later
and rings longest around 2 to 8 kHz. A first version was brighter, and pitch trackers put many of its notes an octave
low; the balance was then moved towards recorded snares, which are darker still. Made here, so it is free of anyone's
rights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 44_100
SECONDS = 0.6
SEED = 14


def shaped_noise(rng: np.random.Generator, n: int, corners_hz: list[float], levels_db: list[float]) -> np.ndarray:
    """Gaussian noise whose spectrum runs through the given corners, unit variance, (n,)."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 1.0)
    gain_db = np.interp(np.log(hz), np.log(corners_hz), levels_db)
    noise = np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), n)
    return noise / noise.std()


def make_snare() -> np.ndarray:
    """The snare, mono in [-1, 1], (T,)."""
    rng = np.random.default_rng(SEED)
    n = round(SECONDS * SAMPLE_RATE)
    seconds = np.arange(n) / SAMPLE_RATE

    head = np.zeros(n)
    for hz, level, decay_s in ((190.0, 1.0, 0.06), (330.0, 0.6, 0.045), (286.0, 0.2, 0.04), (443.0, 0.15, 0.035)):
        drop = 1.0 + 0.12 * np.exp(-seconds / 0.012)  # the blow stretches the head
        phase = 2 * np.pi * np.cumsum(hz * drop) / SAMPLE_RATE
        head += level * np.sin(phase) * np.exp(-seconds / decay_s)
    click = shaped_noise(rng, n, [20, 500, 3000, 9000, 20000], [-40, -10, 0, -6, -20]) * np.exp(-seconds / 0.0025)
    wires = shaped_noise(rng, n, [20, 300, 1500, 4500, 9000, 16000, 21000], [-50, -14, -1, -2, -10, -22, -36])
    wires *= (1 - np.exp(-seconds / 0.0012)) * (0.65 * np.exp(-seconds / 0.055) + 0.35 * np.exp(-seconds / 0.16))

    snare = 0.42 * head * (1 - np.exp(-seconds / 0.0004)) + 0.25 * click + 0.42 * wires
    fade = np.minimum(1.0, (n - np.arange(n)) / (0.03 * SAMPLE_RATE))
    snare = np.tanh(0.9 * snare * fade)  # a microphone close to a loud drum rounds its peaks
    return 0.89 * snare / np.abs(snare).max()


if __name__ == "__main__":
    soundfile.write(Path(__file__).with_name("snare.wav"), make_snare(), SAMPLE_RATE, subtype="PCM_16")
