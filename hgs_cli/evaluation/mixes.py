"""Mixes of two sounds in five steps: pitch, timbre, loudness, and end points that are the plain notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.audio.loudness import measure_lufs
from hgs_cli.console import HowFar
from hgs_cli.evaluation.measures import median, track_pitch
from hgs_cli.evaluation.odd_sounds import ODD, hear_timbre, to_full_scale
from hgs_cli.evaluation.recordings import choose_source, read_notes, read_sound
from hgs_cli.evaluation.report import Section, Table, number, plain
from hgs_cli.pipeline import Inversion, Model, Settings, invert, mix, render
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class MixRules:
    """Which mixes are measured."""

    steps: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the second sound
    intervals: tuple[float, float] = (-5.0, 4.0)  # from the mean of both sounds' notes to those that are played
    quick_intervals: tuple[float, ...] = (0.0,)  # the same for a quick measurement
    quick_pairs: int = 4  # of sounds, for a quick measurement
    loudness_db: float = 1.5  # by which a mix may be off the straight line between its ends


MIXES = MixRules()


HearKeys = Callable[[Tensor], Tensor]
"""Log-mels (B, n_mels, n_frames) to the MIDI keys that someone hears in them, (B,)."""


@dataclass(frozen=True)
class NamedSound:
    """A sound to mix, (T,) at 44.1 kHz, and its note."""

    name: str
    kind: str
    midi: float
    audio: Tensor


@dataclass(frozen=True)
class MixedNote:
    """One note, from all of one sound to all of another."""

    pair: str  # both names
    kind: str  # where the sounds are from
    pitch: float  # the note
    cents: tuple[float, ...]  # from there to what a tracker hears at every step; nan where it hears none
    keys: tuple[bool, ...]  # whether the judge hears the key at every step; empty without a judge
    progress: tuple[float, ...]  # place of h on the line from the first end (0) to the second (1), at every step
    nearing: bool  # whether with every step h gets further from the first end and nearer to the second
    lufs: tuple[float, ...]  # loudness at every step
    ends: bool  # whether both ends are the plain notes, bit for bit

    @property
    def monotone(self) -> bool:
        """Whether timbre moves on with every step."""
        return all(after > before for before, after in pairwise(self.progress))

    @property
    def uneven_db(self) -> float:
        """Largest distance of a mix's loudness from the straight line between the ends."""
        first, last = self.lufs[0], self.lufs[-1]
        return max(
            abs(heard - (first + share * (last - first))) for share, heard in zip(MIXES.steps, self.lufs, strict=True)
        )

    def in_tune(self, step: int) -> bool:
        """Whether the tracker hears the note at a step."""
        return abs(self.cents[step]) <= ODD.right_cents

    @property
    def kept(self) -> bool:
        """Whether all promises are kept."""
        even = self.uneven_db <= MIXES.loudness_db
        return self.monotone and even and all(map(self.in_tune, range(len(MIXES.steps))))


@dataclass(frozen=True)
class MixesResult:
    """All mixed notes, and how often the judge names real notes rightly; nan without a judge."""

    notes: list[MixedNote]
    judge_accuracy: float

    def section(self) -> Section:
        """Tables and figures."""
        kinds = list(dict.fromkeys(note.kind for note in self.notes))
        groups = [(kind, [note for note in self.notes if note.kind == kind]) for kind in kinds]
        groups.append(("all", self.notes))
        figures = {name: _figures(notes) for name, notes in groups}
        percent = _percent(MIXES.steps)
        notes_below = [
            f"At {percent} % of the second sound. In tune: an independent tracker within {ODD.right_cents:.0f} cents. "
            "Timbre: h of the notes on the line between the ends, further on with every step; in brackets further from "
            "the first end and nearer to the second. Loudness: from the straight line between the ends, LUFS."
        ]
        if not math.isnan(self.judge_accuracy):
            notes_below.append(f"Of real notes the judge names {100 * self.judge_accuracy:.1f} % rightly.")
        header = (
            "sounds", "notes", f"in tune, %: {percent}", f"judge, %: {percent}", "timbre moves on",
            "uneven, dB: median", "worst", "ends are the plain notes",
        )  # fmt: skip
        rows = [_row(name, notes, figures[name]) for name, notes in groups]
        failures = [
            (
                note.pair,
                f"{note.pitch:.0f}",
                " / ".join(number(cents, 0) for cents in note.cents),
                " / ".join(number(place) for place in note.progress),
                number(note.uneven_db),
            )
            for note in self.notes
            if not note.kept
        ]
        tables = [
            Table("Mixes in five steps", header, rows, tuple(notes_below)),
            Table("Mixes: broken promises", ("sounds", "note", "cents off", "place", "uneven, dB"), failures),
        ]
        notes = [plain(note, "kind") for note in self.notes]
        return Section("mixes", tables, {"groups": figures, "judge_accuracy": self.judge_accuracy, "notes": notes})


def _percent(shares: Sequence[float]) -> str:
    return " / ".join(f"{100.0 * share:.0f}" for share in shares) or "–"


def _figures(notes: list[MixedNote]) -> dict[str, Any]:
    n, steps = len(notes), range(len(MIXES.steps))
    return {
        "n": n,
        "in_tune": [sum(note.in_tune(step) for note in notes) / n for step in steps],
        "judge": [sum(note.keys[step] for note in notes) / n for step in steps] if notes[0].keys else [],
        "monotone": sum(note.monotone for note in notes) / n,
        "nearing": sum(note.nearing for note in notes) / n,
        "median_uneven_db": median(note.uneven_db for note in notes),
        "worst_uneven_db": max(note.uneven_db for note in notes),
        "ends": sum(note.ends for note in notes) / n,
    }


def _row(name: str, notes: list[MixedNote], figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        str(len(notes)),
        _percent(figures["in_tune"]),
        _percent(figures["judge"]),
        f"{100.0 * figures['monotone']:.1f} % ({100.0 * figures['nearing']:.1f} %)",
        number(figures["median_uneven_db"]),
        number(figures["worst_uneven_db"]),
        f"{100.0 * figures['ends']:.0f} %",
    )


def middle_notes(real_dir: Path, instruments: Sequence[str]) -> list[NamedSound]:
    """The middle loud note of each instrument of a folder with a manifest.

    Raises:
        InputError: There is no manifest, or a recording cannot be read.
    """
    sounds = []
    for name, notes in read_notes(real_dir, instruments).items():
        note, _ = choose_source(notes)
        sounds.append(NamedSound(name, "recordings", note.midi, read_sound(note.path)))
    return sounds


def pair_up(sounds: Sequence[NamedSound]) -> list[tuple[NamedSound, NamedSound]]:
    """Each sound with one almost half-way round the list: no two meet twice."""
    n = len(sounds)
    reach = max(1, (n - 1) // 2)
    return [(sounds[index], sounds[(index + reach) % n]) for index in range(n if n > 2 else n - 1)]


@torch.inference_mode()
def measure_mixes(
    model: Model,
    sounds: Sequence[NamedSound],
    hear_keys: HearKeys | None = None,
    judge_accuracy: float = math.nan,
    *,
    quick: bool = False,
    seed: int = 0,
    advance: HowFar = lambda done, total: None,
) -> MixesResult:
    """Mix sounds as `hgs mix --steps 5` does, and listen to the mixes.

    Args:
        model: From `load_model`.
        sounds: Pairs are made of sounds of one kind.
        hear_keys: The judge, by whoever has one.
        judge_accuracy: Of the judge on real notes.
        quick: MIXES.quick_pairs pairs of each kind, one note each.
        seed: Of the notes.
        advance: Takes pairs done and their number.
    """
    pairs = []
    for kind in dict.fromkeys(sound.kind for sound in sounds):
        of_kind = pair_up([sound for sound in sounds if sound.kind == kind])
        pairs += of_kind[: MIXES.quick_pairs] if quick else of_kind
    inversions: dict[str, Inversion] = {}
    notes: list[MixedNote] = []
    for index, pair in enumerate(pairs):
        for sound in pair:
            if sound.name not in inversions:
                inversions[sound.name] = invert(model, sound.audio, SAMPLE_RATE, pitch=sound.midi)
        notes += _measure_pair(
            model, pair, inversions, hear_keys, MIXES.quick_intervals if quick else MIXES.intervals, seed
        )
        advance(index + 1, len(pairs))
    return MixesResult(notes, math.nan if hear_keys is None else judge_accuracy)


def _measure_pair(
    model: Model,
    pair: tuple[NamedSound, NamedSound],
    inversions: dict[str, Inversion],
    hear_keys: HearKeys | None,
    intervals: Sequence[float],
    seed: int,
) -> list[MixedNote]:
    settings = Settings(seed=seed)
    middle = round(0.5 * (pair[0].midi + pair[1].midi))
    pitches = [middle + interval for interval in intervals]
    both = [inversions[sound.name] for sound in pair]
    steps = [mix(model, both, (1.0 - share, share), pitches, settings).audio for share in MIXES.steps]
    plain = [render(model, inversion, pitches, settings).audio for inversion in both]
    timbres = [hear_timbre(model, audio) for audio in steps]  # at every step (n_pitches, timbre_dim)
    heard_keys = []
    for audio in steps if hear_keys is not None else ():
        assert hear_keys is not None
        loudest = model.log_mel(audio.to(model.device)).amax((1, 2))
        heard_keys.append(hear_keys(model.log_mel(audio.to(model.device) * to_full_scale(loudest)[:, None])).cpu())
    found = []
    for row, pitch in enumerate(pitches):
        h = torch.stack([timbre[row] for timbre in timbres])
        line = h[-1] - h[0]
        progress = ((h - h[0]) @ line / (line.square().sum() + 1e-12)).tolist()
        away, left = (h - h[0]).norm(dim=1).tolist(), (h - h[-1]).norm(dim=1).tolist()
        heard = [track_pitch(audio[row]) for audio in steps]
        found.append(
            MixedNote(
                pair=f"{pair[0].name} + {pair[1].name}",
                kind=pair[0].kind,
                pitch=pitch,
                cents=tuple(math.nan if midi is None else 100.0 * (midi - pitch) for midi in heard),
                keys=tuple(float(keys[row]) == pitch for keys in heard_keys),
                progress=tuple(progress),
                nearing=all(b > a for a, b in pairwise(away)) and all(b < a for a, b in pairwise(left)),
                lufs=tuple(measure_lufs(audio[row]) for audio in steps),
                ends=all(torch.equal(steps[end][row], plain[end][row]) for end in (0, -1)),
            )
        )
    return found
