"""How soft notes differ from loud ones in the data, and how near `models.dynamics` comes to real soft notes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.dynamics import SOFTNESS, softness_db
from hgs_cli.spectrum import N_BANDS, N_FRAMES, N_MELS, N_STEPS, mel_centres_hz
from hgs_cli.training.notes import NoteTable
from hgs_cli.training.shards import LOWEST_DB


@dataclass(frozen=True)
class DynamicsRules:
    """How soft and loud notes are compared."""

    recorded_weight: float = 0.7  # of the fit: soft layers of SoundFonts are often their loud ones behind a filter
    sounding_db: float = 25.0  # below its loudest frame a note is not compared
    audible_db: float = 45.0  # nor a band this far below the loudest
    quantised_db: float = 5.0  # above the floor of the data


DYNAMICS = DynamicsRules()


@dataclass(frozen=True)
class SoftPair:
    """The spectra of a loud and a soft note of one key, each (2, n_mels) in dB: loud, soft."""

    shard: str  # name of the shard that both are in
    recorded: bool  # whether they were recorded, not rendered
    octaves: Tensor  # of the bands above the fundamental, (n_mels,)
    # powers of tone and of noise, while the loud note sounds
    harmonic: Tensor
    noise_part: Tensor
    level_db: float  # how much louder the soft note's loudest frame is: below 0, unless someone evened them out

    def audible(self, part: Tensor) -> Tensor:
        """Bands of a part (2, n_mels) in which both notes can be compared, from just below the fundamental up."""
        loudest = torch.maximum(self.harmonic, self.noise_part).amax(1)
        loud = part[0] > loudest[0] - DYNAMICS.audible_db
        return loud & (part[1] > LOWEST_DB + DYNAMICS.quantised_db) & (self.octaves > -0.3)


def soft_pairs(table: NoteTable, *, recorded_only: bool = False) -> list[SoftPair]:
    """The loudest and the softest note of every key for which an instrument has both."""
    bands_hz = mel_centres_hz()
    by_key: dict[tuple[int, int], dict[int, int]] = {}
    for note in np.flatnonzero(~np.isnan(table.pitch)).tolist():
        key = int(table.shard_of[note]), round(float(table.pitch[note]))
        by_key.setdefault(key, {}).setdefault(int(table.velocity[note]), note)
    pairs = []
    for (shard, _), notes in by_key.items():
        name = table.shards[shard].name
        recorded = name.startswith("real-")
        if len(notes) < 2 or (recorded_only and not recorded):
            continue
        both = [notes[max(notes)], notes[min(notes)]]
        power = torch.pow(10.0, table.decibels(both) / 10.0)
        tone = (table.periodicity[both].float() / 255.0).repeat_interleave(N_MELS // N_BANDS, 1)
        tone = tone.repeat_interleave(N_FRAMES // N_STEPS, 2)
        loudness_db = 10.0 * torch.log10(power.sum(1))
        sounding = loudness_db[0] > loudness_db[0].max() - DYNAMICS.sounding_db
        harmonic, noise = ((power * share)[..., sounding].mean(2) for share in (tone, 1.0 - tone))
        f0_hz = midi_to_hz(float(table.pitch[both[0]]))
        pairs.append(
            SoftPair(
                name,
                recorded,
                torch.log2(bands_hz / f0_hz),
                10.0 * torch.log10(harmonic + 1e-12),
                10.0 * torch.log10(noise + 1e-12),
                float(loudness_db[1].max() - loudness_db[0].max()),
            )
        )
    return pairs


def fit_softness(pairs: list[SoftPair]) -> Tensor:
    """Harmonic tilt, noise tilt (dB an octave) and noise offset (dB) by least squares, the level of each pair free.

    Every instrument counts alike, recorded ones together DYNAMICS.recorded_weight.

    Returns:
        (3,); zeros where there are no pairs.
    """
    n_pairs = Counter(pair.shard for pair in pairs)
    n_shards = Counter(shard.startswith("real-") for shard in n_pairs)
    left, right = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for pair in pairs:
        reached = pair.octaves.clamp(0.0, SOFTNESS.reach_octaves)
        none, one = torch.zeros_like(reached), torch.ones_like(reached)
        tone, noise = pair.audible(pair.harmonic), pair.audible(pair.noise_part)
        columns = torch.cat(
            [torch.stack([reached, none, none], 1)[tone], torch.stack([none, reached, one], 1)[noise]]
        ).double()
        wanted = torch.cat(
            [(pair.harmonic[1] - pair.harmonic[0])[tone], (pair.noise_part[1] - pair.noise_part[0])[noise]]
        ).double()
        if len(wanted) < 2:
            continue
        columns, wanted = columns - columns.mean(0), wanted - wanted.mean()
        group = DYNAMICS.recorded_weight if pair.recorded else 1.0 - DYNAMICS.recorded_weight
        weight = group / n_shards[pair.recorded] / n_pairs[pair.shard] / len(wanted)
        left, right = left + weight * columns.T @ columns, right + weight * columns.T @ wanted
    return torch.linalg.pinv(left) @ right


def distance_db(pair: SoftPair, softness: float) -> float:
    """Mean |difference| in dB between the soft note and the loud one made softer, both equally loud."""
    harmonic_db, noise_db = softness_db(pair.octaves, softness)
    made = torch.logaddexp(
        (pair.harmonic[0] + harmonic_db) * (np.log(10.0) / 10.0),
        (pair.noise_part[0] + noise_db) * (np.log(10.0) / 10.0),
    ) * (10.0 / np.log(10.0))
    powers = torch.pow(10.0, pair.harmonic / 10.0) + torch.pow(10.0, pair.noise_part / 10.0)
    loud, real = 10.0 * torch.log10(powers)
    heard = (
        (loud > loud.max() - DYNAMICS.audible_db) & (real > LOWEST_DB + DYNAMICS.quantised_db) & (pair.octaves > -0.3)
    )
    lacking = (real - made)[heard]
    return float((lacking - lacking.median()).abs().mean())


def dynamics_section(data: Path) -> Section:
    """What the training instruments say of softness, and what softness is worth on recorded validation instruments.

    Raises:
        TrainingError: The data set cannot be used.
    """
    fitted = fit_softness(soft_pairs(NoteTable(data, validation=False)))
    by_shard: dict[str, list[SoftPair]] = {}
    for pair in soft_pairs(NoteTable(data, validation=True), recorded_only=True):
        by_shard.setdefault(pair.shard, []).append(pair)
    rows: list[tuple[str, ...]] = []
    figures: dict[str, object] = {
        "fit": dict(zip(("harmonic_tilt_db", "noise_tilt_db", "noise_offset_db"), fitted.tolist(), strict=True))
    }
    means = []
    for shard, pairs in by_shard.items():
        values = [
            sum(pair.level_db for pair in pairs),
            *(sum(distance_db(pair, softness) for pair in pairs) for softness in (0.0, 0.5, 1.0)),
        ]
        means.append([value / len(pairs) for value in values])
        rows.append((shard.removeprefix("real-"), str(len(pairs)), *(number(value) for value in means[-1])))
        figures[shard] = {"n": len(pairs), "level_db": means[-1][0], "distance_db": means[-1][1:]}
    if means:
        rows.append(("mean", "", *(number(value) for value in np.mean(means, 0).tolist())))
    tilt_h, tilt_n, offset_n = (number(value) for value in fitted.tolist())
    table = Table(
        "Soft notes: distance of the loud note, made softer, to the real soft one of the same key, dB",
        ("instrument", "keys", "louder by", "as it is", "softness 0.5", "softness 1"),
        rows,
        (f"Fitted: tone {tilt_h} dB an octave, noise {tilt_n} dB an octave and {offset_n} dB.",),
    )
    return Section("dynamics", [table], figures)
