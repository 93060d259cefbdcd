"""Single cycles of waveforms: an oscillator as a file, a few milliseconds that are meant to be repeated."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hgs_cli.pitch import hz_to_midi
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE


@dataclass(frozen=True)
class CycleRules:
    """Which short sounds are cycles."""

    fewest: int = 32  # samples
    longest_s: float = 0.05  # 2,048 samples at 44.1 kHz, a wavetable's, take 46 ms; no tone is below 20 Hz
    looped_s: float = 0.25  # if a sampler's loop lies around all of it: the short loops of trackers and games
    # its first and last eighths are no further below its loudest one: blips and clicks die away, to 22 dB and more
    ends_db: float = 20.0
    # the step from its end to its beginning is no larger than so many of the largest inside it, or spans nearly all of
    # its range, as a saw's
    seam: float = 2.0
    jump: float = 0.9
    # of its energy, in the lower quarter of its harmonics, at the least: of noise it is a quarter
    low_share: float = 0.5
    audible_db: float = 50.0  # below the strongest a harmonic does not count
    # a cycle has no speed of its own: one that would be lower or higher is heard octaves away, in the middle of keys
    lowest_hz: float = 55.0
    highest_hz: float = 440.0


CYCLE = CycleRules()


@dataclass(frozen=True)
class Cycle:
    """A cycle that is repeated until the networks have heard enough."""

    samples: np.ndarray  # once, (T, C)
    rate_hz: int  # at which they are played
    midi: float | None  # the pitch that this is, as exactly as its length; None where it may hold several cycles

    def blocks(self, n_frames: int) -> Iterator[np.ndarray]:
        """More than all that is heard, in blocks of about so many samples, (T, C)."""
        left = MODEL_SAMPLES * self.rate_hz // SAMPLE_RATE + n_frames
        block = np.tile(self.samples, (-(-n_frames // len(self.samples)), 1))
        while left > 0:
            yield block[:left]
            left -= len(block)


def find_cycle(samples: np.ndarray, rate_hz: int, looped: bool) -> Cycle | None:
    """What a short sound is as a cycle, if it is one.

    Args:
        samples: All of it, (T, C).
        rate_hz: Its sample rate.
        looped: Whether its file says that all of it is to be repeated.
    """
    n_samples = len(samples)
    if (
        not np.isfinite(samples).all()
        or not CYCLE.fewest <= n_samples <= (CYCLE.looped_s if looped else CYCLE.longest_s) * rate_hz
    ):
        return None
    wave = samples.astype(np.float64) - samples.mean(0)
    loudest = int(np.square(wave).sum(0).argmax())  # the mix may cancel
    mono, mono_as_it_is = wave[:, loudest], samples[:, loudest].astype(np.float64)
    if not mono.any() or not (looped or _goes_round(mono, mono_as_it_is)):
        return None
    hz = None
    if n_samples <= CYCLE.longest_s * rate_hz:
        harmonics = np.abs(np.fft.rfft(mono))
        strong = np.flatnonzero(harmonics > harmonics.max() * 10.0 ** (-CYCLE.audible_db / 20.0))
        hz = rate_hz / n_samples * math.gcd(*strong.tolist())
        while hz < CYCLE.lowest_hz:
            hz, rate_hz = 2.0 * hz, 2 * rate_hz
        while hz > CYCLE.highest_hz and rate_hz % 2 == 0:
            hz, rate_hz = 0.5 * hz, rate_hz // 2
    wave = np.roll(wave, -int(np.abs(mono).argmin()), 0)  # from silence
    return Cycle(wave.astype(np.float32), rate_hz, None if hz is None else hz_to_midi(hz))


def is_looped(told: str, n_frames: int) -> bool:
    """Whether a file's notes, as libsndfile tells them, have a loop around all of its frames."""
    found = re.search(r"Start : +(\d+) +End : +(\d+)", told)
    return found is not None and int(found[1]) == 0 and int(found[2]) >= n_frames - 1


def _goes_round(wave: np.ndarray, as_it_is: np.ndarray) -> bool:
    """Whether a waveform (T,) without its mean, and with it, may be a cycle by how it looks."""
    if not _holds(wave) and not _holds(as_it_is):
        return False
    step = float(abs(wave[0] - wave[-1]))
    if CYCLE.seam * float(np.abs(np.diff(wave)).max()) < step < CYCLE.jump * float(np.ptp(wave)):
        return False
    energy = np.square(np.abs(np.fft.rfft(wave)))[1:]
    return float(energy[: len(energy) // 4].sum()) >= CYCLE.low_share * float(energy.sum())


def _holds(wave: np.ndarray) -> bool:
    """Whether a waveform (T,) is not softer at its ends."""
    eighths = [float(np.square(part).mean()) for part in np.array_split(wave, 8)]
    return bool(min(eighths[0], eighths[-1]) >= max(eighths) * 10.0 ** (-CYCLE.ends_db / 10.0))
