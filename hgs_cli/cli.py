"""The command line: options, help, and the one place where errors become a line and an exit code.

Nothing heavy is imported here; torch and numpy load inside the commands, so that help is instant.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hgs_cli.cli_train import train
from hgs_cli.console import Messages, print_table
from hgs_cli.errors import HgsError, InputError, OutputError, UsageError
from hgs_cli.options import (
    LEVEL_PANEL,
    SOUND_PANEL,
    SOURCE_PANEL,
    Detail,
    Device,
    Force,
    Json,
    Lufs,
    Normalize,
    Out,
    Passes,
    Pitches,
    Quiet,
    Seed,
    Sounds,
    SourcePitchOption,
    Subtype,
    Threads,
    Tonal,
    Variation,
    Vibrato,
    Weights,
    set_threads,
)

if TYPE_CHECKING:
    from hgs_cli.pipeline import Instrument, Inversion, Model, Settings, SourceHint

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
    add_completion=False,
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


@app.command()
def invert(
    sounds: Sounds,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE.hgs|DIR", help="Where to write.", show_default="./{name}.hgs"),
    ] = None,
    force: Force = False,
    pitch: SourcePitchOption = "auto",
    audio: Annotated[
        Path | None, typer.Option(metavar="FILE.wav", help="Write the sound as hgs hears it.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw input, first and refined reconstruction.", show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    passes: Passes = None,
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

    Example: hgs invert cello.wav --plot cello.png
    """
    messages = Messages(quiet)
    hint = _source_hint(pitch)
    if len(sounds) > 1 and (audio or plot):
        raise UsageError("--audio and --plot with several sounds", "give one sound a call")
    for given, suffix in ((audio, ".wav"), (plot, ".png")):
        if given is not None and given.suffix.lower() != suffix:
            raise UsageError(f"{given} does not end in {suffix}", f"choose a {suffix} file")
    targets = _inversion_targets(sounds, out)
    _refuse_existing([target for target in [*targets, audio, plot] if target is not None], force)
    model = _load(weights, device, threads)

    from hgs_cli.pipeline import Settings

    settings = Settings(normalize=normalize, lufs=lufs, seed=seed)

    def work(index: int) -> None:
        facts = _invert_one(
            model, sounds[index], targets[index], audio, plot, hint, passes, settings, subtype, force, messages
        )
        for key in ("path", "audio", "plot"):
            if not as_json and key in facts:
                typer.echo(facts[key])
        if as_json:
            typer.echo(json.dumps(facts))

    _each(sounds, work)


@app.command()
def render(
    sounds: Annotated[
        list[Path], typer.Argument(metavar="SOUND|INVERSION...", help="Sound files or .hgs files.", show_default=False)
    ],
    pitches: Pitches = "48-72",
    out: Out = None,
    force: Force = False,
    pitch: SourcePitchOption = "auto",
    detail: Detail = 1.0,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    passes: Passes = None,
    tonal: Tonal = "auto",
    variation: Variation = 0.0,
    vibrato: Vibrato = "keep",
    normalize: Normalize = "lufs",
    lufs: Lufs = -18.0,
    subtype: Subtype = "PCM_24",
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play a sound at any pitches: one WAV file a note.

    Files are called {name}_{midi}_{note}.wav; their paths are printed.

    Example: hgs render snare.wav --pitches C3-C5
    """
    from hgs_cli.pitch import note_file_name

    messages = Messages(quiet)
    hint, notes = _source_hint(pitch), _notes(pitches, messages)
    names = _distinct_names(sounds, ".wav")
    folders = [(out / name if len(sounds) > 1 else out) if out else Path(name) for name in names]
    targets = [
        {note: folder / note_file_name(name, note) for note in notes}
        for folder, name in zip(folders, names, strict=True)
    ]
    _refuse_existing((target for one in targets for target in one.values()), force)
    settings = _settings(detail, tonal, variation, vibrato, normalize, lufs, seed)
    model = _load(weights, device, threads)

    from hgs_cli.pipeline import open_sound, single

    def work(index: int) -> None:
        inversion = open_sound(model, sounds[index], hint, passes, messages.warn)
        facts = {"input": str(sounds[index])}
        _write(model, single(model, inversion), targets[index], settings, subtype, force, as_json, facts, messages)

    _each(sounds, work)


@app.command()
def mix(
    sounds: Annotated[
        list[Path], typer.Argument(metavar="SOUND|INVERSION...", help="Two or more sounds.", show_default=False)
    ],
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
    detail: Detail = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
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
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Another seed, another noise.", rich_help_panel=SOUND_PANEL)
    ] = 0,
    tonal: Tonal = "auto",
    variation: Variation = 0.0,
    vibrato: Vibrato = "keep",
    normalize: Normalize = "lufs",
    lufs: Lufs = -18.0,
    subtype: Subtype = "PCM_24",
    device: Device = "auto",
    threads: Threads = None,
    weights: Weights = None,
) -> None:
    """Play what lies between two or more sounds.

    Files are called {a}+{b}_{percent of b}_{midi}_{note}.wav; their paths are printed.

    Example: hgs mix flute.wav bell.wav --steps 5 --pitches C4,E4,G4
    """
    messages = Messages(quiet)
    notes = _notes(pitches, messages)
    hints = [_source_hint(text) for text in pitch.split(",")]
    if len(hints) not in (1, len(sounds)):
        raise UsageError(f"{len(hints)} source pitches for {len(sounds)} sounds", "give one for all or one each")
    hints = hints if len(hints) == len(sounds) else hints * len(sounds)
    mixes = _shares(len(sounds), ratio, steps)
    name = "+".join(sound.stem for sound in sounds)
    targets = [_mix_targets(out or Path(name), name, shares, notes) for shares in mixes]
    _refuse_existing((target for one in targets for target in one.values()), force)
    settings = _settings(detail, tonal, variation, vibrato, normalize, lufs, seed)
    model = _load(weights, device, threads)

    from hgs_cli.pipeline import blend, open_sound

    inversions: list[Inversion | None] = [None] * len(sounds)

    def read(index: int) -> None:
        inversions[index] = open_sound(model, sounds[index], hints[index], passes, messages.warn)

    _each(sounds, read)
    opened = [inversion for inversion in inversions if inversion is not None]
    for shares, chosen in zip(mixes, targets, strict=True):
        facts = {"inputs": [str(sound) for sound in sounds], "shares": [round(share, 6) for share in shares]}
        instrument = blend(model, opened, shares)
        _write(model, instrument, chosen, settings, subtype, force, as_json, facts, messages)


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


def _each(sounds: list[Path], work: Callable[[int], None]) -> None:
    """Do the work for every sound, finish the rest when one fails, and say the failures last.

    Raises:
        HgsError: The failure, if there was one sound.
        typer.Exit: With the first failure's code, if there were several sounds.
    """
    failures: list[HgsError] = []
    for index in range(len(sounds)):
        try:
            work(index)
        except (InputError, OutputError) as error:
            if len(sounds) == 1:
                raise
            failures.append(error)
    for failure in failures:
        typer.echo(f"hgs: error: {failure}", err=True)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _load(weights: Path | None, device: str, threads: int | None) -> Model:
    from hgs_cli.pipeline import load_model

    set_threads(threads)
    return load_model(weights, device)


def _refuse_existing(targets: Iterable[Path], force: bool) -> None:
    """Check every file of the call before anything is read, made or written."""
    from hgs_cli.outputs import check_targets

    check_targets(targets, force)


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


def _settings(
    detail: float, tonal: str, variation: float, vibrato: str, normalize: str, lufs: float, seed: int
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

    return Settings(detail, amount, variation, vibrato == "keep", normalize, lufs, seed)


def _distinct_names(sounds: list[Path], suffix: str) -> list[str]:
    """Stem of every sound, which its files are named for.

    Raises:
        UsageError: Two sounds would write the same files.
    """
    names = [sound.stem for sound in sounds]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two sounds are called {name}: their {suffix} files would be the same", "give them in two calls"
            )
    return names


def _inversion_targets(sounds: list[Path], out: Path | None) -> list[Path]:
    names = _distinct_names(sounds, ".hgs")
    for sound in sounds:
        if sound.suffix.lower() == ".hgs":
            raise UsageError(f"{sound} is an inversion already", "give sounds")
    if out is not None and out.suffix.lower() == ".hgs":
        if len(sounds) > 1:
            raise UsageError(f"one file {out} for {len(sounds)} sounds", "give a folder with -o")
        return [out]
    return [(out or Path()) / f"{name}.hgs" for name in names]


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


def _mix_targets(folder: Path, name: str, shares: list[float], notes: tuple[float, ...]) -> dict[float, Path]:
    """Files of one mix, by note: {a}+{b}_{percent of b}_...; of more sounds, all percents but the first."""
    from hgs_cli.pitch import note_file_name

    percents = "-".join(f"{round(100 * share):03d}" for share in shares[1:])
    return {note: folder / note_file_name(f"{name}_{percents}", note) for note in notes}


def _write(
    model: Model,
    instrument: Instrument,
    targets: dict[float, Path],
    settings: Settings,
    subtype: str,
    force: bool,
    as_json: bool,
    facts: dict[str, Any],
    messages: Messages,
) -> None:
    """Render an instrument's notes to files and print them, as paths or as JSON with the facts given."""
    from hgs_cli.outputs import OutputSet
    from hgs_cli.pipeline import write_notes
    from hgs_cli.pitch import note_name, split_cents

    label = next(iter(targets.values())).parent.name
    with (
        OutputSet(targets.values(), force) as outputs,
        messages.progress(f"rendering {label}", len(targets)) as advance,
    ):
        written = write_notes(model, instrument, targets, settings, outputs, subtype, advance)
    if written[0].lowered_db:
        messages.warn(f"the notes in {label} were lowered by {-written[0].lowered_db:.1f} dB: one would have clipped")
    for file in written:
        if not as_json:
            typer.echo(str(file.path))
            continue
        note, cents = split_cents(file.pitch)
        shown = {
            "path": str(file.path),
            **facts,
            "midi": note,
            "note": note_name(note),
            "cents": cents,
            "seconds": round(file.seconds, 6),
            "peak_db": round(file.peak_db, 2),
            "gain_db": round(file.gain_db, 2),
            "lowered_db": round(abs(file.lowered_db), 2),
            "seed": settings.seed,
        }
        typer.echo(json.dumps(shown))


def _invert_one(
    model: Model,
    sound: Path,
    target: Path,
    audio: Path | None,
    plot: Path | None,
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
    from dataclasses import replace

    from hgs_cli.instrument import UNPITCHED_REFERENCE
    from hgs_cli.outputs import OutputSet
    from hgs_cli.pipeline import open_sound, reconstruct, single, write_notes
    from hgs_cli.pitch import describe_pitch, nearest_note, note_name

    start = time.perf_counter()
    inversion = open_sound(model, sound, hint, passes, messages.warn)
    seconds = time.perf_counter() - start
    heard = reconstruct(model, inversion)
    source = inversion.source_pitch
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
    with OutputSet([path for path in (target, audio, plot) if path is not None], force) as outputs:
        outputs.write(target, inversion.save)
        if audio is not None:
            own = UNPITCHED_REFERENCE if source is None else source
            # The sound itself, not a note made of it: an unpitched sound stays noise.
            plain = settings if source is not None else replace(settings, tonal=0.0)
            write_notes(model, single(model, inversion), {own: audio}, plain, outputs, subtype)
            facts["audio"] = str(audio)
        if plot is not None:
            from hgs_cli.plot import draw_spectrograms

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
            outputs.write(plot, lambda aside: draw_spectrograms(aside, panels, filters))
            facts["plot"] = str(plot)
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
