"""From what options say to what is asked for: files, pitches, settings, shares.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hgs_cli.console import Messages
from hgs_cli.errors import UsageError
from hgs_cli.export.naming import ONE_TAKE, PlanOptions, check_subtype, check_takes, extra_suffixes, parse_formats
from hgs_cli.options import LengthOptions, LevelOptions, LoudnessOptions, SoundingOptions, SourceOptions, TargetOptions
from hgs_cli.pitch import is_several, parse_note, parse_pitches, unusual_pitches

if TYPE_CHECKING:
    from hgs_cli.export.delivery import RenderOptions
    from hgs_cli.sampler.settings import ListeningOptions, SourceHint


@dataclass(frozen=True)
class OptionRules:
    """What options may say."""

    max_start_s: float = 36_000.0  # ten hours: more is a slip of the pen
    max_share: float = 1e6  # of a mix, as it is given: sums of shares stay far from overflow
    n_listed: int = 5  # notes that a warning names


LIMITS = OptionRules()


def make_plan_options(
    pitches: str,
    target: TargetOptions,
    name: str | None,
    plot: bool,
    length: LengthOptions,
    level: LevelOptions,
    messages: Messages,
) -> PlanOptions:
    """Which files every instrument has; warns of pitches that few sounds have anything to say about.

    Raises:
        UsageError: A pitch or format is none, FLAC is to hold floating point, or a SoundFont alone takes in turn.
    """
    middle_c = octave_of(level.middle_c)
    notes = parse_pitches(pitches, middle_c, level.a4)
    unusual = unusual_pitches(notes)
    if unusual:
        listed = ", ".join(f"{note:g}" for note in unusual[: LIMITS.n_listed]) + (
            ", …" if len(unusual) > LIMITS.n_listed else ""
        )
        messages.warn(f"outside a piano's range (21-108) less of the sound is left: {listed}")
    formats = parse_formats(target.formats)
    check_subtype(level.subtype, formats)
    if check_takes(length.takes, formats):
        messages.line(ONE_TAKE)
    return PlanOptions(
        notes, formats, extra_suffixes(target.audition, plot), length.velocities, name, middle_c, length.takes
    )


def octave_of(middle_c: str) -> int:
    """Octave number of MIDI 60, as `--middle-c` says it: 4 for C4."""
    return int(middle_c.removeprefix("C"))


def make_listening(source_note: str, source: SourceOptions, middle_c: str) -> ListeningOptions:
    """How a sound is heard.

    Raises:
        UsageError: `--source-note` is no note, or `--start` is neither auto nor a number of seconds.
    """
    return make_listenings([source_note], source, 1, middle_c)[0]


def make_listenings(
    source_notes: Sequence[str], source: SourceOptions, n_sounds: int, middle_c: str
) -> list[ListeningOptions]:
    """How each of several sounds is heard; there is one `--source-note` for all or one each.

    Raises:
        UsageError: As for `make_listening`, or there are fewer notes than sounds or more.
    """
    hints = [_source_hint(text, octave_of(middle_c)) for text in source_notes]
    if len(hints) not in (1, n_sounds):
        raise UsageError(f"{len(hints)} source notes for {n_sounds} sounds", "give one for all or one each")
    start_s = _start_seconds(source.start)
    return [
        {
            "pitch": hint,
            "passes": source.passes,
            "stereo": source.stereo,
            "start_s": start_s,
            "max_seconds": source.max_seconds,
        }
        for hint in (hints if len(hints) == n_sounds else hints * n_sounds)
    ]


def _source_hint(text: str, middle_c: int) -> SourceHint:
    """What `--source-note` says of a sound's own note.

    Raises:
        UsageError: It is no note, or several.
    """
    word = text.strip().lower()
    if word == "auto":
        return "auto"
    if word == "none":
        return None
    try:
        return parse_note(text, middle_c)
    except UsageError as error:
        if is_several(text):
            raise UsageError(
                f"--source-note (or --pitch) is the one note that the sound has, and {text} is several",
                f"what to play is --pitches {text}",
            ) from error
        raise UsageError(error.what, f"--source-note takes one note, auto or none; {error.remedy}") from error


def _start_seconds(text: str) -> float | None:
    """What `--start` says of where a sound begins, in seconds; None for its onset.

    Raises:
        UsageError: It is neither auto nor a number of seconds.
    """
    if text.strip().lower() == "auto":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= LIMITS.max_start_s:
        raise UsageError(f"--start {text}", "give auto or a number of seconds")
    return seconds


def make_render_options(
    detail: float,
    sounding: SoundingOptions,
    level: LevelOptions,
    length: LengthOptions,
    stereo: bool,
    measured: bool,
) -> RenderOptions:
    """How notes are made.

    Raises:
        UsageError: `--tonal` is neither auto nor from 0 to 1, or a length is out of range.
    """
    tonal = None
    if sounding.tonal != "auto":
        try:
            tonal = float(sounding.tonal)
        except ValueError:
            tonal = -1.0
        if not 0.0 <= tonal <= 1.0:
            raise UsageError(f"--tonal {sounding.tonal}", "give auto or a number from 0 to 1")

    from hgs_cli.export.delivery import RenderOptions
    from hgs_cli.pipeline import Finish, Settings

    settings = Settings(
        detail=detail,
        tonal=tonal,
        variation=sounding.variation,
        keep_vibrato=sounding.vibrato == "keep",
        level=level.level,
        normalize=level.loudness.normalize,
        lufs=level.loudness.lufs,
        seed=sounding.seed,
        tune_cents=level.tune + 1200.0 * math.log2(level.a4 / 440.0),
        stereo=stereo,
    )
    finish = Finish(length.loop, length.duration, length.fade, length.trim, level.sample_rate)
    return RenderOptions(settings, finish, level.subtype, measured)


def make_heard_options(loudness: LoudnessOptions, seed: int, stereo: bool, subtype: str) -> RenderOptions:
    """How the sound is written as it is heard."""
    from hgs_cli.export.delivery import RenderOptions
    from hgs_cli.pipeline import Finish, Settings

    settings = Settings(normalize=loudness.normalize, lufs=loudness.lufs, seed=seed, stereo=stereo)
    return RenderOptions(settings, Finish(), subtype)


def mix_shares(n_sounds: int, ratio: str | None, steps: int | None) -> list[list[float]]:
    """Shares of every sound in every mix that is asked for."""
    if n_sounds < 2:
        raise UsageError("a mix of one sound", "give two or more")
    if steps is not None:
        if n_sounds != 2 or ratio is not None:
            raise UsageError("--steps goes from one sound to another", "give two sounds and no --ratio")
        return [[1.0 - step / (steps - 1), step / (steps - 1)] for step in range(steps)]
    if ratio is None:
        return [[1.0 / n_sounds] * n_sounds]
    try:
        shares = [float(text) for text in ratio.split(",")]
    except ValueError:
        shares = []
    if len(shares) != n_sounds or not all(0.0 <= share <= LIMITS.max_share for share in shares) or sum(shares) <= 0.0:
        raise UsageError(f"--ratio {ratio} for {n_sounds} sounds", "give each sound a number, such as 0.7,0.3")
    return [[share / sum(shares) for share in shares]]
