"""The data set: SoundFonts rendered, recordings and NSynth read, notes verified and analysed, instruments split.

A data set is a folder of shards (safetensors, one per preset or recorded instrument) and an `index.json`. A shard holds
8-bit log-mels, 8-bit periodicities, measured pitches and bandwidths, all that training needs; audio is not kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from hgs_cli.audio.mel import LogMel, resample
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.console import Tell
from hgs_cli.errors import TrainingError
from hgs_cli.files.atomic import write_whole
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import MODEL_SAMPLES, N_BANDS, N_FRAMES, N_STEPS, SAMPLE_RATE
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ, file_bandwidth_hz
from hgs_cli.training.manifest import read_manifest
from hgs_cli.training.nsynth import LICENCE as NSYNTH_LICENCE
from hgs_cli.training.nsynth import Choice, Example, read_instruments
from hgs_cli.training.pitch_check import verify_pitch
from hgs_cli.training.shards import FORMAT_VERSION, Shard, to_levels, validation_instruments, write_index
from hgs_cli.training.soundfont import DEBIAN_SOUNDFONTS, DRUM_BANK, Preset, Renderer, read_presets


@dataclass(frozen=True)
class PresetRules:
    """Which notes of SoundFonts a data set has."""

    # every third key, on a common grid, so that two instruments can be mixed at the same two pitches
    key_step: int = 3
    velocities: tuple[int, int] = (60, 110)  # soft and loud
    keys: range = range(21, 109)  # a piano's
    # below the lowest, above the highest recorded pitch; further out samples are stretched
    keys_beside_recorded: tuple[int, int] = (5, 7)
    skipped_banks: range = range(17, DRUM_BANK)  # MuseScore General's expressive doubles of bank 0
    shared_samples: float = 0.5  # presets that share this part of the smaller one's samples are one instrument


PRESETS = PresetRules()


_Job = tuple[str, Callable[..., None], tuple[Any, ...]]


class _Analyser:
    """Turns notes of one shard into its tensors."""

    def __init__(self) -> None:
        self._log_mel = LogMel()
        self._decibels: list[Tensor] = []
        self._periodicity: list[Tensor] = []
        self._pitch: list[float] = []
        self._velocity: list[int] = []
        self._bandwidth_hz: list[float] = []
        self._sample: list[int] = []

    def add(
        self,
        audio: NDArray[np.float32],
        pitch: float | None,
        velocity: int,
        bandwidth_hz: float = FULL_BANDWIDTH_HZ,
        sample: int | None = None,
    ) -> None:
        """Analyse a note, mono at 44.1 kHz, (T,), known up to `bandwidth_hz`; without a `sample` it is its own."""
        samples = torch.from_numpy(audio)
        power = self._log_mel.mel_power(samples[None])[0]
        self._decibels.append(10.0 * torch.log10(power + 1e-20))
        if pitch is None:
            self._periodicity.append(torch.zeros(N_BANDS, N_STEPS))
        else:
            f0_hz = midi_to_hz(torch.full((N_FRAMES,), pitch))
            self._periodicity.append(measure_periodicity(samples, f0_hz))
        self._pitch.append(math.nan if pitch is None else pitch)
        self._velocity.append(velocity)
        self._bandwidth_hz.append(bandwidth_hz)
        self._sample.append(len(self._sample) if sample is None else sample)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the shard aside and rename it."""
        decibels = torch.stack(self._decibels)
        decibels = decibels - decibels.max()
        tensors = {
            "mel": to_levels(decibels),
            "periodicity": (torch.stack(self._periodicity) * 255).round().to(torch.uint8),
            "pitch": torch.tensor(self._pitch),
            "velocity": torch.tensor(self._velocity, dtype=torch.int16),
            "bandwidth_hz": torch.tensor(self._bandwidth_hz, dtype=torch.float32),
            "sample": torch.tensor(self._sample),
        }
        facts = {**facts, "n_notes": len(self._pitch)}
        header = {"facts": json.dumps(facts), "format": str(FORMAT_VERSION)}
        write_whole(path, lambda aside: save_file(tensors, aside, metadata=header))

    def __len__(self) -> int:
        return len(self._pitch)


def _save_or_say_empty(analyser: _Analyser, out: Path, facts: dict[str, Any]) -> None:
    """Write a shard, or where no note of it could be verified a note of that, so that it is not tried again."""
    if len(analyser) == 0:
        write_whole(out.with_suffix(".empty"), lambda aside: aside.write_text(json.dumps(facts), encoding="utf-8"))
    else:
        analyser.save(out, facts)


def _read_mono(path: Path) -> tuple[NDArray[np.float32], float]:
    """A sound file, mono at 44.1 kHz and no longer than a note, (T,), and the frequency up to which it is known."""
    try:
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise TrainingError(f"{path} cannot be read as sound", "complete the recordings") from error
    mono = resample(torch.from_numpy(audio.mean(1)), rate_hz, SAMPLE_RATE).numpy()[:MODEL_SAMPLES]
    return np.ascontiguousarray(mono), file_bandwidth_hz(rate_hz)


def _silent(audio: NDArray[np.float32]) -> bool:
    return float(np.abs(audio).max(initial=0.0)) < 1e-4


def _render_preset(path: Path, preset: Preset, out: Path, facts: dict[str, Any]) -> None:
    """Render and analyse one preset into its shard; drum kits give one shard of unpitched notes."""
    renderer = Renderer(path)
    analyser, n_dropped = _Analyser(), 0
    seen: set[str] = set()
    try:
        renderer.select(preset)
        low, high = max(PRESETS.keys.start, preset.key_low), min(PRESETS.keys.stop - 1, preset.key_high)
        if preset.pitched:
            low = max(low, preset.root_low - PRESETS.keys_beside_recorded[0])
            high = min(high, preset.root_high + PRESETS.keys_beside_recorded[1])
            keys: Iterable[int] = (key for key in range(low, high + 1) if key % PRESETS.key_step == 0)
            velocities: tuple[int, ...] = PRESETS.velocities
        elif preset.bank == DRUM_BANK:
            keys, velocities = range(max(low, 27), min(high, 87) + 1), (110,)
        else:
            keys, velocities = (48, 60, 72), (110,)
        for key in keys:
            for velocity in velocities:
                audio = renderer.render(key, velocity)
                digest = hashlib.sha256(audio.tobytes()).hexdigest()
                if _silent(audio) or digest in seen:  # a kit answers keys without a drum with silence or a neighbour
                    continue
                seen.add(digest)
                pitch = verify_pitch(torch.from_numpy(audio), key) if preset.pitched else None
                if preset.pitched and pitch is None:
                    n_dropped += 1
                    continue
                analyser.add(audio, pitch, velocity, sample=preset.sample_of(key, velocity))
    finally:
        renderer.close()
    _save_or_say_empty(analyser, out, {**facts, "n_dropped": n_dropped})


def _read_recordings(folder: Path, entries: list[dict[str, Any]], out: Path, facts: dict[str, Any]) -> None:
    """Read and analyse the recordings of one instrument into its shard."""
    analyser = _Analyser()
    for entry in entries:
        audio, bandwidth_hz = _read_mono(folder / entry["file"])
        pitch = entry["midi_measured"] if entry["pitched"] else None
        analyser.add(audio, pitch, 60 if entry["dynamic"] == "soft" else 110, bandwidth_hz)
    analyser.save(out, {**facts, "n_dropped": 0})


def _read_nsynth(examples: list[Example], out: Path, facts: dict[str, Any]) -> None:
    """Read, verify and analyse the notes of one NSynth instrument into its shard."""
    analyser, n_dropped = _Analyser(), 0
    for example in examples:
        audio, bandwidth_hz = _read_mono(example.path)
        pitch = None if _silent(audio) else verify_pitch(torch.from_numpy(audio), example.pitch)
        if pitch is None:
            n_dropped += 1
        else:
            analyser.add(audio, pitch, example.velocity, bandwidth_hz)
    _save_or_say_empty(analyser, out, {**facts, "n_dropped": n_dropped})


def _group_presets(presets: list[tuple[str, Preset]]) -> dict[tuple[str, int, int], str]:
    """Name the instrument of every preset: one for presets that share samples and for one program in several fonts.

    Args:
        presets: (SoundFont file name, preset).

    Returns:
        (SoundFont, bank, program) → instrument name.
    """
    leader = list(range(len(presets)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for i, (font_i, a) in enumerate(presets):
        for j in range(i):
            font_j, b = presets[j]
            same_program = a.pitched and b.pitched and a.bank == b.bank and a.program == b.program
            shared = len(a.samples & b.samples) if font_i == font_j else 0
            if same_program or shared >= PRESETS.shared_samples * min(len(a.samples), len(b.samples)):
                leader[find(i)] = find(j)
    names = [presets[find(index)][1] for index in range(len(presets))]
    return {
        (font, preset.bank, preset.program): f"gm-{lead.bank:03d}-{lead.program:03d}"
        for (font, preset), lead in zip(presets, names, strict=True)
    }


def _jobs(out: Path, real: list[Path], soundfonts: list[Path], nsynth: Choice | None) -> list[_Job]:
    """Everything that has to be analysed: (shard name, function, its arguments)."""
    jobs: list[_Job] = []
    licences = dict.fromkeys((path for path, _ in DEBIAN_SOUNDFONTS), "MIT")
    fonts = {path: [p for p in read_presets(path) if p.bank not in PRESETS.skipped_banks] for path in soundfonts}
    instruments = _group_presets([(path.name, preset) for path, presets in fonts.items() for preset in presets])
    for path, presets in fonts.items():
        for preset in presets:
            name = f"{path.stem.lower()}-{preset.bank:03d}-{preset.program:03d}"
            family = f"gm-{preset.program // 8 * 8:03d}" if preset.pitched else "unpitched"
            facts = {
                "name": name, "source": path.name, "family": family, "pitched": preset.pitched, "validation": False,
                "instrument": instruments[path.name, preset.bank, preset.program],
                "licence": licences.get(path, "unknown"),
            }  # fmt: skip
            jobs.append((name, _render_preset, (path, preset, out / f"{name}.safetensors", facts)))
    held_out = validation_instruments()
    for folder in real:
        by_instrument: dict[str, list[dict[str, Any]]] = {}
        for entry in read_manifest(folder):
            by_instrument.setdefault(entry["instrument"], []).append(entry)
        for recorded, entries in by_instrument.items():
            name = f"real-{recorded}"
            facts = {
                "name": name, "source": folder.name, "family": entries[0]["family"], "instrument": recorded,
                "pitched": bool(entries[0]["pitched"]), "validation": recorded in held_out,
                "licence": entries[0]["licence"],
            }  # fmt: skip
            jobs.append((name, _read_recordings, (folder, entries, out / f"{name}.safetensors", facts)))
    for instrument in [] if nsynth is None else read_instruments(nsynth):
        name = f"nsynth-{instrument.name}"
        facts = {
            "name": name, "source": instrument.folder, "family": instrument.family, "instrument": instrument.name,
            "pitched": True, "validation": instrument.validation, "licence": NSYNTH_LICENCE,
        }  # fmt: skip
        jobs.append((name, _read_nsynth, (instrument.examples, out / f"{name}.safetensors", facts)))
    return jobs


def build_dataset(
    out: Path,
    real: list[Path],
    soundfonts: list[Path] | None = None,
    workers: int = 2,
    report: Tell | None = None,
    nsynth: Choice | None = None,
    *,
    held_out: bool = False,
) -> list[Shard]:
    """Build or complete a data set; shards that are there already are kept, so an interrupted call can be repeated.

    Args:
        out: Folder of the data set.
        real: Folders of recordings, each with a `manifest.json`.
        soundfonts: SoundFonts to render; the two that Debian packages when None.
        workers: Processes; with one, everything happens in this one.
        report: Called after every shard.
        nsynth: Notes of NSynth's unpacked folders, if any. Another choice needs another `out`.
        held_out: Put every instrument on the validation side: a data set to measure with and never to train on.

    Returns:
        The index.

    Raises:
        TrainingError: When a SoundFont, a manifest, a sound file or FluidSynth is missing, NSynth is not laid out as
            published, or nothing was found to analyse.
    """
    fonts = _existing(soundfonts)
    out.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(out, real, fonts, nsynth)
    for _, _, (*_, facts) in jobs if held_out else []:
        facts["validation"] = True
    todo = [job for job in jobs if not any((out / f"{job[0]}{end}").exists() for end in (".safetensors", ".empty"))]
    for n_done, name in enumerate(_done(todo, workers), 1 + len(jobs) - len(todo)):
        if report is not None:
            report(name, n_done, len(jobs))
    return write_index(out)


def _existing(soundfonts: list[Path] | None) -> list[Path]:
    """SoundFonts to render, Debian's when None, after a look at whether they and FluidSynth are there."""
    if soundfonts is None:
        for path, package in DEBIAN_SOUNDFONTS:
            if not path.exists():
                raise TrainingError(f"{path} is missing", f"install the system package {package}")
        soundfonts = [path for path, _ in DEBIAN_SOUNDFONTS]
    for path in soundfonts:
        if not path.exists():
            raise TrainingError(f"{path} is missing", "name an existing SoundFont")
    if soundfonts:
        Renderer(soundfonts[0]).close()  # says at once what is missing
    return soundfonts


def _done(jobs: list[_Job], workers: int) -> Iterator[str]:
    """Names of jobs as they are done, by several processes or in this one."""
    if workers <= 1:
        for name, function, arguments in jobs:
            function(*arguments)
            yield name
        return
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures: dict[Future[None], str] = {
            pool.submit(function, *arguments): name for name, function, arguments in jobs
        }
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
