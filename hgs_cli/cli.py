"""The command line: options, help, and the one place where errors become a line and an exit code.

Nothing heavy is imported here; torch and numpy load inside the commands, so that help is instant.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hgs_cli import ending
from hgs_cli.cli_train import train
from hgs_cli.commands import (
    Done,
    Listening,
    bench_bars,
    check_subtype,
    deliver_files,
    extra_suffixes,
    file_lines,
    folder_of,
    inversion_targets,
    invert_one,
    load_weights,
    make_finish,
    make_settings,
    mix_plans,
    mix_shares,
    open_heard,
    print_bench,
    print_plan,
    read_inputs,
    read_notes,
    refuse_existing,
    refuse_leaving,
    source_hint,
    start_seconds,
    still_to_do,
    take_back,
    unless_there,
    work_on_each,
)
from hgs_cli.console import Advance, Messages, print_table, say
from hgs_cli.errors import HgsError, UsageError
from hgs_cli.export.naming import Source
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
    MaxSeconds,
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
    Start,
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
    keep_memory,
    set_threads,
)

if TYPE_CHECKING:
    from hgs_cli.pipeline import Inversion

EXIT_CODES = (
    "Exit codes: 0 done · 1 a bug in hgs · 2 usage · 3 unusable input · 4 weights · 5 output · 6 training · "
    "130 interrupted."
)


class Compared(StrEnum):
    """What `hgs bench` can compare with."""

    RUBBERBAND = "rubberband"


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
    ending.check()  # else the sentence may be about the interrupt
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

        say(f"hgs {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())
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
    start: Start = "auto",
    max_seconds: MaxSeconds = 120.0,
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
    from hgs_cli.export.naming import SOUND_SUFFIXES, find_sources

    messages, hint, start_s = Messages(quiet), source_hint(pitch), start_seconds(start)
    sources, alone = find_sources(sounds, recursive, sys.stdin, SOUND_SUFFIXES)
    suffixes = [".hgs", *(["_heard.wav"] if audio else []), *([".png"] if plot else [])]
    targets = inversion_targets(sources, alone, out, suffixes)
    single_file = out is not None and out.suffix.lower() == ".hgs"
    for files in targets:
        refuse_leaving(out if out is not None and not single_file else files[0].parent, files)
    take_back(targets, dry_run)
    chosen = still_to_do(targets, skip_existing, messages)
    refuse_existing((path for index in chosen for path in targets[index]), force, sources)
    if dry_run:
        print_plan([({"input": str(sources[index].path)}, targets[index]) for index in chosen], as_json)
        return
    if not chosen:
        return
    model = load_weights(weights, device, threads)

    from hgs_cli.pipeline import Settings

    settings = Settings(normalize=normalize, lufs=lufs, seed=seed, stereo=stereo)
    listening = Listening(hint, passes, stereo, start_s, max_seconds)

    def work(index: int) -> Done:
        facts = invert_one(
            model, sources[index].path, targets[index], audio, plot, listening, settings, subtype, force, messages
        )
        lines = [json.dumps(facts)] if as_json else [str(path) for path in targets[index]]
        return Done(f"{facts['seconds']:.2f} s", lines)

    work_on_each(
        [sources[index].path for index in chosen],
        lambda number, _: unless_there(targets[chosen[number]], skip_existing, lambda: work(chosen[number])),
        messages,
    )


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
    start: Start = "auto",
    max_seconds: MaxSeconds = 120.0,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play a sound at any pitches: one file a note, or instruments that samplers open.

    Files are called {name}_{midi}_{note}.wav; their paths are printed.

    Example: hgs render snare.wav --pitches C3-C5 --format wav,sfz
    """
    from hgs_cli.export.naming import INVERSION_SUFFIX, SOUND_SUFFIXES, find_sources, make_plan, parse_formats

    messages = Messages(quiet)
    hint, notes, start_s = source_hint(pitch), read_notes(pitches, messages), start_seconds(start)
    wanted = check_subtype(parse_formats(formats), subtype)
    sources, alone = find_sources(sounds, recursive, sys.stdin, (*SOUND_SUFFIXES, INVERSION_SUFFIX))
    extras = extra_suffixes(audition, plot)
    plans = [
        make_plan(folder_of(source, alone, out), source.name, notes, wanted, extras, velocities, name)
        for source in sources
    ]
    files = [plan.files for plan in plans]
    for source, paths in zip(sources, files, strict=True):
        refuse_leaving(out or folder_of(source, alone, out), paths)
    take_back(files, dry_run)
    chosen = still_to_do(files, skip_existing, messages)
    refuse_existing((path for index in chosen for path in files[index]), force, sources)
    if dry_run:
        print_plan([({"input": str(sources[index].path)}, files[index]) for index in chosen], as_json)
        return
    settings = make_settings(detail, tonal, variation, vibrato, normalize, lufs, seed, tune, a4, stereo)
    finish = make_finish(loop, duration, fade, trim, sample_rate)
    if not chosen:
        return
    model = load_weights(weights, device, threads)

    from hgs_cli.export.delivery import How, Job
    from hgs_cli.pipeline import make_instrument
    from hgs_cli.pitch import describe_pitch

    how = How(settings, finish, subtype, measured=as_json)
    listening = Listening(hint, passes, stereo, start_s, max_seconds)

    def work(index: int, advance: Advance) -> Done:
        source, plan = sources[index], plans[index]
        inversion = open_heard(model, source.path, listening, messages)
        heard = "none" if inversion.source_pitch is None else describe_pitch(inversion.source_pitch)
        facts = (("Notes", str(len(notes))), ("Pitch of the sound", heard))
        told = {"input": str(source.path), "heard": inversion.heard, "kind": inversion.kind}
        jobs = [Job(make_instrument(model, inversion), plan, plan.name, facts)]
        inputs = read_inputs([source.path], bool(extras))
        written = deliver_files(model, jobs, how, inputs, force, advance, messages)
        lines = file_lines(plan, written[0], told, how, as_json)
        return Done(f"{len(written[0])} note{'s' if len(written[0]) > 1 else ''}", lines)

    work_on_each(
        [sources[index].path for index in chosen],
        lambda number, tell: unless_there(files[chosen[number]], skip_existing, lambda: work(chosen[number], tell)),
        messages,
        len(notes) * velocities,
    )


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
    start: Start = "auto",
    max_seconds: MaxSeconds = 120.0,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play what lies between two or more sounds.

    Files are called {a}+{b}_{percent of b}_{midi}_{note}.wav; their paths are printed.

    Example: hgs mix flute.wav bell.wav --steps 5 --pitches C4,E4,G4
    """
    from hgs_cli.export.naming import parse_formats

    messages = Messages(quiet)
    notes = read_notes(pitches, messages)
    wanted = check_subtype(parse_formats(formats), subtype)
    hints = [source_hint(text) for text in pitch.split(",")]
    if len(hints) not in (1, len(sounds)):
        raise UsageError(f"{len(hints)} source pitches for {len(sounds)} sounds", "give one for all or one each")
    hints = hints if len(hints) == len(sounds) else hints * len(sounds)
    start_s = start_seconds(start)
    mixes = mix_shares(len(sounds), ratio, steps)
    extras = extra_suffixes(audition, plot)
    plans = mix_plans(sounds, mixes, out, notes, wanted, extras, velocities, name)
    label = plans[0].name.rsplit("_", 1)[0]
    shown = list(plans[-1].extras.values())  # one page of all mixes
    files = [path for plan in plans for path in plan.files if path not in shown] + shown
    refuse_leaving(out or Path(label), files)
    take_back([files], dry_run)
    if not still_to_do([files], skip_existing, messages):
        return
    refuse_existing(files, force, [Source(sound, Path(), sound.stem) for sound in sounds])
    if dry_run:
        print_plan([({"inputs": [str(sound) for sound in sounds]}, files)], as_json)
        return
    settings = make_settings(detail, tonal, variation, vibrato, normalize, lufs, seed, tune, a4, stereo)
    finish = make_finish(loop, duration, fade, trim, sample_rate)
    model = load_weights(weights, device, threads)

    from hgs_cli.export.delivery import How, Job
    from hgs_cli.pipeline import mix_instruments

    inversions: list[Inversion | None] = [None] * len(sounds)

    def read(index: int, _: Advance) -> Done:
        listening = Listening(hints[index], passes, stereo, start_s, max_seconds)
        inversions[index] = open_heard(model, sounds[index], listening, messages)
        return Done("read", [])

    work_on_each(sounds, read, Messages(quiet=True))
    opened = [inversion for inversion in inversions if inversion is not None]
    how = How(settings, finish, subtype, measured=as_json)

    def work(advance: Advance) -> Done:
        jobs = [
            Job(
                mix_instruments(model, opened, shares), plan, " / ".join(f"{100 * share:.0f} %" for share in shares[1:])
            )
            for shares, plan in zip(mixes, plans, strict=True)
        ]
        written = deliver_files(model, jobs, how, read_inputs(sounds, bool(extras)), force, advance, messages)
        lines: list[str] = []
        for shares, plan, mine in zip(mixes, plans, written, strict=True):
            facts = {
                "inputs": [str(sound) for sound in sounds],
                "shares": [round(share, 6) for share in shares],
                "heard": [inversion.heard for inversion in opened],
                "kind": [inversion.kind for inversion in opened],
            }
            last = plan is plans[-1]
            own = plan if last else replace(plan, extras={})  # the page of all mixes is printed once
            lines += file_lines(own, mine, facts, how, as_json)
        return Done(label, lines)

    with messages.batch([label], len(notes) * velocities * len(mixes)) as batch, batch.file(0) as advance:
        done = unless_there(files, skip_existing, lambda: work(advance))
    for line in done.lines:
        say(line)


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

    work_on_each(files, work, Messages(quiet=True))


@app.command()
def bench(
    sound: Annotated[
        Path | None, typer.Argument(metavar="[SOUND]", help="A sound to invert.", show_default="a tone made here")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="How often each step is timed.")] = 5,
    cold: Annotated[bool, typer.Option("--cold", help="Also time whole calls, each in a new process.")] = False,
    compare: Annotated[
        Compared | None, typer.Option(help="Also time another program at the same notes.", show_default="none")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also draw the timings.", dir_okay=False, show_default="none")
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    quiet: Quiet = False,
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Measure how fast hgs is here.

    Every stage of inverting and playing a sound, notes in batches, by threads and by length, and how near the generator
    comes to what this machine can do. Other programs should rest meanwhile.

    Example: hgs bench snare.wav --cold --compare rubberband
    """
    from hgs_cli.atomic_files import OutputSet
    from hgs_cli.bench import count_steps, run_bench

    set_threads(threads)
    keep_memory()
    messages = Messages(quiet)
    with OutputSet([] if plot is None else [plot], force) as outputs:
        with messages.batch(["timing"], count_steps(cold, compare is not None)) as batch, batch.file(0) as advance:
            report = run_bench(sound, weights, device, runs, cold=cold, compare=compare is not None, advance=advance)
        if plot is not None:
            from hgs_cli.export.plot import draw_bars

            outputs.write(plot, lambda aside: draw_bars(aside, bench_bars(report)))
    if as_json:
        say(json.dumps(report.to_dict()))
        return
    print_bench(report, runs)


@app.command()
def manual(
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="The page to read.", show_default="a list of all")
    ] = None,
) -> None:
    """Read the manual.

    Example: hgs manual cookbook
    """
    from hgs_cli.manual import list_topics, show

    if topic is None:
        list_topics()
    else:
        show(topic)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # paths are what they are, in whatever encoding
    app(prog_name="hgs")
