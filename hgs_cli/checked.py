"""Values as Python callers give them: paths as text, numbers of any kind, pitches; what cannot be is told in a line."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

from hgs_cli.errors import UsageError
from hgs_cli.pitch import MAX_PITCH, MIN_PITCH, parse_note, parse_pitches

AnyPath = str | os.PathLike[str]
"""Whatever names a file."""

Number = SupportsFloat | SupportsIndex
"""A number of Python, numpy or torch."""

Pitches = Sequence[float] | Sequence[str] | str | float
"""MIDI note numbers or names of notes, one or several, or a text as `--pitches` takes it."""


def as_path(given: AnyPath, what: str) -> Path:
    """A path of what may be text.

    Raises:
        UsageError: It is neither text nor a path, or holds a zero.
    """
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise UsageError(f"{what} of {_shown(given)}", "give a path, as text or a Path")
    if "\0" in os.fspath(given):
        raise UsageError(f"{what} of {_shown(given)}", "give a path without a zero in it")
    return Path(given)


def as_number(given: Number, what: str, least: float = -math.inf, most: float = math.inf, unit: str = "") -> float:
    """A number from `least` to `most`.

    Raises:
        UsageError: It is none, not a number (NaN), infinite, or out of range.
    """
    try:
        value = math.nan if isinstance(given, (str, bytes, bool)) else float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch has its own for tensors of several numbers
        value = math.nan
    if not least <= value <= most or not math.isfinite(value):
        raise UsageError(f"{what} of {_shown(given)}{unit}", f"give {_allowed(least, most)}{unit}")
    return value


def _allowed(least: float, most: float) -> str:
    if math.isinf(most):
        return "a number" if math.isinf(least) else f"{least:g} or more"
    return f"{least:g} to {most:g}"


def as_whole(given: Number, what: str, least: int, most: int, unit: str = "") -> int:
    """A whole number from `least` to `most`; 44100.0 is one.

    Raises:
        UsageError: It is none, or out of range.
    """
    try:
        value = as_number(given, what)
    except UsageError:
        value = math.nan
    if not least <= value <= most or value != round(value):
        raise UsageError(f"{what} of {_shown(given)}{unit}", f"give a whole number, {least} to {most}{unit}")
    return round(value)


def as_flag(given: object, what: str) -> bool:
    """True or False.

    Raises:
        UsageError: It is neither; texts such as "no" would count as True.
    """
    if isinstance(given, bool) or type(given).__name__ in ("bool", "bool_"):  # numpy's
        return bool(given)
    raise UsageError(f"{what} of {_shown(given)}", "give True or False")


def as_choice(given: object, what: str, allowed: Sequence[str]) -> str:
    """One of a few words.

    Raises:
        UsageError: It is another.
    """
    if isinstance(given, str) and given in allowed:
        return given
    raise UsageError(f"{what} of {_shown(given)}", f"give {', '.join(allowed[:-1])} or {allowed[-1]}")


def as_pitches(given: Pitches) -> tuple[float, ...]:
    """MIDI note numbers in the order given.

    Args:
        given: Numbers, 0 … 127, fractions allowed, or names; one number; or a text such as `C3-C5:2`.

    Raises:
        UsageError: There is none, or one is no pitch.
    """
    if isinstance(given, str):
        return parse_pitches(given)
    each: list[Any] = [given]
    if isinstance(given, Iterable):
        try:
            each = list(given)
        except TypeError:  # torch's and numpy's single numbers
            pass
    if not each:
        raise UsageError("there is no pitch to play", "give MIDI note numbers, such as [60, 64, 67]")
    return tuple(
        parse_note(one) if isinstance(one, str) else as_number(one, "a pitch", MIN_PITCH, MAX_PITCH) for one in each
    )


def _shown(given: object) -> str:
    """A value in a line, however long it is."""
    text = str(given).removesuffix(".0") if isinstance(given, SupportsFloat) else repr(given)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:59]}…"
