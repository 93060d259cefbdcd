"""What comes through pipes: sounds, which are put where they can be read as often as files, and lists of paths."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hgs_cli.errors import InputError, OutputError, UsageError
from hgs_cli.files.kinds import N_HEAD_BYTES, is_foreign, is_plain

DASH, STDIN = Path("-"), Path("/dev/stdin")


@dataclass(frozen=True)
class PipedRules:
    """How much is read of stdin."""

    max_bytes: int = 2 * 2**30  # of a sound
    max_list_bytes: int = 256 * 2**20  # of paths: a million and more
    block_bytes: int = 2**20  # at once


PIPED = PipedRules()


_SUBSTITUTED = re.compile(r"/dev/stdin|/(?:dev|proc/self)/fd/(\d+)")  # as <(…) is given by shells
_TEXT = bytes((0, *b"\t\n\r", *range(32, 256)))  # what names of files are mostly made of


def read_stdin(stdin: BinaryIO) -> Path | list[Path]:
    """What `-` stands for: the path of the sound that stdin is, or the paths that it lists.

    Paths stand a line each, whatever ends lines, or parted by NUL as find -print0 writes them.

    Raises:
        InputError: A sound is larger than PIPED.max_bytes.
        OutputError: It cannot be kept.
        UsageError: A list is larger than PIPED.max_list_bytes.
    """
    head = stdin.read(N_HEAD_BYTES)
    if _is_sound(head):
        return _keep(head, stdin, "stdin")
    data = head + stdin.read(PIPED.max_list_bytes)
    if len(data) > PIPED.max_list_bytes:
        raise UsageError("stdin holds neither a sound nor paths", "give a sound, or a path a line")
    if b"\0" in data:
        return [Path(os.fsdecode(path)) for path in data.split(b"\0") if path]
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # a name may hold other line breaks
    return [Path(os.fsdecode(_without_return(line))) for line in lines if line.strip(b"\r")]


def keep_substituted(path: Path) -> Path:
    """A path that can be read again and again: the given one, behind which a pipe's bytes now lie if it was a pipe.

    Only what a shell puts in the place of <(…) is read so: a named pipe may have nobody who writes.

    Raises:
        InputError: A sound is larger than PIPED.max_bytes.
        OutputError: It cannot be kept.
    """
    if not _SUBSTITUTED.fullmatch(str(path)):
        return path
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return path
        with open(path, "rb") as pipe:
            return _keep(b"", pipe, str(path))
    except OSError:
        return path  # what is wrong with it is said where it is read


def name_of(path: Path) -> str:
    """What files made of a sound are called: its stem, or where it came from."""
    matched = _SUBSTITUTED.fullmatch(str(path))
    if not matched:
        return path.stem
    return "pipe" if matched[1] not in (None, "0") else "stdin"


def _is_sound(head: bytes) -> bool:
    first = re.split(rb"[\0\n]", head, maxsplit=1)[0]
    try:
        if first and os.path.lexists(_without_return(first)):
            return False
    except ValueError:
        pass
    return is_plain(head) or is_foreign(head) or bool(head.translate(None, _TEXT))


def _without_return(line: bytes) -> bytes:
    """A line of a list as Windows writes them, unless there is a file that is called so."""
    return line if os.path.lexists(line) else line.removesuffix(b"\r")


def _keep(head: bytes, pipe: BinaryIO, name: str) -> Path:
    """Put all that a pipe holds into a file without a name, which ends with the process, in the place of the pipe."""
    import tempfile

    try:
        with tempfile.TemporaryFile(prefix="hgs-") as file:
            _copy(head, pipe.read, file, name)
            number = _place(file, pipe)
    except OSError as error:
        folder = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 — named, not written to
        raise OutputError(
            f"cannot write to the folder for temporary files {folder}", "free some space or set TMPDIR"
        ) from error
    return STDIN if number == 0 else Path(f"/dev/fd/{number}")


def _copy(head: bytes, read: Callable[[int], bytes], file: BinaryIO, name: str) -> None:
    block, n_bytes = head or read(PIPED.block_bytes), 0
    while block:
        n_bytes += len(block)
        if n_bytes > PIPED.max_bytes:
            raise InputError(f"{name} holds over {PIPED.max_bytes // 2**30} GiB", "give a shorter sound")
        file.write(block)
        block = read(PIPED.block_bytes)
    file.flush()


def _place(file: BinaryIO, pipe: BinaryIO) -> int:
    """The descriptor that stays open: that of the pipe, if it is known by its number."""
    name = getattr(pipe, "name", None)
    matched = _SUBSTITUTED.fullmatch(str(name))
    if matched:
        return os.dup2(file.fileno(), int(matched[1] or 0))
    try:
        return os.dup2(file.fileno(), pipe.fileno())
    except OSError:  # no pipe at all: bytes in memory
        return os.dup(file.fileno())
