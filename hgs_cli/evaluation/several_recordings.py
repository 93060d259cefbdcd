"""Instruments of which several notes are known: how near the others come, and how alike neighbouring keys are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.audio.loudness import loudest_lufs
from hgs_cli.evaluation.measures import Distance, Mean, fit
from hgs_cli.evaluation.peers import RESAMPLING, RUBBER_BAND_R3, Shift, find_peers
from hgs_cli.evaluation.recordings import Note, read_known, read_note
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.pipeline import Inversion, Model, Multisample, Settings, invert, make_instrument, make_multisample, play
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class SeveralRules:
    """How many notes of an instrument are known, and measured."""

    known: tuple[int, ...] = (1, 2, 3, 5)  # numbers of known ones
    shown: int = 3  # known notes of the tables about neighbouring keys and layers
    n_targets: int = 12  # others that are measured
    n_quick_targets: int = 3  # the same for a quick measurement
    n_keys: int = 25  # around the middle, in which neighbours are compared


SEVERAL = SeveralRules()


NEAREST, TOGETHER = "hgs, nearest recording", "hgs, all recordings"
MADE_SOFTER, LAYERED = "loud recordings made softer", "soft recordings as a layer"


@dataclass(frozen=True)
class FoundNote:
    """One note beside its real recording."""

    instrument: str  # whose it is
    known: int  # how many notes of it were known
    inside: bool  # whether it lies between known ones
    distance_db: dict[str, float]  # by row


@dataclass(frozen=True)
class KeySteps:
    """How much neighbouring keys of an instrument differ."""

    instrument: str  # whose they are
    # steps of the spectral centroid where the carrier changes, and elsewhere
    colour_semitones: tuple[list[float], list[float]]
    level_db: tuple[list[float], list[float]]  # steps of the loudest 0.4 s, likewise
    at_known_db: list[float]  # distance to the recordings at their own keys


@dataclass(frozen=True)
class SeveralResult:
    """What was found."""

    notes: list[FoundNote]  # loud notes, of every number of known ones
    soft: list[FoundNote]  # soft notes of instruments that have some
    steps: list[KeySteps]  # of every instrument

    def mean(self, row: str, known: int, inside: bool | None = None) -> Mean:
        """Distance of a row, dB."""
        return Mean.over_instruments(
            (note.instrument, note.distance_db[row])
            for note in self.notes
            if note.known == known and row in note.distance_db and inside in (None, note.inside)
        )

    def section(self) -> Section:
        """Tables and figures."""
        rows = list(dict.fromkeys(row for note in self.notes for row in note.distance_db))
        columns = [(known, None) for known in SEVERAL.known] + [(SEVERAL.shown, True), (SEVERAL.shown, False)]
        where = {None: "", True: ", between", False: ", beyond"}
        instruments = {note.instrument for note in self.notes}
        tables = [
            Table(
                f"Distance to real notes in dB by the number of known ones, {len(instruments)} instruments",
                ("row", *(f"{known} known{where[inside]}" for known, inside in columns)),
                [(row, *(self.mean(row, known, inside).text() for known, inside in columns)) for row in rows],
                (
                    "The same notes in every column but the last two; known ones evenly spread over the loud notes."
                    " Peers move the nearest one. In brackets 95 %, bootstrap over instruments.",
                ),
            ),
            self._steps_table(),
        ]
        if self.soft:
            names = list(self.soft[0].distance_db)
            means = [Mean.over_instruments((n.instrument, n.distance_db[row]) for n in self.soft) for row in names]
            n_soft = len({note.instrument for note in self.soft})
            known = f"{SEVERAL.shown} soft and {SEVERAL.shown} loud ones known"
            title = f"Distance to real soft notes in dB, {known}, {n_soft} instruments"
            tables.append(Table(title, ("row", "dB"), [(r, m.text()) for r, m in zip(names, means, strict=True)]))
        figures = {
            "notes": [asdict(note) for note in self.notes],
            "soft": [asdict(note) for note in self.soft],
            "steps": [asdict(step) for step in self.steps],
        }
        return Section("several_recordings", tables, figures)

    def _steps_table(self) -> Table:
        own = [value for step in self.steps for value in step.at_known_db]
        rows = []
        for place, name in enumerate(("where the carrier changes", "elsewhere")):
            colour = torch.tensor([value for step in self.steps for value in step.colour_semitones[place]])
            level = torch.tensor([value for step in self.steps for value in step.level_db[place]])
            if len(colour):
                shown = [f(each) for each in (colour, level) for f in (torch.median, lambda one: one.quantile(0.9))]
                rows.append((name, *(number(float(value)) for value in shown)))
        return Table(
            "Steps from key to key: spectral centroid in semitones, loudest 0.4 s in dB",
            ("keys", "centroid, median", "9 of 10 below", "level, median", "9 of 10 below"),
            rows,
            (
                f"{SEVERAL.shown} notes known, {SEVERAL.n_keys} keys around the middle. "
                "At known keys notes are at most "
                f"{max(own, default=0.0):.2f} dB from the recording, {sum(own) / max(1, len(own)):.3f} on average.",
            ),
        )


def measure_several(
    model: Model,
    real_dirs: Sequence[Path],
    instruments: Sequence[str],
    options: CrossPitchOptions,
    workers: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> SeveralResult:
    """Measure instruments of which some notes are known.

    Args:
        model: From `load_model`.
        real_dirs: Folders with a manifest and recordings.
        instruments: Whose recordings are used, as far as a folder has them.
        options: How much is measured, detail, seed.
        workers: Processes, one thread each; 1 stays in this one.
        advance: Takes instruments done and their number.

    Raises:
        InputError: A manifest or a recording cannot be used.
    """
    items: dict[str, list[Note]] = {}
    for real_dir in real_dirs:
        items |= read_known(real_dir, instruments)
    needed = max(SEVERAL.known) + 1
    items = {name: notes for name, notes in items.items() if len(_of(notes, "loud")) >= needed}
    results = measure_each(model, items, partial(_measure_one, options=options), workers, advance).values()
    return SeveralResult(
        [note for result in results for note in result.notes],
        [note for result in results for note in result.soft],
        [step for result in results for step in result.steps],
    )


def _of(notes: Sequence[Note], dynamic: str) -> list[Note]:
    return [note for note in notes if note.dynamic == dynamic]


def _spread(notes: Sequence[Note], n: int) -> list[Note]:
    """So many notes, evenly spread over the range."""
    return [notes[round((index + 0.5) * len(notes) / n - 0.5)] for index in range(n)]


def _measure_one(model: Model, notes: list[Note], options: CrossPitchOptions) -> SeveralResult:
    loud = _of(notes, "loud")
    heard = _Heard(model, options)
    taken = {note.path for n in SEVERAL.known for note in _spread(loud, n)}
    targets = _some([note for note in loud if note.path not in taken], options)
    peers = {peer.name: peer.open for peer in find_peers().found if peer.name in (RESAMPLING, RUBBER_BAND_R3)}
    found = []
    for n in SEVERAL.known if targets else ():  # of few notes all may be known
        known = _spread(loud, n)
        rows = heard.rows(known, [note.midi for note in targets], peers)
        low, high = known[0].midi, known[-1].midi
        for index, target in enumerate(targets):
            distances = {row: heard.distance(notes[index], target, known) for row, notes in rows.items()}
            found.append(FoundNote(target.instrument, n, low <= target.midi <= high, distances))
    return SeveralResult(
        found, _measure_soft(heard, notes, options), [_measure_steps(heard, _spread(loud, SEVERAL.shown))]
    )


def _some(notes: Sequence[Note], options: CrossPitchOptions) -> list[Note]:
    n = min(len(notes), SEVERAL.n_quick_targets if options.quick else SEVERAL.n_targets)
    return _spread(notes, n) if n else []


class _Heard:
    """Recordings of one instrument, each heard once."""

    def __init__(self, model: Model, options: CrossPitchOptions) -> None:
        self.model, self.options = model, options
        self.settings = Settings(detail=options.detail, seed=options.seed)
        self.measure = Distance()
        self._audio: dict[Path, Tensor] = {}
        self._inversions: dict[Path, Inversion] = {}

    def audio(self, note: Note) -> Tensor:
        """A recording, (T,)."""
        if note.path not in self._audio:
            self._audio[note.path] = read_note(note.path)
        return self._audio[note.path]

    def inversion(self, note: Note) -> Inversion:
        """It as an instrument."""
        if note.path not in self._inversions:
            passes = None if self.options.hyper else 0
            # Names tell the pitch, as they tell it to peers.
            self._inversions[note.path] = invert(
                self.model, self.audio(note), SAMPLE_RATE, pitch=note.midi, passes=passes, start_s=0.0
            )
        return self._inversions[note.path]

    def together(self, known: Sequence[Note], layers: Sequence[int] | None = None) -> Multisample:
        """One instrument of several recordings."""
        names = [note.path.stem for note in known]
        return make_multisample(self.model, [self.inversion(note) for note in known], names, layers)

    def rows(
        self, known: Sequence[Note], pitches: Sequence[float], peers: Mapping[str, Callable[[Tensor, float], Shift]]
    ) -> dict[str, list[Tensor]]:
        """Notes at some pitches by every way there is."""
        nearest = [min(known, key=lambda note: abs(note.midi - pitch)) for pitch in pitches]
        rows = {
            name: [
                peer(self.audio(source), source.midi)(pitch - source.midi)
                for source, pitch in zip(nearest, pitches, strict=True)
            ]
            for name, peer in peers.items()
        }
        settings = self.settings
        alone = {note.path: make_instrument(self.model, self.inversion(note)) for note in known}
        rows[NEAREST] = [
            play(self.model, alone[source.path], [pitch], settings).notes[0].audio
            for source, pitch in zip(nearest, pitches, strict=True)
        ]
        rows[TOGETHER] = [note.audio for note in play(self.model, self.together(known), pitches, settings).notes]
        return rows

    def distance(self, audio: Tensor, target: Note, known: Sequence[Note]) -> float:
        """Between a note (T,) and a real one, for as long as the nearest known one lasts, dB."""
        real = self.audio(target)
        source = min(known, key=lambda note: abs(note.midi - target.midi))
        n_samples = min(len(real), len(self.audio(source)))
        return self.measure.between(self.measure.mels(fit(audio, n_samples)), self.measure.mels(real[:n_samples]))


def _measure_steps(heard: _Heard, known: Sequence[Note]) -> KeySteps:
    """Steps of colour and level from key to key, where the carrier changes and elsewhere."""
    made = heard.together(known)
    layer = made.layers[-1]
    middle = round((layer.keys[0] + layer.keys[-1]) / 2)
    reach = min(SEVERAL.n_keys // 2, round((layer.keys[-1] - layer.keys[0]) / 2))
    keys = [float(key) for key in range(middle - reach, middle + reach + 1)]
    notes = play(heard.model, made, keys, heard.settings).notes
    carriers = [layer.voicing(key).carrier for key in keys]

    def steps(values: Sequence[float]) -> tuple[list[float], list[float]]:
        """Between neighbours, where the carrier changes and elsewhere."""
        found: tuple[list[float], list[float]] = [], []
        for (one, other), (value, next_value) in zip(pairwise(carriers), pairwise(values), strict=True):
            found[one == other].append(abs(next_value - value))
        return found

    colour = steps([12.0 * math.log2(_centroid_hz(note.audio)) for note in notes])
    level = steps([loudest_lufs(note.audio) for note in notes])
    own = play(heard.model, made, [heard.inversion(note).stands_at for note in known], heard.settings).notes
    at_known = [heard.distance(note.audio, source, [source]) for note, source in zip(own, known, strict=True)]
    return KeySteps(known[0].instrument, colour, level, at_known)


def _centroid_hz(audio: Tensor) -> float:
    """Of the power of the first two seconds of audio (T,)."""
    power = torch.fft.rfft(audio[: 2 * SAMPLE_RATE]).abs().square()
    hz = torch.linspace(0.0, SAMPLE_RATE / 2, len(power))
    return float((power * hz).sum() / power.sum().clamp(min=1e-20))


def _measure_soft(heard: _Heard, notes: Sequence[Note], options: CrossPitchOptions) -> list[FoundNote]:
    """Soft notes, of the loud recordings made softer, and of soft ones as a layer."""
    soft, loud = _of(notes, "soft"), _of(notes, "loud")
    if len(soft) <= SEVERAL.shown:
        return []
    known_soft, known_loud = _spread(soft, SEVERAL.shown), _spread(loud, SEVERAL.shown)
    targets = _some([note for note in soft if note not in known_soft], options)
    if not targets:
        return []
    pitches = [note.midi for note in targets]
    model, plain = heard.model, heard.settings
    softened = replace(plain, softness=1.0)
    both = heard.together([*known_soft, *known_loud], [0] * SEVERAL.shown + [1] * SEVERAL.shown)
    rows: dict[str, list[Any]] = {
        MADE_SOFTER: [*play(model, heard.together(known_loud), pitches, softened).notes],
        LAYERED: [*play(model, both.layer(0, 2)[0], pitches, plain).notes],
    }
    return [
        FoundNote(
            target.instrument,
            SEVERAL.shown,
            True,
            {r: heard.distance(made[i].audio, target, known_soft) for r, made in rows.items()},
        )
        for i, target in enumerate(targets)
    ]
