"""The paper's table: reconstruction, generation at other pitches and mixes, by every contender on the same notes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.errors import TrainingError
from hgs_cli.evaluation.baselines import (
    GANSTRUMENT,
    HYPERGANSTRUMENT,
    Contender,
    Heard,
    MelHyperContender,
    contenders,
)
from hgs_cli.evaluation.measures import bootstrap_interval
from hgs_cli.evaluation.report import Section, Table, finite, number
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.spectrum import N_MELS, level_to_power, power_to_level
from hgs_cli.training.bandwidth import FLOOR_LEVEL, known_bands
from hgs_cli.training.batches import NoteTable, SpeckleBank
from hgs_cli.training.data import LOWEST_DB, STEP_DB
from hgs_cli.training.judge import Judge, frechet

N_NOTES = 2048
N_QUICK = 256
CHUNK = 64
REACH = 24.0  # semitones between a note and the one asked for
SHARES = (0.25, 0.5, 0.75)  # of the second sound in a mix


@dataclass(frozen=True)
class Draw:
    """Notes of the test: indices of inputs and their targets in a table; neighbours differ in instrument."""

    inputs: list[int]
    targets: list[int]


def draw_notes(table: NoteTable, count: int, seed: int) -> Draw:
    """Draw `count` pitched notes and for each another note of its instrument and velocity, within two octaves.

    Presets and recorded instruments are drawn alike, and neighbours differ in instrument, so that each note can be
    mixed with the next.

    Raises:
        TrainingError: No instrument has two notes of one velocity.
    """
    rng = np.random.default_rng(seed)
    targets_of: dict[int, NDArray[np.int64]] = {}
    shards: list[NDArray[np.int64]] = []
    for index, shard in enumerate(table.shards):
        notes = table.notes_of_shard[index]
        for note in notes.tolist() if shard.pitched else []:
            interval = np.abs(table.pitch[notes] - table.pitch[note])
            fits = (table.velocity[notes] == table.velocity[note]) & (interval > 0.5) & (interval <= REACH)
            if fits.any():
                targets_of[note] = notes[fits]
        usable = [note for note in notes.tolist() if note in targets_of]
        if usable:
            shards.append(np.array(usable))
    if not shards:
        raise TrainingError("the data set has no two notes of one instrument", "build one with more notes")

    def instrument(note: int) -> str:
        return table.shards[table.shard_of[note]].instrument

    inputs: list[int] = []
    order: list[int] = []
    while len(inputs) < count:
        order = order or rng.permutation(len(shards)).tolist()
        note = int(rng.choice(shards[order.pop()]))
        if not inputs or len(shards) == 1 or instrument(note) != instrument(inputs[-1]):
            inputs.append(note)
    return Draw(inputs, [int(rng.choice(targets_of[note])) for note in inputs])


TASKS = ("reconstruction", "generation", *(f"mix {round(100 * share)} %" for share in SHARES))


class _Tally:
    """Sums of one row in one task."""

    def __init__(self) -> None:
        self.square_errors: list[Tensor] = []
        self.right: list[Tensor] = []
        self.features: list[Tensor] = []
        self.timbre: list[Tensor] = []

    def add(self, mse: Tensor | None, right: Tensor, features: Tensor, timbre: Tensor) -> None:
        """Enter a chunk: each (B,), features (B, D)."""
        if mse is not None:
            self.square_errors.append(mse.cpu())
        self.right.append(right.cpu())
        self.features.append(features.cpu())
        self.timbre.append(timbre.cpu())


@dataclass(frozen=True)
class Cell:
    """One row in one task.

    Attributes:
        mse: Mean square error of the log-mel in [-1, 1]; nan for mixes.
        pitch_accuracy: Share of notes that the judge hears at the asked key.
        fid: Fréchet distance of the judge's features to those of the real notes.
        timbre: Mean ‖f(x) − f(x̂)‖² of the timbre part; for mixes to the mixed feature.
    """

    mse: float
    pitch_accuracy: float
    fid: float
    timbre: float


@dataclass(frozen=True)
class PaperTable:
    """All rows.

    Attributes:
        n_notes: Notes in every cell.
        n_instruments: Instruments they are of.
        cells: Row → task → cell.
        trained: Row → how long.
        missing: Rows that no run was given for.
        ratios: Of HyperGANStrument to GANStrument: task → (MSE ratio, its 95 % interval over instruments).
        judge: Accuracies of the judge on real notes.
    """

    n_notes: int
    n_instruments: int
    cells: dict[str, dict[str, Cell]]
    trained: dict[str, str]
    missing: list[str]
    ratios: dict[str, tuple[float, tuple[float, float]]]
    judge: dict[str, float]

    def section(self) -> Section:
        """Tables and figures."""
        what = f"{self.n_notes} notes of {self.n_instruments} instruments, network alone"
        header = ("row", "MSE", "pitch accuracy", "FID", "timbre distance", "trained")
        tables = []
        rows: list[tuple[str, ...]]
        for task in TASKS[:2]:
            rows = [
                (row, number(cells[task].mse, 4), number(cells[task].pitch_accuracy, 3), number(cells[task].fid),
                 number(cells[task].timbre, 3), self.trained.get(row, ""))
                for row, cells in self.cells.items()
            ]  # fmt: skip
            tables.append(Table(f"The paper's table, {task}: {what}", header, rows))
        mixes = TASKS[2:]
        rows = [
            (row, *(" / ".join(number(getattr(cells[task], value), digits) for task in mixes)
                    for value, digits in (("pitch_accuracy", 3), ("fid", 2), ("timbre", 3))))
            for row, cells in self.cells.items() if mixes[0] in cells
        ]  # fmt: skip
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
        for task, (ratio, (low, high)) in self.ratios.items():
            notes.append(f"HyperGANStrument / GANStrument, {task}: MSE × {ratio:.3f} [{low:.3f}, {high:.3f}], "
                         f"FID × {self._fid_ratio(task):.3f}.")  # fmt: skip
        if self.missing:
            notes.append("No run was given for: " + ", ".join(self.missing) + ".")
        tables.append(
            Table(
                f"The paper's table, mixes at {' / '.join(f'{round(100 * s)} %' for s in SHARES)}: {what}",
                ("row", "pitch accuracy", "FID", "timbre distance"),
                rows,
                tuple(notes),
            )
        )
        figures: dict[str, Any] = {
            "n_notes": self.n_notes,
            "n_instruments": self.n_instruments,
            "rows": {
                row: {task: {name: finite(value) for name, value in vars(cell).items()} for task, cell in cells.items()}
                for row, cells in self.cells.items()
            },
            "trained": self.trained,
            "missing": self.missing,
            "ratio": {
                task: {
                    "mse": finite(ratio),
                    "interval": [finite(low), finite(high)],
                    "fid": finite(self._fid_ratio(task)),
                }
                for task, (ratio, (low, high)) in self.ratios.items()
            },
            "judge": {name: finite(value) for name, value in self.judge.items()},
        }
        return Section("paper", tables, figures)

    def _fid_ratio(self, task: str) -> float:
        off = self.cells[GANSTRUMENT][task].fid
        return self.cells[HYPERGANSTRUMENT][task].fid / off if off > 0.0 else math.nan


@torch.no_grad()
def paper_table(
    released: HyperGANStrument,
    judge: Judge,
    folder: Path,
    runs: Path | None = None,
    *,
    quick: bool = False,
    seed: int = 0,
    device: torch.device | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> PaperTable:
    """Measure every contender on notes that none of them has seen.

    Args:
        released: f, G and H.
        judge: Hears pitches, and gives features for FID.
        folder: A data set; notes are drawn from its validation side.
        runs: Folder of the runs that RUNS names; rows without a run are named as missing.
        quick: N_QUICK notes instead of N_NOTES.
        seed: Of the draw and of all noise textures.
        device: Where to compute.
        advance: Takes chunks done and their number.

    Raises:
        TrainingError: The data set or a run cannot be used.
    """
    device = device or torch.device("cpu")
    table = NoteTable(folder, validation=True)
    n_notes = N_QUICK if quick else N_NOTES
    draw, second = (draw_notes(table, n_notes, seed + more) for more in (0, 1))
    rows, missing = contenders(released, runs)
    for row in rows:
        row.model.to(device)
        if isinstance(row, MelHyperContender):
            row.extractor.to(device)
    judge = judge.to(device).eval()
    scribe = _Scribe(released.to(device).eval(), judge, seed, device)
    n_chunks = math.ceil(n_notes / CHUNK)
    for index in range(n_chunks):
        advance(index, n_chunks)
        part = slice(index * CHUNK, (index + 1) * CHUNK)
        scribe.chunk(table, rows, draw.inputs[part], draw.targets[part])
        scribe.second_draw(table, second.inputs[part], second.targets[part])
    advance(n_chunks, n_chunks)
    instruments = [table.shards[table.shard_of[note]].instrument for note in draw.inputs]
    return PaperTable(
        n_notes=n_notes,
        n_instruments=len(set(instruments)),
        cells=scribe.cells(),
        trained={row.name: row.trained for row in rows},
        missing=missing,
        ratios={task: scribe.ratio(task, instruments) for task in TASKS[:2]},
        judge={**judge.accuracy, "features": float(judge.sizes.feature_dim)},
    )


class _Scribe:
    """Lets every contender play the same notes, and keeps what came of it."""

    def __init__(self, released: HyperGANStrument, judge: Judge, seed: int, device: torch.device) -> None:
        self.released, self.judge, self.device = released, judge, device
        self.speckle = SpeckleBank(released.generator.filters.cpu())
        self.rng = np.random.default_rng(seed + 1)
        self.tallies: dict[str, dict[str, _Tally]] = {}
        self.real: dict[str, list[Tensor]] = {"reconstruction": [], "generation": []}
        self.second: dict[str, list[Tensor]] = {"reconstruction": [], "generation": []}
        self.known = torch.ones(1, N_MELS, dtype=torch.bool)  # of the chunk that is played
        self.width = released.config.feature_extractor.timbre_dim

    def chunk(self, table: NoteTable, rows: list[Contender], inputs: list[int], targets: list[int]) -> None:
        """Play one chunk of notes with every contender."""
        bandwidth_hz = torch.from_numpy(np.minimum(table.bandwidth_hz[inputs], table.bandwidth_hz[targets]))
        self.known = known_bands(torch.minimum(bandwidth_hz, bandwidth_hz.roll(-1))).to(self.device)
        x, p, gain = self._notes(table, inputs)
        y, q, _ = self._notes(table, targets, gain)
        mean_pitch = {share: torch.lerp(p, p.roll(-1), share) for share in SHARES}
        speckle = self.speckle.draw(len(inputs), self.rng).to(self.device)
        h = self._timbre(x)
        goals = {share: torch.lerp(h, h.roll(-1, 0), share) for share in SHARES}
        for task, real, key, goal in (("reconstruction", x, p, h), ("generation", y, q, self._timbre(y))):
            features, right = self._judged(real, key)
            self.real[task].append(features.cpu())
            # What a perfect player would reach; its FID is that of another draw of real notes.
            self._tally("real notes", task).add(None, right, features, (goal - h).square().sum(1))

        self._enter("copy", "reconstruction", x, p, x, h, None)
        self._enter("copy", "generation", x, q, y, h, None)
        for share, task in zip(SHARES, TASKS[2:], strict=True):
            power = torch.lerp(level_to_power(x), level_to_power(x.roll(-1, 0)), share)
            self._enter("copy", task, power_to_level(power), q, None, goals[share], None)
        for row in rows:
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                heard = row.hear(x, p, self.known)
                second = Heard(heard.h.roll(-1, 0), {name: value.roll(-1, 0) for name, value in heard.offsets.items()})
            self._play(row, "reconstruction", heard, p, x, h, speckle)
            self._play(row, "generation", heard, q, y, h, speckle)
            for share, task in zip(SHARES, TASKS[2:], strict=True):
                with torch.autocast(self.device.type, dtype=torch.bfloat16):
                    mixed = row.mix(heard, second, share, mean_pitch[share], self.known)
                self._play(row, task, mixed, q, None, goals[share], speckle)

    def second_draw(self, table: NoteTable, inputs: list[int], targets: list[int]) -> None:
        """Hear a chunk of another draw of real notes, whose Fréchet distance to the first is the least to hope for."""
        bandwidth_hz = torch.from_numpy(np.minimum(table.bandwidth_hz[inputs], table.bandwidth_hz[targets]))
        self.known = known_bands(bandwidth_hz).to(self.device)
        x, p, gain = self._notes(table, inputs)
        y, q, _ = self._notes(table, targets, gain)
        for task, real, key in (("reconstruction", x, p), ("generation", y, q)):
            self.second[task].append(self._judged(real, key)[0].cpu())

    def _notes(self, table: NoteTable, notes: list[int], gain: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels, pitches, and the gain in dB that brings each note's loudest bin to 0 dB or was given."""
        decibels = table.mel[notes].float() * STEP_DB + LOWEST_DB
        gain = -decibels.amax((1, 2), keepdim=True) if gain is None else gain
        x = power_to_level(torch.pow(10.0, (decibels + gain) / 10.0))
        return self._masked(x.to(self.device)), torch.from_numpy(table.pitch[notes]).to(self.device), gain

    def _masked(self, x: Tensor) -> Tensor:
        """Log-mels with nothing in bands that the recordings say nothing of."""
        return torch.where(self.known[:, :, None], x, FLOOR_LEVEL)

    def _timbre(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.released.extract(x)[:, : self.width].float()

    def _judged(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Features of log-mels, and whether each is heard at the key of its pitch q (B,)."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            features = self.judge.features(x)
            logits = self.judge.pitch_logits(features)
        return features.float(), logits.argmax(1) == q.round().long()

    def _play(
        self, row: Contender, task: str, heard: Heard, q: Tensor, y: Tensor | None, h: Tensor, speckle: Tensor
    ) -> None:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            envelopes = row.play(heard, q)
        generator = row.model.generator
        smooth = None if y is None else self._masked(generator.compose(envelopes, q))
        self._enter(row.name, task, self._masked(generator.compose(envelopes, q, speckle)), q, y, h, smooth)

    def _enter(
        self, row: str, task: str, x_hat: Tensor, q: Tensor, y: Tensor | None, h: Tensor, smooth: Tensor | None
    ) -> None:
        error = None
        if y is not None:
            square = (
                (y - (x_hat if smooth is None else smooth)).square().mean(2)
            )  # (B, n_mels), 0 where nothing is known
            error = square.sum(1) / self.known.sum(1)
        features, right = self._judged(x_hat, q)
        self._tally(row, task).add(error, right, features, (self._timbre(x_hat) - h).square().sum(1))

    def _tally(self, row: str, task: str) -> _Tally:
        return self.tallies.setdefault(row, {}).setdefault(task, _Tally())

    def cells(self) -> dict[str, dict[str, Cell]]:
        """Means and Fréchet distances."""
        real = {task: torch.cat(parts) for task, parts in self.real.items()}
        found: dict[str, dict[str, Cell]] = {}
        for row, tasks in self.tallies.items():
            for task, tally in tasks.items():
                # Notes at other pitches and mixes are set beside the real notes of those pitches.
                reference = real["reconstruction" if task == "reconstruction" else "generation"]
                features = tally.features if row != "real notes" else self.second[task]
                found.setdefault(row, {})[task] = Cell(
                    mse=float(torch.cat(tally.square_errors).mean()) if tally.square_errors else math.nan,
                    pitch_accuracy=float(torch.cat(tally.right).float().mean()),
                    fid=frechet(torch.cat(features), reference),
                    timbre=float(torch.cat(tally.timbre).mean()),
                )
        return found

    def ratio(self, task: str, instruments: list[str]) -> tuple[float, tuple[float, float]]:
        """Mean MSE of HyperGANStrument over GANStrument's, instruments weighing alike, and its interval over them."""
        on, off = (
            [float(value) for value in torch.cat(self.tallies[row][task].square_errors)]
            for row in (HYPERGANSTRUMENT, GANSTRUMENT)
        )
        groups: dict[str, list[tuple[float, float]]] = {}
        for name, with_h, without in zip(instruments, on, off, strict=True):
            groups.setdefault(name, []).append((with_h, without))
        means = [[sum(column) / len(pairs) for column in zip(*pairs, strict=True)] for pairs in groups.values()]
        mean_off = sum(without for _, without in means) / len(means)
        shares = [1.0 + (with_h - without) / mean_off for with_h, without in means]
        return sum(shares) / len(shares), bootstrap_interval(shares)
