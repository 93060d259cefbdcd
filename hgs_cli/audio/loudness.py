"""Loudness, peak and the one gain of an instrument; the only pyloudnorm import, made at first use: it brings scipy.

Two meters of one standard: pyloudnorm's for what is reported, and a quick one for what every note needs: reading scipy
takes longer than making an instrument.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE, power_of

BLOCK_S = 0.4  # the shortest sound that BS.1770 defines a loudness for
SILENCE_DB = -120.0
BLOCK_STEPS = 4  # blocks overlap by three quarters
QUIET = 1e-3  # torchaudio's filters clip what comes out of them at full scale
LASTING = 16  # steps of a block, 0.1 s each: within a tenth of it the filters have died away by 300 dB


@dataclass(frozen=True)
class GainRules:
    """Where the one gain of an instrument brings its notes."""

    headroom_db: float = 3.0  # between the loudest reference note and full scale
    ceiling_db: float = -0.1  # where a note that would clip is brought to
    # by which a note is brought to the loudness curve of its instrument: what is 12 dB too quiet has hardly anything of
    # the sound
    most_raised_db: float = 12.0
    most_lowered_db: float = 30.0
    # by which real instruments get louder over an octave upwards: the median of 127, whose quartiles are 0.2 and 2.2 dB
    octave_db: float = 0.9
    # of the slope that an instrument's own notes have before they are levelled, in its natural curve: 1.7 dB from the
    # real one on average over 125 instruments, one slope for all 1.9
    own_share: float = 0.83
    steepest_db: float = 5.0  # of a natural curve over an octave, so that neighbouring keys are within half a decibel


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
    """As `measure_lufs` of mono sound (T,) at SAMPLE_RATE, five times as fast and without its import.

    The weighing is done in the spectra of pieces of a quarter of a block. On real notes both agree within 0.02 LU on
    average; where a block is just inside the gate, or just outside, by up to half a unit.

    Source: ITU-R BS.1770-4.
    """
    energy = _block_energies(note)
    for gate_db in (-70.0, None):  # the absolute one, then 10 LU below what that leaves
        if not len(energy) or not float(energy.max()) > 0.0:
            return -math.inf
        floor = 0.1 * energy.mean() if gate_db is None else 10.0 ** ((gate_db + 0.691) / 10.0)
        energy = energy[energy > floor]
    return -0.691 + 10.0 * math.log10(float(energy.mean()))


def struck_lufs(note: Tensor) -> float:
    """LUFS of mono sound (T,) at SAMPLE_RATE by its loud moments: every block counts as much as it is loud.

    For keys beside each other: where the gate of BS.1770 leaves a note its ring and its neighbour none, levelled notes
    differ by 3 to 5 dB. Of a steady sound both loudnesses are the same. Minus infinity for silence.

    Source: the blocks of ITU-R BS.1770-4; the weighing is ours.
    """
    energy = _block_energies(note)
    total = float(energy.sum())
    return -0.691 + 10.0 * math.log10(float(energy.square().sum()) / total) if total > 0.0 else -math.inf


def loudest_lufs(note: Tensor) -> float:
    """LUFS of the loudest block of BS.1770-4 of mono sound (T,) at SAMPLE_RATE; minus infinity for silence."""
    loudest = float(_block_energies(note).max())
    return -0.691 + 10.0 * math.log10(loudest) if loudest > 0.0 else -math.inf


def _block_energies(note: Tensor) -> Tensor:
    """K-weighted energy of every block of mono sound (T,) at SAMPLE_RATE, (n_blocks,)."""
    step = round(BLOCK_S * SAMPLE_RATE / BLOCK_STEPS)
    n_steps = max(BLOCK_STEPS, math.ceil(note.shape[0] / step))
    pieces = torch.nn.functional.pad(note.float(), (0, n_steps * step - note.shape[0])).view(n_steps, step)
    return torch.mv(power_of(torch.fft.rfft(pieces)), _k_weights(step)).unfold(0, BLOCK_STEPS, 1).mean(1).double()


@lru_cache(maxsize=1)
def _k_weights(n: int) -> Tensor:
    """What every bin of the real transform of n samples gives to their mean square under K weighting, (n / 2 + 1,)."""
    with torch.inference_mode(False):
        impulse = torch.zeros(LASTING * n, dtype=torch.float64)
        impulse[0] = QUIET
        weighed = torchaudio.functional.treble_biquad(impulse, SAMPLE_RATE, 4.0, 1500.0, math.sqrt(0.5))
        weighed = torchaudio.functional.highpass_biquad(weighed, SAMPLE_RATE, 38.0, 0.5)
        response = (torch.fft.rfft(weighed).abs().square() / QUIET**2)[::LASTING]
        weights: Tensor = (2.0 / n**2 * response).float()
    return weights


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
        The median loudness of the notes that sound, in LUFS, and the highest peak that they have once they are as loud
        as that, in dB; SILENCE_DB for silence.
    """
    measured = [(note, lufs) for note, lufs in ((note, note_lufs(note)) for note in notes) if math.isfinite(lufs)]
    if not measured:
        return SILENCE_DB, SILENCE_DB
    lufs = statistics.median(lufs for _, lufs in measured)  # one odd note does not decide for all
    return lufs, max(peak_db(note) + levelling_db(lufs, own) for note, own in measured)


def levelling_db(wanted_lufs: float, lufs: float) -> float:
    """Gain that brings a note of a loudness to the one that its instrument wants, in dB; none for silence."""
    if not math.isfinite(lufs):
        return 0.0
    return min(GAIN.most_raised_db, max(-GAIN.most_lowered_db, wanted_lufs - lufs))


def natural_slope_db(intervals: Sequence[float], lufs: Sequence[float]) -> float:
    """By which the natural loudness curve of an instrument rises over an octave, in dB.

    Args:
        intervals: Of some notes from its own, in semitones.
        lufs: Their loudness before they are levelled; silent ones have no say.
    """
    heard = [(interval, one) for interval, one in zip(intervals, lufs, strict=True) if math.isfinite(one)]
    own_db = GAIN.octave_db
    if len({interval for interval, _ in heard}) > 1:
        own_db = 12.0 * statistics.linear_regression(*zip(*heard, strict=True)).slope
    slope_db = GAIN.own_share * own_db + (1.0 - GAIN.own_share) * GAIN.octave_db
    return min(GAIN.steepest_db, max(-GAIN.steepest_db, slope_db))


def instrument_gain_db(normalize: str, target_lufs: float, lufs: float, peak: float, own_gain_db: float) -> float:
    """The one gain of an instrument, in dB.

    Args:
        normalize: `lufs` brings the reference notes to `target_lufs`, less if their peak would come closer to full
            scale than GAIN.headroom_db; `peak` brings their peak there; `none` gives back the sound's own level.
        target_lufs: In LUFS.
        lufs: Median loudness of the reference notes.
        peak: Their peak, in dB.
        own_gain_db: What brings notes as loud as that to the level of the sound.
    """
    if normalize == "none":
        return own_gain_db
    to_headroom = -GAIN.headroom_db - peak
    if normalize == "peak":
        return to_headroom
    assert normalize == "lufs", normalize
    return min(target_lufs - lufs, to_headroom)
