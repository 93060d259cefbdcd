"""Instruments and audition pages written from Python: the files that `hgs render --format --audition` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypedDict, Unpack

from hgs_cli.checked import AnyPath, Number, Pitches, as_choice, as_flag, as_path, as_pitches, as_whole
from hgs_cli.errors import ExistingFileError, UsageError
from hgs_cli.export.audition import AuditionInput
from hgs_cli.export.delivery import Job, RenderOptions, deliver
from hgs_cli.export.naming import (
    PAGE,
    Plan,
    PlanOptions,
    check_subtype,
    check_takes,
    extra_suffixes,
    make_plan,
    parse_formats,
)
from hgs_cli.files.atomic import OutputSet, check_inside, check_targets, common_folder, take_back_leftovers
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import check_playable
from hgs_cli.pitch import MAX_LAYERS, MAX_TAKES, NoteKey
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import make_instrument
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.multisample import Multisample
from hgs_cli.sampler.multisample_mix import MultisampleMix
from hgs_cli.sampler.playing import PLAIN
from hgs_cli.sampler.settings import Settings
from hgs_cli.spectrum import SAMPLE_RATE

SUBTYPES = ("PCM_24", "PCM_16", "FLOAT")
Playable = Inversion | Instrument | Multisample | MultisampleMix
"""What notes are made of: what `invert`, `Inversion.load`, `make_multisample` or a function that mixes them returns."""


class FileOptions(TypedDict, total=False):
    """The fields of `InstrumentFiles`, as keywords."""

    formats: str | Sequence[str]
    name: str | None
    template: str | None
    velocities: Number
    takes: Number
    audition: bool
    plot: bool
    subtype: str
    force: bool


@dataclass(frozen=True)
class InstrumentFiles:
    """Which files an instrument has.

    Attributes:
        formats: wav, flac, aiff; sfz, dspreset, sf2 and multisample: a text with commas, or several.
        name: Of the instrument; its folder's if None.
        template: Of the notes' names, as `--name` takes it.
        velocities: Dynamic layers, 1 … 8.
        takes: Of every note, which samplers play in turn, 1 … 16.
        audition: Also a page with a keyboard.
        plot: Also a picture.
        subtype: PCM_24, PCM_16 or FLOAT.
        force: Overwrite files that exist.

    Raises:
        UsageError: A value is out of range, or of another kind.
    """

    formats: str | Sequence[str] = "wav"
    name: str | None = None
    template: str | None = None
    velocities: Number = 1
    takes: Number = 1
    audition: bool = False
    plot: bool = False
    subtype: str = "PCM_24"
    force: bool = False

    def __post_init__(self) -> None:
        as_whole(self.velocities, "velocities", 1, MAX_LAYERS)
        as_whole(self.takes, "takes", 1, MAX_TAKES)
        as_choice(self.subtype, "subtype", SUBTYPES)
        for name in ("audition", "plot", "force"):
            as_flag(getattr(self, name), name)
        if not all(isinstance(text, str | None) for text in (self.name, self.template)):
            raise UsageError("a name that is no text", "give a text")
        if self.name is not None and (not self.name.strip(".") or "/" in self.name):
            raise UsageError(f"the name {self.name!r}", "give one that files can have")

    def plan(self, folder: Path, pitches: Sequence[float]) -> Plan:
        """Name every file.

        Raises:
            UsageError: A format is unknown, or two notes would have one name.
        """
        words = self.formats if isinstance(self.formats, str) else ",".join(map(str, self.formats))
        formats = parse_formats(words)
        check_subtype(self.subtype, formats)
        options = PlanOptions(
            tuple(dict.fromkeys(round(pitch, 2) for pitch in pitches)),  # names tell notes apart to the cent
            formats,
            extra_suffixes(self.audition, self.plot),
            round(float(self.velocities)),
            self.template,
            takes=round(float(self.takes)),
        )
        check_takes(options.takes, formats)
        return make_plan(folder, self.name or folder.resolve().name.strip(".") or "sound", options)


def write_instrument(
    model: Model,
    sound: Playable,
    pitches: Pitches,
    folder: AnyPath,
    settings: Settings | None = None,
    finish: Finish = PLAIN,
    **files: Unpack[FileOptions],
) -> tuple[Path, ...]:
    """Write an instrument: notes, what samplers read, a page to try it; all of its files or none.

    Args:
        model: From `load_model`.
        sound: From `invert`, `Inversion.load` or `mix_instruments`.
        pitches: MIDI note numbers, or a text, `C2-C6:3`.
        folder: Where the files go; made if it is not there.
        settings: How notes sound.
        finish: How long they are and how they end.
        **files: Which files there are, by the names of `InstrumentFiles`.

    Returns:
        Every file, notes first.

    Raises:
        InputError: Other weights have made the inversion.
        OutputError: A file exists and `force` is off, or one cannot be written.
        UsageError: A value is not what it has to be.
        WeightsError: The networks give numbers that are not finite.
    """
    unknown = set(files) - {field.name for field in fields(InstrumentFiles)}
    if unknown:
        raise UsageError(f"{min(unknown)} is nothing that an instrument's files have", "see InstrumentFiles")
    asked = InstrumentFiles(**files)
    target = as_path(folder, "a folder")
    plan = asked.plan(target, as_pitches(pitches))
    job = Job(_playable(model, sound), plan, plan.name)
    inputs = _inputs({plan.name: sound}) if plan.extras else []
    options = RenderOptions(settings or Settings(), finish, asked.subtype)
    _write_all(model, [job], options, inputs, target, force=asked.force)
    return tuple(plan.files)


def write_audition(
    model: Model,
    sounds: Playable | Mapping[str, Playable],
    pitches: Pitches,
    page: AnyPath,
    settings: Settings | None = None,
    finish: Finish = PLAIN,
    *,
    force: bool = False,
) -> Path:
    """Write a web page with a keyboard that plays an instrument: one file that needs no network.

    Args:
        model: From `load_model`.
        sounds: One, or several by what the page's slider calls them: the steps of a mix.
        pitches: MIDI note numbers, or a text, `C4-C6`.
        page: The .html file.
        settings: How notes sound.
        finish: How long they are and how they end.
        force: Overwrite a file that exists.

    Returns:
        The page.

    Raises:
        InputError: Other weights have made an inversion.
        OutputError: The file exists and `force` is off, or cannot be written.
        UsageError: A value is not what it has to be.
        WeightsError: The networks give numbers that are not finite.
    """
    target = as_path(page, "a page")
    named = dict(sounds) if isinstance(sounds, Mapping) else {target.stem: sounds}
    if target.suffix.lower() not in (".html", ".htm") or not named:
        raise UsageError(f"a page {target} of {len(named)} sounds", "give a name that ends in .html, and a sound")
    notes: dict[NoteKey, dict[str, Path]] = {NoteKey(pitch): {} for pitch in dict.fromkeys(as_pitches(pitches))}
    jobs = [
        Job(_playable(model, sound), Plan(str(label), notes, {}, {PAGE: target}), str(label))
        for label, sound in named.items()
    ]
    options = RenderOptions(settings or Settings(), finish, SUBTYPES[0])
    _write_all(model, jobs, options, _inputs(named), target.parent, force=as_flag(force, "force"))
    return target


def _playable(model: Model, sound: Playable) -> Instrument | Multisample | MultisampleMix:
    if isinstance(sound, Instrument | Multisample | MultisampleMix):
        check_playable(model, [])
        return sound
    check_playable(model, [sound])
    return make_instrument(model, sound)


def _inputs(sounds: Mapping[str, Playable]) -> list[AuditionInput]:
    """The recordings themselves, to hear or see beside the notes."""
    return [
        AuditionInput(f"{label}, recorded", sound.recording.T.numpy(), SAMPLE_RATE)
        for label, sound in sounds.items()
        if isinstance(sound, Inversion) and sound.recording is not None
    ]


def _write_all(
    model: Model,
    jobs: Sequence[Job],
    options: RenderOptions,
    inputs: Sequence[AuditionInput],
    folder: Path,
    *,
    force: bool,
) -> None:
    files = dict.fromkeys(path for job in jobs for path in job.plan.files)
    check_inside(folder, files)
    take_back_leftovers([list(files)])
    with _in_words_of_python():
        check_targets(files, force)
        with OutputSet(files, force, common_folder(files)) as outputs:
            deliver(model, jobs, options, outputs, inputs)


@contextmanager
def _in_words_of_python() -> Iterator[None]:
    """What the command line calls --force is an argument here."""
    try:
        yield
    except ExistingFileError as error:
        raise ExistingFileError(error.what, "give force=True to overwrite, or another folder") from error
