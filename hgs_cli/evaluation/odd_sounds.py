"""Unpitched and odd sounds as instruments: whether each is a clear note where it is asked for, and still itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.console import HowFar
from hgs_cli.evaluation.made_sounds import made_sounds
from hgs_cli.evaluation.measures import harmonic_to_noise_db, median, track_pitch
from hgs_cli.evaluation.recordings import read_entries, read_sound
from hgs_cli.evaluation.report import Section, Table, number, plain
from hgs_cli.pipeline import Model, Settings, invert, make_instrument, synthesize
from hgs_cli.spectrum import DB_PER_UNIT, SAMPLE_RATE


@dataclass(frozen=True)
class OddSoundRules:
    """Which odd sounds are measured, and what is promised of them."""

    pitches: tuple[float, ...] = (48.0, 54.0, 60.0, 66.0, 72.0)  # at which sounds are asked for
    quick_pitches: tuple[float, ...] = (60.0,)  # the same for a quick measurement
    quick_sparse: int = 4  # a quick measurement takes every fourth rendered sound
    right_cents: float = 50.0  # a note is in tune up to this
    promised_hnr_db: float = 6.0  # harmonic-to-noise ratio of a clear note
    promised_share: float = 0.95  # of the other sounds that must be further away


ODD = OddSoundRules()


@dataclass(frozen=True)
class OddSound:
    """A sound that is no plain note."""

    name: str  # for the list of failures
    kind: str  # where it is from; a row of the table
    audio: Tensor  # mono at 44.1 kHz, (T,)


@dataclass(frozen=True)
class OddNote:
    """One note of an odd sound."""

    # of the sound
    name: str
    kind: str
    source_pitch: float | None  # what hgs takes the sound's note to be; None for none
    pitch: float  # the note that was asked for
    cents: float  # from there to the note that an independent tracker hears; nan where it hears none
    hnr_db: float  # harmonic-to-noise ratio at `pitch` between 0.1 and 5 kHz
    further: float  # share of the other sounds whose h is further from that of the note than the sound's own h is

    @property
    def in_tune(self) -> bool:
        """Whether the tracker hears the note that was asked for."""
        return abs(self.cents) <= ODD.right_cents

    @property
    def clear(self) -> bool:
        """Whether tone stands above noise as promised."""
        return self.hnr_db >= ODD.promised_hnr_db

    @property
    def itself(self) -> bool:
        """Whether it is nearer to its own sound than to almost all others."""
        return self.further >= ODD.promised_share

    @property
    def kept(self) -> bool:
        """Whether all three promises are kept."""
        return self.in_tune and self.clear and self.itself


@dataclass(frozen=True)
class OddSoundsResult:
    """All notes that were made of odd sounds, and how many sounds there were."""

    notes: list[OddNote]
    n_sounds: int

    def section(self) -> Section:
        """Tables and figures."""
        kinds = list(dict.fromkeys(note.kind for note in self.notes))
        groups = [(kind, [note for note in self.notes if note.kind == kind]) for kind in kinds]
        groups += [
            ("heard as unpitched", [note for note in self.notes if note.source_pitch is None]),
            ("heard with a pitch", [note for note in self.notes if note.source_pitch is not None]),
            ("all", self.notes),
        ]
        table = Table(
            "Unpitched and odd sounds as notes",
            ("sounds", "notes", "in tune", "cents, median", "clear", "HNR, dB, median", "itself", "all three"),
            [_row(name, notes) for name, notes in groups if notes],
            (
                f"In tune: an independent tracker hears the note within {ODD.right_cents:.0f} cents. Clear: a "
                f"harmonic-to-noise ratio of {ODD.promised_hnr_db:.0f} dB or more between 0.1 and 5 kHz. Itself: h of "
                f"the note is nearer to h of its own sound than to h of {100 * ODD.promised_share:.0f} % of the "
                f"{self.n_sounds - 1} others.",
            ),
        )
        failures = [
            (
                note.name,
                "none" if note.source_pitch is None else number(note.source_pitch),
                f"{note.pitch:.0f}",
                number(note.cents, 0),
                number(note.hnr_db, 1),
                f"{100 * note.further:.1f} %",
            )
            for note in self.notes
            if not note.kept
        ]
        tables = [
            table,
            Table(
                "Unpitched and odd sounds: broken promises",
                ("sound", "its own note", "asked for", "cents off", "HNR, dB", "others further away"),
                failures,
            ),
        ]
        figures: dict[str, Any] = {
            "n_sounds": self.n_sounds,
            "groups": {name: _figures(notes) for name, notes in groups if notes},
            "notes": [plain(note, "kind") for note in self.notes],
        }
        return Section("odd_sounds", tables, figures)


def _row(name: str, notes: list[OddNote]) -> tuple[str, ...]:
    def share(part: Iterable[bool]) -> str:
        count = sum(part)
        return f"{count} ({100.0 * count / len(notes):.1f} %)"

    return (
        name,
        str(len(notes)),
        share(note.in_tune for note in notes),
        number(_median_cents(notes), 1),
        share(note.clear for note in notes),
        number(median(note.hnr_db for note in notes), 1),
        share(note.itself for note in notes),
        share(note.kept for note in notes),
    )


def _median_cents(notes: Iterable[OddNote]) -> float:
    """Median of the cents off, without sign, where a note is heard."""
    return median(abs(note.cents) for note in notes if not math.isnan(note.cents))


def _figures(notes: list[OddNote]) -> dict[str, Any]:
    return {
        "n": len(notes),
        "in_tune": sum(note.in_tune for note in notes) / len(notes),
        "median_cents": _median_cents(notes),
        "clear": sum(note.clear for note in notes) / len(notes),
        "median_hnr_db": median(note.hnr_db for note in notes),
        "itself": sum(note.itself for note in notes) / len(notes),
        "all_three": sum(note.kept for note in notes) / len(notes),
    }


def hear_timbre(model: Model, audio: Tensor) -> Tensor:
    """The timbre part of h of sounds (B, T), each at the level at which `invert` hears it, (B, timbre_dim)."""
    audio = audio.to(model.device)
    loudest = model.log_mel(audio).amax((1, 2))
    h: Tensor = model.network.extract(model.log_mel(audio * to_full_scale(loudest)[:, None]))
    return h[:, : model.network.config.feature_extractor.timbre_dim].cpu()


def to_full_scale(level: Tensor) -> Tensor:
    """The factor on a waveform that brings its loudest mel bin from a level to full scale."""
    return torch.pow(10.0, (1.0 - level) * (DB_PER_UNIT / 20.0))


def read_one_shots(real_dir: Path) -> list[OddSound]:
    """The unpitched recordings of a folder with a manifest.

    Raises:
        InputError: There is no manifest, or a recording cannot be read.
    """
    names = [(row["instrument"], row["file"]) for row in read_entries(real_dir) if not row["pitched"]]
    return [OddSound(name, "recorded one-shots", read_sound(real_dir / file)) for name, file in sorted(names)]


@torch.inference_mode()
def measure_odd_sounds(
    model: Model,
    real_dir: Path | None = None,
    rendered: Iterable[OddSound] = (),
    *,
    quick: bool = False,
    seed: int = 0,
    advance: HowFar = lambda done, total: None,
) -> OddSoundsResult:
    """Make notes of odd sounds as `hgs render` does, and listen to them.

    Args:
        model: From `load_model`.
        real_dir: Recordings with a manifest, whose unpitched ones are used.
        rendered: Further sounds, by whoever can make them.
        quick: One pitch, and every fourth of the rendered sounds.
        seed: Of the notes.
        advance: Takes sounds done and their number.

    Raises:
        InputError: A recording cannot be used.
    """
    sounds = [] if real_dir is None else read_one_shots(real_dir)
    sounds += list(rendered)[:: ODD.quick_sparse if quick else 1]
    sounds += [OddSound(name, "made", audio) for name, audio in made_sounds().items()]
    pitches = ODD.quick_pitches if quick else ODD.pitches
    timbres = torch.cat([hear_timbre(model, sound.audio[None]) for sound in sounds])
    notes: list[OddNote] = []
    for index, sound in enumerate(sounds):
        inversion = invert(model, sound.audio, SAMPLE_RATE)
        audio = synthesize(model, make_instrument(model, inversion), pitches, Settings(seed=seed)).cpu()
        further = _further(hear_timbre(model, audio), timbres, index)
        for note, pitch, share in zip(audio, pitches, further, strict=True):
            heard = track_pitch(note)
            cents = math.nan if heard is None else 100.0 * (heard - pitch)
            hnr_db = harmonic_to_noise_db(note, pitch)
            notes.append(OddNote(sound.name, sound.kind, inversion.source_pitch, pitch, cents, hnr_db, share))
        advance(index + 1, len(sounds))
    return OddSoundsResult(notes, len(sounds))


def _further(outputs: Tensor, inputs: Tensor, own: int) -> Sequence[float]:
    """Share of the inputs (N, D) but the own one that is further from each of the outputs (B, D) than the own one."""
    distance = torch.cdist(outputs, inputs)  # (B, N)
    further = (distance > distance[:, own : own + 1]).sum(1)
    values: list[float] = (further / max(1, inputs.shape[0] - 1)).tolist()
    return values
