"""Files that a call makes: checked before anything is read, left out where they are there, or sent to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hgs_cli import ending
from hgs_cli.commands import WorkResult, work_on_each
from hgs_cli.console import Advance, Messages, say, say_file
from hgs_cli.errors import ExistingFileError, OutputError, UsageError
from hgs_cli.export.piped import DASH
from hgs_cli.options import ScriptOptions


@dataclass(frozen=True)
class Planned:
    """Files that a call makes together."""

    name: str  # what people are told that they are of
    sounds: Sequence[Path]  # that they are made of
    folder: Path  # that no link may lead them out of
    files: Sequence[Path]  # all of them
    facts: dict[str, Any]  # what --dry-run --json prints beside each


_THERE = "--force makes them anew, -o DIR puts them elsewhere, --skip-existing leaves out sounds that have all theirs"


@contextmanager
def output_folder(out: Path | None) -> Iterator[Path | None]:
    """Where files go: what -o says; for `-o -` a folder that is gone when the body ends.

    Raises:
        OutputError: There is no room for it.
    """
    if out != DASH:
        yield out
        return
    import tempfile

    with ending.undone():
        try:
            folder = tempfile.TemporaryDirectory(prefix="hgs-")
        except OSError as error:
            raise OutputError(
                "cannot write to the folder for temporary files", "free some space or set TMPDIR"
            ) from error
        with folder as name:
            yield Path(name, "out")


def check_stdout(n_files: int, scripts: ScriptOptions) -> None:
    """Refuse `-o -` where there would be more than one file, or nobody to read it.

    Raises:
        UsageError: Saying why.
    """
    if n_files != 1:
        raise UsageError(
            f"-o - writes one file to stdout, and these would be {n_files}",
            "give one sound and one note, as with -p 60",
        )
    for asked, name in (
        (scripts.as_json, "--json"), (scripts.dry_run, "--dry-run"), (scripts.skip_existing, "--skip-existing")
    ):  # fmt: skip
        if asked:
            raise UsageError(f"{name} makes no sense with -o -, which writes sound to stdout", f"leave {name} out")
    if sys.stdout.isatty():
        raise UsageError("-o - writes sound to stdout, which is a terminal", "send it on with > note.wav or | play -")


def send(result: WorkResult, files: Iterable[Path]) -> WorkResult:
    """Write the one file of a result to stdout, in place of its path."""
    for path in files:
        say_file(path)
    return replace(result, lines=[])


def choose_work(planned: Sequence[Planned], force: bool, scripts: ScriptOptions, messages: Messages) -> list[int]:
    """Indices of what there is to do, all files of the call checked before anything is read, made or written.

    What killed calls left unfinished there is undone; with --dry-run, which does not, the files are printed.
    """
    from hgs_cli.files.atomic import check_inside, check_targets, take_back_leftovers

    for each in planned:
        check_inside(each.folder, each.files)
    if not scripts.dry_run:
        take_back_leftovers(each.files for each in planned)
    chosen = [
        index
        for index, each in enumerate(planned)
        if not (scripts.skip_existing and all(os.path.exists(path) for path in each.files))
    ]
    if len(chosen) < len(planned):
        messages.line(f"{len(planned) - len(chosen)} of {len(planned)} are there already")
    targets = [path for index in chosen for path in planned[index].files]
    _refuse_sounds(targets, (sound for each in planned for sound in each.sounds))
    check_targets(targets, force, _THERE)
    if scripts.dry_run:
        for index in chosen:
            for path in planned[index].files:
                told = {"path": str(path), **planned[index].facts}
                say(json.dumps(told) if scripts.as_json else str(path))
    return chosen


def _refuse_sounds(targets: Iterable[Path], sounds: Iterable[Path]) -> None:
    """No sound is ever written over."""
    read = {os.path.realpath(sound) for sound in sounds}  # Path.resolve raises for links in a circle
    for target in targets:
        if os.path.realpath(target) in read:
            raise UsageError(f"{target} would be written over itself", "choose another folder with -o or another name")


def work_on_planned(
    planned: Sequence[Planned],
    work: Callable[[int, Advance], WorkResult],
    chosen: Sequence[int],
    skip_existing: bool,
    messages: Messages,
    steps: int = 0,
) -> None:
    """Do the work for what was chosen, unless another process has made all its files and such are to be skipped.

    Args:
        planned: What the call makes.
        work: Takes an index of it, and a function that takes steps done.
        chosen: From `choose_work`.
        skip_existing: Leave out what is there.
        messages: For progress.
        steps: Of the work for one.
    """
    there = WorkResult("is there already", [])

    def work_unless_there(number: int, advance: Advance) -> WorkResult:
        files = planned[chosen[number]].files
        if skip_existing and all(path.exists() for path in files):
            return there
        try:
            return work(chosen[number], advance)
        except ExistingFileError:
            if skip_existing and all(path.exists() for path in files):
                return there
            raise

    work_on_each([planned[index].name for index in chosen], work_unless_there, messages, steps)
