"""Loudness, peak and the one gain of an instrument; the only pyloudnorm import, made at first use: it brings scipy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE

BLOCK_S = 0.4  # the shortest sound that BS.1770 defines a loudness for
SILENCE_DB = -120.0
HEADROOM_DB = 3.0  # between the loudest reference note and full scale
CEILING_DB = -0.1  # where a note that would clip is brought to


def measure_lufs(audio: Tensor, sample_rate: int = SAMPLE_RATE) -> float:
    """Integrated loudness of mono (T,) or stereo (T, 2) sound, in LUFS; minus infinity for silence.

    A sound shorter than one measuring block of 0.4 s is measured with silence behind it, as a meter would hear it.

    Source: ITU-R BS.1770-4.
    """
    import pyloudnorm

    shortest = math.ceil(BLOCK_S * sample_rate)
    if audio.shape[0] < shortest:
        audio = torch.cat([audio, audio.new_zeros(shortest - audio.shape[0], *audio.shape[1:])])
    if not bool(audio.any()):
        return -math.inf
    return float(pyloudnorm.Meter(sample_rate, block_size=BLOCK_S).integrated_loudness(audio.double().numpy()))


def peak_db(audio: Tensor) -> float:
    """Largest absolute sample in dB of full scale, at least SILENCE_DB."""
    peak = float(audio.abs().max()) if audio.numel() else 0.0
    return max(SILENCE_DB, 20.0 * math.log10(peak)) if peak > 0.0 else SILENCE_DB


def reference_levels(notes: Sequence[Tensor]) -> tuple[float, float]:
    """Levels that an instrument's gain is made from.

    Args:
        notes: Reference notes at SAMPLE_RATE, each (T,), at least one.

    Returns:
        The median loudness of the notes that sound, in LUFS, and the peak of the loudest in dB; SILENCE_DB for silence.
    """
    measured = [lufs for lufs in (measure_lufs(note) for note in notes) if math.isfinite(lufs)]
    lufs = statistics.median(measured) if measured else SILENCE_DB  # one odd note does not decide for all
    return lufs, max(peak_db(note) for note in notes)


def instrument_gain_db(normalize: str, target_lufs: float, lufs: float, peak: float, input_gain_db: float) -> float:
    """The one gain of an instrument, in dB.

    Args:
        normalize: `lufs` brings the reference notes to `target_lufs`, less if their peak would come closer to full
            scale than HEADROOM_DB; `peak` brings their peak there; `none` gives back the input's own level.
        target_lufs: In LUFS.
        lufs: Median loudness of the reference notes.
        peak: Their peak, in dB.
        input_gain_db: What the input was raised by before it was analysed.
    """
    if normalize == "none":
        return -input_gain_db
    to_headroom = -HEADROOM_DB - peak
    if normalize == "peak":
        return to_headroom
    assert normalize == "lufs", normalize
    return min(target_lufs - lufs, to_headroom)
