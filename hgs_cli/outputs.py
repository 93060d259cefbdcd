"""Files that appear whole or not at all: checked together before work starts, written aside, renamed at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from hgs_cli.errors import OutputError

_WRITABLE = "choose another folder with -o"


class OutputSet:
    """The files of one result, all of them or none.

    Entering it checks every target and makes their folders; `write` puts a file aside; leaving without an exception
    renames them all to their targets; leaving with one removes what was written and the folders that were made.

    Args:
        targets: Every file that may be written.
        force: Overwrite files that exist.

    Raises:
        OutputError: On entering, if a target exists without `force`, is a folder, or its folder cannot be written to.
    """

    def __init__(self, targets: Iterable[Path], force: bool) -> None:
        self.targets = tuple(targets)
        self.force = force
        self._aside: dict[Path, Path] = {}
        self._made: list[Path] = []

    def __enter__(self) -> OutputSet:
        check_targets(self.targets, self.force)
        entered = False
        try:
            for folder in dict.fromkeys(target.parent for target in self.targets):
                self._make_folder(folder)
            entered = True
        except OSError as error:
            raise OutputError(f"cannot write to folder {folder}: {_reason(error)}", _WRITABLE) from error
        finally:
            if not entered:  # an interrupt, too, leaves nothing behind
                self._discard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._discard()

    def write(self, target: Path, save: Callable[[Path], object]) -> None:
        """Let `save` write the file aside, beside its target; a second write to a target replaces the first.

        Raises:
            OutputError: The file cannot be written: the disk is full, for instance.
        """
        assert target in self.targets, f"{target} was not announced"
        try:
            if target not in self._aside:
                # Entered before it exists, so that an interrupt in between does not leave it behind. The target's
                # suffix stays last: libraries choose a format by it.
                self._aside[target] = target.parent / f".hgs-{secrets.token_hex(8)}{target.suffix}"
                self._aside[target].touch(mode=0o600, exist_ok=False)
            save(self._aside[target])
            with open(self._aside[target], "rb+") as written:
                os.fsync(written.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {target}: {_reason(error)}", "free some space or use -o") from error

    def aside(self, target: Path) -> Path:
        """Where the file written for a target lies until the end."""
        return self._aside[target]

    def _make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            self._made.append(path)
            path.mkdir(exist_ok=True)
        # Asking os.access would say yes to root on a read-only file system; trying tells the truth.
        probe = folder / f".hgs-{secrets.token_hex(8)}"
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)

    def _commit(self) -> None:
        # Files put aside are private; results get the permissions that the user's umask gives to any new file.
        umask = os.umask(0)
        os.umask(umask)
        for target, aside in self._aside.items():
            try:
                os.chmod(aside, 0o666 & ~umask)
                if self.force:
                    os.replace(aside, target)
                else:
                    _rename_without_overwriting(aside, target)
            except OSError as error:
                raise OutputError(f"cannot write {target}: {_reason(error)}", "use --force or another -o") from error
        self._aside.clear()
        self._made.clear()

    def _discard(self) -> None:
        for aside in self._aside.values():
            aside.unlink(missing_ok=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # not empty: someone else has written there meanwhile
                folder.rmdir()


def check_targets(targets: Iterable[Path], force: bool) -> None:
    """Refuse targets that cannot be, are folders, lie below a file, or exist when `force` is off.

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
        raise OutputError(
            f"{existing[0]}{others} already exist{'' if others else 's'}", "use --force to overwrite or -o"
        )


def _check_place(target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"{target} is a folder, not a file", "choose another name with -o")
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise OutputError(f"{parent} is a file, not a folder", _WRITABLE)
            break


def _rename_without_overwriting(aside: Path, target: Path) -> None:
    try:
        os.link(aside, target)  # fails if the target has appeared meanwhile, which a rename would not
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        os.replace(aside, target)
    else:
        os.unlink(aside)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
