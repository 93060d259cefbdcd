"""Folders that a process holds as long as it lives, so that others can tell."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_PATIENCE_S = 5.0  # for which a move waits for another into the same folder
MAX_HELD = 64  # folders: a process may only have so many files open


def hold(folder: Path) -> int | None:
    """Lock a folder until the descriptor returned is closed or the process ends; None where there are no locks.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def turn(folders: Iterable[Path]) -> Iterator[None]:
    """Move files into folders one process after the other: then the files of two never mix."""
    held: list[int] = []
    deadline = time.monotonic() + _PATIENCE_S  # a user's own lock on the folder would never be let go of
    try:
        for folder in sorted({folder.resolve() for folder in folders})[:MAX_HELD]:
            while True:
                try:
                    lock = hold(folder)
                except BlockingIOError:
                    if time.monotonic() < deadline:
                        time.sleep(0.005)
                        continue
                    lock = None
                if lock is not None:
                    held.append(lock)
                break
        yield
    finally:
        for lock in held:
            os.close(lock)


def this_machine() -> str:
    """This machine, in eight characters."""
    import hashlib
    import platform

    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
