"""Sounds that libsndfile does not read, through the program ffmpeg where it is on PATH."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hgs_cli.errors import InputError, OutputError
from hgs_cli.files.kinds import FFMPEG_SUFFIXES, FILM_SUFFIXES, N_HEAD_BYTES, is_foreign, is_plain

PROGRAM = "ffmpeg"


@dataclass(frozen=True)
class ForeignRules:
    """What ffmpeg may take."""

    patience_s: float = 120.0  # beside a second for each of the sound: a file may have been made to keep it busy
    max_bytes: int = 4 * 2**30  # that it may write
    longest_reason: int = 100  # characters of what it says


FOREIGN = ForeignRules()


# Neither lists of other files, which some formats are, nor anything from a network.
FORMATS = (
    "mov,mp4,matroska,webm,asf,aac,amr,ape,wv,tta,dsf,ac3,eac3,dts,avi,mpeg,mpegts,flv,wav,w64,aiff,flac,ogg,mp3,caf,au"
)
_SUPPORTED = "give a WAV, FLAC, AIFF, OGG or MP3 file"
_AGAIN = "copy or export it again"


@dataclass(frozen=True)
class Decoded:
    """A sound as ffmpeg decodes it."""

    wave: BinaryIO  # a WAV file
    complaint: str  # what ffmpeg said of it; empty if it was content


@contextlib.contextmanager
def decoded(path: Path, max_seconds: float) -> Iterator[Decoded]:
    """While the body runs, the sound of a file that libsndfile has refused.

    Args:
        path: Of the file.
        max_seconds: As much is decoded.

    Raises:
        InputError: It cannot be decoded, or there is no ffmpeg.
        OutputError: There is no room for temporary files.
    """
    with path.open("rb") as file:
        head = file.read(N_HEAD_BYTES)
    foreign = is_foreign(head) or path.suffix.lower() in (*FFMPEG_SUFFIXES, *FILM_SUFFIXES)
    program = shutil.which(PROGRAM) if head else None
    if program is None:
        if foreign and head:
            raise InputError(
                f"{path} is read through ffmpeg, which is not on PATH",
                "install it (apt install ffmpeg, brew install ffmpeg), or convert the sound to WAV",
            )
        raise _refusal(path, head)
    try:
        with tempfile.TemporaryFile(prefix="hgs-") as wave:
            said = _run(program, path, max_seconds, wave)
            if not wave.tell():
                if foreign:
                    raise InputError(f"{path} cannot be read as sound: ffmpeg says {said or 'nothing'!r}", _AGAIN)
                raise _refusal(path, head)
            wave.seek(0)
            yield Decoded(wave, said)
    except OSError as error:
        raise OutputError("cannot write to the folder for temporary files", "free some space or set TMPDIR") from error


def _refusal(path: Path, head: bytes) -> InputError:
    if is_plain(head):
        return InputError(f"{path} cannot be read as sound: it is damaged or cut off", _AGAIN)
    return InputError(f"{path} cannot be read as sound", _SUPPORTED)


def _run(program: str, path: Path, max_seconds: float, wave: BinaryIO) -> str:
    """Let ffmpeg decode the first sound in a file; what it says, in a line."""
    with path.open("rb") as given:
        # A descriptor has another number over there.
        name = b"file:/dev/stdin" if path.is_relative_to("/dev") else b"file:" + os.fsencode(path)
        command: list[str | bytes] = [
            program, "-nostdin", "-hide_banner", "-v", "error",
            "-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", name,
            "-map", "0:a:0", "-t", f"{max_seconds + 1.0:g}", "-fs", str(FOREIGN.max_bytes),
            "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "-protocol_whitelist", "pipe", "pipe:1",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                command,
                stdin=given,
                stdout=wave,
                stderr=subprocess.PIPE,
                timeout=FOREIGN.patience_s + max_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{path} keeps ffmpeg busy for minutes", "convert the sound to WAV") from error
    wave.seek(0, os.SEEK_END)
    lines = done.stderr.decode("utf-8", "replace").replace(os.fsdecode(name), "").splitlines()
    return _plain(next((line for line in lines if _plain(line)), ""))


def _plain(line: str) -> str:
    """A line of ffmpeg without addresses in memory and names of its parts."""
    return re.sub(r"^(\[[^]]*\]\s*)+", "", line).strip(" :.")[: FOREIGN.longest_reason]
