"""What every hand rule between the networks and the samples is worth: notes with all, and without each in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.console import HowFar
from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.evaluation.known_truth import FAMILIES, PATCHES, draw_patch, evaluation_patches
from hgs_cli.evaluation.measures import Distance, Mean, fit
from hgs_cli.evaluation.pairs import BANDS
from hgs_cli.evaluation.recordings import (
    Note,
    choose_source,
    notes_of_band,
    read_known,
    read_note,
    semitones_between,
)
from hgs_cli.evaluation.report import Section, Table
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.inversion import Inversion
from hgs_cli.models import detail_transfer
from hgs_cli.pipeline import Model, SourceHint, invert, make_instrument
from hgs_cli.sampler import carrier, level, moving, vocoder, wanted
from hgs_cli.sampler import notes as made_notes
from hgs_cli.sampler.carrier import Carrier
from hgs_cli.spectrum import SAMPLE_RATE

NEVER, ALWAYS = 1e9, -1e9  # thresholds
N_NOTES, N_QUICK_NOTES = 3, 1  # of a recorded instrument in every band
WITH_ALL = "none"


@dataclass(frozen=True)
class Rule:
    """A rule, and how to do without it."""

    name: str  # what it does
    # what is replaced: module, name in it, and what to put there, given what is there
    switches: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = ()
    # what is changed of an inversion, where the rule's outcome is kept in it
    change: Callable[[Inversion], Inversion] | None = None
    analysed: bool = False  # whether the rule is part of the analysis of a recording, which is then made again


def _value(value: Any) -> Callable[[Any], Any]:
    return lambda there: value


def _fields(**values: float | tuple[float, float]) -> Callable[[Any], Any]:
    return lambda there: replace(there, **values)


def _stay_where_found(inversion: Inversion) -> Inversion:
    pitch = inversion.source_pitch
    return inversion if pitch is None else replace(inversion, stands_at=pitch)


def _untouched(carrier: Carrier, audio: Tensor) -> Tensor:
    return audio


RULES = (
    Rule("trust in the networks falls (1 for every sound)", change=lambda one: replace(one, trust=1.0), analysed=True),
    Rule("trust in the networks (0 for every sound)", change=lambda one: replace(one, trust=0.0), analysed=True),
    Rule("raises the recording by 8 dB at the most", ((level, "RULES", _fields(most_db=100.0)),)),
    Rule("draws what is lacking", ((level, "RULES", _fields(spare_db=200.0)),)),
    Rule("draws nothing that lacks less than 4 dB", ((level, "RULES", _fields(spare_db=0.0)),)),
    Rule("draws noise anew upwards", ((moving, "RULES", _fields(noise_from=1000.0, noise_to=1001.0)),)),
    Rule("counts phases from onsets", ((carrier, "RULES", _fields(new_db=NEVER)),), analysed=True),
    Rule(
        "takes what is heard before onsets away",
        tuple((room, "sharpened", _value(_untouched)) for room in (moving, made_notes)),
    ),
    Rule("all that is done at onsets", ((carrier, "find_rises", _value(lambda audio: ())),), analysed=True),
    Rule(
        "chooses the window",
        ((carrier, "RULES", _fields(short_ratio=0.0, long_ratio=0.0, long_below=ALWAYS)),),
        analysed=True,
    ),
    Rule("stands at the pitch told where few harmonics are", change=_stay_where_found),
    Rule("H fades with the interval", ((wanted, "WANTED", _fields(offset_reach=(NEVER, 2.0 * NEVER))),)),
    Rule(
        "carries the sound's detail",
        ((wanted, "_carried", _value(lambda notes, part, drawn: drawn)),),
    ),
    Rule("carries two thirds of the detail", ((detail_transfer, "TRANSFER", _fields(detail_gain=1.0)),)),
    Rule("keeps the sound itself near its pitch", ((detail_transfer, "TRANSFER", _fields(source_reach=1e-6)),)),
    Rule("takes its own texture off drawn noise", ((vocoder, "VOCODER", _fields(max_texture_level=0.0)),)),
    Rule(
        "drawn voices follow the pitch",
        change=lambda one: replace(one, pitch_contour_cents=torch.zeros_like(one.pitch_contour_cents)),
    ),
)  # fmt: skip
"""Those that can be done without; what only keeps numbers finite or ends from clicking is not among them."""


@contextmanager
def without(rule: Rule) -> Iterator[None]:
    """Do without a rule, in this process."""
    before = [(module, name, getattr(module, name)) for module, name, _ in rule.switches]
    try:
        for (module, name, there), (_, _, instead) in zip(before, rule.switches, strict=True):
            setattr(module, name, instead(there))
        yield
    finally:
        for module, name, there in before:
            setattr(module, name, there)


@dataclass(frozen=True)
class AblatedNote:
    """One note, with all rules and without each."""

    group: str  # its instrument, or its family of made sounds
    interval: int  # whole semitones from the source, without sign
    distance_db: dict[str, float]  # to the truth, by the rule that was done without; WITH_ALL for none


@dataclass(frozen=True)
class AblationResult:
    """What rules are worth."""

    notes: dict[str, list[AblatedNote]]  # by what they were measured on

    def distance(self, notes: Sequence[AblatedNote], rule: str, least: int, most: int) -> Mean:
        """Distance without a rule in a band, dB."""
        return Mean.over_instruments((n.group, n.distance_db[rule]) for n in notes if least <= n.interval <= most)

    def worth(self, notes: Sequence[AblatedNote], rule: str, least: int, most: int) -> Mean:
        """By how much notes of a band are further from the truth without a rule, note by note, dB."""
        return Mean.over_instruments(
            (n.group, n.distance_db[rule] - n.distance_db[WITH_ALL]) for n in notes if least <= n.interval <= most
        )

    def section(self) -> Section:
        """Tables and figures."""
        shown = [band for band in BANDS if band[1] > 0]
        tables = []
        for title, notes in self.notes.items():
            rows = [("all rules, dB", *(self.distance(notes, WITH_ALL, low, high).text() for _, low, high in shown))]
            for rule in list(notes[0].distance_db)[1:]:
                cells = (self.worth(notes, rule, low, high).text(3, signed=True) for _, low, high in shown)
                rows.append((rule, *cells))
            n_groups = len({note.group for note in notes})
            tables.append(
                Table(
                    f"Without each rule, {title} ({n_groups}, {len(notes)} notes): dB further away by semitones",
                    ("rule", *(name for name, _, _ in shown)),
                    rows,
                    ("Note by note; in brackets 95 %, bootstrap over instruments or families; below 0 it does harm.",),
                )
            )
        worth = {
            title: {
                rule: {
                    name: {
                        "distance_db": self.distance(notes, rule, low, high).figures(),
                        "worth_db": self.worth(notes, rule, low, high).figures(),
                    }
                    for name, low, high in shown
                }
                for rule in notes[0].distance_db
            }
            for title, notes in self.notes.items()
        }
        return Section("ablation", tables, {"worth": worth, "notes": self.notes})


def measure_ablation(
    model: Model,
    real_dirs: Sequence[Path],
    instruments: Sequence[str],
    options: CrossPitchOptions | None = None,
    *,
    made: bool = False,
    workers: int = 1,
    advance: HowFar = lambda done, total: None,
) -> AblationResult:
    """Measure what every rule is worth.

    Args:
        model: From `load_model`.
        real_dirs: Folders with a manifest and recordings.
        instruments: Whose recordings are used, as far as a folder has them.
        options: How much is measured, detail, seed.
        made: Whether made sounds are measured too, one patch of every family, pitch told.
        workers: Processes, one thread each; 1 stays in this one.
        advance: Takes instruments and families done, and their number.

    Raises:
        InputError: A manifest or a recording cannot be used.
    """
    options = options or CrossPitchOptions()
    sets: dict[str, Mapping[str, Any]] = {}
    for real_dir in real_dirs:
        sets[f"recordings of {real_dir.name}"] = read_known(real_dir, instruments)
    if made:
        sets["made sounds"] = {family: (family, evaluation_patches(family, 1)[0].seed) for family in FAMILIES}
    items = {(title, name): item for title, named in sets.items() for name, item in named.items()}
    found = measure_each(model, items, partial(_measure_item, options=options), workers, advance)
    notes = {title: [note for key, ablated in found.items() if key[0] == title for note in ablated] for title in sets}
    return AblationResult({title: those for title, those in notes.items() if those})


def _measure_item(model: Model, item: Any, options: CrossPitchOptions) -> list[AblatedNote]:
    """What one process takes at a time: the notes of an instrument, or the family and seed of a patch."""
    if isinstance(item, tuple):
        patch = draw_patch(*item)
        intervals = PATCHES.quick_semitones if options.quick else PATCHES.semitones
        truths = [(patch.midi + semitones, abs(round(semitones)), patch.render(semitones)) for semitones in intervals]
        return _ablate(model, patch.family, patch.render(), patch.midi, truths, options)
    source, loud = choose_source(item)
    original = read_note(source.path)
    truths = [
        (note.midi, semitones_between(source, note), read_note(note.path))
        for note in _spread_targets(source, loud, N_QUICK_NOTES if options.quick else N_NOTES)
    ]
    return _ablate(model, source.instrument, original, "auto", truths, options)


def _spread_targets(source: Note, notes: Sequence[Note], n: int) -> list[Note]:
    """At most so many notes of every band of intervals, evenly spread over it."""
    chosen = []
    for _, least, most in BANDS[1:]:
        band = notes_of_band(source, notes, least, most)
        places = (
            [round((index + 0.5) * len(band) / n - 0.5) for index in range(n)] if len(band) > n else range(len(band))
        )
        chosen += [band[place] for place in places]
    return chosen


def _ablate(
    model: Model,
    group: str,
    original: Tensor,
    hint: SourceHint,
    truths: Sequence[tuple[float, int, Tensor]],
    options: CrossPitchOptions,
) -> list[AblatedNote]:
    """Notes of one sound (T,) beside the truth: pitch, semitones and audio of each."""
    if not truths:
        return []
    inversion = invert(model, original, SAMPLE_RATE, pitch=hint)
    with_all = make_instrument(model, inversion)
    distance, pitches = Distance(), [pitch for pitch, _, _ in truths]
    n_samples = [min(original.shape[-1], truth.shape[-1]) for _, _, truth in truths]
    mels = [distance.mels(truth[:n]) for (_, _, truth), n in zip(truths, n_samples, strict=True)]
    found: list[dict[str, float]] = [{} for _ in truths]
    for rule in (Rule(WITH_ALL), *RULES):
        changed = inversion if rule.change is None else rule.change(inversion)
        with without(rule):
            if rule.analysed or changed is not inversion:
                instrument = make_instrument(model, changed, None if rule.analysed else with_all.weights)
            else:
                instrument = with_all
            notes = render_notes(model, instrument, pitches, options.detail, options.seed)
        for note, n, real, values in zip(notes, n_samples, mels, found, strict=True):
            values[rule.name] = distance.between(distance.mels(fit(note, n)), real)
    return [AblatedNote(group, interval, values) for (_, interval, _), values in zip(truths, found, strict=True)]
