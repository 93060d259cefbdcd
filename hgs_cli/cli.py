"""The command line: options, help, and the one place where errors become a line and an exit code.

Nothing heavy is imported here; torch and numpy load inside the commands, so that help is instant.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hgs_cli import ending
from hgs_cli.cli_train import train
from hgs_cli.commands import (
    Call,
    Planned,
    WorkResult,
    check_stdout,
    choose_work,
    invert_one,
    load_weights,
    mix_all,
    open_all,
    output_folder,
    render_one,
    send,
    work_on_each,
    work_on_planned,
)
from hgs_cli.console import Advance, Messages, print_table, say, say_text, stdin_bytes
from hgs_cli.errors import HgsError, UsageError
from hgs_cli.export.piped import DASH
from hgs_cli.from_options import (
    make_heard_options,
    make_listening,
    make_listenings,
    make_plan_options,
    make_render_options,
    mix_shares,
    octave_of,
)
from hgs_cli.options import (
    Detail,
    Force,
    Json,
    LengthOptions,
    LevelOptions,
    LoudnessOptions,
    MiddleC,
    Mixed,
    MultisampleOptions,
    Name,
    Pitches,
    Playables,
    Plot,
    Quiet,
    Recursive,
    RunningOptions,
    ScriptOptions,
    SoundingOptions,
    Sounds,
    SourceNote,
    SourceOptions,
    Subtype,
    TargetOptions,
    keep_memory,
    level_option,
    set_threads,
    source_option,
    spread_options,
)
from hgs_cli.plain_words import PlainCommand, PlainGroup, PlayingCommand, describe_mistake

EXIT_CODES = (
    "Exit codes: 0 done · 1 a bug in hgs · 2 usage · 3 unusable input · 4 weights · 5 output · 6 training · "
    "130 interrupted."
)


EVERYDAY = ("render", "mix", "invert", "info", "manual", "bench", "train")


class Compared(StrEnum):
    """What `hgs bench` can compare with."""

    RUBBERBAND = "rubberband"


class Boundary(PlainGroup):
    """The app's group: every failure that a user can cause becomes one line on stderr and its class's exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.rich_markup_mode = None  # rich takes as long to load as all the rest; commands' own help has its panels

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the app's own options."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except typer.TyperException as error:
            raise _fail(describe_mistake(error), error.exit_code) from error

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of commands, those of every day first."""
        return sorted(self.commands, key=lambda name: EVERYDAY.index(name) if name in EVERYDAY else len(EVERYDAY))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help's lists, commands first."""
        self.format_commands(ctx, formatter)
        with formatter.section("Options"):
            formatter.write_dl([record for each in self.get_params(ctx) if (record := each.get_help_record(ctx))])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is meant.

        Raises:
            UsageError: A sound stands where a command should.
        """
        from hgs_cli.export.sources import looks_like_sound

        name = args[0]
        if name not in self.commands:
            if looks_like_sound(name) or name == "-" or os.path.lexists(name):
                raise UsageError(f"{name} is no command", f"did you mean {shlex.join(['hgs', 'render', *args])}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except HgsError as error:
            raise _fail(str(error), error.exit_code) from error
        except typer.TyperException as error:
            raise _fail(describe_mistake(error), error.exit_code) from error


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
        say_text(ctx.get_help())
        raise typer.Exit(2)


# --- commands -------------------------------------------------------------------------------------------------------


@app.command(cls=PlainCommand, epilog=EXIT_CODES)
@spread_options
def invert(
    sounds: Sounds,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.hgs|DIR", help="Where to write.", show_default="./{name}.hgs"),
    ] = None,
    force: Force = False,
    source_note: SourceNote = "auto",
    audio: Annotated[bool, typer.Option("--audio", help="Also the sound as hgs hears it, {name}_heard.wav.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also a picture of how near hgs comes, {name}.png.")] = False,
    quiet: Quiet = False,
    recursive: Recursive = False,
    scripts: ScriptOptions,
    sets: MultisampleOptions,
    source: SourceOptions,
    seed: Annotated[int, level_option(min=0, max=2**31 - 1, help="For --audio.")] = 0,
    loudness: LoudnessOptions,
    subtype: Subtype = "PCM_24",
    middle_c: MiddleC = "C4",
    running: RunningOptions,
) -> None:
    """Turn sounds into instruments: .hgs files that render and mix read.

    Prints each file's path; on stderr the pitch found and how near the reconstruction comes.

    Example: hgs invert cello.wav --plot
    """
    from hgs_cli.export.naming import plan_inversions
    from hgs_cli.export.sources import INVERSION_SUFFIX, LISTENED_SUFFIXES, find_sources

    if out == DASH:
        raise UsageError("hgs invert writes files", "name one with -o, or a folder")
    messages, listening = Messages(quiet), make_listening(source_note, source, middle_c)
    sources, alone = find_sources(sounds, recursive, stdin_bytes(), LISTENED_SUFFIXES)
    gathered = None
    if sets.multisample:
        from hgs_cli.multisample.gathering import gather_set
        from hgs_cli.multisample.hearing import hear_recordings
        from hgs_cli.multisample.playing import invert_set

        if audio or plot:
            raise UsageError("--audio and --plot are about one sound", "leave them out, or --multisample")
        gathered, one = gather_set(sources, sets, messages, octave_of(middle_c))
        sources, alone = [one], True
    plans = plan_inversions(sources, alone, out, audio, plot)
    folder = None if out is None or out.suffix.lower() == INVERSION_SUFFIX else out
    planned = [
        Planned(str(one.path), [one.path], folder or plan.inversion.parent, plan.files, {"input": str(one.path)})
        for one, plan in zip(sources, plans, strict=True)
    ]
    if gathered is not None:
        planned = [replace(planned[0], name=gathered.name, sounds=gathered.sounds, facts=gathered.told)]
    chosen = choose_work(planned, force, scripts, messages)
    if scripts.dry_run or not chosen:
        return
    model = load_weights(running)
    call = Call(
        model,
        make_heard_options(loudness, seed, source.stereo, subtype),
        force,
        scripts.as_json,
        messages,
        octave_of(middle_c),
    )

    def work(index: int, _: Advance) -> WorkResult:
        if gathered is not None:
            recorded = hear_recordings(call, gathered, listening, sets.keep_tuning)
            return invert_set(call, gathered.name, recorded, plans[0])
        return invert_one(call, sources[index].path, plans[index], listening)

    work_on_planned(planned, work, chosen, scripts.skip_existing, messages)


@app.command(cls=PlayingCommand, epilog=EXIT_CODES)
@spread_options
def render(
    sounds: Playables,
    *,
    ctx: typer.Context,
    pitches: Pitches = "48-72",
    target: TargetOptions,
    source_note: SourceNote = "auto",
    detail: Detail = 1.0,
    quiet: Quiet = False,
    length: LengthOptions,
    sounding: SoundingOptions,
    level: LevelOptions,
    name: Name = None,
    recursive: Recursive = False,
    scripts: ScriptOptions,
    plot: Plot = False,
    sets: MultisampleOptions,
    source: SourceOptions,
    running: RunningOptions,
) -> None:
    """Play a sound at any pitches: a file a note, or instruments.

    Files are called {name}_{midi}_{note}.wav; their paths are printed.

    Example: hgs render snare.wav --pitches C3-C5 --format wav,sfz
    """
    from hgs_cli.export.naming import folder_of, make_plan
    from hgs_cli.export.sources import PLAYED_SUFFIXES, find_sources
    from hgs_cli.multisample.gathering import gather_set, planned_of
    from hgs_cli.multisample.hearing import hear_recordings
    from hgs_cli.multisample.index import holds_recordings
    from hgs_cli.multisample.playing import open_recordings, render_set

    messages, listening = Messages(quiet), make_listening(source_note, source, level.middle_c)
    options = make_plan_options(pitches, target, name, plot, length, level, messages)
    sources, alone = find_sources(sounds, recursive, stdin_bytes(), PLAYED_SUFFIXES)
    if sets.multisample:
        gathered, one = gather_set(sources, sets, messages, octave_of(level.middle_c))
        sources, alone, options = [one], True, gathered.planned(options)
    else:
        gathered = None
    out = ctx.with_resource(output_folder(target.out))
    folders = [folder_of(one, alone and (gathered is None or out is not None), out) for one in sources]
    plans = [
        make_plan(folder, one.name, options if sets.multisample else planned_of(one.path, options))
        for folder, one in zip(folders, sources, strict=True)
    ]
    if target.out == DASH:
        check_stdout(sum(len(plan.files) for plan in plans), scripts)
    planned = [
        Planned(str(one.path), [one.path], out or folder, plan.files, {"input": str(one.path)})
        for one, folder, plan in zip(sources, folders, plans, strict=True)
    ]
    if gathered is not None:
        planned = [replace(planned[0], name=gathered.name, sounds=gathered.sounds, facts=gathered.told)]
    chosen = choose_work(planned, target.force, scripts, messages)
    if scripts.dry_run:
        return
    rendering = make_render_options(detail, sounding, level, length, source.stereo, scripts.as_json)
    if not chosen:
        return
    call = Call(load_weights(running), rendering, target.force, scripts.as_json, messages, octave_of(level.middle_c))

    def work(index: int, advance: Advance) -> WorkResult:
        path, plan = sources[index].path, plans[index]
        if gathered is not None:
            recorded = hear_recordings(call, gathered, listening, sets.keep_tuning)
            result = render_set(call, gathered.sounds, recorded, plan, advance)
        elif holds_recordings(path):
            result = render_set(call, [path], open_recordings(call, path), plan, advance)
        else:
            result = render_one(call, path, plan, listening, advance)
        return send(result, plans[index].files) if target.out == DASH else result

    n_notes = max(len(plan.notes) for plan in plans)
    work_on_planned(planned, work, chosen, scripts.skip_existing, messages, n_notes)


@app.command(cls=PlayingCommand, epilog=EXIT_CODES)
@spread_options
def mix(
    sounds: Mixed,
    *,
    ctx: typer.Context,
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
    target: TargetOptions,
    detail: Detail = 1.0,
    quiet: Quiet = False,
    length: LengthOptions,
    sounding: SoundingOptions,
    level: LevelOptions,
    name: Name = None,
    recursive: Recursive = False,
    scripts: ScriptOptions,
    plot: Plot = False,
    sets: MultisampleOptions,
    source_note: Annotated[
        str,
        source_option(
            "--source-note",
            "--pitch",
            metavar="NOTE|auto|none,...",
            help="The sounds' own notes, one for all or one each.",
        ),
    ] = "auto",
    source: SourceOptions,
    running: RunningOptions,
) -> None:
    """Play what lies between two or more sounds.

    Files are called {a}+{b}_{percent of b}_{midi}_{note}.wav; their paths are printed.

    Example: hgs mix flute.wav bell.wav --steps 5 --pitches C4,E4,G4
    """
    from hgs_cli.export.naming import plan_mixes
    from hgs_cli.export.sources import list_sounds
    from hgs_cli.multisample.gathering import gather_mixed, planned_together
    from hgs_cli.multisample.playing import mix_sets, open_mixed

    messages = Messages(quiet)
    sources = list_sounds(sounds, stdin_bytes())
    options = make_plan_options(pitches, target, name, plot, length, level, messages)
    mixed = gather_mixed(sources, sets, recursive, messages, octave_of(level.middle_c))
    if mixed:
        sources, options = [each.source for each in mixed], planned_together(mixed, options)
    sounds = [each.path for each in sources]
    listenings = make_listenings(source_note.split(","), source, len(sounds), level.middle_c)
    out, label = ctx.with_resource(output_folder(target.out)), "+".join(each.name for each in sources)
    mixes = plan_mixes(label, mix_shares(len(sounds), ratio, steps), out, options)
    files = [path for each in mixes for path in each.plan.sounding] + list(mixes[0].plan.extras.values())
    told = {"inputs": [str(sound) for sound in sounds]}
    if target.out == DASH:
        check_stdout(len(files), scripts)
    read = [sound for each in mixed for sound in each.sounds] or sounds
    planned = [Planned(label, read, out or Path(label), files, told)]
    chosen = choose_work(planned, target.force, scripts, messages)
    if scripts.dry_run or not chosen:
        return
    rendering = make_render_options(detail, sounding, level, length, source.stereo, scripts.as_json)
    call = Call(load_weights(running), rendering, target.force, scripts.as_json, messages, octave_of(level.middle_c))
    many = open_mixed(call, mixed, listenings, sets.keep_tuning) if mixed else []
    inversions = [] if mixed else open_all(call, sounds, listenings)

    def work(_: int, advance: Advance) -> WorkResult:
        if mixed:
            result = mix_sets(call, mixed, many, mixes, advance)
        else:
            result = mix_all(call, sounds, inversions, mixes, advance)
        return send(result, files) if target.out == DASH else result

    work_on_planned(planned, work, chosen, scripts.skip_existing, messages, options.n_notes * len(mixes))


@app.command(cls=PlainCommand, epilog=EXIT_CODES)
def info(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE.hgs|BUNDLE...", help="Instruments or weights.", show_default=False),
    ],
    as_json: Json = False,
    middle_c: MiddleC = "C4",
) -> None:
    """Tell what is in .hgs files and weights bundles.

    Example: hgs info cello.hgs
    """
    from hgs_cli.info import describe_file

    def work(index: int, _: Advance) -> WorkResult:
        facts = describe_file(files[index], octave_of(middle_c))
        if as_json:
            return WorkResult("", [json.dumps(facts)])
        recordings = facts.pop("recordings", [])
        rows = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in facts.items()]
        rows += [(each["name"], f"{each['pitch']}, layer {each['layer']}") for each in recordings]
        print_table(str(files[index]), rows, to_stdout=True)
        return WorkResult("", [])

    work_on_each([str(file) for file in files], work, Messages(quiet=True))


@app.command(cls=PlainCommand)
@spread_options
def bench(
    sound: Annotated[
        Path | None, typer.Argument(metavar="[SOUND]", help="A sound to invert.", show_default="a tone made here")
    ] = None,
    *,
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
    running: RunningOptions,
) -> None:
    """Measure how fast hgs is here.

    Every stage of inverting and playing a sound, notes in batches, by threads and by length, and how near the generator
    comes to what this machine can do. Other programs should rest meanwhile.

    Example: hgs bench snare.wav --cold --compare rubberband
    """
    from hgs_cli.atomic_files import OutputSet
    from hgs_cli.bench import plan_bench, run_bench
    from hgs_cli.bench_report import list_bars, print_report

    set_threads(running.threads)
    keep_memory()
    messages = Messages(quiet)
    with OutputSet([] if plot is None else [plot], force) as outputs:
        plan = plan_bench(sound, runs, cold=cold, compare=compare is not None)
        with messages.batch(["timing"], plan.n_steps) as batch, batch.file(0) as advance:
            report = run_bench(plan, running.weights, running.device, advance)
        if plot is not None:
            from hgs_cli.export.plot import draw_bars

            outputs.write(plot, lambda aside: draw_bars(aside, list_bars(report)))
    if as_json:
        say(json.dumps(report.to_dict()))
        return
    print_report(report, runs)


@app.command(cls=PlainCommand)
def manual(
    ctx: typer.Context,
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="The page to read.", show_default="a list of all")
    ] = None,
    man: Annotated[bool, typer.Option("--man", help="Print a man page of all commands, in troff.")] = False,
) -> None:
    """Read the manual.

    Example: hgs manual cookbook
    """
    from hgs_cli.manual import list_topics, show

    if man:
        if topic is not None:
            raise UsageError(f"--man is of all commands, and {topic} is a topic", "leave one of them out")
        from hgs_cli import __version__
        from hgs_cli.manual.man_page import man_page

        assert ctx.parent is not None
        say_text(man_page(ctx.parent, __version__))
    elif topic is None:
        list_topics()
    else:
        show(topic)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # paths are what they are, in whatever encoding
    app(prog_name="hgs")
