"""From a note as it is synthesised to the one that is written: sample rate, length, loop, ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.audio.io import to_sample_rate
from hgs_cli.audio.loop import Loop, fade_out, find_loop, hold, shorten
from hgs_cli.checked import as_flag, as_number, as_whole
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class FinishRules:
    """How notes are cut and faded."""

    # of files
    min_rate_hz: int = 8_000
    max_rate_hz: int = 192_000
    max_seconds: float = 600.0  # of a note
    trim_db: float = -60.0  # below a note's peak: what is quieter at its ends is cut off
    trim_lead_s: float = 0.002  # kept before the first sound, so that its attack is whole
    trim_fade_s: float = 0.01  # at the cut end


FINISH = FinishRules()


@dataclass(frozen=True)
class Finish:
    """How long notes are and how they end.

    Attributes:
        loop: Whether notes that are sustained get a loop; those that decay never do.
        duration_s: Length in seconds. Shorter cuts with a fade; longer goes on with the sustain of notes that have one,
            and leaves the others as they are. None for the sound's own.
        fade_s: Length of the fade-out in seconds.
        trim: Whether silence is cut off at both ends.
        sample_rate: In Hz.

    Raises:
        UsageError: A value is out of range, or of another kind.
    """

    loop: bool = False
    duration_s: float | None = None
    fade_s: float | None = None
    trim: bool = False
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        checked: dict[str, object] = {name: as_flag(getattr(self, name), name) for name in ("loop", "trim")}
        checked["sample_rate"] = as_whole(
            self.sample_rate, "a sample rate", FINISH.min_rate_hz, FINISH.max_rate_hz, " Hz"
        )
        if self.duration_s is not None:
            checked["duration_s"] = as_number(self.duration_s, "a duration", 0.01, FINISH.max_seconds, " s")
        if self.fade_s is not None:
            checked["fade_s"] = as_number(self.fade_s, "a fade", 0.0, FINISH.max_seconds, " s")
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # frozen for everyone else


def finish_note(audio: Tensor, f0_hz: float, wanted: Finish, sustained: bool, seed: int) -> tuple[Tensor, Loop | None]:
    """A note at its sample rate, as long as is wanted.

    Args:
        audio: At SAMPLE_RATE, (C, T).
        f0_hz: Its pitch.
        wanted: How.
        sustained: Whether the instrument's notes can be held; if not, this one is neither looped nor made longer.
        seed: Of what a longer note is made of.

    Returns:
        (C, T) at the wanted rate, and its loop.
    """
    rate = wanted.sample_rate
    audio = to_sample_rate(audio, SAMPLE_RATE, rate)
    n_wanted = None if wanted.duration_s is None else round(wanted.duration_s * rate)
    if wanted.trim:
        audio = _trimmed(audio, rate)
    loop = None
    if sustained and n_wanted is not None and n_wanted > audio.shape[-1]:
        looped = find_loop(audio, f0_hz, rate)
        if looped is not None:
            audio = hold(looped, n_wanted, seed)
    elif n_wanted is not None and n_wanted < audio.shape[-1]:
        audio = shorten(audio, n_wanted, rate)
    if sustained and wanted.loop:
        looped = find_loop(audio, f0_hz, rate)
        if looped is not None:
            audio, loop = looped.audio, looped.loop
    if wanted.fade_s:
        n_most = audio.shape[-1] - (0 if loop is None else loop.end)  # the loop itself stays level
        audio = fade_out(audio, min(round(wanted.fade_s * rate), n_most))
    return audio, loop


def _trimmed(audio: Tensor, rate: int) -> Tensor:
    peak = audio.abs().amax()
    heard = torch.nonzero((audio.abs() > peak * 10.0 ** (FINISH.trim_db / 20.0)).any(0))[:, 0]
    if not len(heard) or float(peak) == 0.0:
        return audio
    start = max(0, int(heard[0]) - round(FINISH.trim_lead_s * rate))
    end = min(audio.shape[-1], int(heard[-1]) + 1 + round(FINISH.trim_fade_s * rate))
    if end == audio.shape[-1]:
        return audio[:, start:]
    return fade_out(audio[:, start:end], min(round(FINISH.trim_fade_s * rate), end - start))
