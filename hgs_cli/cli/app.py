"""The app: its commands, its help, and the one place where errors become a line and an exit code.

Nothing heavy is imported here; torch and numpy load inside the commands, so that help is instant.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from hgs_cli import ending
from hgs_cli.cli.from_options import octave_of
from hgs_cli.cli.plain_words import PlainCommand, PlainGroup, PlayingCommand, describe_mistake
from hgs_cli.cli.playing import invert, mix, render
from hgs_cli.cli.train import train
from hgs_cli.commands import WorkResult, work_on_each
from hgs_cli.console import Advance, Messages, print_table, say, say_text
from hgs_cli.errors import HgsError, UsageError
from hgs_cli.options import Force, Json, MiddleC, Quiet, RunningOptions, keep_memory, set_threads, spread_options

EXIT_CODES = (
    "Exit codes: 0 done · 1 a bug in hgs · 2 usage · 3 unusable input · 4 weights · 5 output · 6 training · "
    "130 interrupted."
)


EVERYDAY = ("render", "mix", "invert", "info", "manual", "bench", "train")


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
for command, kind in ((render, PlayingCommand), (mix, PlayingCommand), (invert, PlainCommand)):
    app.command(cls=kind, epilog=EXIT_CODES)(command)


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
    from hgs_cli.cli.info import describe_file

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
        str,
        typer.Option(
            metavar="NAMES", help="Also time rubberband, signalsmith or both, with a comma.", show_default="none"
        ),
    ] = "",
    profile: Annotated[bool, typer.Option("--profile", help="Also tell the time of notes by operation.")] = False,
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

    Example: hgs bench snare.wav --cold --profile --compare rubberband,signalsmith
    """
    from hgs_cli.bench.plan import plan_bench
    from hgs_cli.bench.report import list_bars, print_report
    from hgs_cli.bench.run import count_steps, run_bench
    from hgs_cli.files.atomic import OutputSet

    set_threads(running.threads)
    keep_memory()
    messages = Messages(quiet)
    with OutputSet([] if plot is None else [plot], force) as outputs:
        plan = plan_bench(sound, runs, cold=cold, profile=profile, compare=compare)
        for name, reason in plan.missing.items():
            messages.warn(f"not compared: {name} — {reason}")
        with messages.batch(["timing"], count_steps(plan)) as batch, batch.file(0) as advance:
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
