"""`--variation`: how far other seeds take a note, and whether it stays a sound note at its pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from hgs_cli.audio.loudness import measure_lufs, peak_db
from hgs_cli.console import HowFar
from hgs_cli.evaluation.measures import Distance, median, track_pitch
from hgs_cli.evaluation.mixes import NamedSound
from hgs_cli.evaluation.odd_sounds import ODD, hear_timbre
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.pipeline import Model, Settings, invert, make_instrument, play
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class VariationRules:
    """Which variations are measured, beside what."""

    amounts: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)  # of --variation
    seeds: tuple[int, ...] = (1, 2, 3)  # of each amount
    quick_seeds: tuple[int, int] = (1, 2)  # the same for a quick measurement
    quick_sounds: int = 3  # of a quick measurement
    takes_db: float = 3.4  # distance of real recordings, one note played soft and loud
    neighbours_db: float = 3.8  # of neighbouring semitones: nature's own variation


VARIED = VariationRules()


@dataclass(frozen=True)
class VariedNote:
    """One note with one amount of variation, over several seeds."""

    sound: str  # its sound
    amount: float  # of variation
    plain_db: tuple[float, ...]  # distance of each seed's note to the note without variation of that seed
    between_db: tuple[float, ...]  # distance of every two seeds' notes
    cents: tuple[float, ...]  # from the note asked for to what a tracker hears, for each seed; nan where it hears none
    timbre: tuple[float, ...]  # distance of h to that of the note without variation, for each seed
    louder_db: tuple[float, ...]  # loudness above the note without variation, for each seed
    peak_db: tuple[float, ...]  # of each seed's note


@dataclass(frozen=True)
class VariationsResult:
    """All varied notes."""

    notes: list[VariedNote]

    def section(self) -> Section:
        """Tables and figures."""
        figures = {f"{amount:g}": _figures([n for n in self.notes if n.amount == amount]) for amount in VARIED.amounts}
        rows = [
            (
                name,
                number(values["plain_db"]),
                number(values["between_db"]),
                f"{100 * values['in_tune']:.1f} %",
                number(values["median_cents"], 1),
                number(values["timbre"]),
                number(values["most_louder_db"], 1),
                number(values["highest_peak_db"], 1),
            )
            for name, values in figures.items()
        ]
        table = Table(
            "Variation",
            (
                "--variation", "to the plain note, dB", "between seeds, dB", "in tune", "cents, median",
                "h to the plain note", "louder or softer, dB, at most", "peak, dB, at most",
            ),
            rows,
            (
                "Distance as in the cross-pitch table, means; at 0 what another seed's noise and phases do. Real "
                f"recordings of one note, soft and loud, are {VARIED.takes_db} dB apart, neighbouring semitones "
                f"{VARIED.neighbours_db}.",
            ),
        )  # fmt: skip
        return Section("variation", [table], {"amounts": figures, "n_notes": len(self.notes) // len(VARIED.amounts)})


def _figures(notes: list[VariedNote]) -> dict[str, Any]:
    def all_of(name: str) -> list[float]:
        return [value for note in notes for value in getattr(note, name)]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    cents = all_of("cents")
    return {
        "plain_db": mean(all_of("plain_db")),
        "between_db": mean(all_of("between_db")),
        "in_tune": mean([float(abs(value) <= ODD.right_cents) for value in cents]),
        "median_cents": median(abs(value) for value in cents if not math.isnan(value)),
        "timbre": mean(all_of("timbre")),
        "most_louder_db": max(abs(value) for value in all_of("louder_db")),
        "highest_peak_db": max(all_of("peak_db")),
    }


@torch.inference_mode()
def measure_variations(
    model: Model,
    sounds: Sequence[NamedSound],
    *,
    quick: bool = False,
    advance: HowFar = lambda done, total: None,
) -> VariationsResult:
    """Vary notes as `hgs render --variation` does, each near its sound's own pitch, and compare them.

    Args:
        model: From `load_model`.
        sounds: Sounds with a note.
        quick: VARIED.quick_sounds of them and VARIED.quick_seeds.
        advance: Takes sounds done and their number.
    """
    distance = Distance()
    notes: list[VariedNote] = []
    chosen, seeds = (sounds[: VARIED.quick_sounds], VARIED.quick_seeds) if quick else (sounds, VARIED.seeds)
    for index, sound in enumerate(chosen):
        instrument = make_instrument(model, invert(model, sound.audio, SAMPLE_RATE, pitch=sound.midi))
        pitch = round(sound.midi)
        audio = {
            amount: [play(model, instrument, [pitch], Settings(variation=amount, seed=s)).audio[0] for s in seeds]
            for amount in VARIED.amounts
        }
        mels = {amount: [distance.mels(note) for note in played] for amount, played in audio.items()}
        timbres = {amount: hear_timbre(model, torch.stack(played)) for amount, played in audio.items()}
        lufs = {amount: [measure_lufs(note) for note in played] for amount, played in audio.items()}
        for amount in VARIED.amounts:
            heard = [track_pitch(note) for note in audio[amount]]
            notes.append(
                VariedNote(
                    sound.name,
                    amount,
                    tuple(distance.between(*both) for both in zip(mels[amount], mels[0.0], strict=True)),
                    tuple(distance.between(*both) for both in combinations(mels[amount], 2)),
                    tuple(math.nan if midi is None else 100.0 * (midi - pitch) for midi in heard),
                    tuple((timbres[amount] - timbres[0.0]).norm(dim=1).tolist()),
                    tuple(a - b for a, b in zip(lufs[amount], lufs[0.0], strict=True)),
                    tuple(peak_db(note) for note in audio[amount]),
                )
            )
        advance(index + 1, len(chosen))
    return VariationsResult(notes)
