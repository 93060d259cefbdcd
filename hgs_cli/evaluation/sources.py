"""What `hgs train eval` is given to measure with, as its options say it; refused before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hgs_cli.errors import UsageError
from hgs_cli.options import Detail, Seed, parse_budget

FOLDER_TABLES = ("--trust", "--ablate", "--several", "--effects")
"""Options for tables of their own, of one folder of recordings or several at once, instead of those of --real alone."""


def _listed(word: str) -> str:
    return f"{', '.join(FOLDER_TABLES[:-1])} {word} {FOLDER_TABLES[-1]}"


@dataclass(frozen=True)
class CrossPitchOptions:
    """How much is measured, and of which renders; without H GANStrument's rows stand alone."""

    quick: Annotated[bool, typer.Option("--quick", help="A few notes of everything.")] = False
    detail: Detail = 1.0
    hyper: Annotated[bool, typer.Option("--hyper/--no-hyper", help="Use the hypernetwork.")] = True
    seed: Seed = 0


@dataclass(frozen=True)
class Sources:
    """What there is to measure with, and of what; whatever is empty or None is left out."""

    real: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Recordings with a manifest.json: distance to real notes, source pitch; more than one for "
            f"{_listed('and')}.",
        ),
    ] = None
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data set that was trained on: how much of pitch is left in h.")
    ] = None
    held_out: Annotated[
        Path | None, typer.Option("--held-out", metavar="DIR", help="Data set made with --held-out: the paper's table.")
    ] = None
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of runs to compare with, as the model card names them.")
    ] = None
    train_missing_s: Annotated[
        float | None,
        typer.Option(
            "--train-missing", metavar="TIME", parser=parse_budget, show_default="name them",
            help="Train the runs that the paper's table lacks on --data, all of them in this time: 90m, 2h.",
        ),
    ] = None  # fmt: skip
    detectors: Annotated[
        bool, typer.Option("--detectors", help="Other pitch trackers beside ours, and rendered notes.")
    ] = False
    sounds: Annotated[
        bool, typer.Option("--sounds", help="Odd sounds as notes, mixes, variation; with --real recordings too.")
    ] = False
    made: Annotated[
        bool,
        typer.Option("--made", help="Made sounds whose truth at every pitch is known: chords, bells, drums, noise."),
    ] = False
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Fit the law of trust on --real, which the weights have not heard; no tables of it."
        ),
    ] = False
    ablate: Annotated[
        bool,
        typer.Option("--ablate", help="Notes of --real, of --made, without each hand rule; no other tables of them."),
    ] = False
    several: Annotated[
        bool,
        typer.Option("--several", help="Instruments of --real with 1, 2, 3, 5 known notes; no other tables of it."),
    ] = False
    effects: Annotated[
        bool,
        typer.Option("--effects", help="Recordings of --real through a hall, an amplifier, …; no other tables of it."),
    ] = False

    @property
    def folders(self) -> tuple[Path, ...]:
        """Recordings with a manifest, each."""
        return tuple(self.real or ())

    @property
    def recordings(self) -> Path | None:
        """The folder for the tables of recordings: cross-pitch and source pitch; None where others take it."""
        return None if self.takes_folders else next(iter(self.folders), None)

    @property
    def takes_folders(self) -> bool:
        """Whether `folders` are for tables of their own, of which there may be several at once."""
        return self.trust or self.ablate or self.several or self.effects

    def check(self, *, pictures: bool) -> None:
        """Refuse what contradicts itself.

        Args:
            pictures: Whether notes of the cross-pitch table are to be drawn.

        Raises:
            UsageError: There is nothing to measure with, or options do not go together.
        """
        if not self.folders and self.data is None and self.held_out is None and not self.sounds and not self.made:
            raise UsageError("there is nothing to measure with", "give --real, --data, --held-out, --sounds or --made")
        for option, given in (
            ("--plots", pictures), ("--detectors", self.detectors), ("--trust", self.trust),
            ("--several", self.several), ("--effects", self.effects),
        ):  # fmt: skip
            if given and not self.folders:
                raise UsageError(f"{option} is about recordings", "give --real too")
            if given and self.takes_folders and option not in FOLDER_TABLES:
                raise UsageError(f"{option} is about tables that {_listed('and')} leave out", "give one of them")
        if self.ablate and not self.folders and not self.made:
            raise UsageError("rules are measured on notes", "give --real or --made too")
        if len(self.folders) > 1 and not self.takes_folders:
            raise UsageError("--real is given more than once", f"give one folder, or {_listed('or')} too")
        if self.train_missing_s is not None:
            for option, folder in (("--held-out", self.held_out), ("--runs", self.runs), ("--data", self.data)):
                if folder is None:
                    raise UsageError("--train-missing trains what the paper's table lacks", f"give {option} too")
        if self.runs is not None and self.data is None and self.held_out is None:
            raise UsageError("--runs are compared on data sets", "give --data or --held-out too")
