"""What `hgs train eval` is given to measure with; refused here before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hgs_cli.errors import UsageError


@dataclass(frozen=True)
class Sources:
    """What there is to measure with, and of what; whatever is empty or None is left out.

    Attributes:
        folders: Recordings with a manifest, each.
        data: The data set that was trained on: leakage, soft and loud notes.
        held_out: A data set that was not: the paper's table.
        runs: Folder of runs to compare with.
        detectors: Whether source pitch is measured of other libraries too, and on rendered notes.
        sounds: Whether odd sounds, mixes and variations are measured: on rendered sounds, and on `recordings`.
        made: Whether made sounds with known truth are measured.
        trust: Whether the law of trust is fitted on `folders`.
        ablate: Whether rules are done without in turn: on `folders`, and on made sounds instead of their own table.
        several: Whether instruments of several known notes are measured, on `folders`.
        train_missing_s: Seconds to train the runs that the paper's table lacks, all together; None to name them.
    """

    folders: tuple[Path, ...] = ()
    data: Path | None = None
    held_out: Path | None = None
    runs: Path | None = None
    detectors: bool = False
    sounds: bool = False
    made: bool = False
    trust: bool = False
    ablate: bool = False
    several: bool = False
    train_missing_s: float | None = None

    @property
    def recordings(self) -> Path | None:
        """The folder for the tables of recordings: cross-pitch and source pitch; None where others take it."""
        return None if self.takes_folders else next(iter(self.folders), None)

    @property
    def takes_folders(self) -> bool:
        """Whether `folders` are for tables of their own, of which there may be several at once."""
        return self.trust or self.ablate or self.several

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
            ("--plots", pictures), ("--detectors", self.detectors), ("--trust", self.trust), ("--several", self.several)
        ):  # fmt: skip
            if given and not self.folders:
                raise UsageError(f"{option} is about recordings", "give --real too")
            if given and self.takes_folders and option not in ("--trust", "--several"):
                raise UsageError(
                    f"{option} is about tables that --trust, --ablate and --several leave out", "give one of them"
                )
        if self.ablate and not self.folders and not self.made:
            raise UsageError("rules are measured on notes", "give --real or --made too")
        if len(self.folders) > 1 and not self.takes_folders:
            raise UsageError("--real is given more than once", "give one folder, or --trust, --ablate or --several too")
        if self.train_missing_s is not None:
            for option, folder in (("--held-out", self.held_out), ("--runs", self.runs), ("--data", self.data)):
                if folder is None:
                    raise UsageError("--train-missing trains what the paper's table lacks", f"give {option} too")
        if self.runs is not None and self.data is None and self.held_out is None:
            raise UsageError("--runs are compared on data sets", "give --data or --held-out too")
