"""What the paper's table shows: reconstruction, generation at other pitches and mixes, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hgs_cli.evaluation.baselines import GANSTRUMENT, HYPERGANSTRUMENT
from hgs_cli.evaluation.report import Section, Table, number

SHARES = (0.25, 0.5, 0.75)  # of the second sound in a mix
MIXES = tuple(f"mix {round(100 * share)} %" for share in SHARES)
TASKS = ("reconstruction", "generation", *MIXES)


@dataclass(frozen=True)
class Cell:
    """One row in one task."""

    mse: float  # mean square error of the log-mel in [-1, 1]; nan for mixes
    pitch_accuracy: float  # share of notes that the judge hears at the asked key
    fid: float  # Fréchet distance of the judge's features to those of the real notes
    timbre: float  # mean ‖f(x) − f(x̂)‖² of the timbre part; for mixes to the mixed feature


@dataclass(frozen=True)
class PaperTable:
    """All rows."""

    n_notes: int  # notes in every cell
    n_instruments: int  # instruments they are of
    cells: dict[str, dict[str, Cell]]  # row → task → cell
    trained: dict[str, str]  # row → how long
    missing: list[str]  # rows that no run was given for
    # of HyperGANStrument to GANStrument: task → (MSE ratio, its 95 % interval over instruments)
    ratios: dict[str, tuple[float, tuple[float, float]]]
    judge: dict[str, float]  # accuracies of the judge on real notes

    def section(self) -> Section:
        """Tables and figures."""
        what = f"{self.n_notes} notes of {self.n_instruments} instruments, network alone"
        tables = [self._task_table(task, what) for task in TASKS if task not in MIXES]
        return Section("paper", [*tables, self._mixes_table(what)], self._figures())

    def _task_table(self, task: str, what: str) -> Table:
        cells = {row: of_row[task] for row, of_row in self.cells.items()}
        return Table(
            f"The paper's table, {task}: {what}",
            ("row", "MSE", "pitch accuracy", "FID", "timbre distance", "trained"),
            [
                (row, number(one.mse, 4), number(one.pitch_accuracy, 3), number(one.fid), number(one.timbre, 3),
                 self.trained.get(row, ""))
                for row, one in cells.items()
            ],
        )  # fmt: skip

    def _mixes_table(self, what: str) -> Table:
        def over_mixes(cells: dict[str, Cell], value: str, digits: int) -> str:
            return " / ".join(number(getattr(cells[task], value), digits) for task in MIXES)

        measures = (("pitch_accuracy", 3), ("fid", 2), ("timbre", 3))
        return Table(
            f"The paper's table, mixes at {' / '.join(f'{round(100 * share)} %' for share in SHARES)}: {what}",
            ("row", "pitch accuracy", "FID", "timbre distance"),
            [
                (row, *(over_mixes(cells, *measure) for measure in measures))
                for row, cells in self.cells.items()
                if MIXES[0] in cells
            ],
            tuple(self._notes()),
        )

    def _notes(self) -> list[str]:
        heard, unheard = (f"{100 * self.judge[side]:.1f} %" for side in ("held_out", "validation"))
        notes = [
            "MSE of log-mels in [-1, 1] (100 dB) without noise texture; everything else with it. Pitch accuracy is "
            "saturated by construction: harmonics are put at the asked pitch.",
            f"FID on {self.judge['features']:.0f} features of a classifier that names the pitch of real notes rightly "
            f"in {unheard} (instruments that it never heard) and {heard} (other keys of instruments that it knows); N "
            "is the same in every cell.",
            "Timbre distance by the released f, which H was trained to please. Real notes: FID of a second draw, "
            "timbre distance of the real note at the other pitch.",
        ]
        notes += [
            f"HyperGANStrument / GANStrument, {task}: MSE × {ratio:.3f} [{low:.3f}, {high:.3f}], "
            f"FID × {self._fid_ratio(task):.3f}."
            for task, (ratio, (low, high)) in self.ratios.items()
        ]
        if self.missing:
            notes.append("No run was given for: " + ", ".join(self.missing) + ".")
        return notes

    def _figures(self) -> dict[str, Any]:
        return {
            "n_notes": self.n_notes,
            "n_instruments": self.n_instruments,
            "rows": self.cells,
            "trained": self.trained,
            "missing": self.missing,
            "ratio": {
                task: {"mse": ratio, "interval": interval, "fid": self._fid_ratio(task)}
                for task, (ratio, interval) in self.ratios.items()
            },
            "judge": self.judge,
        }

    def _fid_ratio(self, task: str) -> float:
        off = self.cells[GANSTRUMENT][task].fid
        return self.cells[HYPERGANSTRUMENT][task].fid / off if off > 0.0 else math.nan
