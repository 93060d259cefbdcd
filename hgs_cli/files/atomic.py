"""Files that appear whole or not at all: checked together before work starts, written aside, moved at the end.

What waits for its move lies in a hidden folder `.hgs-…` beside the results. Its process holds a lock on it for as long
as it lives, so that a later call can tell what a killed process left, take it back, and leave alone what is being made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from hgs_cli import ending
from hgs_cli.errors import ExistingFileError, OutputError
from hgs_cli.files.locks import MAX_HELD, hold, this_machine, turn

_WRITABLE = "choose another folder with -o"
_THERE = "use --force to overwrite, or -o for another place"
_STAGE = re.compile(r"\.hgs-([0-9a-f]{8})-[0-9a-f]{16}(\.done)?")  # the machine, the call, whether all is moved
_DONE = ".done"
_PLAN = "plan.json"
_OLD_S = 86_400.0  # after a day without a lock, what another machine was making is left over, too


class OutputSet:
    """The files of one result, all of them or none.

    Entering it checks every target and makes their folders; `write` puts a file aside; leaving without an exception
    moves them all to their targets; leaving with one, or failing to move one of them, removes what was written and the
    folders that were made, and puts back what was overwritten. A process that is killed while files are moved leaves
    some new and some old, each whole; `take_back_leftovers` undoes that.

    Args:
        targets: Every file that may be written.
        force: Overwrite files that exist.
        folder: A folder that all of them are in or below, which holds the files put aside; else the folder of each.

    Raises:
        OutputError: On entering, if a target exists without `force`, is a folder, or its folder cannot be written to.
    """

    def __init__(self, targets: Iterable[Path], force: bool, folder: Path | None = None) -> None:
        self.targets = tuple(targets)
        self.force = force
        self._folder = folder
        self._stages: dict[Path, _Stage] = {}  # by folder of the targets
        self._made: list[Path] = []
        self._undone = ending.undone()

    def __enter__(self) -> OutputSet:
        entered = False
        folder = Path()
        self._undone.__enter__()
        try:
            check_targets(self.targets, self.force)
            for folder in dict.fromkeys(target.parent for target in self.targets):
                self._make_folder(folder)
            for folder in dict.fromkeys(target.parent for target in self.targets):
                self._stages[folder] = self._stage_for(folder)
            entered = True
        except OSError as error:
            raise OutputError(f"cannot write to folder {folder}: {_reason(error)}", _WRITABLE) from error
        finally:
            if not entered:  # an interrupt, too, leaves nothing behind
                self._leave()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                ending.check()
                self._commit()
        finally:
            self._leave()

    def write(self, target: Path, save: Callable[[Path], object]) -> None:
        """Let `save` write the file aside; a second write to a target replaces the first.

        Raises:
            OutputError: The file cannot be written: the disk is full, for instance.
        """
        assert target in self.targets, f"{target} was not announced"
        try:
            save(self._stages[target.parent].aside(target))
        except OSError as error:
            raise OutputError(f"cannot write {target}: {_reason(error)}", "free some space or use -o") from error

    def aside(self, target: Path) -> Path:
        """Where the file written for a target lies until the end."""
        return self._stages[target.parent].aside(target)

    def _leave(self) -> None:
        self._discard()
        self._undone.__exit__(None, None, None)

    def _make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            self._made.append(path)
            path.mkdir(exist_ok=True)

    def _stage_for(self, folder: Path) -> _Stage:
        # A folder below the common one may be mounted, or a link to another disk, to which nothing can be renamed.
        home = folder
        if self._folder is not None and self._folder.stat().st_dev == folder.stat().st_dev:
            home = self._folder
        held = {stage.folder: stage for stage in self._stages.values()}
        if home in held:
            return held[home]
        # Asking os.access would say yes to root on a read-only file system; making a folder tells the truth.
        return _Stage(home, locked=len(held) < MAX_HELD)

    def _commit(self) -> None:
        stages = list(dict.fromkeys(self._stages.values()))
        target = self.targets[0] if self.targets else Path()
        try:
            for stage in stages:
                stage.finish(self.force)
            with turn([stage.folder for stage in stages]):
                for stage in stages:
                    for target in stage.targets:
                        stage.move(target, self.force)
                # A rename is on the disk when its folder is; once for all files of a folder.
                for folder in dict.fromkeys([*self._stages, *(path.parent for path in self._made)]):
                    _sync_folder(folder)
                for stage in stages:
                    stage.settle()
        except FileExistsError as error:
            raise ExistingFileError(f"{target} has appeared meanwhile", _THERE) from error
        except OSError as error:
            raise OutputError(f"cannot write {target}: {_reason(error)}", "free some space or use -o") from error
        self._made.clear()

    def _discard(self) -> None:
        for stage in dict.fromkeys(self._stages.values()):
            stage.discard()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # not empty: someone else has written there meanwhile
                folder.rmdir()


class _Stage:
    """A hidden folder in which files wait to be moved into the folder around it, or below that one.

    Args:
        folder: The folder around it.
        locked: Hold a lock on it while it is in use.
    """

    def __init__(self, folder: Path, *, locked: bool) -> None:
        self.folder = folder
        self.targets: dict[Path, int] = {}
        machine = this_machine() if locked else "0" * 8
        self._lock: int | None = None
        while True:
            self.path = folder / f".hgs-{machine}-{secrets.token_hex(8)}"
            try:
                self.path.mkdir(mode=0o700)
                if not locked:
                    return
                with contextlib.suppress(BlockingIOError):  # taken for a leftover before it was locked: another one
                    self._lock = hold(self.path)
                    if self.path.exists():
                        return
            except BaseException:
                self.discard()
                raise
            self._release()

    def aside(self, target: Path) -> Path:
        """Where a target's file waits."""
        number = self.targets.setdefault(target, len(self.targets))
        # The target's suffix stays last: libraries choose a format by it.
        return self.path / f"{number}{target.suffix}"

    def finish(self, force: bool) -> None:
        """Bring what waits to the disk, with the permissions that the user's umask gives to any new file."""
        umask = os.umask(0)
        os.umask(umask)
        for target in self.targets:
            aside = self.aside(target)
            aside.chmod(0o666 & ~umask)
            _sync(aside)
        plan = {"force": force, "targets": [os.path.relpath(target, self.folder) for target in self.targets]}
        (self.path / _PLAN).write_text(json.dumps(plan), encoding="utf-8")
        _sync(self.path / _PLAN)
        _sync_folder(self.path)

    def move(self, target: Path, force: bool) -> None:
        """Move a target's file to it; here a second name of it stays, and one of what was overwritten."""
        aside, number = self.aside(target), self.targets[target]
        if not force:
            if _link(aside, target):  # fails if the target has appeared meanwhile, which a rename would not
                return
            if os.path.lexists(target):
                raise FileExistsError(f"{target} exists")
            os.replace(aside, target)
            return
        if os.path.lexists(target):
            _link(target, self.path / f"{number}.old")
        second = self.path / f"{number}.new"
        os.replace(second if _link(aside, second) else aside, target)

    def settle(self) -> None:
        """From now on what was moved stays."""
        done = self.path.with_name(self.path.name + _DONE)
        os.rename(self.path, done)
        self.path = done

    def discard(self) -> None:
        """Take back what was moved, unless it is settled, and remove the rest."""
        with contextlib.suppress(OSError):
            _take_back(self.path)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take_back(stage: Path) -> None:
    """Remove a stage; if the files in it had begun to be moved, and not all of them had, put back what was before."""
    if not stage.name.endswith(_DONE):
        try:
            plan = json.loads((stage / _PLAN).read_text(encoding="utf-8"))
            force, targets = bool(plan["force"]), [Path(text) for text in plan["targets"]]
            begun_ns = (stage / _PLAN).stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            force, targets, begun_ns = False, [], 0  # nothing had been moved yet
        for index, relative in enumerate(targets):
            if relative.is_absolute() or ".." in relative.parts:
                continue  # not written by us
            target, aside, old = stage.parent / relative, stage / f"{index}{relative.suffix}", stage / f"{index}.old"
            if not _same_file(aside, target) and (aside.exists() or force):
                continue  # never moved, or another's by now; or moved where files have no second names
            if os.path.lexists(target) and target.lstat().st_mtime_ns > begun_ns:
                continue  # somebody has worked on it since
            if os.path.lexists(old):
                os.replace(old, target)
            else:
                target.unlink(missing_ok=True)
        (stage / _PLAN).unlink(missing_ok=True)  # first: without the files beside it, it would be misread
    shutil.rmtree(stage, ignore_errors=True)


def common_folder(targets: Iterable[Path]) -> Path:
    """The folder that all targets, at least one, are in or below."""
    return Path(os.path.commonpath([target.parent for target in targets]))


def take_back_leftovers(results: Iterable[Sequence[Path]]) -> None:
    """Undo what killed processes left unfinished where files are about to be written; a living one's are not touched.

    Args:
        results: The files of each result.
    """
    folders: set[Path] = set()
    for targets in results:
        folders |= {target.parent for target in targets} | {common_folder(targets)}
    for folder in folders:
        for stage in _left_over(folder):
            with contextlib.suppress(OSError):
                _take_back(stage)


def _left_over(folder: Path) -> Iterator[Path]:
    """Stages in a folder whose process is gone, each locked while it is looked at."""
    try:
        entries = [(Path(entry.path), entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False))
                   for entry in os.scandir(folder) if _STAGE.fullmatch(entry.name)]  # fmt: skip
    except OSError:
        return
    for path, facts, is_folder in entries:
        matched = _STAGE.fullmatch(path.name)
        assert matched is not None
        ours = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()
        # Locks may not reach from one machine to another.
        if not (is_folder and ours and (matched[1] == this_machine() or time.time() - facts.st_mtime > _OLD_S)):
            continue
        try:
            lock = hold(path)
        except BlockingIOError:
            continue  # its process lives
        if lock is not None:
            try:
                yield path
            finally:
                os.close(lock)


def check_targets(targets: Iterable[Path], force: bool, remedy: str = _THERE) -> None:
    """Refuse targets that cannot be, are folders, lie below a file, or exist when `force` is off.

    Args:
        targets: Files to be written.
        force: Whether any may be overwritten.
        remedy: What to do about one that exists.

    Raises:
        OutputError: Naming the first such target and how many more there are.
    """
    existing: list[Path] = []
    for target in targets:
        try:
            _check_place(target)
        except OSError as error:  # too long a name, a folder that may not be entered
            raise OutputError(f"cannot write {target}: {_reason(error)}", "choose another name or folder") from error
        if os.path.lexists(target):
            existing.append(target)
    if existing and not force:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ExistingFileError(f"{existing[0]}{others} already exist{'' if others else 's'}", remedy)


def _check_place(target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"{target} is a folder, not a file", "choose another name with -o")
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise OutputError(f"{parent} is a file, not a folder", _WRITABLE)
            break


def check_inside(folder: Path, targets: Iterable[Path]) -> None:
    """Refuse targets that a link leads out of the output folder; that folder itself may be a link.

    Raises:
        OutputError: Naming the first such target.
    """
    inside = folder.resolve()
    for parent in dict.fromkeys(target.parent for target in targets):
        if not parent.resolve().is_relative_to(inside):
            raise OutputError(f"{parent} leads out of {folder}", "remove the link, or name its target with -o")


def write_whole(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write one file aside, and put it in the place of any file of that name.

    Raises:
        OutputError: It cannot be written.
    """
    take_back_leftovers([[path]])
    with OutputSet([path], force=True) as outputs:
        outputs.write(path, save)


def _link(path: Path, name: Path) -> bool:
    """Give a file a second name, a link itself and not what it points to; False where that cannot be done."""
    try:
        os.link(path, name, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without hard links
        return False
    return True


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system opens folders, or has anything to do for them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
