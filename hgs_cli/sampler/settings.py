"""What a caller wishes: how a sound is listened to, and how notes are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from hgs_cli.audio.io import DEFAULT_SECONDS
from hgs_cli.errors import UsageError

SourceHint = float | Literal["auto"] | None
"""What is known of a sound's pitch: a MIDI note, nothing (`auto`), or that it has none (None)."""

_RANGES = {
    "detail": (0.0, 1.0),
    "tonal": (0.0, 1.0),
    "variation": (0.0, 1.0),
    "lufs": (-100.0, 20.0),
    "tune_cents": (-2400.0, 2400.0),
    "softness": (0.0, 1.0),
}


@dataclass(frozen=True)
class Settings:
_WORDS = {"level": ("even", "natural"), "normalize": ("lufs", "peak", "none")}
    """How notes are made of an instrument; what is not said here is in the inversion.

    Attributes:
        detail: How much of the sound's own detail is carried over, 0 … 1.
        tonal: How much of an unpitched sound's noise becomes tone, 0 … 1; None for as much as a clear pitch takes.
        variation: How far notes wander from the sound, as another take of it, by the seed, 0 … 1.
        keep_vibrato: Whether notes move in pitch as the sound does; otherwise they stand still.
        normalize: `lufs`, `peak` or `none`.
        lufs: Loudness aimed at, in LUFS.
        seed: Of everything random.
        tune_cents: What every note sounds above its name.
        level: `even`, all notes equally loud, or `natural`, louder towards one side as real instruments are.
        stereo: Whether notes have two channels, the sound's own moved alike, if it had two.
        softness: How much darker notes are, as if played softer but equally loud, 0 … 1.

    Raises:
        UsageError: A value is out of range.
    """

    detail: float = 1.0
    tonal: float | None = None
    variation: float = 0.0
    keep_vibrato: bool = True
    normalize: str = "lufs"
    lufs: float = -18.0
    seed: int = 0
    tune_cents: float = 0.0
    level: str = "even"
    stereo: bool = False
    softness: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:  # NaN is not in any range
                raise UsageError(f"{name} of {value}", f"give {least:g} to {most:g}")


class ListeningOptions(TypedDict, total=False):
    """The fields of `Listening`, as keywords."""

    pitch: SourceHint
    passes: int | None
    stereo: bool
    start_s: float | None
    max_seconds: float


@dataclass(frozen=True)
class Listening:
    """How a sound is listened to.

    Attributes:
        pitch: The sound's MIDI note if it is known, `auto` to find it, None if it has none.
        passes: Passes of the hypernetwork; as the weights say if not given, 0 for none.
        stereo: Keep the first two channels; all are mixed else.
        start_s: Where the sound begins, in seconds; None to find its onset and leave out what comes before.
        max_seconds: At most so much is used.
    """

    pitch: SourceHint = "auto"
    passes: int | None = None
    stereo: bool = False
    start_s: float | None = None
    max_seconds: float = DEFAULT_SECONDS
