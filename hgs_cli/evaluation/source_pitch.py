"""How often the pitch of a recording is found: our detector on every recording, beside other libraries if asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hgs_cli.audio.hearing import hear
from hgs_cli.audio.source_pitch import SEARCH, Candidate, choose, find_candidates
from hgs_cli.errors import UsageError
from hgs_cli.evaluation.pitch_trackers import TRACKERS
from hgs_cli.evaluation.recordings import read_entries, read_sound
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.pitch import note_name

OURS = "hgs"


@dataclass(frozen=True)
class SourcePitchRules:
    """How the search for the source pitch is measured."""

    right_semitones: float = 0.5  # a pitch is right up to this
    # a quick measurement and other libraries hear every twelfth pitched recording, and all unpitched ones
    sparse: int = 12
    contrast_weights: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # that are tried
    pitched_heights: tuple[float, ...] = tuple(0.3 + 0.02 * step for step in range(31))  # that are tried


SOURCE_PITCH = SourcePitchRules()


@dataclass(frozen=True)
class Sound:
    """A sound whose note is known."""

    name: str  # for the list of confusions
    instrument: str  # sounds of one instrument fall on the same side of a cross-validation
    family: str  # for tables
    midi: float | None  # its note, cents included; None for an unpitched sound
    audio: Tensor  # mono at 44.1 kHz, (T,)


@dataclass(frozen=True)
class Heard:
    """What a detector heard in a sound."""

    # as in Sound
    name: str
    instrument: str
    family: str
    midi: float | None
    heard: float | None  # the note found; None for "unpitched"

    @property
    def outcome(self) -> str:
        """What was heard: "right", "octave", "other", "unpitched"; "pitched" for a sound without a note."""
        if self.midi is None:
            return "right" if self.heard is None else "pitched"
        if self.heard is None:
            return "unpitched"
        off = self.heard - self.midi
        if abs(off) < SOURCE_PITCH.right_semitones:
            return "right"
        return "octave" if abs(off - 12.0 * round(off / 12.0)) < SOURCE_PITCH.right_semitones else "other"


@dataclass(frozen=True)
class HeldOut:
    """One half of the instruments, heard with thresholds that were chosen on the other half."""

    # chosen on the other half
    contrast_weight: float
    pitched_height: float
    # pitched recordings of this half, and those within 50 cents
    n_notes: int
    n_notes_right: int
    # unpitched ones, and those heard as unpitched
    n_shots: int
    n_shots_right: int


@dataclass(frozen=True)
class Peer:
    """Another library on every SOURCE_PITCH.sparse-th recording."""

    heard: list[Heard]  # what it heard
    seconds: float  # processor time for one sound, the first left out
    start_s: float  # processor time of its import and first sound, beyond that


@dataclass(frozen=True)
class SourcePitchResult:
    """What detectors heard."""

    heard: list[Heard]  # our detector on the recordings
    rendered: list[Heard]  # our detector on rendered notes; empty where there were none
    held_out: list[HeldOut]  # both halves of the cross-validation
    # detector → what it heard, ours on the same recordings among them; empty where none was asked for
    peers: dict[str, Peer]
    missing: list[str]  # detectors that were asked for and are not installed

    def section(self) -> Section:
        """Tables and figures."""
        tables, confusions = [_by_family("Source pitch: recordings", self.heard)], []
        confusions.append(_confusions("Source pitch: confusions", self.heard))
        figures: dict[str, Any] = {"recordings": _figures(self.heard)}
        if self.rendered:
            tables.append(_by_family("Source pitch: rendered notes", self.rendered))
            confusions.append(_confusions("Source pitch: confusions in rendered notes", self.rendered))
            figures["rendered"] = _figures(self.rendered)
        tables.append(self._held_out_table())
        if self.peers or self.missing:
            tables.append(self._peers_table())
        figures["held_out"] = self.held_out
        figures["detectors"] = {
            name: _figures(peer.heard) | {"seconds": peer.seconds, "start_s": peer.start_s}
            for name, peer in self.peers.items()
        }
        figures["missing"] = self.missing
        return Section("source_pitch", [*tables, *confusions], figures)

    def _held_out_table(self) -> Table:
        rows = [
            (
                name,
                number(half.contrast_weight),
                number(half.pitched_height),
                _share(half.n_notes_right, half.n_notes),
                _share(half.n_shots_right, half.n_shots),
            )
            for name, half in zip(("first half", "second half"), self.held_out, strict=True)
        ]
        return Table(
            "Source pitch: thresholds chosen on the other half of the instruments",
            ("measured on", "contrast weight", "pitched height", "within 50 cents", "unpitched recognised"),
            rows,
            (
                f"The detector's own: {SEARCH.contrast_weight:.2f} and {SEARCH.pitched_height:.2f}, set with these "
                "recordings known.",
            ),
        )

    def _peers_table(self) -> Table:
        rows = []
        for name, peer in self.peers.items():
            count = _counts(peer.heard)
            notes, shots = _split(peer.heard)
            rows.append(
                (
                    name,
                    _share(_right(notes), len(notes)),
                    str(count["octave"]),
                    str(count["other"]),
                    str(count["unpitched"]),
                    _share(_right(shots), len(shots)),
                    number(peer.seconds, 3),
                    number(peer.start_s, 2),
                )
            )
        notes_below = [f"Every {SOURCE_PITCH.sparse}th pitched recording and every unpitched one; processor time."]
        notes_below += [f"{name} is not installed." for name in self.missing]
        return Table(
            "Source pitch: detectors",
            ("detector", "within 50 cents", "octave", "other", "unheard", "unpitched right", "s each", "s to start"),
            rows,
            tuple(notes_below),
        )


def _split(heard: Iterable[Heard]) -> tuple[list[Heard], list[Heard]]:
    """Pitched sounds and unpitched ones."""
    listed = list(heard)
    return [row for row in listed if row.midi is not None], [row for row in listed if row.midi is None]


def _right(heard: Iterable[Heard]) -> int:
    return sum(row.outcome == "right" for row in heard)


def _counts(heard: Iterable[Heard]) -> dict[str, int]:
    outcomes = [row.outcome for row in heard]
    return {name: outcomes.count(name) for name in ("octave", "other", "unpitched", "pitched")}


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100.0 * part / whole:.1f} %)" if whole else "–"


def _figures(heard: list[Heard]) -> dict[str, Any]:
    notes, shots = _split(heard)
    return {
        "n_notes": len(notes),
        "n_notes_right": _right(notes),
        "n_shots": len(shots),
        "n_shots_right": _right(shots),
        **_counts(heard),
        "confusions": [
            # A tenth of a cent: beyond that sums depend on the number of threads.
            {"name": row.name, "labelled": row.midi, "heard": None if row.heard is None else round(row.heard, 3)}
            for row in heard
            if row.outcome != "right"
        ],
    }


def _by_family(title: str, heard: list[Heard]) -> Table:
    notes, shots = _split(heard)

    def row(name: str, part: list[Heard]) -> tuple[str, ...]:
        count = _counts(part)
        return (
            name,
            str(len(part)),
            _share(_right(part), len(part)),
            *(str(count[key]) for key in ("octave", "other", "unpitched", "pitched")),
        )

    rows = [row(family, [r for r in notes if r.family == family]) for family in sorted({r.family for r in notes})]
    rows.append(row("all notes", notes))
    if shots:
        rows.append(row("unpitched sounds", shots))
    header = ("family", "sounds", "right", "octave off", "otherwise off", "heard as unpitched", "heard as pitched")
    return Table(title, header, rows, ("Right: within 50 cents, octave included; or heard as unpitched.",))


def _confusions(title: str, heard: list[Heard]) -> Table:
    def said(midi: float | None) -> str:
        return "unpitched" if midi is None else f"{note_name(round(midi))} ({midi:.2f})"

    rows = [(row.name, said(row.midi), said(row.heard), row.outcome) for row in heard if row.outcome != "right"]
    return Table(title, ("sound", "labelled", "heard", "confusion"), rows)


def cross_validate(sounds: Sequence[tuple[str, float | None, list[Candidate]]]) -> list[HeldOut]:
    """Our detector on either half of the instruments, with the thresholds that are best on the other half.

    Every second instrument, by name, is the first half. Best is the highest sum of the share of notes within
    50 cents and the share of unpitched sounds recognised; of equals the middle one.

    Args:
        sounds: Instrument, note (None for unpitched) and what find_candidates found, for each sound.
    """
    notes = sorted({instrument for instrument, midi, _ in sounds if midi is not None})
    shots = sorted({instrument for instrument, midi, _ in sounds if midi is None})
    first = {*notes[::2], *shots[::2]}
    halves = [[s for s in sounds if (s[0] in first) is wanted] for wanted in (True, False)]

    def count(half: list[tuple[str, float | None, list[Candidate]]], weight: float) -> list[tuple[int, int]]:
        """Notes and unpitched sounds that are right at each of SOURCE_PITCH.pitched_heights."""
        notes: list[float] = []
        shots: list[float] = []
        for _, midi, found in half:
            best = choose(found, weight)
            height = -math.inf if best is None else best.height
            if midi is None:
                shots.append(height)
            elif best is not None and abs(best.midi - midi) < SOURCE_PITCH.right_semitones:
                notes.append(height)
        return [(sum(h >= at for h in notes), sum(h < at for h in shots)) for at in SOURCE_PITCH.pitched_heights]

    held_out = []
    for index, half in enumerate(halves):
        other = halves[1 - index]
        n_notes, n_shots = (max(1, sum((s[1] is None) is wanted for s in other)) for wanted in (False, True))
        value = {
            (weight, height): right / n_notes + shots_right / n_shots
            for weight in SOURCE_PITCH.contrast_weights
            for height, (right, shots_right) in zip(SOURCE_PITCH.pitched_heights, count(other, weight), strict=True)
        }
        best = [setting for setting, worth in value.items() if worth == max(value.values())]
        weight, height = best[len(best) // 2]
        right, shots_right = count(half, weight)[SOURCE_PITCH.pitched_heights.index(height)]
        n_shots = sum(s[1] is None for s in half)
        held_out.append(HeldOut(weight, height, len(half) - n_shots, right, n_shots, shots_right))
    return held_out


def _read_manifest(real_dir: Path, quick: bool) -> list[dict[str, Any]]:
    """Rows of the manifest by family and file: all, or every twelfth pitched one and all unpitched ones."""
    rows = sorted(read_entries(real_dir), key=lambda row: (row["family"], row["file"]))
    notes = [row for row in rows if row["pitched"]]
    return (notes[:: SOURCE_PITCH.sparse] if quick else notes) + [row for row in rows if not row["pitched"]]


def _read_sound(real_dir: Path, row: dict[str, Any]) -> Sound:
    midi = float(row["midi_measured"]) if row["pitched"] else None
    return Sound(row["file"], row["instrument"], row["family"], midi, read_sound(real_dir / row["file"]))


def _hear(sound: Sound, note: float | None) -> Heard:
    return Heard(sound.name, sound.instrument, sound.family, sound.midi, note)


def _note_of(audio: Tensor) -> float | None:
    """The note that `hgs` plays a sound (T,) from; None where it hears none, even if it plays it from a mode."""
    heard = hear(audio)
    return heard.found if heard.pitched else None


def _measure_peer(note: Callable[[Tensor], float | None], sounds: Iterable[Sound]) -> Peer:
    heard, seconds = [], []
    for sound in sounds:
        start = time.process_time()
        heard.append(_hear(sound, note(sound.audio)))
        seconds.append(time.process_time() - start)
    each = sum(seconds[1:]) / max(1, len(seconds) - 1)
    return Peer(heard, each, max(0.0, seconds[0] - each) if seconds else 0.0)


def measure_source_pitch(
    real_dir: Path,
    *,
    quick: bool = False,
    detectors: Sequence[str] = (),
    rendered: Iterable[Sound] = (),
) -> SourcePitchResult:
    """Hear recordings as `hgs invert` does, and with other libraries where they are asked for.

    Args:
        real_dir: Recordings with a manifest.
        quick: Take every SOURCE_PITCH.sparse-th pitched recording only.
        detectors: Names of TRACKERS; each hears every SOURCE_PITCH.sparse-th pitched recording and all unpitched ones.
        rendered: Further sounds for our detector, by whoever can make them.

    Raises:
        InputError: There is no manifest, or a recording cannot be read.
        UsageError: A detector is unknown.
    """
    unknown = [name for name in detectors if name not in TRACKERS]
    if unknown:
        raise UsageError(f"no detector {', '.join(unknown)}", f"choose from {', '.join(TRACKERS)}")
    heard, candidates = [], []
    for row in _read_manifest(real_dir, quick):
        sound = _read_sound(real_dir, row)
        candidates.append((sound.instrument, sound.midi, find_candidates(sound.audio)))
        heard.append(_hear(sound, _note_of(sound.audio)))
    peers: dict[str, Peer] = {}
    if detectors:
        sparse = _read_manifest(real_dir, quick=True)
        notes: dict[str, Callable[[Tensor], float | None]] = {OURS: _note_of}
        notes |= {name: TRACKERS[name].note for name in detectors if TRACKERS[name].installed()}
        for name, note in notes.items():
            peers[name] = _measure_peer(note, (_read_sound(real_dir, row) for row in sparse))
    return SourcePitchResult(
        heard,
        [_hear(sound, _note_of(sound.audio)) for sound in rendered],
        cross_validate(candidates),
        peers,
        [name for name in detectors if name not in peers],
    )
