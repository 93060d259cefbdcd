"""The recordings behind the released weights: a table of their sources, fetched again, prepared and checked.

The table names each recording's repository, commit and path, so what is fetched is what was used. It is prepared as it
was: mono at 44.1 kHz, from 5 ms before its onset on, four seconds at most, an instrument's loudest note at −1 dBFS.
Files made so are the same recordings and not the same bytes, so they are told by their pitch and length.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from hgs_cli.audio.io import FILES, to_sample_rate, write_audio
from hgs_cli.console import Report
from hgs_cli.errors import TrainingError, UsageError
from hgs_cli.files.atomic import write_whole
from hgs_cli.models.weights import find_released
from hgs_cli.spectrum import SAMPLE_RATE
from hgs_cli.training.manifest import MANIFEST_NAME
from hgs_cli.training.pitch_check import verify_pitch

TABLE_NAME = "recordings.tsv"
FROM_GITHUB = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
SUFFIXES = {"real": ".flac", "real2": ".ogg"}  # of the files that were used, by set
_FIELDS = ("repository", "commit", "path")
_SCHEMES = ("https", "http", "file")
_READ_AT = re.compile(r"read at (\d+) Hz")


@dataclass(frozen=True)
class PreparingRules:
    """How recordings are prepared, and what they are told by."""

    onset_db: float = -40.0  # below its peak: a recording begins where it first is louder
    lead_s: float = 0.005  # kept before that
    seconds: float = 4.0  # kept of it at the most
    peak_db: float = -1.0  # of an instrument's loudest note
    # that a file may be off the pitch that was measured by two other trackers: of 500 of the very files 489 are heard
    # within 10, all within 35
    pitch_cents: float = 40.0
    length_s: float = 0.25  # and off its length: of 500 some begin up to 0.2 s from where they did
    max_bytes: int = 256 * 2**20  # of a source's file
    timeout_s: float = 60.0  # of a connection


RULES = PreparingRules()


@dataclass(frozen=True)
class Recorded:
    """One recording of the table."""

    folder: str  # the set that it belongs to, `real` or `real2`
    # as a manifest has them
    instrument: str
    family: str
    licence: str
    repository: str  # `owner/name` on GitHub
    commit: str  # of the repository
    path: str  # in the repository
    midi: float | None  # that it sounds at; None for a one-shot
    dynamic: str  # `loud` or `soft`
    seconds: float  # of the file that was used
    how: str  # what was done besides: `read at 40517 Hz`, or how it was rendered; empty for most
    sha256: str  # of the file that was used

    @property
    def stem(self) -> str:
        """Its file in its set's folder, without suffix."""
        if self.midi is None:
            return f"oneshots/{self.instrument}"
        return f"{self.instrument}/{self.instrument}_{round(self.midi):03d}_{self.dynamic}"

    @property
    def rendered(self) -> bool:
        """Whether it is no recording but a wavetable, played."""
        return bool(self.how) and not _READ_AT.fullmatch(self.how)

    def url(self, template: str = FROM_GITHUB) -> str:
        """Where its source is."""
        return template.format(repository=self.repository, commit=self.commit, path=urllib.parse.quote(self.path))


def read_table(path: Path | None = None) -> list[Recorded]:
    """Every recording that the released weights learned from or are measured on.

    Args:
        path: A table in the form of the released one, which is read if none is given.

    Raises:
        TrainingError: It cannot be read.
    """
    path = path or find_released(TABLE_NAME)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
        sources = {row[1]: (row[2], row[3]) for row in rows if row[0] == "source"}
        instruments = {row[1]: row[2:] for row in rows if row[0] == "instrument"}
        return [_row(instruments[row[0]], sources[row[1]], row[2:]) for row in rows if row[0].isdigit()]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise TrainingError(f"{path} is not a table of recordings", "install hgs again") from error


def _row(instrument: Sequence[str], source: tuple[str, str], told: Sequence[str]) -> Recorded:
    folder, name, family, licence = instrument
    path, midi, dynamic, seconds, how, sha256 = told
    pitch = float(midi) if midi else None
    return Recorded(folder, name, family, licence, *source, path, pitch, dynamic or "loud", float(seconds), how, sha256)


def choose(table: Sequence[Recorded], folder: str | None, instruments: Sequence[str]) -> list[Recorded]:
    """Those of a table that are of a set, and of some instruments.

    Args:
        table: From `read_table`.
        folder: `real` or `real2`; None for both.
        instruments: Their names; all if there are none.

    Raises:
        UsageError: An instrument is not in it.
    """
    chosen = [row for row in table if folder in (None, row.folder)]
    unknown = sorted(set(instruments) - {row.instrument for row in chosen})
    if unknown:
        raise UsageError(f"no recording is of {unknown[0]}", "hgs train recordings lists all")
    return [row for row in chosen if not instruments or row.instrument in instruments]


def check_template(template: str) -> None:
    """Refuse what names no place for recordings.

    Raises:
        UsageError: It lacks the path, has another field, or is neither http nor a file.
    """
    try:
        sample = template.format(repository="a/b", commit="c", path="d.wav")
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"--from {template}", f"use {{{'}, {'.join(_FIELDS)}}} in it") from error
    if "{path}" not in template or urllib.parse.urlsplit(sample).scheme not in _SCHEMES:
        raise UsageError(f"--from {template}", "give an https:// or file:// address with {path} in it")


# --- fetching ---------------------------------------------------------------------------------------------------------


def fetch(
    out: Path, wanted: Sequence[Recorded], template: str = FROM_GITHUB, tell: Report = lambda line: None
) -> list[str]:
    """Fetch recordings, prepare them and list them in manifests; what is there already is left as it is.

    Args:
        out: Folder of the sets' folders, each with its manifest.
        wanted: Of the table.
        template: Of the addresses.
        tell: Told of every instrument.

    Returns:
        Faults, a line each.

    Raises:
        OutputError: Something cannot be written.
    """
    faults: list[str] = []
    by_instrument: dict[tuple[str, str], list[Recorded]] = {}
    for row in wanted:
        if not row.rendered:
            by_instrument.setdefault((row.folder, row.instrument), []).append(row)
    for number, ((folder, instrument), rows) in enumerate(by_instrument.items(), 1):
        missing = [row for row in rows if _file_of(out, row) is None]
        if missing:  # one gain for all of an instrument
            faults += _fetch_instrument(out / folder, rows, template)
        _write_manifest(out, folder, (row for row in wanted if row.folder == folder))
        tell(f"{number}/{len(by_instrument)} {instrument}{'' if missing else ' is there'}")
    n_rendered = sum(row.rendered for row in wanted)
    if n_rendered:
        tell(f"{n_rendered} notes are wavetables, played by an oscillator that is no part of hgs; they are left out")
    return faults


def _fetch_instrument(folder: Path, rows: Sequence[Recorded], template: str) -> list[str]:
    """Fetch all notes of an instrument and write those that are what they should be; returns the faults."""
    notes: dict[Recorded, Tensor] = {}
    faults = []
    for row in rows:
        try:
            note = prepare(_download(row.url(template)), row)
            _check_note(note, row)
            notes[row] = note
        except (OSError, ValueError, soundfile.SoundFileError) as error:
            faults.append(f"{row.folder}/{row.stem}: {error}")
    loudest = max((float(note.abs().max()) for note in notes.values()), default=1.0)
    gain = 10.0 ** (RULES.peak_db / 20.0) / loudest
    for row, note in notes.items():
        path = folder / f"{row.stem}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda aside, n=note * gain: write_audio(aside, n, "PCM_16", 0, file_format="FLAC"))  # type: ignore[misc]
    return faults


def _download(url: str) -> bytes:
    """A file at an address.

    Raises:
        OSError: It cannot be fetched.
        ValueError: It is too large.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "hgs"})  # noqa: S310 — check_template
    try:
        with urllib.request.urlopen(request, timeout=RULES.timeout_s) as answer:  # noqa: S310 — likewise
            data: bytes = answer.read(RULES.max_bytes + 1)
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be fetched ({error.reason})") from error
    if len(data) > RULES.max_bytes:
        raise ValueError(f"{url} is larger than any recording")
    return data


def prepare(data: bytes, row: Recorded) -> Tensor:
    """A source's file as it was used, but for its gain, mono at 44.1 kHz, (T,).

    Raises:
        ValueError: There is no sound in it.
        soundfile.SoundFileError: It is no sound file.
    """
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    fixed = _READ_AT.fullmatch(row.how)
    mono = to_sample_rate(torch.from_numpy(samples.mean(1)), int(fixed[1]) if fixed else rate_hz)
    if not mono.numel() or not float(mono.abs().max()) > 10.0 ** (FILES.silence_db / 20.0):
        raise ValueError("there is no sound in it")
    heard = mono.abs() > float(mono.abs().max()) * 10.0 ** (RULES.onset_db / 20.0)
    start = max(0, int(heard.to(torch.uint8).argmax()) - round(RULES.lead_s * SAMPLE_RATE))
    return mono[start : start + round(min(row.seconds, RULES.seconds) * SAMPLE_RATE)].contiguous()


def _write_manifest(out: Path, folder: str, rows: Iterable[Recorded]) -> None:
    """List what is there of a set; entries of other instruments stay."""
    path = out / folder / MANIFEST_NAME
    entries: dict[str, dict[str, Any]] = {}
    if path.is_file():
        entries = {entry["file"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["files"]}
    for row in rows:
        file = _file_of(out, row)
        if file is not None:
            name = file.relative_to(out / folder).as_posix()
            entries[name] = {
                "file": name, "instrument": row.instrument, "family": row.family, "pitched": row.midi is not None,
                "midi_measured": row.midi, "dynamic": row.dynamic, "licence": row.licence,
                "source": f"https://github.com/{row.repository}", "commit": row.commit, "path": row.path,
            }  # fmt: skip
    if entries:
        text = json.dumps({"files": list(entries.values())}, indent=1)
        write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


# --- checking ---------------------------------------------------------------------------------------------------------


def check(out: Path, wanted: Sequence[Recorded], tell: Report = lambda line: None) -> list[str]:
    """Look at recordings in a folder: are they the very files that were used, or the same recordings, prepared again?

    Args:
        out: Folder of the sets' folders.
        wanted: Of the table.
        tell: Told how many are what.

    Returns:
        Faults, a line each.
    """
    faults: list[str] = []
    n_same = n_alike = n_absent = 0
    for row in wanted:
        file = _file_of(out, row)
        if file is None:
            if row.rendered:
                n_absent += 1
            else:
                faults.append(f"{row.folder}/{row.stem}: is not there")
            continue
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() == row.sha256:
                n_same += 1
                continue
            samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            _check_note(to_sample_rate(torch.from_numpy(samples.mean(1)), rate_hz), row)
            n_alike += 1
        except (OSError, ValueError, soundfile.SoundFileError) as error:
            faults.append(f"{row.folder}/{row.stem}: {error}")
    tell(f"{n_same} are the very files, {n_alike} the same recordings prepared again, {len(faults)} are neither")
    if n_absent:
        tell(f"{n_absent} wavetables, played, are not there")
    return faults


def _check_note(note: Tensor, row: Recorded) -> None:
    """Refuse a note that is not as long as its recording, or does not sound at its pitch.

    Raises:
        ValueError: Saying so.
    """
    off_s = abs(note.shape[-1] / SAMPLE_RATE - row.seconds)
    if off_s > RULES.length_s:
        raise ValueError(f"is {note.shape[-1] / SAMPLE_RATE:.2f} s long, and was {row.seconds:.2f} s")
    if row.midi is None:
        return
    measured = verify_pitch(note, row.midi)
    if measured is None or abs(measured - row.midi) * 100.0 > RULES.pitch_cents:
        told = "does not sound at" if measured is None else f"sounds {100.0 * (measured - row.midi):+.0f} cents from"
        raise ValueError(f"{told} {row.midi:g}, as its recording did")


def _file_of(out: Path, row: Recorded) -> Path | None:
    """The file that is there of a recording, as it was used or as it is prepared again."""
    for suffix in dict.fromkeys((SUFFIXES.get(row.folder, ".flac"), ".flac")):
        path = out / row.folder / f"{row.stem}{suffix}"
        if path.is_file():
            return path
    return None
