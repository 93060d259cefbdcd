"""What a caller wishes: how a sound is listened to, and how notes are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from hgs_cli.audio.io import DEFAULT_SECONDS
from hgs_cli.checked import as_choice, as_flag, as_number, as_whole
from hgs_cli.errors import UsageError
from hgs_cli.inversion import MAX_PASSES
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH

SourceHint = float | Literal["auto"] | None
"""What is known of a sound's pitch: a MIDI note, nothing (`auto`), or that it has none (None)."""

MAX_SEED = 2**31 - 1
_RANGES = {
    "detail": (0.0, 1.0),
    "tonal": (0.0, 1.0),
    "variation": (0.0, 1.0),
    "lufs": (-100.0, 20.0),
    "tune_cents": (-2400.0, 2400.0),
    "softness": (0.0, 1.0),
}
_WORDS = {"level": ("even", "natural"), "normalize": ("lufs", "peak", "none")}


@dataclass(frozen=True)
class Settings:
    """How notes are made of an instrument; what is not said here is in the inversion.

    Attributes:
        detail: How much of the sound's own detail is carried over, 0 … 1.
        tonal: How much of an unpitched sound's noise becomes tone, 0 … 1; None for as much as a clear pitch takes.
        variation: How far notes wander from the sound, as another take of it, by the seed, 0 … 1.
        keep_vibrato: Whether notes move in pitch as the sound does; otherwise they stand still.
        level: `even`, all notes equally loud, or `natural`, louder towards one side as real instruments are.
        normalize: `lufs`, `peak` or `none`.
        lufs: Loudness aimed at, in LUFS.
        seed: Of everything random.
        tune_cents: What every note sounds above its name.
        stereo: Whether notes have two channels, the sound's own moved alike, if it had two.
        softness: How much darker notes are, as if played softer but equally loud, 0 … 1.

    Raises:
        UsageError: A value is out of range, or of another kind.
    """

    detail: float = 1.0
    tonal: float | None = None
    variation: float = 0.0
    keep_vibrato: bool = True
    level: str = "even"
    normalize: str = "lufs"
    lufs: float = -18.0
    seed: int = 0
    tune_cents: float = 0.0
    stereo: bool = False
    softness: float = 0.0

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            _put(self, name, as_choice(getattr(self, name), name, words))
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name != "tonal":
                _put(self, name, as_number(value, name, least, most))
        _put(self, "seed", as_whole(self.seed, "seed", 0, MAX_SEED))
        for name in ("keep_vibrato", "stereo"):
            _put(self, name, as_flag(getattr(self, name), name))


def _put(options: Settings | Listening, name: str, value: object) -> None:
    """Enter what a value means into frozen options, when they are made."""
    object.__setattr__(options, name, value)


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

    Raises:
        UsageError: A value is out of range, or of another kind.
    """

    pitch: SourceHint = "auto"
    passes: int | None = None
    stereo: bool = False
    start_s: float | None = None
    max_seconds: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        if isinstance(self.pitch, str) and self.pitch != "auto":
            raise UsageError(f"pitch of {self.pitch!r}", "give a MIDI note number, 'auto', or None for no pitch")
        if self.pitch is not None and self.pitch != "auto":
            _put(self, "pitch", as_number(self.pitch, "pitch", MIN_PITCH, MAX_PITCH))
        if self.passes is not None:
            _put(self, "passes", as_whole(self.passes, "passes", 0, MAX_PASSES))
        if self.start_s is not None:
            _put(self, "start_s", as_number(self.start_s, "start_s", 0.0))
        _put(self, "stereo", as_flag(self.stereo, "stereo"))
        _put(self, "max_seconds", as_number(self.max_seconds, "max_seconds"))
