"""Samples packed without loss, in memory."""

from __future__ import annotations

import io

import numpy as np
import soundfile


def encode_flac(audio: np.ndarray, sample_rate: int, bits: int = 16) -> bytes:
    """A FLAC file in memory, rounded without dither.

    Args:
        audio: Finite, (T, C); what lies beyond ±1 is clipped.
        sample_rate: In Hz.
        bits: 16 or 24.
    """
    assert np.isfinite(audio).all()
    file = io.BytesIO()
    samples = quantize(audio, bits)
    whole = samples.astype(np.int16) if bits == 16 else samples << 8  # libsndfile takes 24 bits as the upper ones of 32
    soundfile.write(file, whole, sample_rate, subtype=f"PCM_{bits}", format="FLAC")
    return file.getvalue()


def decode_flac(packed: bytes, channels: int, n_samples: int, sample_rate: int) -> np.ndarray:
    """Samples of a FLAC file in memory, (T, C), float32.

    Raises:
        ValueError: It is damaged, or not as long, of as many channels or of that rate.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(packed)) as file:
            if (file.format, file.channels, file.samplerate) != ("FLAC", channels, sample_rate):
                raise ValueError(file.format)
            samples: np.ndarray = file.read(n_samples + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(str(error)) from error
    if len(samples) != n_samples:
        raise ValueError(len(samples))
    return samples


def quantize(samples: np.ndarray, bits: int) -> np.ndarray:
    """Round samples in [-1, 1] to integers of so many bits; 1 itself falls on the largest."""
    steps = 2 ** (bits - 1)
    whole: np.ndarray = np.clip(np.rint(samples.astype(np.float64) * steps), -steps, steps - 1)
    return whole.astype(np.int32)
