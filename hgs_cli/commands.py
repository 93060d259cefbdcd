"""What commands share: from what is asked for, through the work on each sound, to files and lines.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hgs_cli.console import Advance, Messages, say
from hgs_cli.errors import HgsError, InputError, OutputError
from hgs_cli.export.naming import InversionPlan, MixPlan, Plan, describe_note, layer_velocities
from hgs_cli.options import RunningOptions, keep_memory, set_threads
from hgs_cli.pitch import MIDDLE_C, NoteKey, describe_pitch, nearest_note, note_name, rename_notes

if TYPE_CHECKING:
    from hgs_cli.export.audition import AuditionInput
    from hgs_cli.export.delivery import Job, NoteFiles, RenderOptions
    from hgs_cli.pipeline import Inversion, Model, Reconstruction
    from hgs_cli.sampler.settings import ListeningOptions


@dataclass(frozen=True)
class WorkResult:
    """How the work on one file went."""

    how: str  # in a few words, for people
    lines: Sequence[str]  # its results, for stdout


@dataclass(frozen=True)
class Call:
    """What all results of a call have in common."""

    model: Model  # what makes them
    options: RenderOptions  # how notes are made
    force: bool  # overwrite files that exist
    as_json: bool  # print JSON instead of paths
    messages: Messages  # where people are told of it
    middle_c: int = MIDDLE_C  # octave number of MIDI 60 in names


# --- the work on each -----------------------------------------------------------------------------------------------


def work_on_each(
    names: Sequence[str], work: Callable[[int, Advance], WorkResult], messages: Messages, steps: int = 0
) -> None:
    """Do the work for every name, finish the rest when one fails, and say the failures last.

    Args:
        names: Of sounds or files.
        work: Takes a name's index and a function that takes steps done.
        messages: For progress.
        steps: Of the work for one.

    Raises:
        HgsError: The failure, if there was one name.
        typer.Exit: With the first failure's code, if there were several.
    """
    failures: list[HgsError] = []
    with messages.batch(names, steps) as batch:
        for index in range(len(names)):
            try:
                with batch.file(index) as advance:
                    result = work(index, advance)
                with batch.paused():
                    for line in result.lines:
                        say(line)
                batch.done(index, result.how)
            except (InputError, OutputError) as error:
                if len(names) == 1:
                    raise
                failures.append(error)
                batch.done(index, "failed")
    for failure in failures:
        typer.echo(f"hgs: error: {failure}", err=True)
    if failures:
        messages.line(f"{len(names) - len(failures)} of {len(names)} done, {len(failures)} failed")
        raise typer.Exit(failures[0].exit_code)


# --- from what is asked for to files --------------------------------------------------------------------------------


def load_weights(running: RunningOptions) -> Model:
    """The model to work with, on a device and so many CPU threads."""
    from hgs_cli.pipeline import load_model

    set_threads(running.threads)
    keep_memory()
    return load_model(running.weights, running.device)


def open_heard(call: Call, path: Path, listening: ListeningOptions) -> Inversion:
    """Read a sound or an .hgs file as an instrument, and say in a line what it is heard as."""
    from hgs_cli.pipeline import Listening, open_sound

    subject = f"{path.name} is "  # a path, unlike the notes behind it, stays as it is

    def warn(line: str) -> None:
        said = line.startswith(subject)
        call.messages.warn(subject + rename_notes(line.removeprefix(subject), call.middle_c) if said else line)

    inversion = open_sound(call.model, path, Listening(**listening), warn)
    if inversion.heard:
        call.messages.line(f"{path.name}: {_heard(call, inversion)}")
    return inversion


def _heard(call: Call, inversion: Inversion) -> str:
    """What a sound is heard as, in the call's names of notes."""
    return rename_notes(inversion.heard, call.middle_c)


def open_all(call: Call, sounds: Sequence[Path], listenings: Sequence[ListeningOptions]) -> list[Inversion]:
    """Read all sounds, and say of all that cannot be used why."""
    inversions: list[Inversion] = []

    def read(index: int, _: Advance) -> WorkResult:
        inversions.append(open_heard(call, sounds[index], listenings[index]))
        return WorkResult("read", [])

    work_on_each([str(sound) for sound in sounds], read, Messages(quiet=True))
    return inversions


def invert_one(call: Call, sound: Path, plan: InversionPlan, listening: ListeningOptions) -> WorkResult:
    """Invert one sound, write what was asked for and say how it went."""
    from hgs_cli.pipeline import reconstruct

    start = time.perf_counter()
    inversion = open_heard(call, sound, listening)
    seconds = time.perf_counter() - start
    heard = reconstruct(call.model, inversion)
    _write_inversion(call, sound.stem, plan, inversion, heard)
    source = inversion.source_pitch
    facts: dict[str, Any] = {"path": str(plan.inversion), "input": str(sound), "pitched": source is not None}
    facts |= {"heard": _heard(call, inversion), "kind": inversion.kind}
    if source is not None:
        note, cents = nearest_note(source)
        facts |= {"midi": note, "note": note_name(note, call.middle_c), "cents": round(cents, 1)}
    facts |= {
        "first_db": round(heard.distance_db(heard.x_init), 3),
        "refined_db": round(heard.distance_db(heard.x_hat), 3),
        "detailed_db": round(heard.distance_db(heard.detailed), 3),
        "passes": inversion.passes,
        "seconds": round(seconds, 3),
    }
    facts |= {kind: str(path) for kind, path in (("audio", plan.audio), ("plot", plan.picture)) if path is not None}
    rows = [
        ("pitch", "none" if source is None else describe_pitch(source, call.middle_c)),
        ("the networks' say at other pitches", f"{100.0 * inversion.trust:.0f} %"),
        ("distance, without the hypernetwork", f"{facts['first_db']:.2f} dB"),
        ("distance, with it", f"{facts['refined_db']:.2f} dB"),
        ("distance, with the sound's detail", f"{facts['detailed_db']:.2f} dB"),
        ("time", f"{seconds:.2f} s"),
    ]
    call.messages.table(str(sound), rows)
    lines = [json.dumps(facts)] if call.as_json else [str(path) for path in plan.files]
    return WorkResult(f"{facts['seconds']:.2f} s", lines)


def _write_inversion(call: Call, name: str, plan: InversionPlan, inversion: Inversion, heard: Reconstruction) -> None:
    from hgs_cli.export.delivery import Job, deliver
    from hgs_cli.files.atomic import OutputSet
    from hgs_cli.pipeline import make_instrument

    with OutputSet(plan.files, call.force) as outputs:
        outputs.write(plan.inversion, inversion.write)
        if plan.audio is not None:
            # The sound itself, not a note made of it: an unpitched sound stays noise.
            settings = call.options.settings
            plain = settings if inversion.source_pitch is not None else replace(settings, tonal=0.0)
            notes = {NoteKey(inversion.stands_at): {"wav": plan.audio}}
            job = Job(make_instrument(call.model, inversion), Plan(name, notes, {}), name)
            deliver(call.model, [job], replace(call.options, settings=plain), outputs)
        if plan.picture is not None:
            from hgs_cli.export.plot import draw_spectrograms

            panels = [
                (title, mel[:, : heard.length_frames])
                for title, mel in (
                    ("input", heard.mel),
                    ("first reconstruction", heard.x_init),
                    ("refined by the hypernetwork", heard.x_hat),
                    ("with the sound's detail", heard.detailed),
                )
            ]
            filters = call.model.log_mel.filters.cpu()
            outputs.write(plan.picture, lambda aside: draw_spectrograms(aside, panels, filters))


def render_one(call: Call, sound: Path, plan: Plan, listening: ListeningOptions, advance: Advance) -> WorkResult:
    """Make and write all files of one sound."""
    from hgs_cli.export.delivery import Job
    from hgs_cli.pipeline import make_instrument

    inversion = open_heard(call, sound, listening)
    source = inversion.source_pitch
    pitch = "none" if source is None else describe_pitch(source, call.middle_c)
    facts = (("Notes", str(len(plan.notes) // (plan.layers * plan.takes))), ("Pitch of the sound", pitch))
    job = Job(make_instrument(call.model, inversion), plan, plan.name, facts)
    (notes,) = deliver_files(call, [job], read_inputs([sound], bool(plan.extras)), advance)
    told = {"input": str(sound), "heard": _heard(call, inversion), "kind": inversion.kind}
    return WorkResult(f"{len(notes)} note{'s' if len(notes) > 1 else ''}", file_lines(call, plan, notes, told))


def mix_all(
    call: Call, sounds: Sequence[Path], inversions: Sequence[Inversion], mixes: Sequence[MixPlan], advance: Advance
) -> WorkResult:
    """Make and write all files of all mixes."""
    from hgs_cli.export.delivery import Job
    from hgs_cli.pipeline import mix_instruments

    jobs = [
        Job(
            mix_instruments(call.model, inversions, mix.shares),
            mix.plan,
            shares_label(mix),
        )
        for mix in mixes
    ]
    inputs = read_inputs(sounds, bool(mixes[0].plan.extras))
    written = deliver_files(call, jobs, inputs, advance)
    lines: list[str] = []
    for mix, notes in zip(mixes, written, strict=True):
        told = {
            "inputs": [str(sound) for sound in sounds],
            "shares": [round(share, 6) for share in mix.shares],
            "heard": [_heard(call, inversion) for inversion in inversions],
            "kind": [inversion.kind for inversion in inversions],
        }
        # The page of all mixes is printed once.
        own = mix.plan if mix is mixes[-1] else replace(mix.plan, extras={})
        lines += file_lines(call, own, notes, told)
    return WorkResult("mixed", lines)


def shares_label(mix: MixPlan) -> str:
    """What the notes of a mix are called where there are several."""
    return " / ".join(f"{100 * share:.0f} %" for share in mix.shares[1:])


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
    call: Call, jobs: Sequence[Job], inputs: Sequence[AuditionInput], advance: Advance
) -> list[list[NoteFiles]]:
    """Write all files of a result together, and say where notes had to be lowered."""
    from hgs_cli.export.delivery import deliver
    from hgs_cli.files.atomic import OutputSet, common_folder

    files = dict.fromkeys(path for job in jobs for path in job.plan.files)
    with OutputSet(files, call.force, common_folder(files)) as outputs:
        written = deliver(call.model, jobs, call.options, outputs, inputs, advance)
    finish = call.options.finish
    for job, notes in zip(jobs, written, strict=True):
        if notes[0].lowered_db:
            call.messages.warn(
                f"the notes of {job.plan.name} were lowered by {-notes[0].lowered_db:.1f} dB: one would have clipped"
            )
        lasting_s = max(note.n_frames / note.sample_rate for note in notes)
        if (finish.loop and all(note.loop is None for note in notes)) or (finish.duration_s or 0.0) > lasting_s + 0.01:
            call.messages.line(f"{job.plan.name} has no sustain that could be held: its notes are one-shots")
    return written


def file_lines(
    call: Call,
    plan: Plan,
    notes: Sequence[NoteFiles],
    facts: dict[str, Any],
    of_note: Callable[[NoteKey], dict[str, Any]] = lambda key: {},
) -> list[str]:
    """A result's files as paths, or as JSON with the facts given, and those of each note."""
    if not call.as_json:
        return [str(path) for path in plan.files]
    lines = []
    for note in notes:
        told = {
            **describe_note(note.key, call.middle_c),
            **of_note(note.key),
            "layer": note.key.layer + 1,
            "velocities": layer_velocities(plan.layers)[note.key.layer],
            "take": note.key.take + 1,
            "lufs": None if note.lufs is None else round(note.lufs, 2),
            "peak": round(note.peak_db, 2),
            "seconds": round(note.n_frames / note.sample_rate, 6),
            "sample_rate": note.sample_rate,
            "channels": note.channels,
            "loop": None if note.loop is None else [note.loop.start, note.loop.end],
            "gain": round(note.gain_db, 2),
            "lowered": round(abs(note.lowered_db), 2),
            "seed": call.options.settings.seed,
        }
        for kind, path in note.paths.items():
            lines.append(json.dumps({"path": str(path), **facts, "format": kind, **told}))
    for kind, path in [*plan.instruments.items(), *plan.extras.items()]:
        lines.append(json.dumps({"path": str(path), **facts, "format": kind}))
    return lines
