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
    """One note that was asked for beside its real recording.

    Attributes:
        source: The recording that was given.
        target: The recording that is compared with.
        distance_db: By row.
        side: Side measures minus the real recording's, by row.
        cents: Between the pitch asked for and heard, of the last row and of the real recording; nan where none is
            heard; None where it is not tracked.
        real_cents: Of the real recording.
        decay: How some of the rows die away.
    """

    source: Note
    target: Note
    distance_db: dict[str, float]
    side: dict[str, SideMeasures]
    cents: float | None
    real_cents: float | None
    decay: DecayPair

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
    """What was measured of one instrument.

    Attributes:
        pairs: Every note that was asked for.
        hyper: Recordings of it with and without H.
        source_pitch_cents: Between the source pitch that hgs found and the real one; None where it found none.
    """

    pairs: list[Pair]
    hyper: list[HyperNote]
    source_pitch_cents: float | None


def pair_name(source: Note, target: Note) -> str:
    """An instrument, the recording of it that was given and the one that is compared with."""
    return f"{source.instrument} {source.midi:.0f} → {target.midi:.0f}"
