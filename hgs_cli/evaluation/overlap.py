"""Whether a held-out data set is held out: how near its notes are to notes that were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.training.notes import NoteTable


@dataclass(frozen=True)
class OverlapRules:
    """When two notes are one recording."""

    same_key: float = 0.5  # semitones
    pool: tuple[int, int] = (2, 8)  # mel bands and frames averaged before notes are compared
    audible_db: float = 45.0  # below a note's loudest bin; what is quieter in both notes does not count
    # one sample played by two SoundFonts differs by less, neighbouring keys of a piano by 3.8
    same_recording_db: float = 2.0


OVERLAP = OverlapRules()


def nearest_known(held_out: NoteTable, known: NoteTable) -> Tensor:
    """Mean |difference| in dB to the nearest note of `known` at the same key, for every pitched note of `held_out`.

    Returns:
        (N,), notes in the table's order; without those at whose key nothing is known.
    """
    ours, theirs = _coarse(held_out), _coarse(known)
    our_pitch, their_pitch = torch.from_numpy(held_out.pitch), torch.from_numpy(known.pitch)
    found = []
    for note in np.flatnonzero(~np.isnan(held_out.pitch)).tolist():
        near = theirs[(their_pitch - our_pitch[note]).abs() <= OVERLAP.same_key]
        if near.shape[0] == 0:
            continue
        audible = (near > -OVERLAP.audible_db) | (ours[note] > -OVERLAP.audible_db)
        distance = ((near - ours[note]).abs() * audible).sum(1) / audible.sum(1).clamp_min(1)
        found.append(distance.min())
    return torch.stack(found) if found else torch.zeros(0)


def _coarse(table: NoteTable) -> Tensor:
    """Log-mels in dB below each note's loudest bin, averaged over OVERLAP.pool, one row a note."""
    parts = []
    for start in range(0, table.mel.shape[0], 256):
        decibels = table.decibels(slice(start, start + 256))
        decibels = (decibels - decibels.amax((1, 2), keepdim=True)).clamp(min=-OVERLAP.audible_db - 25.0)
        parts.append(F.avg_pool2d(decibels[:, None], OVERLAP.pool).flatten(1))
    return torch.cat(parts)


def overlap_section(held_out: Path, data: Path) -> Section:
    """How near held-out notes are to training notes, as a table and figures.

    Raises:
        TrainingError: A data set cannot be used.
    """
    distance = nearest_known(NoteTable(held_out, validation=True), NoteTable(data, validation=False))
    percents = (1, 5, 25, 50)
    if distance.numel():
        values = [float(torch.quantile(distance, percent / 100.0)) for percent in percents]
        share = float((distance < OVERLAP.same_recording_db).float().mean())
    else:
        values, share = [float("nan")] * len(percents), 0.0
    table = Table(
        "Held-out notes beside the nearest training note at the same key, dB",
        (
            "notes",
            *(f"{percent} % are nearer than" for percent in percents),
            f"nearer than {OVERLAP.same_recording_db:.0f} dB",
        ),
        [(str(distance.numel()), *(number(value) for value in values), f"{100.0 * share:.1f} %")],
        ("One sample in two SoundFonts would be nearer than 2 dB; neighbouring keys of one instrument differ by 3.8.",),
    )
    figures = {
        "n_notes": distance.numel(),
        "percentiles_db": dict(zip(map(str, percents), values, strict=True)),
        "share_of_same_recordings": share,
    }
    return Section("overlap", [table], figures)
