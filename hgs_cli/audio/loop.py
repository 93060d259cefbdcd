"""Sustain loops."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loop:
    """A sustain loop: playing start … end - 1 again and again is seamless.

    Attributes:
        start: First sample.
        end: One past the last.
    """

    start: int
    end: int
