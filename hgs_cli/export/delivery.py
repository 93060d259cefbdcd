"""The files of instruments: notes in every sound format, what samplers read, the audition page, the picture."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hgs_cli.audio.io import read_back, to_sample_rate, write_audio
from hgs_cli.audio.loop import Loop
from hgs_cli.audio.loudness import measure_lufs, peak_db
from hgs_cli.console import Advance
from hgs_cli.errors import OutputError
from hgs_cli.export.audition import AuditionInput, AuditionSet, write_audition
from hgs_cli.export.naming import PAGE, PICTURE, Plan
from hgs_cli.export.plot import KeyMap, Panel, draw_sheet, spread
from hgs_cli.export.riff import ALL_VELOCITIES, add_sampler_chunk, add_sampler_chunks_aiff
from hgs_cli.export.sampler_files import SOURCE_SUFFIX, Readers, Waves, write_instruments
from hgs_cli.export.sfz import check_sfz_path
from hgs_cli.export.zones import Sample, relative_path, zones
from hgs_cli.files.atomic import OutputSet
from hgs_cli.pitch import NoteKey, describe_pitch, nearest_note
from hgs_cli.sampler.finish import Finish
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.playing import Note, Playable, lowering_db, make_notes, note_gain_db, of_layer
from hgs_cli.sampler.settings import MAX_SEED, Settings
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE


@dataclass(frozen=True)
class DeliveryRules:
    """What instruments are written with."""

    release_s: float = 0.3  # that a sampler lets a note ring for when its key is let go
    mostly_unpitched: float = 0.5  # share of an instrument's sounds without a pitch from which it rings out as they do
    kept_bytes: int = 48 * 2**20  # of notes that are kept until it is known that none of them clips
    picture_notes: int = 7  # at most, beside the sounds that came in
    n_cents: int = 12_800  # of MIDI pitches: seeds of two calls never meet
    take_variation: float = 0.5  # of takes but the first where no --variation is asked for: as hits of one hand differ
    take_seeds: int = 1_000_003  # between those of two takes


DELIVERY = DeliveryRules()


@dataclass(frozen=True)
class NoteFiles:
    """One note and its files."""

    key: NoteKey  # its pitch, dynamic layer and take
    paths: Mapping[str, Path]  # its files by format
    peak_db: float  # its peak, in dB of full scale
    lufs: float | None  # its loudness; None where it was not asked for or the note is silent
    n_frames: int  # its length in samples
    sample_rate: int  # in Hz
    channels: int  # 1 or 2
    loop: Loop | None  # where it can be held
    gain_db: float  # the instrument's gain, lowering included
    lowered_db: float  # what all notes of the instrument were lowered by against clipping


@dataclass(frozen=True)
class Job:
    """An instrument to deliver."""

    instrument: Playable  # one sound, a mix, or many recordings
    plan: Plan  # its files
    label: str  # of its notes, where a page has several instruments
    facts: tuple[tuple[str, str], ...] = ()  # names and values that a page shows
    maps: tuple[KeyMap, ...] = ()  # rows of keys that a picture shows


@dataclass(frozen=True)
class RenderOptions:
    """What all instruments of a call have in common."""

    settings: Settings  # how notes sound
    finish: Finish  # how long they are and how they end
    subtype: str  # PCM_24, PCM_16 or FLOAT
    measured: bool = False  # whether every note's loudness is measured, which takes a while


def deliver(
    model: Model,
    jobs: Sequence[Job],
    options: RenderOptions,
    outputs: OutputSet,
    inputs: Sequence[AuditionInput] = (),
    advance: Advance = lambda steps: None,
) -> list[list[NoteFiles]]:
    """Write all files of instruments, in batches: memory does not grow with the number of notes.

    Args:
        model: From `load_model`.
        jobs: At least one; a page or picture that several plans name shows all of them.
        options: RenderOptions.
        outputs: Open; it renames the files when it is left.
        inputs: The sounds that the instruments were made of, for pages and pictures.
        advance: Takes the number of notes done since its last call.

    Returns:
        The notes of each job.

    Raises:
        OutputError: A file cannot be written.
    """
    with _scratch_folder() as scratch:
        written: list[list[NoteFiles]] = []
        sources: dict[Path, Path] = {}
        sets: list[AuditionSet] = []

        def read(sample: Sample) -> NDArray[np.float32]:
            return read_back(sources[sample.path])

        for job in jobs:
            _check_names(job.plan)
        for number, job in enumerate(jobs):
            folder = Path(scratch, str(number))
            folder.mkdir()
            notes = _write_notes(model, job, options, outputs, folder, advance)
            samples = [_sample(note, folder) for note in notes]
            for note, sample in zip(notes, samples, strict=True):
                sources[sample.path] = outputs.aside(sample.path) if note.paths else sample.path
            # What has no pitch of its own is struck and rings out; other notes end when their key is let go.
            rings = job.instrument.unpitched > DELIVERY.mostly_unpitched and all(
                sample.loop is None for sample in samples
            )
            waves = Waves(sources, options.subtype, Path(folder, "wave.wav"))
            release_s = math.inf if rings else DELIVERY.release_s
            write_instruments(job.plan, samples, outputs, Readers(read, waves.read), release_s)
            sets.append(AuditionSet(job.label, samples, read))
            written.append(notes)
        _write_extras(model, jobs, sets, inputs, outputs)
    return written


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hgs-")
    except OSError as error:
        raise _no_scratch(Path(os.environ.get("TMPDIR", "/tmp"))) from error  # noqa: S108 — named, not written to


def _no_scratch(folder: Path) -> OutputError:
    return OutputError(f"cannot write to the folder for temporary files {folder}", "free some space or set TMPDIR")


def _check_names(plan: Plan) -> None:
    """Refuse names that an SFZ file cannot hold before anything is made."""
    if "sfz" in plan.instruments:
        for paths in plan.notes.values():
            check_sfz_path(relative_path(next(iter(paths.values())), plan.instruments["sfz"].parent))


def _write_notes(
    model: Model, job: Job, options: RenderOptions, outputs: OutputSet, scratch: Path, advance: Advance
) -> list[NoteFiles]:
    """Sound files of every note; where none are asked for, files in `scratch` that samplers' files are made of."""
    notes = _NoteCache(model, job, options)
    writer = _NoteWriter(job.plan, options, outputs, scratch)
    gain_db = note_gain_db(job.instrument, options.settings)
    written, loudest_db = writer.write(notes, gain_db, 0.0, advance)
    lowered_db = lowering_db(loudest_db)
    if lowered_db:
        written, _ = writer.write(notes, gain_db + lowered_db, lowered_db, lambda steps: None)
    return written


class _NoteCache:
    """All notes of a job before any gain, as often as they are asked for: kept if they are few, else made once more.

    Args:
        model: From `load_model`.
        job: What is played.
        options: How.
    """

    def __init__(self, model: Model, job: Job, options: RenderOptions) -> None:
        self.model, self.job, self.options = model, job, options
        self._kept: list[Note] | None = []
        self._whole = False

    def __iter__(self) -> Iterator[Note]:
        if self._whole and self._kept is not None:
            yield from self._kept
            return
        n_bytes = 0
        for layer, take in itertools.product(range(self.job.plan.layers), range(self.job.plan.takes)):
            instrument, softness = of_layer(self.job.instrument, layer, self.job.plan.layers)
            plain = replace(self.options.settings, softness=softness)
            keys = [key for key in self.job.plan.notes if (key.layer, key.take) == (layer, take)]
            for note in self._of_take(instrument, keys, plain, take):
                n_bytes += note.audio.numel() * note.audio.element_size()
                if self._kept is not None:
                    self._kept.append(note)
                    if n_bytes > DELIVERY.kept_bytes:
                        self._kept = None
                yield note
        self._whole = True

    def _of_take(self, instrument: Playable, keys: Sequence[NoteKey], settings: Settings, take: int) -> Iterator[Note]:
        """Notes of one take: recorded ones as they are, others made."""

        def recorded(key: NoteKey) -> bool:
            return not isinstance(instrument, Instrument) and take < instrument.takes_at(key.pitch)

        for as_it_is, some in itertools.groupby(keys, recorded):
            how = settings if as_it_is else take_settings(settings, take)
            yield from make_notes(self.model, instrument, list(some), how, self.options.finish)


def take_settings(settings: Settings, take: int) -> Settings:
    """How one of several takes is made: the first as if it were alone, others as other takes of the sound."""
    if not take:
        return settings
    seed = (settings.seed + DELIVERY.take_seeds * take) % (MAX_SEED + 1)
    return replace(settings, seed=seed, variation=settings.variation or DELIVERY.take_variation)


class _NoteWriter:
    """Writes the notes of an instrument.

    Args:
        plan: The instrument's files.
        options: How notes are made.
        outputs: Where they are put aside.
        scratch: For notes that no sound file is asked of.
    """

    def __init__(self, plan: Plan, options: RenderOptions, outputs: OutputSet, scratch: Path) -> None:
        self.plan, self.options, self.outputs, self.scratch = plan, options, outputs, scratch
        notes = [Sample(Path(), key.pitch, key.layer, 1, SAMPLE_RATE, 1, None, key.take) for key in plan.notes]
        self._zones = {NoteKey(zone.sample.pitch, zone.sample.layer, zone.sample.take): zone for zone in zones(notes)}

    def write(
        self, notes: Iterable[Note], gain_db: float, lowered_db: float, advance: Advance
    ) -> tuple[list[NoteFiles], float]:
        """Write every note at a gain, as long as none clips; returns them and the loudest peak in dB."""
        written: list[NoteFiles] = []
        loudest_db, rate = -math.inf, self.options.finish.sample_rate
        for plain in notes:
            note = replace(plain, audio=plain.audio * 10.0 ** (gain_db / 20.0))
            note_peak_db = peak_db(note.audio)
            loudest_db = max(loudest_db, note_peak_db)
            if not lowering_db(loudest_db):
                self._write_note(note)
                lufs = measure_lufs(note.audio, rate) if self.options.measured else -math.inf
                written.append(
                    NoteFiles(
                        key=note.key,
                        paths=self.plan.notes[note.key],
                        peak_db=note_peak_db,
                        lufs=lufs if math.isfinite(lufs) else None,
                        n_frames=note.audio.shape[0],
                        sample_rate=rate,
                        channels=note.audio.shape[1] if note.audio.ndim == 2 else 1,
                        loop=note.loop,
                        gain_db=gain_db,
                        lowered_db=lowered_db,
                    )
                )
            advance(1)
        return written, loudest_db

    def _write_note(self, note: Note) -> None:
        rate, paths = self.options.finish.sample_rate, self.plan.notes[note.key]
        # Another noise for every note: its pitch in cents, its layer, its take and the call's seed make its own seed.
        seed = self.options.settings.seed * DELIVERY.n_cents + round(note.key.pitch * 100)
        seed += 2**40 * note.key.layer + 2**45 * note.key.take
        root, cents = nearest_note(note.key.pitch)
        zone = self._zones.get(note.key)  # none for a note that no key plays
        keys = (root, root) if zone is None else (zone.low_key, zone.high_key)
        velocities = ALL_VELOCITIES if zone is None else (zone.low_velocity, zone.high_velocity)
        for file_format, path in paths.items():

            def save(aside: Path, file_format: str = file_format) -> None:
                write_audio(aside, note.audio, self.options.subtype, seed, rate, file_format.upper())
                if file_format == "wav":
                    add_sampler_chunk(aside, root, cents, note.loop, rate, keys=keys, velocities=velocities)
                elif file_format == "aiff":
                    add_sampler_chunks_aiff(aside, root, cents, note.loop, keys=keys, velocities=velocities)

            self.outputs.write(path, save)
        if not paths:
            try:
                write_audio(self.scratch / _scratch_name(note.key), note.audio, "FLOAT", seed, rate)
            except OSError as error:
                raise _no_scratch(self.scratch) from error


def _scratch_name(key: NoteKey) -> str:
    return f"{key.layer}_{key.take}_{round(100 * key.pitch):05d}{SOURCE_SUFFIX}"


def _sample(note: NoteFiles, scratch: Path) -> Sample:
    path = next(iter(note.paths.values())) if note.paths else scratch / _scratch_name(note.key)
    key = note.key
    return Sample(path, key.pitch, key.layer, note.n_frames, note.sample_rate, note.channels, note.loop, key.take)


def _write_extras(
    model: Model, jobs: Sequence[Job], sets: Sequence[AuditionSet], inputs: Sequence[AuditionInput], outputs: OutputSet
) -> None:
    """Pages and pictures, each of the jobs whose plans name it."""
    shown: dict[tuple[str, Path], list[AuditionSet]] = {}
    facts: dict[Path, tuple[tuple[str, str], ...]] = {}
    middle_c, maps = jobs[0].plan.middle_c, [key_map for job in jobs for key_map in job.maps]
    for job, one in zip(jobs, sets, strict=True):
        for kind, target in job.plan.extras.items():
            shown.setdefault((kind, target), []).append(one)
            facts.setdefault(target, job.facts)
    for (kind, target), mine in shown.items():
        if kind == PAGE:
            outputs.write(
                target,
                lambda aside, t=target, m=mine: write_audition(  # type: ignore[misc]
                    aside, t.stem, m, inputs, facts[t], middle_c
                ),
            )
        elif kind == PICTURE:
            outputs.write(target, lambda aside, m=mine: _draw(model, aside, m, inputs, middle_c, maps))  # type: ignore[misc]


def _draw(
    model: Model,
    path: Path,
    sets: Sequence[AuditionSet],
    inputs: Sequence[AuditionInput],
    middle_c: int,
    maps: Sequence[KeyMap],
) -> None:
    """A picture of the sounds that came in and of some notes, spread over the mixes and the pitches."""
    panels = [_panel(model, each.label, each.audio, each.sample_rate) for each in inputs]
    shown = []
    for each in sets:
        loudest = max(sample.layer for sample in each.samples)
        shown += [(each, sample) for sample in each.samples if (sample.layer, sample.take) == (loudest, 0)]
    for index in spread(len(shown), DELIVERY.picture_notes):
        each, sample = shown[index]
        title = describe_pitch(sample.pitch, middle_c).removesuffix(" +0.0 cents")
        title = f"{title}, {each.label}" if len(sets) > 1 else title
        panels.append(_panel(model, title, each.read(sample), sample.sample_rate))
    draw_sheet(path, panels, model.log_mel.filters.cpu(), maps)


def _panel(model: Model, title: str, audio: NDArray[np.float32], sample_rate: int) -> Panel:
    samples = torch.from_numpy(audio)
    mono = to_sample_rate(samples.mean(1) if samples.ndim == 2 else samples, sample_rate)[:MODEL_SAMPLES]
    return Panel(title, mono, model.log_mel(mono[None].to(model.device))[0].cpu())
