"""What the header of a sound file promises beyond its end."""

from __future__ import annotations

import re
from dataclasses import dataclass

import soundfile


@dataclass(frozen=True)
class HeaderRules:
    """Which promises of a header are believed."""

    cut_s: float = 0.01  # from which what a header promises beyond its file's end is told
    # for formats whose decoders only estimate their length: of an MP3 the encoder's padding is not played
    untold_s: float = 0.1
    # from which a length stands for one that was not known; sox writes 2,130,706,440, others 2³² - 1
    untold_bytes: int = 0x7F00_0000 - 4096
    max_claim_s: float = 100_000.0  # of a length that was not known, likewise


HEADERS = HeaderRules()


def missing_seconds(file: soundfile.SoundFile, claimed_s: float, there_s: float) -> float:
    """How much of a file is not there that its header tells of; 0 where a pipe's writer could not know the length."""
    if claimed_s < HEADERS.max_claim_s and claimed_s - there_s > HEADERS.untold_s:
        return claimed_s - there_s
    # libsndfile takes what is there for the length, and says so in its notes.
    for told, found in re.findall(
        r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", file.extra_info, re.M
    ):
        told_bytes, found_bytes = int(told), int(found)
        if 0 < found_bytes < told_bytes < HEADERS.untold_bytes:
            missing_s = file.frames / file.samplerate * (told_bytes / found_bytes - 1.0)
            return missing_s if missing_s > HEADERS.cut_s else 0.0
    counted = re.search(r"Calculated frame count (\d+) does not match .* of (\d+)", file.extra_info)  # RF64
    return max(0, int(counted[2]) - int(counted[1])) / file.samplerate if counted else 0.0
