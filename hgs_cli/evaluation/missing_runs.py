"""Runs that the paper's table compares with and that are not there yet, trained within a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hgs_cli.console import Tell
from hgs_cli.errors import OutputError
from hgs_cli.evaluation.baselines import RUNS
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.weights import build_model, save_bundle
from hgs_cli.training.checkpoint import FILE_NAME
from hgs_cli.training.loop import RunOptions, run_stage

FRESH, WITHOUT_H = "fresh", "without-h"  # what runs start from, beside other runs
UNFINISHED = ".unfinished"  # behind the name of a run that was interrupted
COMMON_SETTINGS = ""  # of all runs, as TOML


@dataclass(frozen=True)
class Recipe:
    """How a run is trained."""

    stage: str  # of `hgs train run`
    # what it starts from: FRESH, networks of the released sizes; WITHOUT_H, the released f and G with a fresh H; or
    # another run
    init: str
    settings: str = ""  # that differ from the stage's own, as TOML


RECIPES = {
    "pitch-gan": Recipe("pitch-gan", FRESH),
    "encoder": Recipe("encoder", "pitch-gan"),
    "mel-hyper": Recipe("mel-hyper", WITHOUT_H),
    "hyper": Recipe("hyper", WITHOUT_H),
    "no-projection": Recipe("hyper-gan", "hyper", "projection = false\n"),
}
"""Folder of a run → how it is trained, in an order in which each has what it starts from."""


def missing_runs(runs: Path) -> list[str]:
    """Folders of the runs that have to be trained: those of missing rows, and what they start from."""
    wanted = {folder for folder in RUNS.values() if not (runs / folder).exists()}
    for folder in reversed(RECIPES):
        init = RECIPES[folder].init
        if folder in wanted and init in RECIPES and not (runs / init).exists():
            wanted.add(init)
    return [folder for folder in RECIPES if folder in wanted]


def train_missing_runs(
    released: HyperGANStrument, data: Path, runs: Path, budget_s: float, seed: int = 0, tell: Tell = lambda *_: None
) -> None:
    """Train every run that is missing, each for an equal part of a time; an interrupted call is taken up again.

    Args:
        released: f, G and H; runs compare with their sizes and, where they have the same f and G, with those.
        data: The data set to train on.
        runs: Folder of the runs.
        budget_s: For all of them.
        seed: Of everything random.
        tell: Told of every run.

    Raises:
        OutputError: The folder cannot be written to.
        TrainingError: The data set cannot be used, or a loss is not finite.
    """
    missing = missing_runs(runs)
    if not missing:
        return
    device = next(released.parameters()).device.type
    starts = _write_starts(released, runs, seed)
    for number, folder in enumerate(missing):
        recipe = RECIPES[folder]
        tell(f"training {folder}, {budget_s / len(missing) / 60.0:.1f} min", number, len(missing))
        unfinished = runs / f"{folder}{UNFINISHED}"
        config = starts / f"{folder}.toml"
        config.write_text(recipe.settings + COMMON_SETTINGS, encoding="utf-8")
        run_stage(
            recipe.stage,
            RunOptions(
                data=data,
                out=unfinished,
                budget_s=budget_s / len(missing),
                device=device,
                seed=seed,
                resume=(unfinished / FILE_NAME).exists(),
                init=runs / recipe.init if recipe.init in RECIPES else starts / f"{recipe.init}.safetensors",
                config=config,
            ),
        )
        os.replace(unfinished, runs / folder)
    tell("trained", len(missing), len(missing))


def _write_starts(released: HyperGANStrument, runs: Path, seed: int) -> Path:
    """Write what runs start from, and return its folder."""
    folder = runs / "starts"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to folder {runs}: {(error.strerror or '').lower()}", "choose another"
        ) from error
    fresh = build_model(released.config, seed)
    save_bundle(folder / f"{FRESH}.safetensors", fresh, FRESH)
    states = {name: value.float().cpu() for name, value in released.state_dict().items()}
    states |= {name: value for name, value in fresh.state_dict().items() if name.startswith("hypernetwork.")}
    fresh.load_state_dict(states, strict=True)
    save_bundle(folder / f"{WITHOUT_H}.safetensors", fresh, WITHOUT_H)
    return folder
