"""The command line: options, help, and the one place where errors become a line and an exit code.

Nothing heavy is imported here; torch and numpy load inside the commands, so that help is instant.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hgs_cli.cli_train import train
from hgs_cli.console import Advance, Messages, print_table
from hgs_cli.errors import HgsError, InputError, OutputError, UsageError
from hgs_cli.options import (
    A4,
    LEVEL_PANEL,
    SOURCE_PANEL,
    Audition,
    Detail,
    Device,
    DryRun,
    Duration,
    Fade,
    Force,
    Format,
    Json,
    LoopNotes,
    Lufs,
    Mixed,
    Name,
    Normalize,
    Out,
    Passes,
    Pitches,
    Playables,
    Plot,
    Quiet,
    Recursive,
    SampleRate,
    Seed,
    SkipExisting,
    Sounds,
    SourcePitchOption,
    Stereo,
    Subtype,
    Threads,
    Tonal,
    Trim,
    Tune,
    Variation,
    Velocities,
    Vibrato,
    Weights,
    set_threads,
)
from hgs_cli.plan import Plan, Source

if TYPE_CHECKING:
    from hgs_cli.delivery import How, Job, NoteFiles
    from hgs_cli.export.audition import AuditionInput
    from hgs_cli.finish import Finish
    from hgs_cli.pipeline import Inversion, Model, Settings, SourceHint

EXIT_CODES = (
    "Exit codes: 0 done · 1 a bug in hgs · 2 usage · 3 unusable input · 4 weights · 5 output · 6 training · "
    "130 interrupted."
)


class Boundary(TyperGroup):
    """The app's group: every failure that a user can cause becomes one line on stderr and its class's exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.rich_markup_mode = None  # rich takes as long to load as all the rest; commands' own help has its panels

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the app's own options."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except typer.TyperException as error:
            raise _fail(_sentence(error), error.exit_code) from error

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except HgsError as error:
            raise _fail(str(error), error.exit_code) from error
        except typer.TyperException as error:
            raise _fail(_sentence(error), error.exit_code) from error


def _sentence(error: typer.TyperException) -> str:
    """Typer's own complaint in the form of ours."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "hgs"
    return " ".join(f"{message} — see {command} --help".splitlines())


def _fail(sentence: str, exit_code: int) -> typer.Exit:
    typer.echo(f"hgs: error: {sentence}", err=True)
    return typer.Exit(exit_code)


app = typer.Typer(
    name="hgs",
    cls=Boundary,
    help="One recorded sound in, a playable pitched instrument out.\n\n"
    "Example: hgs render snare.wav --pitches C3-C5\n\n" + EXIT_CODES,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    """Show help or the version when there is no command."""
    if version:
        from hgs_cli import __version__

        typer.echo(f"hgs {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)


# --- commands -------------------------------------------------------------------------------------------------------


@app.command(epilog=EXIT_CODES)
def invert(
    sounds: Sounds,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.hgs|DIR", help="Where to write.", show_default="./{name}.hgs"),
    ] = None,
    force: Force = False,
    pitch: SourcePitchOption = "auto",
    audio: Annotated[bool, typer.Option("--audio", help="Also the sound as hgs hears it, {name}_heard.wav.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also a picture of how near hgs comes, {name}.png.")] = False,
    quiet: Quiet = False,
    recursive: Recursive = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    passes: Passes = None,
    stereo: Stereo = False,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="For --audio.", rich_help_panel=LEVEL_PANEL)] = 0,
    normalize: Normalize = "lufs",
    lufs: Lufs = -18.0,
    subtype: Subtype = "PCM_24",
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Turn sounds into instruments: .hgs files that render and mix read.

    Prints each file's path; on stderr the pitch found and how near the reconstruction comes.

    Example: hgs invert cello.wav --plot
    """
    from hgs_cli.plan import SOUND_SUFFIXES, find_sources

    messages, hint = Messages(quiet), _source_hint(pitch)
    sources, alone = find_sources(sounds, recursive, sys.stdin, SOUND_SUFFIXES)
    suffixes = [".hgs", *(["_heard.wav"] if audio else []), *([".png"] if plot else [])]
    targets = _inversion_targets(sources, alone, out, suffixes)
    chosen = _still_to_do(targets, skip_existing, messages)
    _refuse_existing((path for index in chosen for path in targets[index]), force, sources)
    if dry_run:
        _print_plan([(sources[index].path, targets[index]) for index in chosen], as_json)
        return
    if not chosen:
        return
    model = _load(weights, device, threads)

    from hgs_cli.pipeline import Settings

    settings = Settings(normalize=normalize, lufs=lufs, seed=seed, stereo=stereo)

    def work(index: int, _: Advance) -> Done:
        facts = _invert_one(
            model, sources[index].path, targets[index], audio, plot, hint, passes, settings, subtype, force, messages
        )
        lines = [json.dumps(facts)] if as_json else [str(path) for path in targets[index]]
        return Done(f"{facts['seconds']:.2f} s", lines)

    _each([sources[index].path for index in chosen], lambda number, tell: work(chosen[number], tell), messages)


@app.command(epilog=EXIT_CODES)
def render(
    sounds: Playables,
    pitches: Pitches = "48-72",
    out: Out = None,
    force: Force = False,
    formats: Format = "wav",
    audition: Audition = False,
    pitch: SourcePitchOption = "auto",
    detail: Detail = 1.0,
    quiet: Quiet = False,
    loop: LoopNotes = False,
    duration: Duration = None,
    fade: Fade = None,
    trim: Trim = False,
    velocities: Velocities = 1,
    seed: Seed = 0,
    tonal: Tonal = "auto",
    variation: Variation = 0.0,
    vibrato: Vibrato = "keep",
    tune: Tune = 0.0,
    a4: A4 = 440.0,
    normalize: Normalize = "lufs",
    lufs: Lufs = -18.0,
    sample_rate: SampleRate = 44_100,
    subtype: Subtype = "PCM_24",
    name: Name = None,
    recursive: Recursive = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    plot: Plot = False,
    passes: Passes = None,
    stereo: Stereo = False,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play a sound at any pitches: one file a note, or instruments that samplers open.

    Files are called {name}_{midi}_{note}.wav; their paths are printed.

    Example: hgs render snare.wav --pitches C3-C5 --format wav,sfz
    """
    from hgs_cli.plan import INVERSION_SUFFIX, SOUND_SUFFIXES, find_sources, make_plan, parse_formats

    messages = Messages(quiet)
    hint, notes = _source_hint(pitch), _notes(pitches, messages)
    wanted = _check_subtype(parse_formats(formats), subtype)
    sources, alone = find_sources(sounds, recursive, sys.stdin, (*SOUND_SUFFIXES, INVERSION_SUFFIX))
    extras = _extras(audition, plot)
    plans = [
        make_plan(_folder(source, alone, out), source.name, notes, wanted, extras, velocities, name)
        for source in sources
    ]
    files = [plan.files for plan in plans]
    chosen = _still_to_do(files, skip_existing, messages)
    _refuse_existing((path for index in chosen for path in files[index]), force, sources)
    if dry_run:
        _print_plan([(sources[index].path, files[index]) for index in chosen], as_json)
        return
    settings = _settings(detail, tonal, variation, vibrato, normalize, lufs, seed, tune, a4, stereo)
    finish = _finish(loop, duration, fade, trim, sample_rate)
    if not chosen:
        return
    model = _load(weights, device, threads)

    from hgs_cli.delivery import How, Job
    from hgs_cli.pipeline import open_sound, single
    from hgs_cli.pitch import describe_pitch

    how = How(settings, finish, subtype, measured=as_json)

    def work(index: int, advance: Advance) -> Done:
        source, plan = sources[index], plans[index]
        inversion = open_sound(model, source.path, hint, passes, messages.warn, stereo)
        heard = "none" if inversion.source_pitch is None else describe_pitch(inversion.source_pitch)
        facts = (("Notes", str(len(notes))), ("Pitch of the sound", heard))
        jobs = [Job(single(model, inversion), plan, plan.name, facts)]
        inputs = _inputs([source.path], bool(extras))
        written = _deliver(model, jobs, how, inputs, force, advance, messages)
        lines = _file_lines(plan, written[0], {"input": str(source.path)}, how, as_json)
        return Done(f"{len(written[0])} note{'s' if len(written[0]) > 1 else ''}", lines)

    _each(
        [sources[index].path for index in chosen], lambda number, tell: work(chosen[number], tell), messages,
        len(notes) * velocities,
    )  # fmt: skip


@app.command(epilog=EXIT_CODES)
def mix(
    sounds: Mixed,
    pitches: Pitches = "48-72",
    ratio: Annotated[
        str | None,
        typer.Option(metavar="R,R", help="Share of each sound, such as 0.7,0.3.", show_default="equal shares"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=2, max=101, help="Mixes from all of the first sound to all of the second.", show_default=False
        ),
    ] = None,
    out: Out = None,
    force: Force = False,
    formats: Format = "wav",
    audition: Audition = False,
    detail: Detail = 1.0,
    quiet: Quiet = False,
    loop: LoopNotes = False,
    duration: Duration = None,
    fade: Fade = None,
    trim: Trim = False,
    velocities: Velocities = 1,
    seed: Seed = 0,
    tonal: Tonal = "auto",
    variation: Variation = 0.0,
    vibrato: Vibrato = "keep",
    tune: Tune = 0.0,
    a4: A4 = 440.0,
    normalize: Normalize = "lufs",
    lufs: Lufs = -18.0,
    sample_rate: SampleRate = 44_100,
    subtype: Subtype = "PCM_24",
    name: Name = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    plot: Plot = False,
    pitch: Annotated[
        str,
        typer.Option(
            "--pitch",
            metavar="NOTE|auto|none,...",
            rich_help_panel=SOURCE_PANEL,
            help="The sounds' own notes, one for all or one each.",
        ),
    ] = "auto",
    passes: Passes = None,
    stereo: Stereo = False,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play what lies between two or more sounds.

    Files are called {a}+{b}_{percent of b}_{midi}_{note}.wav; their paths are printed.

    Example: hgs mix flute.wav bell.wav --steps 5 --pitches C4,E4,G4
    """
    from hgs_cli.plan import parse_formats

    messages = Messages(quiet)
    notes = _notes(pitches, messages)
    wanted = _check_subtype(parse_formats(formats), subtype)
    hints = [_source_hint(text) for text in pitch.split(",")]
    if len(hints) not in (1, len(sounds)):
        raise UsageError(f"{len(hints)} source pitches for {len(sounds)} sounds", "give one for all or one each")
    hints = hints if len(hints) == len(sounds) else hints * len(sounds)
    mixes = _shares(len(sounds), ratio, steps)
    extras = _extras(audition, plot)
    plans = _mix_plans(sounds, mixes, out, notes, wanted, extras, velocities, name)
    shown = list(plans[-1].extras.values())  # one page of all mixes
    files = [path for plan in plans for path in plan.files if path not in shown] + shown
    if not _still_to_do([files], skip_existing, messages):
        return
    _refuse_existing(files, force, [Source(sound, Path(), sound.stem) for sound in sounds])
    if dry_run:
        _print_plan([(sound, files if sound is sounds[0] else []) for sound in sounds], as_json)
        return
    settings = _settings(detail, tonal, variation, vibrato, normalize, lufs, seed, tune, a4, stereo)
    finish = _finish(loop, duration, fade, trim, sample_rate)
    model = _load(weights, device, threads)

    from hgs_cli.delivery import How, Job
    from hgs_cli.pipeline import blend, open_sound

    inversions: list[Inversion | None] = [None] * len(sounds)

    def read(index: int, _: Advance) -> Done:
        inversions[index] = open_sound(model, sounds[index], hints[index], passes, messages.warn, stereo)
        return Done("read", [])

    _each(sounds, read, Messages(quiet=True))
    opened = [inversion for inversion in inversions if inversion is not None]
    how = How(settings, finish, subtype, measured=as_json)
    label = plans[0].name.rsplit("_", 1)[0]
    with messages.batch([label], len(notes) * velocities * len(mixes)) as batch, batch.file(0) as advance:
        jobs = [
            Job(blend(model, opened, shares), plan, " / ".join(f"{100 * share:.0f} %" for share in shares[1:]))
            for shares, plan in zip(mixes, plans, strict=True)
        ]
        written = _deliver(model, jobs, how, _inputs(sounds, bool(extras)), force, advance, messages)
    for shares, plan, mine in zip(mixes, plans, written, strict=True):
        facts = {"inputs": [str(sound) for sound in sounds], "shares": [round(share, 6) for share in shares]}
        last = plan is plans[-1]
        own = plan if last else replace(plan, extras={})  # the page of all mixes is printed once
        for line in _file_lines(own, mine, facts, how, as_json):
            typer.echo(line)


@app.command(epilog=EXIT_CODES)
def info(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE.hgs|BUNDLE...", help="Instruments or weights.", show_default=False),
    ],
    as_json: Json = False,
) -> None:
    """Tell what is in .hgs files and weights bundles.

    Example: hgs info cello.hgs
    """
    from hgs_cli.info import describe_file

    def work(index: int, _: Advance) -> Done:
        facts = describe_file(files[index])
        if as_json:
            return Done("", [json.dumps(facts)])
        rows = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in facts.items()]
        print_table(str(files[index]), rows, to_stdout=True)
        return Done("", [])

    _each(files, work, Messages(quiet=True))


@app.command()
def bench(
    sound: Annotated[
        Path | None, typer.Argument(metavar="[SOUND]", help="A sound to invert.", show_default="a tone made here")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="How often each step is timed.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    quiet: Quiet = False,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Measure how fast hgs is here.

    Times loading, inverting, a first note, a note in a batch and 25 notes.

    Example: hgs bench --runs 20 --json
    """
    from hgs_cli.bench import STEPS, run_bench

    set_threads(threads)
    messages = Messages(quiet)
    with messages.progress("timing", STEPS) as advance:
        report = run_bench(sound, weights, device, runs, advance)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
        return
    rows = [
        (
            timing.name,
            f"{timing.median_ms:.1f}",
            f"{timing.p95_ms:.1f}",
            f"{timing.real_time_factor:.0f}×" if timing.real_time_factor else "",
        )
        for timing in report.timings
    ]
    print_table("Timings", rows, ("step", "median ms", "p95 ms", "real time"), to_stdout=True)
    facts = [(name, str(value)) for name, value in report.environment.items()]
    facts += [("runs", str(runs)), ("peak memory", f"{report.peak_memory_mib:.0f} MiB")]
    print_table("Circumstances", facts, to_stdout=True)


# --- what commands share --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """How the work on one file went.

    Attributes:
        how: In a few words, for people.
        lines: Its results, for stdout.
    """

    how: str
    lines: Sequence[str]


def _each(sounds: Sequence[Path], work: Callable[[int, Advance], Done], messages: Messages, steps: int = 0) -> None:
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
                        typer.echo(line)
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


def _load(weights: Path | None, device: str, threads: int | None) -> Model:
    from hgs_cli.pipeline import load_model

    set_threads(threads)
    return load_model(weights, device)


def _refuse_existing(targets: Iterable[Path], force: bool, sources: Sequence[Source]) -> None:
    """Check every file of the call before anything is read, made or written; no sound is ever written over."""
    from hgs_cli.outputs import check_targets

    files = list(targets)
    read = {source.path.resolve() for source in sources}
    for target in files:
        if target.resolve() in read:
            raise UsageError(f"{target} would be written over itself", "choose another folder with -o or another name")
    check_targets(files, force)


def _still_to_do(files: Sequence[Sequence[Path]], skip_existing: bool, messages: Messages) -> list[int]:
    """Indices of those results that are not there as a whole already."""
    if not skip_existing:
        return list(range(len(files)))
    chosen = [index for index, paths in enumerate(files) if not all(path.exists() for path in paths)]
    if len(chosen) < len(files):
        messages.line(f"{len(files) - len(chosen)} of {len(files)} are there already")
    return chosen


def _print_plan(planned: Sequence[tuple[Path, Sequence[Path]]], as_json: bool) -> None:
    for source, paths in planned:
        for path in paths:
            typer.echo(json.dumps({"path": str(path), "input": str(source)}) if as_json else str(path))


def _notes(spec: str, messages: Messages) -> tuple[float, ...]:
    from hgs_cli.pitch import parse_pitches, unusual_pitches

    notes = parse_pitches(spec)
    unusual = unusual_pitches(notes)
    if unusual:
        listed = ", ".join(f"{note:g}" for note in unusual[:5]) + (", …" if len(unusual) > 5 else "")
        messages.warn(f"outside a piano's range (21-108) less of the sound is left: {listed}")
    return notes


def _source_hint(text: str) -> SourceHint:
    from hgs_cli.pitch import parse_note

    word = text.strip().lower()
    if word == "auto":
        return "auto"
    return None if word == "none" else parse_note(text)


def _check_subtype(formats: tuple[str, ...], subtype: str) -> tuple[str, ...]:
    if subtype == "FLOAT" and "flac" in formats:
        raise UsageError("FLAC holds no floating point", "choose --subtype PCM_24, or wav")
    return formats


def _extras(audition: bool, plot: bool) -> dict[str, str]:
    """Suffixes of the files beside the notes, by kind."""
    from hgs_cli.plan import PAGE, PICTURE

    return {**({PAGE: ".html"} if audition else {}), **({PICTURE: ".png"} if plot else {})}


def _settings(
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


def _finish(loop: bool, duration: float | None, fade: float | None, trim: bool, sample_rate: int) -> Finish:
    from hgs_cli.finish import Finish

    return Finish(loop, duration, fade, trim, sample_rate)


def _folder(source: Source, alone: bool, out: Path | None) -> Path:
    """Where a sound's notes go: flat where -o names a folder for a single sound, else in one of their own."""
    return out if out is not None and alone else (out or Path()) / source.folder / source.name


def _inversion_targets(
    sources: Sequence[Source], alone: bool, out: Path | None, suffixes: Sequence[str]
) -> list[list[Path]]:
    for source in sources:
        if source.path.suffix.lower() == ".hgs":
            raise UsageError(f"{source.path} is an inversion already", "give sounds")
    if out is not None and out.suffix.lower() == ".hgs":
        if not alone:
            raise UsageError(f"one file {out} for {len(sources)} sounds", "give a folder with -o")
        return [[out, *(out.with_name(out.stem + suffix) for suffix in suffixes[1:])]]
    return [[(out or Path()) / source.folder / f"{source.name}{suffix}" for suffix in suffixes] for source in sources]


def _shares(n_sounds: int, ratio: str | None, steps: int | None) -> list[list[float]]:
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


def _percents(shares: Sequence[float]) -> str:
    """A mix in a file's name: the percents of all sounds but the first."""
    return "-".join(f"{round(100 * share):03d}" for share in shares[1:])


def _mix_plans(
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
    from hgs_cli.plan import make_plan

    name = "+".join(sound.stem for sound in sounds)
    folder = out or Path(name)
    shown = {kind: folder / f"{name}{suffix}" for kind, suffix in extras.items()}
    plans = [
        replace(
            make_plan(folder, f"{name}_{_percents(shares)}", notes, formats, {}, velocities, template), extras=shown
        )
        for shares in mixes
    ]
    sounding = [path for plan in plans for path in plan.files if path not in shown.values()]
    if len(set(sounding)) < len(sounding):
        raise UsageError(f"name {template!r} is the same for two mixes", "add {stem}, which tells their shares")
    return plans


def _inputs(sounds: Sequence[Path], shown: bool) -> list[AuditionInput]:
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


def _deliver(
    model: Model,
    jobs: Sequence[Job],
    how: How,
    inputs: Sequence[AuditionInput],
    force: bool,
    advance: Advance,
    messages: Messages,
) -> list[list[NoteFiles]]:
    """Write all files of a result together, and say where notes had to be lowered."""
    from hgs_cli.delivery import deliver
    from hgs_cli.outputs import OutputSet

    files = dict.fromkeys(path for job in jobs for path in job.plan.files)
    with OutputSet(files, force) as outputs:
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


def _file_lines(plan: Plan, notes: Sequence[NoteFiles], facts: dict[str, Any], how: How, as_json: bool) -> list[str]:
    """A result's files as paths, or as JSON with the facts given."""
    from hgs_cli.plan import describe_note, layer_velocities

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


def _invert_one(
    model: Model,
    sound: Path,
    targets: Sequence[Path],
    audio: bool,
    plot: bool,
    hint: SourceHint,
    passes: int | None,
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

    from hgs_cli.delivery import How, Job, deliver
    from hgs_cli.finish import Finish
    from hgs_cli.instrument import UNPITCHED_REFERENCE
    from hgs_cli.outputs import OutputSet
    from hgs_cli.pipeline import NoteKey, open_sound, reconstruct, single
    from hgs_cli.pitch import describe_pitch, nearest_note, note_name

    start = time.perf_counter()
    inversion = open_sound(model, sound, hint, passes, messages.warn, settings.stereo)
    seconds = time.perf_counter() - start
    heard = reconstruct(model, inversion)
    source = inversion.source_pitch
    target, others = targets[0], list(targets[1:])
    facts: dict[str, Any] = {"path": str(target), "input": str(sound), "pitched": source is not None}
    if source is not None:
        note, cents = nearest_note(source)
        facts |= {"midi": note, "note": note_name(note), "cents": round(cents, 1)}
    facts |= {
        "first_db": round(heard.distance_db(heard.first), 3),
        "refined_db": round(heard.distance_db(heard.refined), 3),
        "detailed_db": round(heard.distance_db(heard.detailed), 3),
        "passes": inversion.passes,
        "seconds": round(seconds, 3),
    }
    with OutputSet(targets, force) as outputs:
        outputs.write(target, inversion.save)
        if audio:
            own = NoteKey(UNPITCHED_REFERENCE if source is None else source)
            # The sound itself, not a note made of it: an unpitched sound stays noise.
            plain = settings if source is not None else replace(settings, tonal=0.0)
            reconstruction = others.pop(0)
            job = Job(single(model, inversion), Plan(sound.stem, {own: {"wav": reconstruction}}, {}), sound.stem)
            deliver(model, [job], How(plain, Finish(), subtype), outputs)
            facts["audio"] = str(reconstruction)
        if plot:
            from hgs_cli.plot import draw_spectrograms

            picture = others.pop(0)
            panels = [
                (title, mel[:, : heard.length_frames])
                for title, mel in (
                    ("input", heard.mel),
                    ("first reconstruction", heard.first),
                    ("refined by the hypernetwork", heard.refined),
                    ("with the sound's detail", heard.detailed),
                )
            ]
            filters = model.log_mel.filters.cpu()
            outputs.write(picture, lambda aside: draw_spectrograms(aside, panels, filters))
            facts["plot"] = str(picture)
    rows = [
        ("pitch", "none" if source is None else describe_pitch(source)),
        ("distance, without the hypernetwork", f"{facts['first_db']:.2f} dB"),
        ("distance, with it", f"{facts['refined_db']:.2f} dB"),
        ("distance, with the sound's detail", f"{facts['detailed_db']:.2f} dB"),
        ("time", f"{seconds:.2f} s"),
    ]
    messages.table(str(sound), rows)
    return facts


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # paths are printed as they are, in whatever encoding
    app(prog_name="hgs")
