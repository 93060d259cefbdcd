"""Leakage: how much of pitch a fresh probe finds in the frozen h, and how far h moves with pitch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.console import HowFar
from hgs_cli.errors import TrainingError
from hgs_cli.evaluation.leakage_result import SIDES, Accuracy, Distances, LeakageResult
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.pitch_classifier import N_PITCHES
from hgs_cli.training.batches import PairSampler
from hgs_cli.training.config import DataConfig
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.precision import autocast


@dataclass(frozen=True)
class ProbeRules:
    """What the probes of h learn from."""

    n_folds: int = 5  # of the instruments: each is probed by one that has not heard it
    notes_of_instrument: int = 32  # at most
    notes_of_shard: int = 16  # at most
    quick_notes_of_instrument: int = 12  # at most, for a quick measurement
    # the log-mel as the probe reads it: 128 bands × 11 steps, as many values as the map of h about
    pooled_frames: int = 32
    seed: int = 0  # of all that is drawn


PROBED = ProbeRules()


@dataclass(frozen=True)
class Probe:
    """The probe, fixed before it was first run: two hidden layers, as f's adversary in training has."""

    hidden_dim: int = 256
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4


PROBE = Probe()


@dataclass(frozen=True)
class Notes:
    """Notes of one side of the split."""

    table: NoteTable  # where they are
    index: NDArray[np.int64]  # their indices in it, (N,)
    key: Tensor  # their pitch rounded to a MIDI note, (N,)
    instrument: Tensor  # (N,); presets that share samples are one
    shard: Tensor  # preset or recorded instrument, (N,)


def probe_leakage(
    models: dict[str, HyperGANStrument], data: Path, quick: bool = False, advance: HowFar | None = None
) -> LeakageResult:
    """Pitch found in h of several models by fresh probes on the same notes, beside baselines and the log-mel itself.

    Args:
        models: By the name of their row.
        data: The data set.
        quick: A few notes of each instrument only.
        advance: Told after every probe.

    Raises:
        TrainingError: The data set is missing, or has too few instruments to fold.
    """
    most = PROBED.quick_notes_of_instrument if quick else PROBED.notes_of_instrument
    training = _choose(NoteTable(data, validation=False), most)
    unseen = _choose(NoteTable(data, validation=True), most)
    if len(_by_instrument(training.instrument)) < PROBED.n_folds:
        raise TrainingError(f"{data} has too few pitched instruments to probe", "build more data")
    fold = instrument_folds(training.instrument)
    total, done = 2 + 3 * len(models), 0

    def told(answers: tuple[Tensor, Tensor]) -> dict[str, Accuracy]:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, total)
        return {
            "training": accuracy_of(answers[0], training.key, training.instrument),
            "validation": accuracy_of(answers[1], unseen.key, unseen.instrument),
        }

    accuracy = guesses(training, unseen, fold)
    pooled = [torch.cat(list(_levels(notes, pooled=True))) for notes in (training, unseen)]
    accuracy["log-mel itself"] = told(probe(pooled[0], training.key, fold, pooled[1]))
    distances: dict[str, dict[str, Distances]] = {}
    for name, model in models.items():
        h = [_extract(model, notes) for notes in (training, unseen)]
        timbre_dim = model.config.feature_extractor.timbre_dim
        for part, columns in (
            ("h", slice(None)), ("timbre part", slice(timbre_dim)), ("map part", slice(timbre_dim, None)),
        ):  # fmt: skip
            row = f"{name}: {part}"
            seen, held = h[0][:, columns], h[1][:, columns]
            accuracy[row] = told(probe(seen, training.key, fold, held))
            distances[row] = {
                side: measure_distances(values, notes)
                for side, values, notes in (("training", seen, training), ("validation", held, unseen))
            }
        if name == next(iter(models)):
            order = torch.randperm(len(training.key), generator=torch.Generator().manual_seed(PROBED.seed))
            accuracy[f"{name}: h, keys shuffled"] = told(probe(h[0], training.key[order], fold, h[1]))
    counts = {
        side: (len(notes.key), len(_by_instrument(notes.instrument)))
        for side, notes in (("training", training), ("validation", unseen))
    }
    return LeakageResult(accuracy, distances, counts, PROBED.n_folds)


def _choose(table: NoteTable, most: int) -> Notes:
    """At most `most` notes of every instrument, from as few of its shards as give them, the same at every call."""
    rng = np.random.default_rng(PROBED.seed)
    chosen: list[int] = []
    of_shard = table.label_of_shard
    for instrument in np.unique(of_shard):
        mine: list[int] = []
        for shard in rng.permutation(np.flatnonzero(of_shard == instrument)):
            notes = table.notes_of_shard[shard]
            notes = notes[~np.isnan(table.pitch[notes])]
            mine += rng.permutation(notes)[: min(PROBED.notes_of_shard, most)].tolist()
            if len(mine) >= most:
                break
        chosen += sorted(mine[:most])
    index = np.array(chosen, dtype=np.int64)
    key = torch.from_numpy(np.round(table.pitch[index])).long().clamp(0, N_PITCHES - 1)
    shard_of = table.shard_of[index]
    return Notes(table, index, key, torch.from_numpy(of_shard[shard_of]), torch.from_numpy(shard_of))


def instrument_folds(instrument: Tensor) -> Tensor:
    """The fold of every note (N,), counted from 0: all notes of an instrument (N,) in one, drawn by a fixed seed."""
    groups = _by_instrument(instrument)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(PROBED.seed)).tolist()
    fold = torch.empty_like(instrument)
    for place, group in enumerate(order):
        fold[groups[group]] = place % PROBED.n_folds
    return fold


def _by_instrument(instrument: Tensor) -> list[Tensor]:
    """Which of the notes (N,) are of each instrument, in order."""
    return [instrument == int(one) for one in np.unique(instrument.numpy())]


def _levels(notes: Notes, *, pooled: bool) -> Iterator[Tensor]:
    """Log-mels of notes in batches (B, n_mels, n_frames), or averaged over PROBED.pooled_frames and flattened."""
    sampler = PairSampler(notes.table, DataConfig(), 0, augment=False)
    for start in range(0, len(notes.index), 64):
        x, _ = sampler.notes(notes.index[start : start + 64].tolist())
        yield F.avg_pool1d(x, PROBED.pooled_frames).flatten(1) if pooled else x


@torch.no_grad()
def _extract(model: HyperGANStrument, notes: Notes) -> Tensor:
    """h of notes, (N, h_dim)."""
    device = next(model.parameters()).device
    model = model.eval()
    found = []
    for x in _levels(notes, pooled=False):
        with autocast(device):
            found.append(model.extract(x.to(device)).float().cpu())
    return torch.cat(found)


def probe(features: Tensor, key: Tensor, fold: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Keys named for all notes, each by a probe that learnt from the other folds, and for notes of unseen instruments.

    Args:
        features: (N, D).
        key: MIDI notes, (N,).
        fold: (N,).
        unseen: Features of notes of other instruments, (M, D), asked of a probe that learnt from all N.

    Returns:
        Named keys, (N,) and (M,).
    """
    named = torch.empty_like(key)
    for one in range(PROBED.n_folds):
        inside = fold == one
        named[inside] = _learn_and_name(features[~inside], key[~inside], features[inside])
    return named, _learn_and_name(features, key, unseen)


def _learn_and_name(features: Tensor, key: Tensor, asked: Tensor) -> Tensor:
    """Keys that a probe trained on features (N, D) and keys (N,) names for features (M, D)."""
    mean, scale = features.mean(0), features.std(0) + 1e-6
    known, asked = (features - mean) / scale, (asked - mean) / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PROBED.seed)
        layers = nn.Sequential(
            nn.Linear(known.shape[1], PROBE.hidden_dim), nn.LeakyReLU(0.2),
            nn.Linear(PROBE.hidden_dim, PROBE.hidden_dim), nn.LeakyReLU(0.2), nn.Linear(PROBE.hidden_dim, N_PITCHES),
        )  # fmt: skip
        adam = torch.optim.AdamW(
            layers.parameters(), lr=PROBE.learning_rate, weight_decay=PROBE.weight_decay, foreach=True
        )
        n_steps = PROBE.epochs * -(-len(key) // PROBE.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
        for _ in range(PROBE.epochs):
            for part in torch.split(torch.randperm(len(key)), PROBE.batch_size):
                with autocast(torch.device("cpu")):
                    logits = layers(known[part])
                loss = F.cross_entropy(logits.float(), key[part])
                adam.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                schedule.step()
    with torch.no_grad():
        return layers(asked).argmax(1)


def accuracy_of(named: Tensor, key: Tensor, instrument: Tensor) -> Accuracy:
    """How often the named keys (N,) are the notes' keys (N,), instruments (N,) counting alike."""
    error = (named - key).abs()
    errors = [error[mine] for mine in _by_instrument(instrument)]
    exact, near = ([float((one <= off).double().mean()) for one in errors] for off in (0, 1))
    return Accuracy.over_instruments(exact, near)


def guesses(training: Notes, unseen: Notes, fold: Tensor) -> dict[str, dict[str, Accuracy]]:
    """What can be named without the sound: by chance, by the other instruments' keys, by the instrument's own."""
    chance = Accuracy(1 / N_PITCHES, (1 / N_PITCHES, 1 / N_PITCHES), 3 / N_PITCHES, (3 / N_PITCHES, 3 / N_PITCHES))
    by_fold = torch.stack([training.key[fold != one].mode().values for one in range(PROBED.n_folds)])[fold]
    by_all = training.key.mode().values.expand_as(unseen.key)
    return {
        "chance": dict.fromkeys(SIDES, chance),
        "prior of the others": {
            "training": accuracy_of(by_fold, training.key, training.instrument),
            "validation": accuracy_of(by_all, unseen.key, unseen.instrument),
        },
        "prior of the instrument": {
            "training": instrument_prior(training.key, training.instrument),
            "validation": instrument_prior(unseen.key, unseen.instrument),
        },
    }


def instrument_prior(key: Tensor, instrument: Tensor) -> Accuracy:
    """The best that one answer for each instrument can reach, chosen by its own keys, for exact and near apart."""
    exact, near = [], []
    for mine in _by_instrument(instrument):
        counts = torch.bincount(key[mine], minlength=N_PITCHES).double()
        around = F.pad(counts, (1, 1)).unfold(0, 3, 1).sum(1)
        exact.append(float(counts.max() / counts.sum()))
        near.append(float(around.max() / counts.sum()))
    return Accuracy.over_instruments(exact, near)


def measure_distances(h: Tensor, notes: Notes) -> Distances:
    """L2 distances of features h (N, D) of notes, by whose they are."""
    distance = torch.cdist(h, h)
    own = (notes.shard[:, None] == notes.shard) & (notes.key[:, None] != notes.key)
    others = notes.instrument[:, None] != notes.instrument
    same_key = others & (notes.key[:, None] == notes.key)

    def mean(pairs: Tensor) -> Tensor:
        return torch.where(pairs, distance, 0.0).sum(1) / pairs.sum(1)  # (N,), nan where there are none

    mine = mean(own)
    nearest = torch.where(others, distance, torch.inf).amin(1)
    farther = torch.where(mine.isnan(), mine, (nearest > mine).float())

    def over_instruments(values: Tensor) -> float:
        each = torch.stack([values[mine].nanmean() for mine in _by_instrument(notes.instrument)])
        return float(each.nanmean())

    return Distances(*(over_instruments(values) for values in (mine, mean(same_key), mean(others), farther)))
