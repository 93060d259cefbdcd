"""All measurements of `hgs train eval`, as far as there is something to measure with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hgs_cli.console import HowFar, Tell
from hgs_cli.errors import WeightsError
from hgs_cli.evaluation.ablation import measure_ablation
from hgs_cli.evaluation.cross_pitch import measure_cross_pitch
from hgs_cli.evaluation.cross_pitch_result import CrossPitchResult
from hgs_cli.evaluation.dynamics import dynamics_section
from hgs_cli.evaluation.effects import measure_effects
from hgs_cli.evaluation.known_truth_result import measure_known_truth
from hgs_cli.evaluation.leakage import probe_leakage
from hgs_cli.evaluation.missing_runs import train_missing_runs
from hgs_cli.evaluation.mixes import measure_mixes, middle_notes
from hgs_cli.evaluation.odd_sounds import measure_odd_sounds
from hgs_cli.evaluation.overlap import overlap_section
from hgs_cli.evaluation.paper import paper_table
from hgs_cli.evaluation.pitch_trackers import TRACKERS
from hgs_cli.evaluation.rendered import rendered_notes, rendered_odd_sounds, rendered_sounds
from hgs_cli.evaluation.report import Report, Section
from hgs_cli.evaluation.several_recordings import measure_several
from hgs_cli.evaluation.source_pitch import measure_source_pitch
from hgs_cli.evaluation.sources import CrossPitchOptions, Sources
from hgs_cli.evaluation.trust import trust_section
from hgs_cli.evaluation.variations import measure_variations
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.pitch_classifier import PitchClassifier
from hgs_cli.sampler.model import Model
from hgs_cli.training.checkpoint import initial_model, load_checkpoint, model_from_checkpoint
from hgs_cli.training.judge import JUDGE_NAME, load_judge
from hgs_cli.training.shards import validation_instruments

LEAKAGE_RUNS = {"without the adversary": "no-adversary", "the same steps with it": "with-adversary"}
"""Rows of the leakage table beside the released f: row → folder of the run."""


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
    job = _Job(model, sources, options, workers, tell)
    # What may fail for want of a file comes first: nobody waits minutes to hear that.
    judge = None if sources.held_out is None and not sources.sounds else find_judge(model)
    networks = job.networks()
    cross_pitch = None if sources.recordings is None else job.cross_pitch(sources.recordings)
    sections: list[Section] = [] if cross_pitch is None else [cross_pitch.section()]
    if sources.recordings is not None:
        sections.append(job.source_pitch(sources.recordings))
    sections += job.notes()
    if sources.sounds:
        assert judge is not None
        sections += job.odd_sounds(judge)
    if sources.data is not None:
        sections += job.data(networks, sources.data)
    if sources.held_out is not None:
        assert judge is not None
        sections += job.held_out(judge, sources.held_out)
    settings = {"quick": options.quick, "detail": options.detail, "hyper": options.hyper, "seed": options.seed}
    return Report({"version": model.version, "sha256": model.sha256}, settings, sections), cross_pitch


@dataclass(frozen=True)
class _Job:
    """One evaluation; attributes as `measure` takes them."""

    model: Model
    sources: Sources
    options: CrossPitchOptions
    workers: int
    tell: Tell

    def advance(self, what: str) -> HowFar:
        """A function that tells how much of something is done."""
        return lambda done, total: self.tell(what, done, total)

    def networks(self) -> dict[str, HyperGANStrument]:
        """Whose f is probed for pitch, by row."""
        if self.sources.data is None:
            return {}
        found, runs = {"released f": initial_model(self.model.path, 0)[0]}, self.sources.runs
        for row, folder in LEAKAGE_RUNS.items():
            if runs is not None and (runs / folder).exists():
                found[row] = model_from_checkpoint(load_checkpoint(runs / folder))
            else:
                self.tell(f"no run {folder}: {row} is left out", 0, 0)
        return found

    def cross_pitch(self, recordings: Path) -> CrossPitchResult:
        """Notes of the validation instruments beside their real ones."""
        names, told = sorted(validation_instruments()), self.advance("instruments")
        return measure_cross_pitch(self.model, recordings, names, self.options, workers=self.workers, advance=told)

    def source_pitch(self, recordings: Path) -> Section:
        """How often the pitch of a recording is found."""
        self.tell("source pitch", 0, 0)
        trackers, rendered = (tuple(TRACKERS), rendered_sounds()) if self.sources.detectors else ((), ())
        quick = self.options.quick
        return measure_source_pitch(recordings, quick=quick, detectors=trackers, rendered=rendered).section()

    def notes(self) -> list[Section]:
        """Made sounds, trust, what each rule is worth, several known notes, effects, as far as they are asked for."""
        model, sources, options, workers = self.model, self.sources, self.options, self.workers
        advance, names = self.advance("instruments and families"), sorted(validation_instruments())
        sections = []
        if sources.made and not sources.ablate:
            known_truth = measure_known_truth(model, options, workers=workers, advance=self.advance("made sounds"))
            sections.append(known_truth.section())
        if sources.trust:
            trust = trust_section(model, sources.folders, quick=options.quick, workers=workers, advance=advance)
            sections.append(trust)
        if sources.ablate:
            ablation = measure_ablation(
                model, sources.folders, names, options, made=sources.made, workers=workers, advance=advance
            )
            sections.append(ablation.section())
        if sources.several:
            told = self.advance("instruments of several recordings")
            several = measure_several(model, sources.folders, names, options, workers=workers, advance=told)
            sections.append(several.section())
        if sources.effects:
            told = self.advance("instruments through effects")
            effects = measure_effects(model, sources.folders, names, options, workers=workers, advance=told)
            sections.append(effects.section())
        return sections

    def odd_sounds(self, judge: PitchClassifier) -> list[Section]:
        """Odd sounds as notes, mixes and variations; the judge hears the keys of mixes."""
        model, quick, seed, recordings = self.model, self.options.quick, self.options.seed, self.sources.recordings

        def hear_keys(x: Tensor) -> Tensor:
            return judge.pitch_logits(judge.features(x.cpu())).argmax(1)

        odd = measure_odd_sounds(
            model, recordings, rendered_odd_sounds(), quick=quick, seed=seed, advance=self.advance("odd sounds")
        )
        notes = [] if recordings is None else middle_notes(recordings, sorted(validation_instruments()))
        notes += rendered_notes()
        if len(notes) < 2:  # neither recordings nor SoundFonts
            return [odd.section()]
        accuracy = judge.accuracy["validation"]
        mixes = measure_mixes(model, notes, hear_keys, accuracy, quick=quick, seed=seed, advance=self.advance("mixes"))
        variations = measure_variations(model, notes, quick=quick, advance=self.advance("variations"))
        return [odd.section(), mixes.section(), variations.section()]

    def data(self, networks: dict[str, HyperGANStrument], data: Path) -> list[Section]:
        """On the data that was trained on: pitch in h, soft and loud notes."""
        leakage = probe_leakage(networks, data, self.options.quick, self.advance("probes of h"))
        self.tell("soft and loud notes", 0, 0)
        return [leakage.section(), dynamics_section(data)]

    def held_out(self, judge: PitchClassifier, held_out: Path) -> list[Section]:
        """On data that was not: the paper's table, and how far that data is new."""
        network, sources, options = self.model.network, self.sources, self.options
        sections = []
        if sources.data is not None:
            self.tell("held-out notes beside training notes", 0, 0)
            sections.append(overlap_section(held_out, sources.data))
        if sources.train_missing_s is not None:
            assert sources.runs is not None
            assert sources.data is not None
            train_missing_runs(network, sources.data, sources.runs, sources.train_missing_s, options.seed, self.tell)
        told = self.advance("parts of the paper's table")
        paper = paper_table(
            network, judge, held_out, sources.runs, quick=options.quick, seed=options.seed, advance=told
        )
        return [*sections, paper.section()]
