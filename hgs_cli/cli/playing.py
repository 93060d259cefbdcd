"""What plays sounds or makes instruments of them: `hgs render`, `hgs mix` and `hgs invert`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hgs_cli.cli.from_options import (
    make_heard_options,
    make_listening,
    make_listenings,
    make_plan_options,
    make_render_options,
    mix_shares,
    octave_of,
)
from hgs_cli.cli.planned import Planned, check_stdout, choose_work, output_folder, send, work_on_planned
from hgs_cli.commands import Call, WorkResult, invert_one, load_weights, mix_all, open_all, render_one
from hgs_cli.console import Advance, Messages, stdin_bytes
from hgs_cli.errors import UsageError
from hgs_cli.export.piped import DASH
from hgs_cli.options import (
    Detail,
    Force,
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
    level_option,
    source_option,
    spread_options,
)


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
            recorded = hear_recordings(call, gathered, listening, sets)
            return invert_set(call, gathered.name, recorded, plans[0])
        return invert_one(call, sources[index].path, plans[index], listening)

    work_on_planned(planned, work, chosen, scripts.skip_existing, messages)


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
        sources, alone, options = [one], True, gathered.planned(options, messages)
    else:
        gathered = None
    out = ctx.with_resource(output_folder(target.out))
    folders = [folder_of(one, alone and (gathered is None or out is not None), out) for one in sources]
    plans = [
        make_plan(folder, one.name, options if sets.multisample else planned_of(one.path, options, messages))
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
            recorded = hear_recordings(call, gathered, listening, sets)
            result = render_set(call, gathered.sounds, recorded, plan, advance)
        elif holds_recordings(path):
            result = render_set(call, [path], open_recordings(call, path), plan, advance)
        else:
            result = render_one(call, path, plan, listening, advance)
        return send(result, plans[index].files) if target.out == DASH else result

    n_notes = max(len(plan.notes) for plan in plans)
    work_on_planned(planned, work, chosen, scripts.skip_existing, messages, n_notes)


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
        sources, options = [each.source for each in mixed], planned_together(mixed, options, messages)
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
    many = open_mixed(call, mixed, listenings, sets) if mixed else []
    inversions = [] if mixed else open_all(call, sounds, listenings)

    def work(_: int, advance: Advance) -> WorkResult:
        if mixed:
            result = mix_sets(call, mixed, many, mixes, advance)
        else:
            result = mix_all(call, sounds, inversions, mixes, advance)
        return send(result, files) if target.out == DASH else result

    work_on_planned(planned, work, chosen, scripts.skip_existing, messages, options.n_notes * len(mixes))
