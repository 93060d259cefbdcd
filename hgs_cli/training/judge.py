"""Stage `judge`: the classifier that measures generated notes, trained on real ones; its accuracy and its file.

Everything that the judge says of generated notes counts against what it says of real ones: its accuracy on real notes
that it was not trained on travels in the header of its weights.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.errors import TrainingError, WeightsError
from hgs_cli.files.atomic import write_whole
from hgs_cli.models.pitch_classifier import N_PITCHES, PitchClassifier, PitchClassifierSizes
from hgs_cli.spectrum import level_to_power, power_to_level
from hgs_cli.training.batches import PairSampler
from hgs_cli.training.checkpoint import load_checkpoint
from hgs_cli.training.config import DataConfig, JudgeConfig
from hgs_cli.training.losses import Term
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.stage import Figures, Optimiser, Stage
from hgs_cli.training.transposition import transpose_level

FORMAT = "hgs-judge"
FORMAT_VERSION = 1
JUDGE_NAME = "judge.safetensors"


@dataclass(frozen=True)
class JudgeRules:
    """What the judge learns from."""

    held_out_share: float = 0.1  # of the keys of every training instrument
    resolved_from: int = 36  # below, harmonics stand closer than the window's main lobe and the mel bands can part
    earliest_frames: int = -2  # by which notes are moved in time, at least: notes seldom begin on one frame
    latest_frames: int = 8  # at most


JUDGED = JudgeRules()


_REINSTALL = "get the file again, or train it with hgs train run judge"


def soft_pitch_target(p: Tensor, smoothing: float) -> Tensor:
    """Target distribution (B, N_PITCHES) of pitches p (B,): shared by the two nearest notes, a little by all."""
    low = p.floor().clamp(0, N_PITCHES - 2)
    share = (p - low).clamp(0.0, 1.0)[:, None]
    target = torch.full((p.shape[0], N_PITCHES), smoothing / N_PITCHES, device=p.device)
    index = low.long()[:, None]
    target.scatter_add_(1, index, (1.0 - smoothing) * (1.0 - share))
    return target.scatter_add_(1, index + 1, (1.0 - smoothing) * share)


def held_out_notes(label: NDArray[np.int64], pitch: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which notes the judge is not trained on: a tenth of the keys of every instrument, at all velocities.

    Args:
        label: Instrument of every note, (N,).
        pitch: MIDI note numbers, nan where unpitched, (N,).
    """
    held = np.zeros(pitch.shape, dtype=bool)
    for instrument in np.unique(label):
        mine = (label == instrument) & ~np.isnan(pitch)
        keys = np.unique(np.round(pitch[mine]))
        rng = np.random.default_rng([7, int(instrument)])
        chosen = rng.permutation(keys)[: int(JUDGED.held_out_share * keys.size)]
        held |= mine & np.isin(np.round(pitch), chosen)
    return held


class _BalancedSampler(PairSampler):
    """Draws notes of an instrument by how rare their key is among all notes: basses are few, and hardest to hear."""

    def __init__(self, table: NoteTable, config: DataConfig, seed: int) -> None:
        super().__init__(table, config, seed)
        self._rendered = self._rendered or self._recorded  # without SoundFonts the draw would fall on unpitched sounds
        counts = np.bincount(np.round(table.pitch[self.pitched_notes()]).astype(int), minlength=N_PITCHES)
        # Every third key is common: neighbours are taken together.
        around = np.convolve(counts, np.ones(5), mode="same")
        self._weight = 1.0 / np.maximum(around, 1.0)[np.nan_to_num(np.round(table.pitch)).astype(int)]

    def _pair(self) -> tuple[int, list[int]]:
        notes = self.table.notes_of_shard[self._shard()]
        weight = self._weight[notes]
        first = int(self.rng.choice(notes, p=weight / weight.sum()))
        return first, [first] * self.config.targets


class Judging(Stage):
    """The judge on real notes, each moved in time, gain, colour and by a few semitones.

    Every third key of the SoundFonts is in the data set. Without the move along frequency the keys between would hardly
    ever be heard, and never be the answer.
    """

    name = "judge"
    learns = ()
    can_be_shared = False  # it normalises over a batch
    sizes = PitchClassifierSizes()
    config: JudgeConfig

    def prepare(self) -> None:
        """The judge, and the notes that it learns from."""
        table = self.table
        self._held_out = held_out_notes(table.label_of_shard[table.shard_of], table.pitch)
        kept = [notes[~self._held_out[notes]] for notes in table.notes_of_shard]
        table.notes_of_shard = [
            mine if mine.size else notes for mine, notes in zip(kept, table.notes_of_shard, strict=True)
        ]
        self.sampler = _BalancedSampler(table, self.config.data, self.seed)
        self.judge = PitchClassifier(self.sizes, instrument_names(table)).to(self.device)

    def trained(self) -> dict[str, nn.Module]:
        """The judge."""
        return {"judge": self.judge}

    def extra_networks(self) -> dict[str, nn.Module]:
        """The judge."""
        return {"judge": self.judge}

    def step(self, optimisers: dict[str, Optimiser]) -> Figures:
        """One batch of notes."""
        config, rng = self.config, self.sampler.rng
        batch = self.sampler.draw(self.loop.batch_size)
        size = batch.x.shape[0]
        semitones = torch.from_numpy(rng.uniform(-config.reach, config.reach, size)).float()
        semitones = torch.where(torch.from_numpy(rng.random(size) < config.unmoved_share), 0.0, semitones)
        x = _delayed(
            transpose_level(batch.x, semitones), rng.integers(JUDGED.earliest_frames, JUDGED.latest_frames + 1, size)
        )
        gain_db = torch.from_numpy(rng.uniform(-config.gain_db, 0.0, size)).float()[:, None, None]
        x = power_to_level(level_to_power(x) * torch.pow(10.0, gain_db / 10.0)).to(self.device)
        p, label = (batch.p + semitones).to(self.device), batch.label.to(self.device)
        with self.autocast():
            features = self.judge.train().features(x)
            keys, instruments = self.judge.pitch_logits(features), self.judge.instrument_logits(features)
        pitch = F.cross_entropy(keys, soft_pitch_target(p, config.pitch_smoothing))
        instrument = F.cross_entropy(instruments, label, label_smoothing=config.instrument_smoothing)
        terms = {"pitch": Term(1.0, pitch), "instrument": Term(config.instrument, instrument)}
        return optimisers["judge"].descend(terms) | {
            "pitch_accuracy": float((keys.argmax(1) == p.round()).float().mean()),
            "instrument_accuracy": float((instruments.argmax(1) == label).float().mean()),
        }

    def validate(self) -> Figures:
        """Accuracy on real notes that the judge does not learn from."""
        return judge_accuracy(self.judge, self.table, self.validation_table)


def _delayed(x: Tensor, frames: NDArray[np.int64]) -> Tensor:
    """Log-mels (B, n_mels, n_frames), each later by its number of frames, after silence."""
    index = torch.arange(x.shape[-1])[None] - torch.from_numpy(frames)[:, None]
    moved = x.gather(2, index.clamp(0, x.shape[-1] - 1)[:, None].expand_as(x))
    return torch.where((index < 0)[:, None], torch.full_like(moved, -1.0), moved)


def instrument_names(table: NoteTable) -> list[str]:
    """Names of a table's instruments, in the order of their labels."""
    return sorted({shard.instrument for shard in table.shards})


@torch.no_grad()
def judge_accuracy(judge: PitchClassifier, training: NoteTable, validation: NoteTable) -> Figures:
    """Shares of real notes that the judge names rightly, of notes that it was not trained on.

    `held_out` are training instruments at keys never heard of them, `validation` instruments never heard. Without a
    further word the share of exact pitches; `_near` within a semitone; `_resolved` exact pitches among the keys whose
    harmonics a log-mel resolves; `_by_instrument` averaged over instruments, not notes; `_instrument` the right
    instruments.
    """
    figures: Figures = {}
    judge = judge.eval()
    device = next(judge.parameters()).device
    for side, table in (("held_out", training), ("validation", validation)):
        label = table.label_of_shard[table.shard_of]
        held = held_out_notes(label, table.pitch) if table is training else ~np.isnan(table.pitch)
        notes = np.flatnonzero(held)
        if not notes.size:
            continue
        sampler = PairSampler(table, DataConfig(), 0, augment=False)
        errors, named = [], []
        for start in range(0, len(notes), 64):
            part = notes[start : start + 64]
            x, p = sampler.notes(part.tolist())
            features = judge.features(x.to(device))
            errors.append((judge.pitch_logits(features).argmax(1).cpu() - p.round()).abs().numpy())
            named.append(judge.instrument_logits(features).argmax(1).cpu().numpy() == label[part])
        error = np.concatenate(errors)
        figures[f"{side}_notes"] = float(error.size)
        figures[side] = float((error < 0.5).mean())
        figures[f"{side}_near"] = float((error < 1.5).mean())
        resolved = np.round(table.pitch[notes]) >= JUDGED.resolved_from
        if resolved.any():
            figures[f"{side}_resolved"] = float((error[resolved] < 0.5).mean())
        each = [(error[label[notes] == one] < 0.5).mean() for one in np.unique(label[notes])]
        figures[f"{side}_by_instrument"] = float(np.mean(each))
        if table is training:
            figures["held_out_instrument"] = float(np.concatenate(named).mean())
    return figures


def save_judge(path: Path, judge: PitchClassifier) -> None:
    """Write a judge in half precision, aside and renamed."""
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sizes": asdict(judge.sizes),
        "instruments": judge.instruments,
        "accuracy": judge.accuracy,
    }
    tensors = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in judge.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda aside: save_file(tensors, aside, metadata={"hgs": json.dumps(header)}))


def load_judge(path: Path) -> PitchClassifier:
    """Read a judge, frozen.

    Raises:
        WeightsError: There is none, or the file does not hold what its header says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["hgs"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if header["format"] != FORMAT:
            raise KeyError(FORMAT)
        if header["format_version"] != FORMAT_VERSION:
            raise WeightsError(
                f"{path} has judge format {header['format_version']}; this hgs reads {FORMAT_VERSION}", _REINSTALL
            )
        values = header["sizes"]
        judge = PitchClassifier(
            PitchClassifierSizes(**{**values, "channels": tuple(values["channels"])}), header["instruments"]
        )
        judge.accuracy = {name: float(value) for name, value in header["accuracy"].items()}
    except FileNotFoundError as error:
        raise WeightsError(f"there is no judge {path}", _REINSTALL) from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is not a judge of hgs", _REINSTALL) from error
    try:
        judge.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"the tensors in {path} do not fit the sizes its header tells of", _REINSTALL) from error
    return judge.eval().requires_grad_(False)


def export_judge(run: Path, data: Path, path: Path) -> Figures:
    """Write the judge of a run of stage `judge`; returns its accuracy, measured as it is stored, in half precision.

    Args:
        run: The run's folder or checkpoint.
        data: The data set that it was trained on.
        path: Of the judge.

    Raises:
        TrainingError: The run has no judge.
    """
    checkpoint = load_checkpoint(run)
    if "judge" not in checkpoint.networks:
        raise TrainingError(f"{run} is a run of stage {checkpoint.stage}, not of judge", "name a run of stage judge")
    training, validation = NoteTable(data, validation=False), NoteTable(data, validation=True)
    judge = PitchClassifier(Judging.sizes, instrument_names(training))
    judge.load_state_dict(checkpoint.networks["judge"], strict=True)
    save_judge(path, judge)
    stored = load_judge(path)
    stored.accuracy = judge_accuracy(stored, training, validation)
    save_judge(path, stored)
    return stored.accuracy
