"""Kinds of sound files, told from names and first bytes; imports nothing."""

from __future__ import annotations

SOUND_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".aifc", ".ogg", ".oga", ".opus", ".mp3", ".caf", ".au", ".w64")
FFMPEG_SUFFIXES = (".m4a", ".m4b", ".aac", ".wma", ".wv", ".ape", ".ac3", ".amr", ".mka", ".tta", ".dsf")
"""Of sounds that only ffmpeg reads. Films have sound, too, and are not looked for in folders."""
FILM_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".3gp", ".mpg", ".wmv")

N_HEAD_BYTES = 4096  # by which a kind is told
_CONTAINED = {b"RIFF": b"WAVE", b"RIFX": b"WAVE", b"RF64": b"WAVE", b"FORM": b"AIF"}  # at byte 8
_PLAIN = (b"fLaC", b"OggS\0", b"ID3", b"caff\0", b".snd\0", b"riff\x2e\x91\xcf\x11")
_FOREIGN = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # WMA
    b"#!AMR", b"MAC ", b"wvpk", b"TTA1", b"DSD ", b"\x0b\x77",
)  # fmt: skip


def is_plain(head: bytes) -> bool:
    """Whether a file begins as those do that libsndfile reads."""
    if head[:4] in _CONTAINED:
        return head[8:12].startswith(_CONTAINED[head[:4]])
    return head.startswith(_PLAIN) or (_has_mpeg_sync(head) and head[1] & 6 != 0)


def is_foreign(head: bytes) -> bool:
    """Whether a file begins as those do that ffmpeg reads and libsndfile does not."""
    avi = head[:4] == b"RIFF" and head[8:11] == b"AVI"
    aac = _has_mpeg_sync(head) and head[1] & 6 == 0
    return head.startswith(_FOREIGN) or head[4:8] == b"ftyp" or avi or aac


def _has_mpeg_sync(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 8 and head[2] != 0xFF
