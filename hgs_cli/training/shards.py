"""How a data set is stored: shards of 8-bit log-mels, their index, and which instruments are never trained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hgs_cli.errors import TrainingError
from hgs_cli.files.atomic import write_whole
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ

FORMAT_VERSION = 1
STEP_DB = 0.5  # of the 8-bit log-mel
LOWEST_DB = -127.5  # level 0 of it, relative to the loudest mel bin of the shard


def to_levels(decibels: Tensor) -> Tensor:
    """Decibels below the loudest bin of a shard as 8-bit levels."""
    return ((decibels - LOWEST_DB) / STEP_DB).round().clamp(0, 255).to(torch.uint8)


def to_decibels(levels: Tensor) -> Tensor:
    """8-bit levels of a shard in dB."""
    return levels.float() * STEP_DB + LOWEST_DB


@dataclass(frozen=True)
class Shard:
    """What the index says of one shard."""

    name: str  # file name without its ending
    instrument: str  # presets and recordings of the same instrument share this, and its side of the split
    source: str  # SoundFont file, or the folder of recordings or of NSynth
    family: str  # for tables; the General MIDI group, the manifest's or NSynth's word
    pitched: bool  # whether its notes have a verified pitch
    validation: bool  # never trained on
    n_notes: int  # notes kept
    n_dropped: int  # notes whose pitch could not be verified
    licence: str  # as stated by the source


def validation_instruments() -> frozenset[str]:
    """Names of the recorded instruments that are never trained on, from the tracked split file.

    It lists those of the first recordings and those that came with later ones apart: figures of either are comparable.
    `kin` plays what an instrument of the first list plays: that cello, violin and guitar would be known by them.
    """
    text = resources.files("hgs_cli.training").joinpath("split.json").read_text(encoding="utf-8")
    return frozenset(name for names in json.loads(text).values() for name in names)


def write_index(out: Path) -> list[Shard]:
    """Read the facts of every shard in a folder and write them to its `index.json`.

    Raises:
        TrainingError: When there is no shard, or one is damaged.
    """
    shards = []
    for path in sorted(out.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} is damaged", "delete it and build the data again") from error
        shards.append(Shard(**facts))
    if not shards:
        raise TrainingError(f"{out} holds no data", "name SoundFonts, recordings or NSynth folders")
    text = json.dumps({"format": FORMAT_VERSION, "shards": [asdict(s) for s in shards]}, indent=1)
    write_whole(out / "index.json", lambda aside: aside.write_text(text, encoding="utf-8"))
    return shards


def read_index(out: Path) -> list[Shard]:
    """The index of a data set.

    Raises:
        TrainingError: When there is none, or it is of another format.
    """
    try:
        index = json.loads((out / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT_VERSION:
            raise TrainingError(f"{out} has data of format {index['format']}", "build it again with hgs train data")
        return [Shard(**facts) for facts in index["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{out} is not a complete data set", "build it with hgs train data") from error


def read_shard(out: Path, shard: Shard) -> dict[str, Tensor]:
    """Tensors of a shard: 8-bit mel (N, n_mels, n_frames) and periodicity (N, N_BANDS, N_STEPS), and facts of N notes.

    Those are pitch, velocity, bandwidth_hz and sample, the same number for notes that play the same samples of a
    SoundFont. Shards that were built before these were stored are full-band, and no two notes of them share a sample.
    """
    tensors = load_file(out / f"{shard.name}.safetensors")
    plain = {
        "bandwidth_hz": torch.full_like(tensors["pitch"], FULL_BANDWIDTH_HZ),
        "sample": torch.arange(tensors["pitch"].shape[0]),
    }
    return plain | tensors
