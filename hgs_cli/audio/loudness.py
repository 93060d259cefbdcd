"""Loudness, peak and the one gain of an instrument; the only pyloudnorm import, made at first use: it brings scipy.

Two meters of one standard: pyloudnorm's for what is reported, and torchaudio's, which agrees with it within 0.001 LU,
for what every call needs: reading scipy takes longer than making an instrument.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchaudio
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE

BLOCK_S = 0.4  # the shortest sound that BS.1770 defines a loudness for
SILENCE_DB = -120.0
UNCLIPPED_PEAK = 0.1  # torchaudio's filters clip what comes out of them at full scale


@dataclass(frozen=True)
class GainRules:
    """Where the one gain of an instrument brings its notes.

    Attributes:
        headroom_db: Between the loudest reference note and full scale.
        ceiling_db: Where a note that would clip is brought to.
    """

    headroom_db: float = 3.0
    ceiling_db: float = -0.1


GAIN = GainRules()


def measure_lufs(audio: Tensor, sample_rate: int = SAMPLE_RATE) -> float:
    """Integrated loudness of mono (T,) or stereo (T, 2) sound, in LUFS; minus infinity for silence.

    A sound shorter than one measuring block of 0.4 s is measured with silence behind it, as a meter would hear it.

    Source: ITU-R BS.1770-4.
    """
    import pyloudnorm

    audio = _long_enough(audio, sample_rate)
    if not bool(audio.any()):
        return -math.inf
    return float(pyloudnorm.Meter(sample_rate, block_size=BLOCK_S).integrated_loudness(audio.double().numpy()))


def note_lufs(note: Tensor) -> float:
    """As `measure_lufs` of mono sound (T,) at SAMPLE_RATE, without its import.

    Source: ITU-R BS.1770-4; K weighting by torchaudio, the gates here, since its own meter clips what it weighs.
    """
    note = _long_enough(note, SAMPLE_RATE).double()
    scale = max(1.0, float(note.abs().max()) / UNCLIPPED_PEAK)
    weighed = torchaudio.functional.treble_biquad(note / scale, SAMPLE_RATE, 4.0, 1500.0, math.sqrt(0.5))
    weighed = torchaudio.functional.highpass_biquad(weighed, SAMPLE_RATE, 38.0, 0.5)
    block = round(BLOCK_S * SAMPLE_RATE)
    energy = (scale * weighed).square().unfold(0, block, block // 4).mean(1)
    for gate_db in (-70.0, None):  # the absolute one, then 10 LU below what that leaves
        if not len(energy) or not float(energy.max()) > 0.0:
            return -math.inf
        floor = 0.1 * energy.mean() if gate_db is None else 10.0 ** ((gate_db + 0.691) / 10.0)
        energy = energy[energy > floor]
    return -0.691 + 10.0 * math.log10(float(energy.mean()))


def _long_enough(audio: Tensor, sample_rate: int) -> Tensor:
    shortest = math.ceil(BLOCK_S * sample_rate)
    if audio.shape[0] >= shortest:
        return audio
    return torch.cat([audio, audio.new_zeros(shortest - audio.shape[0], *audio.shape[1:])])


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
    measured = [lufs for lufs in (note_lufs(note) for note in notes) if math.isfinite(lufs)]
    lufs = statistics.median(measured) if measured else SILENCE_DB  # one odd note does not decide for all
    return lufs, max(peak_db(note) for note in notes)


def instrument_gain_db(normalize: str, target_lufs: float, lufs: float, peak: float, input_gain_db: float) -> float:
    """The one gain of an instrument, in dB.

    Args:
        normalize: `lufs` brings the reference notes to `target_lufs`, less if their peak would come closer to full
            scale than GAIN.headroom_db; `peak` brings their peak there; `none` gives back the input's own level.
        target_lufs: In LUFS.
        lufs: Median loudness of the reference notes.
        peak: Their peak, in dB.
        input_gain_db: What the input was raised by before it was analysed.
    """
    if normalize == "none":
        return -input_gain_db
    to_headroom = -GAIN.headroom_db - peak
    if normalize == "peak":
        return to_headroom
    assert normalize == "lufs", normalize
    return min(target_lufs - lufs, to_headroom)
