"""All notes of one side of a data set, and what a batch of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.errors import TrainingError
from hgs_cli.spectrum import power_to_level
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ, mask_above
from hgs_cli.training.shards import Shard, read_index, read_shard, to_decibels

SET_ASIDE = 6  # every so many of the rendered instruments
PRIOR_WIDTH = 2.0  # keys: SoundFonts are rendered at every third


@dataclass(frozen=True)
class Batch:
    """Inputs and targets: other notes of the same instrument, or the same. Each of N inputs has B / N targets in a row.

    Attributes:
        x: Log-mel of the input, (N, n_mels, n_frames).
        p: Its pitch, (N,).
        y: Log-mel of the target, (B, n_mels, n_frames), at the gain of x.
        q: Its pitch, (B,).
        periodicity: Of the target, (B, N_BANDS, N_STEPS).
        input_periodicity: Of the input, (N, N_BANDS, N_STEPS).
        label: Index of the input's instrument, (N,); -1 for mixtures and unpitched sounds.
        pitched: Whether the input's pitch means anything, (N,).
        bandwidth_hz: Up to where input and target are known, (B,): the smallest of an input, its targets and what is
            mixed with them. Above it x and y are at the floor.
    """

    x: Tensor
    p: Tensor
    y: Tensor
    q: Tensor
    periodicity: Tensor
    input_periodicity: Tensor
    label: Tensor
    pitched: Tensor
    bandwidth_hz: Tensor

    @property
    def input_bandwidth_hz(self) -> Tensor:
        """Of the inputs, (N,)."""
        return self.bandwidth_hz[:: self.targets]

    @property
    def targets(self) -> int:
        """Targets of each input."""
        return self.y.shape[0] // self.x.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class NoteTable:
    """All notes of one side of the split, in memory.

    Args:
        folder: A data set.
        validation: Validation instruments, or those to train on.
        fold, set_aside: Which of the latter, as `DataConfig` has it.

    Raises:
        TrainingError: When the data set is missing or that side of it is empty.
    """

    def __init__(self, folder: Path, *, validation: bool, fold: int = 0, set_aside: bool = False) -> None:
        shards = [shard for shard in read_index(folder) if shard.validation == validation]
        if fold:
            shards = [shard for shard in shards if _is_set_aside(shard, fold) == set_aside]
        if not shards:
            kind = "validation" if validation else "training"
            raise TrainingError(f"{folder} has no {kind} instruments", "build the data with --real or --nsynth")
        self.shards: Sequence[Shard] = shards
        parts = [read_shard(folder, shard) for shard in shards]
        for part in parts:
            if float(part["bandwidth_hz"].min()) < FULL_BANDWIDTH_HZ:
                part["mel"] = mask_above(part["mel"], part["bandwidth_hz"], level=0)
        self.mel = torch.cat([part["mel"] for part in parts])
        self.periodicity = torch.cat([part["periodicity"] for part in parts])
        self.pitch: NDArray[np.float32] = torch.cat([part["pitch"] for part in parts]).numpy()
        self.velocity: NDArray[np.int16] = torch.cat([part["velocity"] for part in parts]).numpy()
        self.sample: NDArray[np.int64] = torch.cat([part["sample"] for part in parts]).numpy()
        self.bandwidth_hz: NDArray[np.float32] = torch.cat([part["bandwidth_hz"] for part in parts]).numpy()
        self.shard_of = np.repeat(np.arange(len(shards)), [part["pitch"].shape[0] for part in parts])
        names = sorted({shard.instrument for shard in shards})
        self.n_instruments = len(names)
        self.label_of_shard = np.array([names.index(shard.instrument) for shard in shards])
        self.notes_of_shard = [np.flatnonzero(self.shard_of == index) for index in range(len(shards))]

    def decibels(self, notes: list[int] | slice) -> Tensor:
        """Log-mels of notes in dB below the loudest bin of their shards, (B, n_mels, n_frames)."""
        return to_decibels(self.mel[notes])

    def pairs(self, first: int, seconds: list[int]) -> Batch:
        """One note as the input and others as its targets, as they were recorded.

        Args:
            first: Index of the input.
            seconds: Indices of the B targets.

        Returns:
            A batch of one input, at 0 dB, and B targets at its gain.
        """
        notes = [first, *seconds]
        decibels = self.decibels(notes)
        level = power_to_level(torch.pow(10.0, (decibels - decibels[0].max()) / 10.0))
        pitch, periodicity = torch.from_numpy(self.pitch[notes]), self.periodicity[notes].float() / 255.0
        bandwidth_hz = torch.full((len(seconds),), float(self.bandwidth_hz[notes].min()))
        return Batch(
            x=mask_above(level[:1], bandwidth_hz[:1]),
            p=pitch[:1],
            y=mask_above(level[1:], bandwidth_hz),
            q=pitch[1:],
            periodicity=periodicity[1:],
            input_periodicity=periodicity[:1],
            label=torch.tensor([self.label_of_shard[self.shard_of[first]]]),
            pitched=~torch.isnan(pitch[:1]),
            bandwidth_hz=bandwidth_hz,
        )

    def key_prior(self, n_keys: int) -> NDArray[np.float32]:
        """How likely a note of each instrument has each MIDI note, blurred by PRIOR_WIDTH keys.

        Returns:
            (n_instruments + 1, n_keys); the last row, which label -1 finds, is that of all instruments together.
        """
        counts = np.full((self.n_instruments + 1, n_keys), 1e-4)
        pitched = ~np.isnan(self.pitch)
        keys = np.clip(np.round(self.pitch[pitched]).astype(int), 0, n_keys - 1)
        np.add.at(counts, (self.label_of_shard[self.shard_of[pitched]], keys), 1.0)
        counts[-1] += counts[:-1].mean(0)
        apart = np.arange(n_keys)[:, None] - np.arange(n_keys)
        blurred = counts @ np.exp(-0.5 * (apart / PRIOR_WIDTH) ** 2)
        return (blurred / blurred.sum(1, keepdims=True)).astype(np.float32)

    def groups(self) -> tuple[list[int], list[int], list[int]]:
        """Indices of the shards that are recorded, rendered (NSynth is, from sample libraries), and unpitched."""
        recorded, rendered, unpitched = [], [], []
        for index, shard in enumerate(self.shards):
            if not shard.pitched:
                unpitched.append(index)
            elif shard.name.startswith("real-"):
                recorded.append(index)
            else:
                rendered.append(index)
        return recorded, rendered, unpitched


def _is_set_aside(shard: Shard, fold: int) -> bool:
    """Whether a training instrument is set aside: by its name, every other recorded and every so many rendered ones."""
    number = hashlib.sha256(shard.instrument.encode()).digest()[0]
    return number % 2 == fold % 2 if shard.name.startswith("real-") else number % SET_ASIDE == 0
