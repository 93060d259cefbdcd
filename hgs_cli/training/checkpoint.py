"""Checkpoints: everything a run needs to go on exactly, written aside and renamed; and their export to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hgs_cli.errors import TrainingError
from hgs_cli.files.atomic import write_whole
from hgs_cli.models.hyperganstrument import HyperGANStrument, ModelConfig
from hgs_cli.models.weights import build_model, find_bundle, open_bundle, save_bundle

FORMAT_VERSION = 1
FILE_NAME = "checkpoint.pt"
DISCRIMINATOR_NAME = "discriminator.safetensors"


@dataclass
class Checkpoint:
    """State of a run.

    Attributes:
        stage: Its name.
        step: Steps taken.
        elapsed_s: Seconds of training spent.
        config: Sizes of the networks, `ModelConfig.to_dict`.
        model: State of f, G and H.
        averaged: The running average of them.
        networks: States of the networks beside the model, by name.
        optimisers: States of the optimisers, by name.
        random: State of the sampler, and of torch.
        settings: The stage's resolved settings.
        figures: The last validation.
    """

    stage: str
    step: int
    elapsed_s: float
    config: dict[str, Any]
    model: dict[str, Any]
    averaged: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    optimisers: dict[str, dict[str, Any]]
    random: dict[str, Any]
    settings: dict[str, Any]
    figures: dict[str, float]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint.pt` into a folder, aside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    write_whole(path, lambda aside: torch.save({"format": FORMAT_VERSION, **vars(checkpoint)}, aside))
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; a folder stands for the one in it.

    Raises:
        TrainingError: When there is none, or it cannot be read.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        values = torch.load(file, map_location="cpu", weights_only=True)
        if values.pop("format") != FORMAT_VERSION:
            raise TrainingError(f"{file} has another format", "train again, or use the hgs that wrote it")
        return Checkpoint(**values)
    except FileNotFoundError as error:
        raise TrainingError(f"there is no checkpoint {file}", "name a run's folder") from error
    except TrainingError:
        raise
    except Exception as error:  # torch names no common class for the ways in which a file can be broken
        raise TrainingError(
            f"{file} is not a checkpoint: {error}", "name a run's folder or its checkpoint.pt"
        ) from error


def model_from_checkpoint(checkpoint: Checkpoint) -> HyperGANStrument:
    """The networks of a checkpoint, their running average.

    Raises:
        TrainingError: Its networks have other parts than those of this version.
    """
    try:
        model = build_model(ModelConfig.from_dict(checkpoint.config))
        model.load_state_dict(checkpoint.averaged, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"the run of stage {checkpoint.stage} is of another version of the networks", "train it again"
        ) from error
    return model


def initial_model(init: Path | None, seed: int) -> tuple[HyperGANStrument, dict[str, dict[str, Any]]]:
    """Networks to start a stage from, and states of networks beside them.

    Args:
        init: A run's folder or checkpoint, a weights bundle (beside which `train/discriminator.safetensors` is
            looked for), or None for fresh networks.
        seed: Of fresh networks.

    Raises:
        TrainingError, WeightsError: When `init` cannot be read.
    """
    if init is None:
        return build_model(ModelConfig(), seed), {}
    if init.suffix != ".safetensors":
        checkpoint = load_checkpoint(init)
        return model_from_checkpoint(checkpoint), checkpoint.networks
    released = open_bundle(find_bundle(init), torch.device("cpu")).network
    model = build_model(released.config)
    model.load_state_dict({name: value.float() for name, value in released.state_dict().items()}, strict=True)
    discriminator = init.parent / "train" / DISCRIMINATOR_NAME
    if not discriminator.exists():
        return model, {}
    return model, {"discriminator": {name: value.float() for name, value in load_file(discriminator).items()}}


def export_bundle(
    run: Path, bundle: Path, version: str, passes: int | None = None, detail: Sequence[Path] = ()
) -> None:
    """Export the averaged networks of a run to a weights bundle, and D in half precision to `train/` beside it.

    Args:
        run: A run's folder or checkpoint.
        bundle: The bundle to write.
        version: Of the weights.
        passes: Passes of H that inference makes with this bundle; as the run was configured when None.
        detail: Runs of stage `detail`, whose fs and Gs are others: the mean of their detail transfers takes the place
            of the run's own. Each started from the one before, so that a mean of their weights is a network as good.

    Raises:
        TrainingError: When the run cannot be read.
    """
    checkpoint = load_checkpoint(run)
    network = model_from_checkpoint(checkpoint)
    if passes is not None:
        network.config = replace(network.config, hypernetwork=replace(network.config.hypernetwork, n_passes=passes))
    carriers = [model_from_checkpoint(load_checkpoint(path)).detail_transfer for path in detail]
    if any(carrier.config != network.detail_transfer.config for carrier in carriers):
        raise TrainingError("a detail transfer has another size", "train it with this version of hgs")
    if carriers:
        states = [carrier.state_dict() for carrier in carriers]
        mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
        network.detail_transfer.load_state_dict(mean)
    facts = {"stage": checkpoint.stage, "step": checkpoint.step, "figures": checkpoint.figures}
    bundle.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(bundle, network, version, {"training": facts})
    if "discriminator" in checkpoint.networks:
        path = bundle.parent / "train" / DISCRIMINATOR_NAME
        path.parent.mkdir(exist_ok=True)
        halves = {k: v.half().contiguous() for k, v in checkpoint.networks["discriminator"].items()}
        write_whole(path, lambda aside: save_file(halves, aside))
