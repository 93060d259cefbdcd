"""The paper's table: reconstruction, generation at other pitches and mixes, by every baseline on the same notes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.console import HowFar
from hgs_cli.errors import TrainingError
from hgs_cli.evaluation.baselines import (
    GANSTRUMENT,
    HYPERGANSTRUMENT,
    Baseline,
    Heard,
    MelHyperBaseline,
    open_baselines,
)
from hgs_cli.evaluation.measures import bootstrap_interval, frechet
from hgs_cli.evaluation.paper_result import MIXES, SHARES, Cell, PaperTable
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.pitch_classifier import PitchClassifier
from hgs_cli.spectrum import N_MELS, level_to_power, power_to_level
from hgs_cli.training.bandwidth import FLOOR_LEVEL, known_bands
from hgs_cli.training.batches import NoiseTextureBank
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.precision import autocast


@dataclass(frozen=True)
class PaperRules:
    """Which notes the paper's table is made of."""

    n_notes: int = 2048  # in all
    n_quick: int = 256  # the same for a quick measurement
    chunk: int = 64  # notes that are made at once
    reach: float = 24.0  # semitones between a note and the one asked for


PAPER = PaperRules()


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
            fits = (table.velocity[notes] == table.velocity[note]) & (interval > 0.5) & (interval <= PAPER.reach)
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


@torch.no_grad()
def paper_table(
    released: HyperGANStrument,
    judge: PitchClassifier,
    folder: Path,
    runs: Path | None = None,
    *,
    quick: bool = False,
    seed: int = 0,
    advance: HowFar = lambda done, total: None,
) -> PaperTable:
    """Measure every baseline on notes that none of them has seen.

    Args:
        released: f, G and H, where everything is computed.
        judge: Hears pitches, and gives features for FID.
        folder: A data set; notes are drawn from its validation side.
        runs: Folder of the runs that RUNS names; rows without a run are named as missing.
        quick: PAPER.n_quick notes instead of PAPER.n_notes.
        seed: Of the draw and of all noise textures.
        advance: Takes chunks done and their number.

    Raises:
        TrainingError: The data set or a run cannot be used.
    """
    device = next(released.parameters()).device
    table = NoteTable(folder, validation=True)
    n_notes = PAPER.n_quick if quick else PAPER.n_notes
    draw, second = (draw_notes(table, n_notes, seed + more) for more in (0, 1))
    rows, missing = open_baselines(released, runs)
    for row in rows:
        row.model.to(device)
        if isinstance(row, MelHyperBaseline):
            row.extractor.to(device)
    judge = judge.to(device).eval()
    builder = _TableBuilder(released.eval(), judge, seed)
    n_chunks = math.ceil(n_notes / PAPER.chunk)
    for index in range(n_chunks):
        advance(index, n_chunks)
        part = slice(index * PAPER.chunk, (index + 1) * PAPER.chunk)
        builder.chunk(table, rows, draw.inputs[part], draw.targets[part])
        builder.second_draw(table, second.inputs[part], second.targets[part])
    advance(n_chunks, n_chunks)
    instruments = [table.shards[table.shard_of[note]].instrument for note in draw.inputs]
    return PaperTable(
        n_notes=n_notes,
        n_instruments=len(set(instruments)),
        cells=builder.cells(),
        trained={row.name: row.trained for row in rows},
        missing=missing,
        ratios={task: builder.ratio(task, instruments) for task in ("reconstruction", "generation")},
        judge={**judge.accuracy, "features": float(judge.sizes.feature_dim)},
    )


@dataclass(frozen=True)
class _Task:
    """What every row is asked for with a chunk of notes."""

    name: str  # one of TASKS
    q: Tensor  # pitches, (B,)
    y: Tensor | None  # the real notes there, (B, n_mels, n_frames); None for mixes, which nobody recorded
    h: Tensor  # timbres that are to come out, (B, timbre_dim)


class _TableBuilder:
    """Lets every baseline play the same notes, and keeps what came of it."""

    def __init__(self, released: HyperGANStrument, judge: PitchClassifier, seed: int) -> None:
        self.released, self.judge = released, judge
        self.device = next(released.parameters()).device
        self.noise_texture = NoiseTextureBank(released.generator.filters.cpu())
        self.rng = np.random.default_rng(seed + 1)
        self.tallies: dict[str, dict[str, _Tally]] = {}
        self.real: dict[str, list[Tensor]] = {"reconstruction": [], "generation": []}
        self.second: dict[str, list[Tensor]] = {"reconstruction": [], "generation": []}
        self.band_mask = torch.ones(1, N_MELS, dtype=torch.bool)  # of the chunk that is played
        self.width = released.config.feature_extractor.timbre_dim

    def chunk(self, table: NoteTable, rows: list[Baseline], inputs: list[int], targets: list[int]) -> None:
        """Play one chunk of notes with every baseline."""
        bandwidth_hz = torch.from_numpy(np.minimum(table.bandwidth_hz[inputs], table.bandwidth_hz[targets]))
        self.band_mask = known_bands(torch.minimum(bandwidth_hz, bandwidth_hz.roll(-1))).to(self.device)
        x, p, gain = self._notes(table, inputs)
        y, q, _ = self._notes(table, targets, gain)
        noise_texture = self.noise_texture.draw(len(inputs), self.rng).to(self.device)
        h = self._timbre(x)
        tasks = [_Task("reconstruction", p, x, h), _Task("generation", q, y, h)]
        tasks += [
            _Task(name, q, None, torch.lerp(h, h.roll(-1, 0), share)) for name, share in zip(MIXES, SHARES, strict=True)
        ]
        for name, real, key, goal in (("reconstruction", x, p, h), ("generation", y, q, self._timbre(y))):
            features, right = self._judged(real, key)
            self.real[name].append(features.cpu())
            # What a perfect player would reach; its FID is that of another draw of real notes.
            self._tally("real notes", name).add(None, right, features, (goal - h).square().sum(1))

        levels = [
            power_to_level(torch.lerp(level_to_power(x), level_to_power(x.roll(-1, 0)), share)) for share in SHARES
        ]
        for task, copied in zip(tasks, [x, x, *levels], strict=True):
            self._enter("copy", task, copied)
        for row in rows:
            heard = self._heard(row, x, p)
            for task, sound in zip(tasks, [heard, heard, *self._mixed(row, heard, p)], strict=True):
                self._play(row, task, sound, noise_texture)

    def _heard(self, row: Baseline, x: Tensor, p: Tensor) -> Heard:
        with autocast(self.device):
            return row.hear(x, p, self.band_mask)

    def _mixed(self, row: Baseline, heard: Heard, p: Tensor) -> Iterator[Heard]:
        """Every sound with the next one, by SHARES."""
        second = Heard(heard.h.roll(-1, 0), {name: value.roll(-1, 0) for name, value in heard.offsets.items()})
        for share in SHARES:
            with autocast(self.device):
                mixed = row.mix(heard, second, share, torch.lerp(p, p.roll(-1), share), self.band_mask)
            yield mixed

    def second_draw(self, table: NoteTable, inputs: list[int], targets: list[int]) -> None:
        """Hear a chunk of another draw of real notes, whose Fréchet distance to the first is the least to hope for."""
        bandwidth_hz = torch.from_numpy(np.minimum(table.bandwidth_hz[inputs], table.bandwidth_hz[targets]))
        self.band_mask = known_bands(bandwidth_hz).to(self.device)
        x, p, gain = self._notes(table, inputs)
        y, q, _ = self._notes(table, targets, gain)
        for task, real, key in (("reconstruction", x, p), ("generation", y, q)):
            self.second[task].append(self._judged(real, key)[0].cpu())

    def _notes(self, table: NoteTable, notes: list[int], gain: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels, pitches, and the gain in dB that brings each note's loudest bin to 0 dB or was given."""
        decibels = table.decibels(notes)
        gain = -decibels.amax((1, 2), keepdim=True) if gain is None else gain
        x = power_to_level(torch.pow(10.0, (decibels + gain) / 10.0))
        return self._masked(x.to(self.device)), torch.from_numpy(table.pitch[notes]).to(self.device), gain

    def _masked(self, x: Tensor) -> Tensor:
        """Log-mels with nothing in bands that the recordings say nothing of."""
        return torch.where(self.band_mask[:, :, None], x, FLOOR_LEVEL)

    def _timbre(self, x: Tensor) -> Tensor:
        with autocast(self.device):
            return self.released.extract(x)[:, : self.width].float()

    def _judged(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Features of log-mels, and whether each is heard at the key of its pitch q (B,)."""
        with autocast(self.device):
            features = self.judge.features(x)
            logits = self.judge.pitch_logits(features)
        return features.float(), logits.argmax(1) == q.round().long()

    def _play(self, row: Baseline, task: _Task, heard: Heard, noise_texture: Tensor) -> None:
        with autocast(self.device):
            envelopes = row.play(heard, task.q)
        generator = row.model.generator
        smooth = None if task.y is None else self._masked(generator.compose(envelopes, task.q))
        self._enter(row.name, task, self._masked(generator.compose(envelopes, task.q, noise_texture)), smooth)

    def _enter(self, row: str, task: _Task, x_hat: Tensor, smooth: Tensor | None = None) -> None:
        """Enter what a row made of a chunk; `smooth` is the same without noise texture, where that was drawn."""
        error = None
        if task.y is not None:
            # (B, n_mels), 0 where nothing is known
            square = (task.y - (x_hat if smooth is None else smooth)).square().mean(2)
            error = square.sum(1) / self.band_mask.sum(1)
        features, right = self._judged(x_hat, task.q)
        self._tally(row, task.name).add(error, right, features, (self._timbre(x_hat) - task.h).square().sum(1))

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
