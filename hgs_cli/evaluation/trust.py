"""The law of `sampler.trust` fitted again: on recordings and on made sounds, measured on others of both.

The recordings are to be those of instruments that no network has heard: of what they were trained with the networks
know more than of what a user brings, and would be trusted too much. The folder that weights were trained on will not
do, one that came in after it will. Validation instruments and the held-out families of made sounds only measure.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.errors import InputError
from hgs_cli.evaluation.known_truth import HELD_OUT_FAMILIES, PATCHES, TRAINING_FAMILIES, draw_patch, evaluation_patches
from hgs_cli.evaluation.measures import MEASURED
from hgs_cli.evaluation.pairs import BANDS
from hgs_cli.evaluation.recordings import (
    Note,
    choose_source,
    notes_of_band,
    read_entries,
    read_note,
    read_notes,
)
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, make_instrument, reconstruct
from hgs_cli.sampler.analysis import traits_of
from hgs_cli.sampler.level import carrier_level, towards
from hgs_cli.sampler.moving import moved_spectra
from hgs_cli.sampler.trust import LAW, Traits, TrustLaw, judge_trust
from hgs_cli.sampler.voices import ask_networks, note_voices
from hgs_cli.spectrum import DB_PER_UNIT, MODEL_SAMPLES, SAMPLE_RATE
from hgs_cli.training.shards import validation_instruments


@dataclass(frozen=True)
class TrustRules:
    """What the law of trust is fitted on."""

    # of the wanted level at which distances are measured; between them they lie on straight lines
    weights: tuple[float, ...] = (0.0, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
    n_targets: int = 2  # of a source in every band of intervals
    n_sources: int = 2  # of a training instrument
    n_patches: int = 5  # of a family
    n_evaluation_patches: int = 4  # of a family, to measure with


FITTED = TrustRules()


TRAITS = tuple(each.name for each in fields(Traits))

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Fit:
    """How the law is fitted."""

    made_weight: float = 2.0  # of a family of made sounds beside a recorded instrument: there are fewer of them
    n_folds: int = 5  # in which it is fitted without each instrument and family
    # of AdamW
    steps: int = 3000
    learning_rate: float = 0.01
    decay: float = 0.01


FIT = Fit()


@dataclass(frozen=True)
class JudgedSound:
    """A sound whose weight the law gives, and what each weight would cost."""

    group: str  # its instrument, or its family of made sounds
    made: bool  # whether it is a made one
    traits: Traits  # what the law goes by
    distance_db: Tensor  # to the real notes at other pitches, (n_notes, len(FITTED.weights))


# --- measuring ------------------------------------------------------------------------------------------------------


def hear_traits(model: Model, inversion: Inversion) -> Traits:
    """The traits that an inversion with a pitch and a recording was judged by."""
    traits = traits_of(inversion, reconstruct(model, inversion).x_hat)
    assert traits is not None
    return traits


def aligned_distance_db(levels: Tensor, truth: Tensor) -> Tensor:
    """Distance of log-mels (A, n_mels, n) to a true one (n_mels, n), as `measures.Distance` has it, in dB: (A,)."""
    made, real = DB_PER_UNIT * levels.float(), DB_PER_UNIT * truth.float()
    floor = float(real.max()) - MEASURED.floor_db
    real = real.clamp(min=floor)
    aligned = real > floor + MEASURED.floor_db - MEASURED.aligned_db
    made = made + (real - made)[:, aligned].median(1).values[:, None, None]
    return (made.clamp(min=floor) - real).abs().mean((1, 2))


@torch.inference_mode()
def _judge(
    model: Model, group: str, audio: Tensor, told: float, truths: Sequence[tuple[float, Tensor]], made: bool
) -> JudgedSound | None:
    """A sound (T,) told to be at a pitch, beside the truth at others; None for one that is no single note."""
    inversion = invert(model, audio, SAMPLE_RATE, pitch=told)
    if inversion.harmonic_share is None:
        return None
    instrument = make_instrument(model, inversion)
    carrier = instrument.parts[0].carrier
    assert carrier is not None
    pitches = [pitch for pitch, _ in truths]
    # Truth moves from what is told, the pitch of a real note is heard.
    stands_at = told if made else inversion.stands_at
    ratios = [2.0 ** ((pitch - stands_at) / 12.0) for pitch in pitches]
    n_head = carrier.frames_until(min(instrument.length_samples, MODEL_SAMPLES))
    spectra = moved_spectra(carrier, ratios, 0, n_head)
    q = torch.tensor(pitches, device=model.device)
    wanted = note_voices(ask_networks(model, instrument, q, Settings(), False), [None]).wanted.cpu()
    n_frames = reconstruct(model, inversion).length_frames
    gain = 10.0 ** (inversion.input_gain_db / 20.0)
    distances = []
    for (_, truth), moved, aim in zip(truths, spectra, wanted, strict=True):
        own = carrier_level(moved, carrier.mono, carrier.n_fft)
        levels = torch.stack([own + towards(own[None], aim[None], weight)[0] for weight in FITTED.weights])
        real = model.log_mel((gain * truth)[None].to(model.device))[0].cpu()
        distances.append(aligned_distance_db(levels[..., :n_frames], real[:, :n_frames]))
    return JudgedSound(group, made, hear_traits(model, inversion), torch.stack(distances).clone())


def _judge_recorded(model: Model, notes: Sequence[Note], n_sources: int) -> list[JudgedSound]:
    """Sources of one instrument beside its other loud notes, at most FITTED.n_targets of them in every band."""
    middle, loud = choose_source(notes)
    sources = list(dict.fromkeys([middle, loud[len(loud) // 4]][:n_sources]))
    found = []
    for source in sources:
        targets: list[Note] = []
        for _, least, most in BANDS[1:]:
            band = notes_of_band(source, loud, least, most)
            targets += band[:: max(1, len(band) // FITTED.n_targets)][: FITTED.n_targets]
        truths = [(note.midi, read_note(note.path)) for note in targets]
        if truths:
            audio = read_note(source.path)
            found.append(_judge(model, source.instrument, audio, source.midi, truths, made=False))
    return [sound for sound in found if sound is not None]


def _judge_made(model: Model, seeds: Sequence[tuple[str, int]]) -> list[JudgedSound]:
    """Patches of one family, by family and seed."""
    found = []
    for family, seed in seeds:
        patch = draw_patch(family, seed)
        truths = [(patch.midi + semitones, patch.render(semitones)) for semitones in PATCHES.semitones]
        found.append(_judge(model, family, patch.render(), patch.midi, truths, made=True))
    return [sound for sound in found if sound is not None]


def _measure(model: Model, item: Sequence[Any], n_sources: int) -> list[JudgedSound]:
    """What one process takes at a time: the notes of an instrument, or patches of a family."""
    return _judge_recorded(model, item, n_sources) if isinstance(item[0], Note) else _judge_made(model, item)


def _recorded(real_dirs: Sequence[Path], validation: bool) -> dict[str, list[Note]]:
    """Notes of the validation instruments of some folders, or of all others, by instrument."""
    held_out = validation_instruments()
    found: dict[str, list[Note]] = {}
    for real_dir in real_dirs:
        names = {entry["instrument"] for entry in read_entries(real_dir) if entry["pitched"]}
        chosen = sorted(name for name in names if (name in held_out) == validation)
        for name, notes in (read_notes(real_dir, chosen) if chosen else {}).items():
            found.setdefault(name, []).extend(notes)
    return found


# --- fitting --------------------------------------------------------------------------------------------------------


def expected_db(distance_db: Tensor, weight: Tensor) -> Tensor:
    """Distances (n, len(FITTED.weights)) at weights (n,), on straight lines between those that were measured: (n,)."""
    grid = torch.tensor(FITTED.weights)
    low = (torch.searchsorted(grid, weight.detach().contiguous(), right=True) - 1).clamp(0, len(FITTED.weights) - 2)
    share = (weight - grid[low]) / (grid[low + 1] - grid[low])
    below, above = (distance_db.gather(1, index[:, None])[:, 0] for index in (low, low + 1))
    return torch.lerp(below, above, share)


def fit_law(sounds: Sequence[JudgedSound], steps: int = FIT.steps) -> TrustLaw:
    """The law with the least expected distance; instruments count alike, families of made sounds FIT.made_weight times.

    In the log-mel domain, before anything is drawn: what the notes' own figures then show is measured elsewhere.
    """
    traits = torch.tensor([[getattr(sound.traits, name) for name in TRAITS] for sound in sounds])
    n_notes = torch.tensor([len(sound.distance_db) for sound in sounds])
    in_group = Counter[str]()
    for sound in sounds:
        in_group[sound.group] += len(sound.distance_db)
    importance = torch.tensor([(FIT.made_weight if sound.made else 1.0) / in_group[sound.group] for sound in sounds])
    importance = (importance / (importance * n_notes).sum()).repeat_interleave(n_notes)
    distance_db = torch.cat([sound.distance_db for sound in sounds])
    middle, spread = traits.mean(0), traits.std(0, correction=0) + 1e-3
    inputs = (traits - middle) / spread
    slope, bias = torch.zeros(len(TRAITS), requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([slope, bias], lr=FIT.learning_rate, weight_decay=FIT.decay)
    with torch.enable_grad():
        for _ in range(steps):
            weight = torch.sigmoid(inputs @ slope + bias).repeat_interleave(n_notes)
            loss = (expected_db(distance_db, weight) * importance).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    coefficients = (slope.detach() / spread).tolist()
    constant = float(bias.detach()) - float((slope.detach() / spread * middle).sum())
    return TrustLaw(**dict(zip(TRAITS, coefficients, strict=True)), bias=constant)


def mean_db(sounds: Iterable[JudgedSound], weight: Callable[[JudgedSound], float]) -> float:
    """Mean over groups of the distance at the weight that every sound is given."""
    groups: dict[str, list[Tensor]] = {}
    for sound in sounds:
        weights = torch.full((len(sound.distance_db),), weight(sound))
        groups.setdefault(sound.group, []).append(expected_db(sound.distance_db, weights))
    means = [float(torch.cat(each).mean()) for each in groups.values()]
    return sum(means) / len(means)


def best_constant(sounds: Sequence[JudgedSound]) -> tuple[float, float]:
    """The constant weight that comes nearest, chosen after the fact, and its distance."""
    found = {weight / 20.0: mean_db(sounds, lambda _, w=weight: w / 20.0) for weight in range(21)}  # type: ignore[misc]
    best = min(found, key=lambda weight: found[weight])
    return best, found[best]


def _fold(group: str) -> int:
    return zlib.crc32(group.encode()) % FIT.n_folds


def _cross_validated(sounds: Sequence[JudgedSound], steps: int) -> dict[str, TrustLaw]:
    """For every group the law that was fitted without it and the others of its fold."""
    folds = {_fold(sound.group) for sound in sounds}
    laws = {}
    for fold in folds:
        others = [sound for sound in sounds if _fold(sound.group) != fold]
        laws[fold] = fit_law(others or sounds, steps)
    return {sound.group: laws[_fold(sound.group)] for sound in sounds}


# --- report ---------------------------------------------------------------------------------------------------------


def trust_section(
    model: Model,
    real_dirs: Sequence[Path],
    *,
    quick: bool = False,
    workers: int = 1,
    advance: Advance = lambda *_: None,
) -> Section:
    """The law fitted on training instruments and families, and what it is worth on those and on others.

    Args:
        model: From `load_model`; its networks have not heard the recordings.
        real_dirs: Folders with a manifest and recordings.
        quick: One source of an instrument and one patch of a family, and a shorter fit.
        workers: Processes, one thread each; 1 stays in this one.
        advance: Takes instruments and families done, and their number.

    Raises:
        InputError: A manifest or a recording cannot be used, or no instrument is left to train with.
    """
    sounds = _judge_all(model, real_dirs, quick, workers, advance)
    if not sounds.training:
        raise InputError(
            f"{', '.join(map(str, real_dirs))} has no training instrument with two pitches", "give recordings of others"
        )
    steps = FIT.steps // 10 if quick else FIT.steps
    fitted = fit_law([*sounds.training, *sounds.made], steps)
    laws = _cross_validated([*sounds.training, *sounds.made], steps)
    sets: dict[str, tuple[list[JudgedSound], dict[str, TrustLaw]]] = {
        "training instruments, each fifth left out": (sounds.training, laws),
        "training families, each fifth left out": (sounds.made, laws),
        "validation instruments": (sounds.validation, {}),
        "families held out": (sounds.held_out, {}),
    }
    figures = {
        title: _set_figures(judged, lambda sound, left_out=left_out: left_out.get(sound.group, fitted))  # type: ignore[misc]
        for title, (judged, left_out) in sets.items()
        if judged
    }
    coefficients = [(name, number(value, 3), number(getattr(LAW, name), 3)) for name, value in asdict(fitted).items()]
    return Section(
        "trust",
        [
            Table("The law of trust", ("trait", "fitted", "released"), coefficients),
            Table(
                "Distance in the log-mel domain to real notes at other pitches, dB, by the weight of the wanted level",
                ("sounds", "0", "1", "best constant", "released law", "law fitted here", "best weight of each note"),
                [_row(title, values) for title, values in figures.items()],
                ("Means over instruments or families; constants and the best weights are chosen after the fact.",),
            ),
        ],
        {"fitted": asdict(fitted), "released": asdict(LAW), "sets": figures},
    )


@dataclass(frozen=True)
class _JudgedSets:
    """Recorded sounds and made ones, to fit with and to measure with."""

    training: list[JudgedSound]
    made: list[JudgedSound]
    validation: list[JudgedSound]
    held_out: list[JudgedSound]


def _judge_all(model: Model, real_dirs: Sequence[Path], quick: bool, workers: int, advance: Advance) -> _JudgedSets:
    """Every instrument and every family; arguments as `trust_section`."""
    training, validation = _recorded(real_dirs, validation=False), _recorded(real_dirs, validation=True)
    n_patches, n_evaluation, n_sources = (
        (1, 1, 1) if quick else (FITTED.n_patches, FITTED.n_evaluation_patches, FITTED.n_sources)
    )
    made = {family: [(family, seed) for seed in range(n_patches)] for family in TRAINING_FAMILIES}
    held_out = {
        family: [(family, patch.seed) for patch in evaluation_patches(family, n_evaluation)]
        for family in HELD_OUT_FAMILIES
    }
    others: dict[str, Sequence[Any]] = {**made, **held_out, **training}
    n_all = len(validation) + len(others)
    # One source of a validation instrument: its middle note, as everywhere.
    found = measure_each(
        model, validation, partial(_measure, n_sources=1), workers, lambda done, _: advance(done, n_all)
    ) | measure_each(
        model,
        others,
        partial(_measure, n_sources=n_sources),
        workers,
        lambda done, _: advance(len(validation) + done, n_all),
    )
    return _JudgedSets(
        *(list(chain.from_iterable(found[name] for name in names)) for names in (training, made, validation, held_out))
    )


def _set_figures(sounds: Sequence[JudgedSound], law: Callable[[JudgedSound], TrustLaw]) -> dict[str, Any]:
    """Distances of one set of sounds by the weight of the wanted level; `law` is the one fitted here for a sound."""
    groups = {sound.group for sound in sounds}
    constant, constant_db = best_constant(sounds)
    best_of_each = [
        float(torch.cat([sound.distance_db for sound in sounds if sound.group == group]).amin(1).mean())
        for group in groups
    ]
    return {
        "n_groups": len(groups),
        "n_notes": sum(len(sound.distance_db) for sound in sounds),
        "best_constant": constant,
        "moved_db": mean_db(sounds, lambda _: 0.0),
        "networks_db": mean_db(sounds, lambda _: 1.0),
        "best_constant_db": constant_db,
        "released_db": mean_db(sounds, lambda sound: judge_trust(sound.traits)),
        "fitted_db": mean_db(sounds, lambda sound: judge_trust(sound.traits, law(sound))),
        "either_db": sum(best_of_each) / len(groups),
    }


def _row(title: str, figures: dict[str, Any]) -> tuple[str, ...]:
    cells = [number(value) for name, value in figures.items() if name.endswith("_db")]
    cells[2] += f" ({figures['best_constant']:g})"
    return (f"{title} ({figures['n_groups']}, {figures['n_notes']} notes)", *cells)
