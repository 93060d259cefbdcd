"""All measurements of `hgs train eval`, as far as there is something to measure with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hgs_cli.errors import WeightsError
from hgs_cli.evaluation import CrossPitchOptions, CrossPitchResult, Report, Section, measure_cross_pitch
from hgs_cli.evaluation.ablation import measure_ablation
from hgs_cli.evaluation.dynamics import dynamics_section
from hgs_cli.evaluation.known_truth_result import measure_known_truth
from hgs_cli.evaluation.leakage import probe_leakage
from hgs_cli.evaluation.mixes import measure_mixes, middle_notes
from hgs_cli.evaluation.odd_sounds import measure_odd_sounds
from hgs_cli.evaluation.overlap import overlap_section
from hgs_cli.evaluation.paper import paper_table
from hgs_cli.evaluation.pitch_trackers import TRACKERS
from hgs_cli.evaluation.rendered import rendered_notes, rendered_odd_sounds, rendered_sounds
from hgs_cli.evaluation.source_pitch import measure_source_pitch
from hgs_cli.evaluation.trust import trust_section
from hgs_cli.evaluation.variations import measure_variations
from hgs_cli.models.pitch_classifier import PitchClassifier
from hgs_cli.sampler.model import Model
from hgs_cli.training.checkpoint import initial_model, load_checkpoint, model_from_checkpoint
from hgs_cli.training.data import validation_instruments
from hgs_cli.training.judge import JUDGE_NAME, load_judge

Tell = Callable[[str, int, int], None]  # what was just done, how much is done, how much there is (0: not known)

LEAKAGE_RUNS = {"without the adversary": "no-adversary", "the same steps with it": "with-adversary"}
"""Rows of the leakage table beside the released f: row → folder of the run."""


@dataclass(frozen=True)
class Sources:
    """What there is to measure with; whatever is None is left out.

    Attributes:
        real: Recordings with a manifest: cross-pitch table and source pitch.
        data: The data set that was trained on: leakage, soft and loud notes.
        held_out: A data set that was not: the paper's table.
        runs: Folder of runs to compare with.
        detectors: Whether source pitch is measured of other libraries too, and on rendered notes.
        sounds: Whether odd sounds, mixes and variations are measured: on rendered sounds, and on `real` where given.
        made: Whether made sounds with known truth are measured.
        folders: Recordings with manifests for what is fitted or ablated, which `real` is not.
        trust: Whether the law of trust is fitted on `folders`.
        ablate: Whether rules are done without in turn: on `folders`, and on made sounds instead of their own table.
    """

    real: Path | None = None
    data: Path | None = None
    held_out: Path | None = None
    runs: Path | None = None
    detectors: bool = False
    sounds: bool = False
    made: bool = False
    folders: tuple[Path, ...] = ()
    trust: bool = False
    ablate: bool = False


def find_judge(model: Model) -> PitchClassifier:
    """The judge beside a bundle, or beside the installed one.

    Raises:
        WeightsError: There is none.
    """
    for folder in (model.path.parent, Path(__file__).resolve().parents[2] / "weights"):
        if (folder / "train" / JUDGE_NAME).is_file():
            return load_judge(folder / "train" / JUDGE_NAME)
    raise WeightsError(f"there is no train/{JUDGE_NAME} beside {model.path}", "work in a checkout, or train a judge")


def measure(
    model: Model, sources: Sources, options: CrossPitchOptions, workers: int = 2, tell: Tell = lambda *_: None
) -> tuple[Report, CrossPitchResult | None]:
    """Measure a model with everything that is given; the cross-pitch result comes beside the report, to draw from.

    Args:
        model: From `load_model`.
        sources: What to measure with.
        options: How much of it, detail, seed.
        workers: Processes of the cross-pitch table, of made sounds and of the law of trust.
        tell: Told how far everything is.

    Raises:
        InputError: Recordings cannot be used.
        TrainingError: A data set or a run cannot be used.
        WeightsError: There is no judge.
    """
    sections: list[Section] = []
    cross_pitch = None
    # What may fail for want of a file comes first: nobody waits minutes to hear that.
    judge = None if sources.held_out is None and not sources.sounds else find_judge(model)
    networks = {"released f": initial_model(model.path, 0)[0]} if sources.data is not None else {}
    for row, folder in LEAKAGE_RUNS.items() if networks else ():
        if sources.runs is not None and (sources.runs / folder).exists():
            networks[row] = model_from_checkpoint(load_checkpoint(sources.runs / folder))
        else:
            tell(f"no run {folder}: {row} is left out", 0, 0)
    if sources.real is not None:
        cross_pitch = measure_cross_pitch(
            model,
            sources.real,
            sorted(validation_instruments()),
            options,
            workers=workers,
            advance=lambda done, total: tell("instruments", done, total),
        )
        sections.append(cross_pitch.section())
        tell("source pitch", 0, 0)
        sections.append(
            measure_source_pitch(
                sources.real,
                quick=options.quick,
                detectors=tuple(TRACKERS) if sources.detectors else (),
                rendered=rendered_sounds() if sources.detectors else (),
            ).section()
        )
    if sources.made and not sources.ablate:
        known_truth = measure_known_truth(
            model, options, workers=workers, advance=lambda done, total: tell("made sounds", done, total)
        )
        sections.append(known_truth.section())
    if sources.trust:
        sections.append(
            trust_section(
                model,
                sources.folders,
                quick=options.quick,
                workers=workers,
                advance=lambda done, total: tell("instruments and families", done, total),
            )
        )
    if sources.ablate:
        ablation = measure_ablation(
            model,
            sources.folders,
            sorted(validation_instruments()),
            options,
            made=sources.made,
            workers=workers,
            advance=lambda done, total: tell("instruments and families", done, total),
        )
        sections.append(ablation.section())
    if sources.sounds:
        assert judge is not None
        sections += sound_sections(model, sources.real, judge, options, tell)
    if sources.data is not None:
        leakage = probe_leakage(
            networks, sources.data, options.quick, lambda done, total: tell("probes of h", done, total)
        )
        sections.append(leakage.section())
        tell("soft and loud notes", 0, 0)
        sections.append(dynamics_section(sources.data))
    if sources.held_out is not None:
        assert judge is not None
        if sources.data is not None:
            tell("held-out notes beside training notes", 0, 0)
            sections.append(overlap_section(sources.held_out, sources.data))
        paper = paper_table(
            model.network,
            judge,
            sources.held_out,
            sources.runs,
            quick=options.quick,
            seed=options.seed,
            advance=lambda done, total: tell("parts of the paper's table", done, total),
        )
        sections.append(paper.section())
    settings = {"quick": options.quick, "detail": options.detail, "hyper": options.hyper, "seed": options.seed}
    return Report({"version": model.version, "sha256": model.sha256}, settings, sections), cross_pitch


def sound_sections(
    model: Model, real_dir: Path | None, judge: PitchClassifier, options: CrossPitchOptions, tell: Tell
) -> list[Section]:
    """Odd sounds as notes, mixes and variations.

    Args:
        model: From `load_model`.
        real_dir: Recordings with a manifest: one-shots, and the validation instruments' middle notes.
        judge: Hears the keys of mixes.
        options: How much is measured, and the seed.
        tell: Told how far everything is.

    Raises:
        InputError: A recording cannot be used.
    """

    def advance(what: str) -> Callable[[int, int], None]:
        return lambda done, total: tell(what, done, total)

    def hear_keys(x: Tensor) -> Tensor:
        return judge.pitch_logits(judge.features(x.cpu())).argmax(1)

    odd = measure_odd_sounds(
        model, real_dir, rendered_odd_sounds(), quick=options.quick, seed=options.seed, advance=advance("odd sounds")
    )
    notes = [] if real_dir is None else middle_notes(real_dir, sorted(validation_instruments()))
    notes += rendered_notes()
    if len(notes) < 2:  # neither recordings nor SoundFonts
        return [odd.section()]
    mixes = measure_mixes(
        model,
        notes,
        hear_keys,
        judge.accuracy["validation"],
        quick=options.quick,
        seed=options.seed,
        advance=advance("mixes"),
    )
    variations = measure_variations(model, notes, quick=options.quick, advance=advance("variations"))
    return [odd.section(), mixes.section(), variations.section()]
