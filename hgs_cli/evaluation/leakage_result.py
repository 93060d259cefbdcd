"""What a fresh probe found of pitch in h, and how far h moves with pitch: tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hgs_cli.evaluation.measures import bootstrap_interval
from hgs_cli.evaluation.report import Section, Table, number

SIDES = ("training", "validation")


@dataclass(frozen=True)
class Accuracy:
    """How often a key is named."""

    exact: float  # share of right keys, the mean over instruments of each instrument's share
    exact_interval: tuple[float, float]  # 95 %, over instruments
    # likewise, within a semitone
    near: float
    near_interval: tuple[float, float]

    @classmethod
    def over_instruments(cls, exact: Sequence[float], near: Sequence[float]) -> Accuracy:
        """From each instrument's shares."""
        return cls(float(np.mean(exact)), bootstrap_interval(exact), float(np.mean(near)), bootstrap_interval(near))


@dataclass(frozen=True)
class Distances:
    """L2 distances of h, the mean over instruments of the mean over notes."""

    own: float  # to the notes at other keys of the same preset or recorded instrument
    others_same_key: float  # to the notes at the same key of other instruments
    others: float  # to all notes of other instruments
    # share of notes whose nearest note of another instrument is farther than `own` of that note
    stranger_farther: float


@dataclass(frozen=True)
class LeakageResult:
    """What the probe found."""

    # by row and side: `training`, probed by folds of instruments, and `validation`
    accuracy: dict[str, dict[str, Accuracy]]
    distances: dict[str, dict[str, Distances]]  # by model, part of h and side
    notes: dict[str, tuple[int, int]]  # by side: notes and instruments
    n_folds: int  # in which the training side was probed

    def section(self) -> Section:
        """Tables and figures."""
        notes = {side: {"notes": n, "instruments": m} for side, (n, m) in self.notes.items()}
        figures = {"notes": notes, "accuracy": self.accuracy, "distances": self.distances}
        return Section("leakage", [self._accuracy_table(), self._distance_table()], figures)

    def _accuracy_table(self) -> Table:
        counts = {
            side: f"{notes} notes, {instruments} instruments" for side, (notes, instruments) in self.notes.items()
        }
        return Table(
            "Pitch that a fresh probe finds, % (95 % interval over instruments)",
            ("row", "training side, exact", "± 1 semitone", "unseen instruments, exact", "± 1 semitone"),
            [
                (name, *(cell for side in SIDES for cell in _cells(sides[side])))
                for name, sides in self.accuracy.items()
            ],
            (
                f"Training side: {counts['training']}, probed in {self.n_folds} folds by instrument: no probe is asked "
                f"of an instrument that it learnt from. Unseen: {counts['validation']} of the validation side, asked "
                "of a probe that learnt from the whole training side. Means over instruments.",
                "Chance is one of 128 keys. Prior of the others: always the key that is commonest among the notes that "
                "the probe learns from, which is all that an instrument-disjoint probe can know of keys beforehand. "
                "Prior of the instrument: the commonest key (for ± 1: the best of all keys) of the very instrument "
                "asked about, read from the answers: nothing that knows the instrument and not the note does better.",
                "The log-mel is what there is to find by this probe from as many notes. SoundFonts are in the data at "
                "every third key, recordings at many: on unseen instruments ± 1 semitone says more than exact.",
            ),
        )

    def _distance_table(self) -> Table:
        named = {"training": "training", "validation": "unseen"}
        return Table(
            "L2 distance of h to other keys of the same instrument, against other instruments",
            (
                "row", "side", "own, other keys", "others, same key", "others, any key", "own / same key",
                "own / any key", "nearest stranger farther than own, %",
            ),
            [
                (
                    name, named[side], number(one.own, 3), number(one.others_same_key, 3), number(one.others, 3),
                    number(one.own / one.others_same_key), number(one.own / one.others),
                    number(100 * one.stranger_farther, 0),
                )
                for name, sides in self.distances.items() for side, one in sides.items()
            ],
            (
                "Own: the same preset or recorded instrument. Both parts of h have unit length, unrelated notes would "
                "be 1.41 apart in a part and 2 in the whole.",
            ),
        )  # fmt: skip


def _cells(one: Accuracy) -> tuple[str, str]:
    def cell(value: float, interval: tuple[float, float]) -> str:
        return f"{number(100 * value, 1)} ({number(100 * interval[0], 1)}–{number(100 * interval[1], 1)})"

    return cell(one.exact, one.exact_interval), cell(one.near, one.near_interval)
