"""The `hgs train` commands: options and help; their work is in `hgs_cli.training`, imported inside the bodies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hgs_cli import ending
from hgs_cli.cli.plain_words import PlainCommand, PlainGroup
from hgs_cli.console import Messages, print_table, say
from hgs_cli.errors import OutputError, TrainingError, UsageError
from hgs_cli.evaluation.sources import CrossPitchOptions, Sources  # noqa: TID253 — options alone: nothing heavy
from hgs_cli.options import (
    RUN_PANEL,
    Device,
    Force,
    Quiet,
    Seed,
    Threads,
    Weights,
    parse_budget,
    set_threads,
    spread_options,
)
from hgs_cli.pitch import parse_pitches

train = typer.Typer(name="train", cls=PlainGroup, help="Build data, train the networks, release and measure weights.")


@train.callback()
def _work_that_is_undone(ctx: typer.Context) -> None:
    """Build data, train the networks, release and measure weights."""
    ctx.with_resource(ending.undone())  # workers are told, what is half-made is removed


RealFolders = Annotated[
    list[Path] | None,
    typer.Option("--real", metavar="DIR", help="Folder of recordings with a manifest.json; may be repeated."),
]


@train.command("data", cls=PlainCommand)
def data(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.", show_default=False)],
    real: RealFolders = None,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option(metavar="SF2", help="SoundFont to render; may be repeated.", show_default="Debian's two"),
    ] = None,
    soundfonts: Annotated[bool, typer.Option("--soundfonts/--no-soundfonts", help="Render SoundFonts.")] = True,
    nsynth: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Unpacked NSynth folder; -valid and -test validate. May be repeated."),
    ] = None,
    nsynth_source: Annotated[
        Literal["acoustic", "electronic", "synthetic"] | None,
        typer.Option(help="Use only these of NSynth's instruments.", show_default="all"),
    ] = None,
    nsynth_pitches: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Notes of NSynth to use: 24-84.", show_default="all")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="To measure with only: every instrument is on the validation side.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Build a data set from SoundFonts, recordings and NSynth; an interrupted call is taken up again.

    Example: hgs train data build/data --real recordings
    """
    if soundfont and not soundfonts:
        raise UsageError("--soundfont and --no-soundfonts contradict each other", "give one of them")
    if (nsynth_source or nsynth_pitches) and not nsynth:
        raise UsageError("NSynth is to be narrowed down, but no folder of it is named", "give --nsynth")
    if not soundfonts and not real and not nsynth:
        raise UsageError("there is nothing to build from", "leave out --no-soundfonts, or give --real or --nsynth")
    pitches = None if nsynth_pitches is None else frozenset(round(p) for p in parse_pitches(nsynth_pitches))

    from hgs_cli.training.data import build_dataset
    from hgs_cli.training.nsynth import SOURCES, Choice

    messages = Messages(quiet)

    def report(what: str, done: int, total: int) -> None:
        messages.line(f"{done}/{total} {what}")

    fonts = (soundfont or None) if soundfonts else []
    sources = SOURCES if nsynth_source is None else (nsynth_source,)
    choice = Choice(nsynth, sources, pitches) if nsynth else None
    shards = build_dataset(out, real or [], fonts, workers, report, choice, held_out=held_out)
    n_notes, n_dropped = sum(shard.n_notes for shard in shards), sum(shard.n_dropped for shard in shards)
    messages.line(f"{len(shards)} instruments, {n_notes} notes in {out}; {n_dropped} without their pitch")


@train.command("recordings", cls=PlainCommand)
def recordings(
    out: Annotated[
        Path | None,
        typer.Argument(metavar="[OUT]", help="Folder to fetch them into.", show_default="list them"),
    ] = None,
    only: Annotated[
        Literal["real", "real2"] | None,
        typer.Option("--set", help="The first recordings, or the further ones.", show_default="both"),
    ] = None,
    instrument: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this instrument; may be repeated.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Look at what is in OUT, and fetch nothing.")] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="ADDRESS",
            show_default="GitHub",
            help="Where from: https:// or file://, with {repository}, {commit} and {path} in it.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch again every recording that the released weights learned from or are measured on; without OUT, list them.

    The one command that uses the network. Writes OUT/real and OUT/real2, each with a manifest that --real reads.

    Example: hgs train recordings recordings --set real
    """
    if out is None and (check or template is not None):
        raise UsageError("there is no folder", "name one")
    if check and template is not None:
        raise UsageError("--check fetches nothing", "leave --from out")

    from hgs_cli.training import recorded

    if template is not None:
        recorded.check_template(template)
    wanted = recorded.choose(recorded.read_table(), only, instrument or ())
    messages = Messages(quiet)
    if out is None:
        for row in wanted:
            say("\t".join((f"{row.folder}/{row.stem}", row.url(), row.licence, row.how)).rstrip())
        return
    if check:
        faults = recorded.check(out, wanted, messages.line)
    else:
        faults = recorded.fetch(out, wanted, template or recorded.FROM_GITHUB, messages.line)
    for fault in faults:
        messages.warn(fault)
    if faults:
        raise TrainingError(f"{len(faults)} of {len(wanted)} recordings are missing or not what they were", "try again")
    say(str(out))


@train.command("run", cls=PlainCommand)
def run(
    stage: Annotated[
        Literal["warmup", "gan", "hyper", "hyper-gan", "detail", "pitch-gan", "encoder", "mel-hyper", "judge"],
        typer.Argument(
            metavar="STAGE",
            help="warmup, gan, hyper, hyper-gan; detail; to compare with: pitch-gan, encoder, mel-hyper; judge.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set made by hgs train data.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.", show_default=False)],
    budget_s: Annotated[
        float | None,
        typer.Option("--budget", metavar="TIME", parser=parse_budget, help="Time to train: 45s, 90m, 1.5h."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps to train, instead of a time.")] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="RUN|BUNDLE", help="What to start from.", show_default="fresh networks"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from the checkpoint in --out.")] = False,
    seed: Seed = 0,
    config: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Settings of the stage that differ from the defaults.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")] = False,
    quiet: Quiet = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train one stage; what happens is printed as JSON lines.

    Example: hgs train run warmup --data build/data --out build/warmup --budget 90m
    """
    if (budget_s is None) == (steps is None):
        raise UsageError("training needs an end", "give either --budget or --steps")
    set_threads(threads)

    from hgs_cli.models.weights import choose_device
    from hgs_cli.training.loop import RunOptions, run_stage

    options = RunOptions(
        data=data,
        out=out,
        budget_s=budget_s,
        steps=steps,
        device=choose_device(device).type,
        seed=seed,
        resume=resume,
        init=init,
        config=config,
        dry_run=dry_run,
    )

    def tell(figures: dict[str, Any]) -> None:
        if not quiet:
            say(json.dumps(figures))

    run_stage(stage, options, tell)


@train.command("export", cls=PlainCommand)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder or checkpoint.", show_default=False)],
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="The .safetensors file to write.", show_default=False)
    ],
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Version of the weights.", show_default=False)
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(min=0, max=8, help="Passes of the hypernetwork by default.", show_default="as configured"),
    ] = None,
    detail: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Take the detail transfer from this run, or the mean of several."),
    ] = None,
    judge_data: Annotated[
        Path | None,
        typer.Option(
            "--judge", metavar="DATA", help="The run is a judge, trained on this data set.", show_default=False
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Make a weights bundle of a run's averaged networks, and enter it into SHA256SUMS beside it.

    With --judge, write the judge of a run of stage `judge`, with its accuracy on notes that it did not learn from.

    Example: hgs train export build/hyper-gan weights/hgs.safetensors --version 1.0 --detail build/detail
    """
    from hgs_cli.files.atomic import check_targets

    if bundle.suffix != ".safetensors":
        raise UsageError(f"{bundle} does not end in .safetensors", "choose such a name")
    if judge_data is None and version is None:
        raise UsageError("a bundle needs a version", "give --version")
    if judge_data is not None and (version, passes, detail) != (None, None, None):
        raise UsageError("a judge has no version, passes or detail transfer", "leave those options out")
    check_targets([bundle], force)

    if judge_data is None:
        from hgs_cli.training.checkpoint import export_bundle

        assert version is not None
        export_bundle(run, bundle, version, passes, detail or ())
    else:
        from hgs_cli.training.judge import export_judge

        export_judge(run, judge_data, bundle)
    say(str(bundle))


@dataclass(frozen=True)
class ReportOptions:
    """Where figures, tables and pictures go."""

    to_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures.", show_default=False)
    ] = None
    to_markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables.", show_default=False)
    ] = None
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Draw the worst notes and a typical one of each instrument.", show_default=False
        ),
    ] = None
    force: Force = False

    @property
    def files(self) -> list[Path]:
        """All but pictures."""
        return [path for path in (self.to_json, self.to_markdown) if path is not None]

    def check(self) -> None:
        """Refuse places that cannot be written to.

        Raises:
            OutputError: A file exists, or the folder of pictures holds something, without `force`.
        """
        from hgs_cli.files.atomic import check_targets

        check_targets(self.files, self.force)
        plots = self.plots
        if plots is not None and plots.exists() and (not plots.is_dir() or (any(plots.iterdir()) and not self.force)):
            raise OutputError(f"{plots} is not an empty folder", "choose another, or use --force to add pictures to it")


@train.command("eval", cls=PlainCommand)
@spread_options
def evaluate(
    *,
    sources: Sources,
    to: ReportOptions,
    amount: CrossPitchOptions,
    quiet: Quiet = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes, one thread each.", rich_help_panel=RUN_PANEL)
    ] = 2,
    device: Device = "auto",
    weights: Weights = None,
) -> None:
    """Measure weights on instruments they were never trained on, beside other methods.

    Example: hgs train eval --real recordings --quick
    """
    sources.check(pictures=to.plots is not None)
    to.check()

    from hgs_cli.evaluation.measure import measure
    from hgs_cli.evaluation.pictures import choose_pictures, draw_picture
    from hgs_cli.files.atomic import OutputSet
    from hgs_cli.sampler.model import load_model

    messages = Messages(quiet)

    def tell(what: str, done: int, total: int) -> None:
        messages.line(f"{done}/{total} {what}" if total else what)

    model = load_model(weights, device)
    report, cross_pitch = measure(model, sources, amount, workers, tell)
    pictures = [] if to.plots is None or cross_pitch is None else choose_pictures(cross_pitch, to.plots)
    with OutputSet([*to.files, *(picture.path for picture in pictures)], to.force) as outputs:
        for path, text in ((to.to_json, report.to_json), (to.to_markdown, report.to_markdown)):
            if path is not None:
                outputs.write(path, lambda aside, t=text: aside.write_text(t(), encoding="utf-8"))  # type: ignore[misc]
        for picture in pictures:
            outputs.write(picture.path, lambda aside, p=picture: draw_picture(model, p, amount, aside))  # type: ignore[misc]
    for table in report.tables():
        print_table(table.title, table.rows, table.header, to_stdout=True)
        for note in table.notes:
            say(f"# {note}")
