"""What commands share: from their options to settings and plans, through the work on each sound, to files and lines.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hgs_cli.console import Advance, Messages, print_table, say
from hgs_cli.errors import ExistingFileError, HgsError, InputError, OutputError, UsageError
from hgs_cli.export.naming import Plan, Source
from hgs_cli.options import keep_memory, set_threads

if TYPE_CHECKING:
    from hgs_cli.bench import BenchReport
    from hgs_cli.export.audition import AuditionInput
    from hgs_cli.export.delivery import How, Job, NoteFiles
    from hgs_cli.pipeline import Inversion, Model, Settings, SourceHint
    from hgs_cli.sampler.finish import Finish


@dataclass(frozen=True)
class Done:
    """How the work on one file went.

    Attributes:
        how: In a few words, for people.
        lines: Its results, for stdout.
    """

    how: str
    lines: Sequence[str]


def work_on_each(
    sounds: Sequence[Path], work: Callable[[int, Advance], Done], messages: Messages, steps: int = 0
) -> None:
    """Do the work for every sound, finish the rest when one fails, and say the failures last.

    Args:
        sounds: Named as they come.
        work: Takes a sound's index and a function that takes steps done.
        messages: For progress.
        steps: Of the work for one sound.

    Raises:
        HgsError: The failure, if there was one sound.
        typer.Exit: With the first failure's code, if there were several sounds.
    """
    failures: list[HgsError] = []
    with messages.batch([str(sound) for sound in sounds], steps) as batch:
        for index in range(len(sounds)):
            try:
                with batch.file(index) as advance:
                    done = work(index, advance)
                with batch.paused():
                    for line in done.lines:
                        say(line)
                batch.done(index, done.how)
            except (InputError, OutputError) as error:
                if len(sounds) == 1:
                    raise
                failures.append(error)
                batch.done(index, "failed")
    for failure in failures:
        typer.echo(f"hgs: error: {failure}", err=True)
    if failures:
        messages.line(f"{len(sounds) - len(failures)} of {len(sounds)} done, {len(failures)} failed")
        raise typer.Exit(failures[0].exit_code)


def load_weights(weights: Path | None, device: str, threads: int | None) -> Model:
    """The model to work with, on a device and so many CPU threads."""
    from hgs_cli.pipeline import load_model

    set_threads(threads)
    keep_memory()
    return load_model(weights, device)


def take_back(files: Sequence[Sequence[Path]], dry_run: bool) -> None:
    """Undo what killed calls left unfinished in the folders of every result's files."""
    from hgs_cli.atomic_files import take_back_leftovers

    if not dry_run:
        take_back_leftovers(files)


def refuse_leaving(folder: Path, files: Iterable[Path]) -> None:
    """Check that no link leads a file out of the output folder."""
    from hgs_cli.atomic_files import check_inside

    check_inside(folder, files)


def refuse_existing(targets: Iterable[Path], force: bool, sources: Sequence[Source]) -> None:
    """Check every file of the call before anything is read, made or written; no sound is ever written over."""
    from hgs_cli.atomic_files import check_targets

    files = list(targets)
    read = {os.path.realpath(source.path) for source in sources}  # Path.resolve raises for links in a circle
    for target in files:
        if os.path.realpath(target) in read:
            raise UsageError(f"{target} would be written over itself", "choose another folder with -o or another name")
    check_targets(files, force)


def still_to_do(files: Sequence[Sequence[Path]], skip_existing: bool, messages: Messages) -> list[int]:
    """Indices of those results that are not there as a whole already."""
    if not skip_existing:
        return list(range(len(files)))
    chosen = [index for index, paths in enumerate(files) if not all(os.path.exists(path) for path in paths)]
    if len(chosen) < len(files):
        messages.line(f"{len(files) - len(chosen)} of {len(files)} are there already")
    return chosen


def unless_there(files: Sequence[Path], skip_existing: bool, work: Callable[[], Done]) -> Done:
    """Do the work for a result, unless another process has made all its files and such are to be skipped."""
    there = Done("is there already", [])
    if skip_existing and all(path.exists() for path in files):
        return there
    try:
        return work()
    except ExistingFileError:
        if skip_existing and all(path.exists() for path in files):
            return there
        raise


def print_plan(planned: Sequence[tuple[dict[str, Any], Sequence[Path]]], as_json: bool) -> None:
    """Print what a call would write, as paths or as JSON with the facts beside them."""
    for facts, paths in planned:
        for path in paths:
            say(json.dumps({"path": str(path), **facts}) if as_json else str(path))


def read_notes(spec: str, messages: Messages) -> tuple[float, ...]:
    """Pitches of a spec; warns of those that few sounds have anything to say about."""
    from hgs_cli.pitch import parse_pitches, unusual_pitches

    notes = parse_pitches(spec)
    unusual = unusual_pitches(notes)
    if unusual:
        listed = ", ".join(f"{note:g}" for note in unusual[:5]) + (", …" if len(unusual) > 5 else "")
        messages.warn(f"outside a piano's range (21-108) less of the sound is left: {listed}")
    return notes


def source_hint(text: str) -> SourceHint:
    """What `--pitch` says of a sound's own note.

    Raises:
        UsageError: It is no note.
    """
    from hgs_cli.pitch import parse_note

    word = text.strip().lower()
    if word == "auto":
        return "auto"
    return None if word == "none" else parse_note(text)


def start_seconds(text: str) -> float | None:
    """What `--start` says of where a sound begins, in seconds; None for its onset.

    Raises:
        UsageError: It is neither auto nor a number of seconds.
    """
    if text.strip().lower() == "auto":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 36_000.0:
        raise UsageError(f"--start {text}", "give auto or a number of seconds")
    return seconds


@dataclass(frozen=True)
class Listening:
    """How the sounds of a call are heard, as `pipeline.open_sound` takes it."""

    hint: SourceHint
    passes: int | None
    stereo: bool
    start_s: float | None
    max_seconds: float


def open_heard(model: Model, path: Path, listening: Listening, messages: Messages) -> Inversion:
    """Read a sound or an .hgs file as an instrument, and say in a line what it is heard as."""
    from hgs_cli.pipeline import Listening as Heard
    from hgs_cli.pipeline import open_sound

    heard = Heard(listening.hint, listening.passes, listening.stereo, listening.start_s, listening.max_seconds)
    inversion = open_sound(model, path, heard, messages.warn)
    if inversion.heard:
        messages.line(f"{path.name}: {inversion.heard}")
    return inversion


def check_subtype(formats: tuple[str, ...], subtype: str) -> tuple[str, ...]:
    """The formats, if they hold such samples.

    Raises:
        UsageError: FLAC holds no floating point.
    """
    if subtype == "FLOAT" and "flac" in formats:
        raise UsageError("FLAC holds no floating point", "choose --subtype PCM_24, or wav")
    return formats


def extra_suffixes(audition: bool, plot: bool) -> dict[str, str]:
    """Suffixes of the files beside the notes, by kind."""
    from hgs_cli.export.naming import PAGE, PICTURE

    return {**({PAGE: ".html"} if audition else {}), **({PICTURE: ".png"} if plot else {})}


def make_settings(
    detail: float,
    tonal: str,
    variation: float,
    vibrato: str,
    normalize: str,
    lufs: float,
    seed: int,
    tune: float,
    a4: float,
    stereo: bool,
) -> Settings:
    """How notes sound, from the options of that name.

    Raises:
        UsageError: `--tonal` is neither auto nor from 0 to 1.
    """
    amount = None
    if tonal != "auto":
        try:
            amount = float(tonal)
        except ValueError:
            amount = -1.0
        if not 0.0 <= amount <= 1.0:
            raise UsageError(f"--tonal {tonal}", "give auto or a number from 0 to 1")

    from hgs_cli.pipeline import Settings

    return Settings(
        detail=detail,
        tonal=amount,
        variation=variation,
        keep_vibrato=vibrato == "keep",
        normalize=normalize,
        lufs=lufs,
        seed=seed,
        tune_cents=tune + 1200.0 * math.log2(a4 / 440.0),
        stereo=stereo,
    )


def make_finish(loop: bool, duration: float | None, fade: float | None, trim: bool, sample_rate: int) -> Finish:
    """How long notes are and how they end, from the options of that name.

    Raises:
        UsageError: A length is out of range.
    """
    from hgs_cli.sampler.finish import Finish

    return Finish(loop, duration, fade, trim, sample_rate)


def folder_of(source: Source, alone: bool, out: Path | None) -> Path:
    """Where a sound's notes go: flat where -o names a folder for a single sound, else in one of their own."""
    return out if out is not None and alone else (out or Path()) / source.folder / source.name


def inversion_targets(
    sources: Sequence[Source], alone: bool, out: Path | None, suffixes: Sequence[str]
) -> list[list[Path]]:
    """Files of every inversion: the .hgs file, then what goes beside it, by suffix.

    Raises:
        UsageError: A sound is an inversion, or one file is named for several.
    """
    for source in sources:
        if source.path.suffix.lower() == ".hgs":
            raise UsageError(f"{source.path} is an inversion already", "give sounds")
    if out is not None and out.suffix.lower() == ".hgs":
        if not alone:
            raise UsageError(f"one file {out} for {len(sources)} sounds", "give a folder with -o")
        return [[out, *(out.with_name(out.stem + suffix) for suffix in suffixes[1:])]]
    return [[(out or Path()) / source.folder / f"{source.name}{suffix}" for suffix in suffixes] for source in sources]


def mix_shares(n_sounds: int, ratio: str | None, steps: int | None) -> list[list[float]]:
    """Shares of every sound in every mix that is asked for."""
    if n_sounds < 2:
        raise UsageError("a mix of one sound", "give two or more")
    if steps is not None:
        if n_sounds != 2 or ratio is not None:
            raise UsageError("--steps goes from one sound to another", "give two sounds and no --ratio")
        return [[1.0 - step / (steps - 1), step / (steps - 1)] for step in range(steps)]
    if ratio is None:
        return [[1.0 / n_sounds] * n_sounds]
    try:
        shares = [float(text) for text in ratio.split(",")]
    except ValueError:
        shares = []
    if len(shares) != n_sounds or not all(0.0 <= share <= 1e6 for share in shares) or sum(shares) <= 0.0:
        raise UsageError(f"--ratio {ratio} for {n_sounds} sounds", "give each sound a number, such as 0.7,0.3")
    return [[share / sum(shares) for share in shares]]


def mix_percents(shares: Sequence[float]) -> str:
    """A mix in a file's name: the percents of all sounds but the first."""
    return "-".join(f"{round(100 * share):03d}" for share in shares[1:])


def mix_plans(
    sounds: Sequence[Path],
    mixes: Sequence[Sequence[float]],
    out: Path | None,
    notes: Sequence[float],
    formats: Sequence[str],
    extras: dict[str, str],
    velocities: int,
    template: str | None,
) -> list[Plan]:
    """Files of every mix; the page and the picture are of all of them.

    Raises:
        UsageError: The template gives files of two mixes one name.
    """
    from hgs_cli.export.naming import make_plan

    name = "+".join(sound.stem for sound in sounds)
    folder = out or Path(name)
    shown = {kind: folder / f"{name}{suffix}" for kind, suffix in extras.items()}
    plans = [
        replace(
            make_plan(folder, f"{name}_{mix_percents(shares)}", notes, formats, {}, velocities, template), extras=shown
        )
        for shares in mixes
    ]
    sounding = [path for plan in plans for path in plan.files if path not in shown.values()]
    if len(set(sounding)) < len(sounding):
        raise UsageError(f"name {template!r} is the same for two mixes", "add {stem}, which tells their shares")
    return plans


def read_inputs(sounds: Sequence[Path], shown: bool) -> list[AuditionInput]:
    """The sounds themselves, to hear or see beside the notes; an .hgs file holds none."""
    if not shown:
        return []
    from hgs_cli.audio.io import read_audio
    from hgs_cli.export.audition import AuditionInput
    from hgs_cli.spectrum import SAMPLE_RATE

    return [
        AuditionInput(sound.name, read_audio(sound).audio.numpy(), SAMPLE_RATE)
        for sound in sounds
        if sound.suffix.lower() != ".hgs"
    ]


def deliver_files(
    model: Model,
    jobs: Sequence[Job],
    how: How,
    inputs: Sequence[AuditionInput],
    force: bool,
    advance: Advance,
    messages: Messages,
) -> list[list[NoteFiles]]:
    """Write all files of a result together, and say where notes had to be lowered."""
    from hgs_cli.atomic_files import OutputSet, common_folder
    from hgs_cli.export.delivery import deliver

    files = dict.fromkeys(path for job in jobs for path in job.plan.files)
    with OutputSet(files, force, common_folder(files)) as outputs:
        written = deliver(model, jobs, how, outputs, inputs, advance)
    for job, notes in zip(jobs, written, strict=True):
        if notes[0].lowered_db:
            messages.warn(
                f"the notes of {job.plan.name} were lowered by {-notes[0].lowered_db:.1f} dB: one would have clipped"
            )
        lasting_s = max(note.n_frames / note.sample_rate for note in notes)
        asked_s = how.finish.duration_s or 0.0
        if (how.finish.loop and all(note.loop is None for note in notes)) or asked_s > lasting_s + 0.01:
            messages.line(f"{job.plan.name} has no sustain that could be held: its notes are one-shots")
    return written


def file_lines(plan: Plan, notes: Sequence[NoteFiles], facts: dict[str, Any], how: How, as_json: bool) -> list[str]:
    """A result's files as paths, or as JSON with the facts given."""
    from hgs_cli.export.naming import describe_note, layer_velocities

    if not as_json:
        return [str(path) for path in plan.files]
    lines = []
    for note in notes:
        told = {
            **describe_note(note.key),
            "layer": note.key.layer + 1,
            "velocities": layer_velocities(plan.layers)[note.key.layer],
            "lufs": None if note.lufs is None else round(note.lufs, 2),
            "peak": round(note.peak_db, 2),
            "seconds": round(note.n_frames / note.sample_rate, 6),
            "sample_rate": note.sample_rate,
            "channels": note.channels,
            "loop": None if note.loop is None else [note.loop.start, note.loop.end],
            "gain": round(note.gain_db, 2),
            "lowered": round(abs(note.lowered_db), 2),
            "seed": how.settings.seed,
        }
        for kind, path in note.paths.items():
            lines.append(json.dumps({"path": str(path), **facts, "format": kind, **told}))
    for kind, path in [*plan.instruments.items(), *plan.extras.items()]:
        lines.append(json.dumps({"path": str(path), **facts, "format": kind}))
    return lines


def print_bench(report: BenchReport, runs: int) -> None:
    """A bench's report as tables on stdout, a section each."""
    titles = {
        "stages": "Stages",
        "batches": "Notes at once",
        "threads": "25 notes by threads",
        "lengths": "25 notes by their length",
        "cold": "Whole calls in new processes",
        "compare": "Compared",
    }
    for section, title in titles.items():
        rows = [
            (
                timing.name,
                f"{timing.median_ms:.2f}",
                f"{timing.p95_ms:.2f}",
                f"{timing.median_ms / timing.notes:.2f}" if timing.notes else "",
                f"{timing.notes_per_s:.0f}" if timing.notes_per_s else "",
                f"{timing.real_time_factor:.0f}×" if timing.real_time_factor else "",
            )
            for timing in report.timings
            if timing.section == section
        ]
        if rows:
            header = (section, "median ms", "p95 ms", "ms a note", "notes/s", "real time")
            print_table(title, rows, header, to_stdout=True)
    bound = report.bound
    limits = [
        (
            f"{bound.operations / bound.notes / 1e6:.0f} M multiply-adds",
            f"{bound.operations_per_s / 1e9:.0f} G/s",
            f"{bound.operations / bound.operations_per_s * 1e3:.1f}",
        ),
        (
            f"{bound.n_bytes / bound.notes / 1e6:.2f} MB moved",
            f"{bound.bytes_per_s / 1e9:.0f} GB/s",
            f"{bound.n_bytes / bound.bytes_per_s * 1e3:.1f}",
        ),
        ("measured", f"{bound.median_ms / bound.bound_ms:.2f}× the bound", f"{bound.median_ms:.1f}"),
    ]
    columns = (f"G, a note of {bound.notes}", "the most seen here", "ms for all")
    print_table("What the machine can do", limits, columns, to_stdout=True)
    if report.ratios:
        ratios = [(name, f"{value:.2f}") for name, value in report.ratios.items()]
        print_table("Ratios", ratios, to_stdout=True)
    facts = [(name, str(value)) for name, value in report.environment.items()]
    facts += [("runs", str(runs)), ("peak memory", f"{report.peak_memory_mib:.0f} MiB")]
    print_table("Circumstances", facts, to_stdout=True)


def bench_bars(report: BenchReport) -> list[tuple[str, list[tuple[str, float]]]]:
    """A bench's report as groups of named bars, in milliseconds, of a note where notes are made."""
    groups: dict[str, list[tuple[str, float]]] = {}
    names = {"stages": "stages, ms (of a note where notes are made)", "batches": "ms a note, so many at once"}
    names |= {"threads": "ms a note, by threads", "lengths": "ms a note, by length", "cold": "whole calls, ms"}
    for timing in report.timings:
        if timing.section in names:
            each = timing.median_ms / timing.notes if timing.notes and timing.section != "cold" else timing.median_ms
            groups.setdefault(names[timing.section], []).append((timing.name, each))
    return list(groups.items())


def invert_one(
    model: Model,
    sound: Path,
    targets: Sequence[Path],
    audio: bool,
    plot: bool,
    listening: Listening,
    settings: Settings,
    subtype: str,
    force: bool,
    messages: Messages,
) -> dict[str, Any]:
    """Invert one sound, write what was asked for and say how it went.

    Returns:
        What --json prints.
    """
    import time

    from hgs_cli.atomic_files import OutputSet
    from hgs_cli.export.delivery import How, Job, deliver
    from hgs_cli.pipeline import NoteKey, make_instrument, reconstruct
    from hgs_cli.pitch import describe_pitch, nearest_note, note_name
    from hgs_cli.sampler.finish import Finish

    start = time.perf_counter()
    inversion = open_heard(model, sound, listening, messages)
    seconds = time.perf_counter() - start
    heard = reconstruct(model, inversion)
    source = inversion.source_pitch
    target, others = targets[0], list(targets[1:])
    facts: dict[str, Any] = {"path": str(target), "input": str(sound), "pitched": source is not None}
    facts |= {"heard": inversion.heard, "kind": inversion.kind}
    if source is not None:
        note, cents = nearest_note(source)
        facts |= {"midi": note, "note": note_name(note), "cents": round(cents, 1)}
    facts |= {
        "first_db": round(heard.distance_db(heard.x_init), 3),
        "refined_db": round(heard.distance_db(heard.x_hat), 3),
        "detailed_db": round(heard.distance_db(heard.detailed), 3),
        "passes": inversion.passes,
        "seconds": round(seconds, 3),
    }
    with OutputSet(targets, force) as outputs:
        outputs.write(target, inversion.save)
        if audio:
            own = NoteKey(inversion.stands_at)
            # The sound itself, not a note made of it: an unpitched sound stays noise.
            plain = settings if source is not None else replace(settings, tonal=0.0)
            reconstruction = others.pop(0)
            job = Job(
                make_instrument(model, inversion), Plan(sound.stem, {own: {"wav": reconstruction}}, {}), sound.stem
            )
            deliver(model, [job], How(plain, Finish(), subtype), outputs)
            facts["audio"] = str(reconstruction)
        if plot:
            from hgs_cli.export.plot import draw_spectrograms

            picture = others.pop(0)
            panels = [
                (title, mel[:, : heard.length_frames])
                for title, mel in (
                    ("input", heard.mel),
                    ("first reconstruction", heard.x_init),
                    ("refined by the hypernetwork", heard.x_hat),
                    ("with the sound's detail", heard.detailed),
                )
            ]
            filters = model.log_mel.filters.cpu()
            outputs.write(picture, lambda aside: draw_spectrograms(aside, panels, filters))
            facts["plot"] = str(picture)
    rows = [
        ("pitch", "none" if source is None else describe_pitch(source)),
        ("the networks' say at other pitches", f"{100.0 * inversion.trust:.0f} %"),
        ("distance, without the hypernetwork", f"{facts['first_db']:.2f} dB"),
        ("distance, with it", f"{facts['refined_db']:.2f} dB"),
        ("distance, with the sound's detail", f"{facts['detailed_db']:.2f} dB"),
        ("time", f"{seconds:.2f} s"),
    ]
    messages.table(str(sound), rows)
    return facts
