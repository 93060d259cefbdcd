"""Notes that were asked for beside their real recordings: what is measured of each."""

from __future__ import annotations

from dataclasses import dataclass

from hgs_cli.evaluation.decay import DecayPair
from hgs_cli.evaluation.measures import SideMeasures
from hgs_cli.evaluation.recordings import Note, semitones_between

BANDS = (("0", 0, 0), ("1-5", 1, 5), ("6-12", 6, 12), ("13-24", 13, 24))
"""Intervals in semitones between the recording and the note that is asked for: name, least, most."""


@dataclass(frozen=True)
class Pair:
    """One note that was asked for beside its real recording."""

    source: Note  # the recording that was given
    target: Note  # the recording that is compared with
    distance_db: dict[str, float]  # by row
    side: dict[str, SideMeasures]  # side measures minus the real recording's, by row
    # between the pitch asked for and heard, of the last row and of the real recording; nan where none is heard; None
    # where it is not tracked
    cents: float | None
    real_cents: float | None  # of the real recording
    decay: DecayPair  # how some of the rows die away

    @property
    def instrument(self) -> str:
        """Whose notes they are."""
        return self.source.instrument

    @property
    def interval(self) -> int:
        """Whole semitones between the two, without sign."""
        return semitones_between(self.source, self.target)


@dataclass(frozen=True)
class HyperNote:
    """G without and with H at a recording's own pitch, detail off: mean square error of the log-mel in [-1, 1], dB."""

    instrument: str
    mse_off: float
    mse_on: float
    db_off: float
    db_on: float


@dataclass(frozen=True)
class InstrumentResult:
    """What was measured of one instrument."""

    pairs: list[Pair]  # every note that was asked for
    hyper: list[HyperNote]  # recordings of it with and without H
    # between the source pitch that hgs found and the real one; None where it found none
    source_pitch_cents: float | None


def pair_name(source: Note, target: Note) -> str:
    """An instrument, the recording of it that was given and the one that is compared with."""
    return f"{source.instrument} {source.midi:.0f} → {target.midi:.0f}"
