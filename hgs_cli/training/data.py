"""The data set: SoundFonts rendered, recordings and NSynth read, notes verified and analysed, instruments split.

A data set is a folder of shards (safetensors, one per preset or recorded instrument) and an `index.json`. A shard holds
8-bit log-mels, 8-bit periodicities, measured pitches and bandwidths, all that training needs; audio is not kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hgs_cli.atomic_files import write_whole
from hgs_cli.audio.mel import LogMel, resample
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.errors import TrainingError
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import MODEL_SAMPLES, N_BANDS, N_FRAMES, N_STEPS, SAMPLE_RATE
from hgs_cli.training.bandwidth import FULL_BANDWIDTH_HZ, file_bandwidth_hz
from hgs_cli.training.nsynth import LICENCE as NSYNTH_LICENCE
from hgs_cli.training.nsynth import Choice, Example, read_instruments
from hgs_cli.training.soundfont import DEBIAN_SOUNDFONTS, DRUM_BANK, Preset, Renderer, read_presets

FORMAT_VERSION = 1
STEP_DB = 0.5  # of the 8-bit log-mel
LOWEST_DB = -127.5  # level 0 of it, relative to the loudest mel bin of the shard
KEY_STEP = 3  # every third key, on a common grid, so that two instruments can be mixed at the same two pitches
VELOCITIES = (60, 110)
KEYS = range(21, 109)
KEYS_BESIDE_RECORDED = (
    5,
    7,
)  # below the lowest and above the highest recorded pitch; further out samples are stretched
SKIPPED_BANKS = range(17, DRUM_BANK)  # MuseScore General's expressive doubles of bank 0
PITCH_TOLERANCE_CENTS = 50.0
MIN_PERIODIC = 0.5  # autocorrelation at the period below which a note has no pitch to verify
SHARED_SAMPLES = 0.5  # presets that share this part of the smaller one's samples are one instrument

Report = Callable[[str, int, int], None]  # what was just done, how many are done, how many there are


@dataclass(frozen=True)
class Shard:
    """What the index says of one shard.

    Attributes:
        name: File name without its ending.
        instrument: Presets and recordings of the same instrument share this, and its side of the split.
        source: SoundFont file, or the folder of recordings or of NSynth.
        family: For tables; the General MIDI group, the manifest's or NSynth's word.
        pitched: Whether its notes have a verified pitch.
        validation: Never trained on.
        n_notes: Notes kept.
        n_dropped: Notes whose pitch could not be verified.
        licence: As stated by the source.
    """

    name: str
    instrument: str
    source: str
    family: str
    pitched: bool
    validation: bool
    n_notes: int
    n_dropped: int
    licence: str


def validation_instruments() -> frozenset[str]:
    """Names of the recorded instruments that are never trained on, from the tracked split file.

    It lists those of the first recordings and those that came with later ones apart: figures of either are comparable.
    `kin` plays what an instrument of the first list plays: that cello, violin and guitar would be known by them.
    """
    text = resources.files("hgs_cli.training").joinpath("split.json").read_text(encoding="utf-8")
    return frozenset(name for names in json.loads(text).values() for name in names)


def verify_pitch(audio: Tensor, expected: float) -> float | None:
    """The measured pitch of a note that should sound at `expected`, or None where it does not.

    Args:
        audio: Mono at 44.1 kHz, (T,).
        expected: MIDI note number.

    Returns:
        MIDI note number within PITCH_TOLERANCE_CENTS of `expected`; None when the note repeats too weakly at that
        period, as well at a half or a third of it (it sounds an octave or a twelfth higher), or only at twice of it.

    Source: normalised square difference of McLeod & Wyvill (2005), refined over many periods.
    """
    size = 8192
    period = SAMPLE_RATE / (440.0 * 2.0 ** ((expected - 69.0) / 12.0))
    if size < 5 * period:
        size *= 2
    found = []
    for start_s in (0.08, 0.25, 0.6, 1.2):
        start = int(start_s * SAMPLE_RATE)
        part = audio[start : start + size].double()
        if part.shape[0] < size or float(part.abs().max()) < 1e-4:
            continue
        part = part - part.mean()
        spectrum = torch.fft.rfft(part, 2 * size)
        correlation = torch.fft.irfft(spectrum.abs().square())[:size]
        energy = torch.cat([torch.zeros(1, dtype=torch.double), part.square().cumsum(0)])
        lags = torch.arange(size)
        norm = energy[size - lags] + energy[size] - energy[lags]
        nsdf = (2.0 * correlation / (norm + 1e-12)).numpy()

        def peak(lag: float, width: float, nsdf: NDArray[np.float64] = nsdf) -> tuple[float, float]:
            """Best lag within ± width of `lag`, parabolic, and its height."""
            low, high = max(2, math.floor(lag - width)), math.ceil(lag + width) + 1
            best = low + int(np.argmax(nsdf[low:high]))
            if not 1 < best < len(nsdf) - 1:
                return lag, 0.0
            left, middle, right = nsdf[best - 1 : best + 2]
            curve = left - 2 * middle + right
            shift = 0.5 * (left - right) / curve if curve < 0 else 0.0
            return best + float(np.clip(shift, -0.5, 0.5)), float(middle)

        lag, height = peak(period, max(1.0, 0.03 * period))
        if height < MIN_PERIODIC:
            continue
        if any(peak(lag / part_of, 1.0)[1] > 0.97 * height for part_of in (2, 3) if lag / part_of > 4):
            continue
        if 2 * lag < size / 2 and peak(2 * lag, 1.0)[1] > height + 0.2:
            continue
        n_periods = 1
        while 2 * n_periods * lag / n_periods < size / 3 and n_periods < 64:
            longer, longer_height = peak(2 * lag, max(1.0, 0.2 * lag / n_periods))
            if longer_height < 0.6 * height:
                break
            lag, n_periods = longer, 2 * n_periods
        found.append(69.0 + 12.0 * math.log2(SAMPLE_RATE / (lag / n_periods) / 440.0))
    if not found:
        return None
    measured = float(np.median(found))
    return measured if abs(measured - expected) * 100.0 <= PITCH_TOLERANCE_CENTS else None


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
        power = torch.matmul(self._log_mel.filters.T, self._log_mel.power_spectrum(samples[None]))[0]
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
            "mel": ((decibels - LOWEST_DB) / STEP_DB).round().clamp(0, 255).to(torch.uint8),
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
        low, high = max(KEYS.start, preset.key_low), min(KEYS.stop - 1, preset.key_high)
        if preset.pitched:
            low = max(low, preset.root_low - KEYS_BESIDE_RECORDED[0])
            high = min(high, preset.root_high + KEYS_BESIDE_RECORDED[1])
            keys: Iterable[int] = (key for key in range(low, high + 1) if key % KEY_STEP == 0)
            velocities: tuple[int, ...] = VELOCITIES
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
        analyser.add(audio, pitch, 60 if entry.get("dynamic") == "soft" else 110, bandwidth_hz)
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
            if same_program or shared >= SHARED_SAMPLES * min(len(a.samples), len(b.samples)):
                leader[find(i)] = find(j)
    names = [presets[find(index)][1] for index in range(len(presets))]
    return {
        (font, preset.bank, preset.program): f"gm-{lead.bank:03d}-{lead.program:03d}"
        for (font, preset), lead in zip(presets, names, strict=True)
    }


def _jobs(
    out: Path, real: list[Path], soundfonts: list[Path], nsynth: list[Path], nsynth_choice: Choice
) -> list[tuple[str, Callable[..., None], tuple[Any, ...]]]:
    """Everything that has to be analysed: (shard name, function, its arguments)."""
    jobs: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = []
    licences = dict.fromkeys((path for path, _ in DEBIAN_SOUNDFONTS), "MIT")
    fonts = {path: [p for p in read_presets(path) if p.bank not in SKIPPED_BANKS] for path in soundfonts}
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
    for instrument in read_instruments(nsynth, nsynth_choice) if nsynth else []:
        name = f"nsynth-{instrument.name}"
        facts = {
            "name": name, "source": instrument.folder, "family": instrument.family, "instrument": instrument.name,
            "pitched": True, "validation": instrument.validation, "licence": NSYNTH_LICENCE,
        }  # fmt: skip
        jobs.append((name, _read_nsynth, (instrument.examples, out / f"{name}.safetensors", facts)))
    return jobs


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Entries of a folder's `manifest.json`: file, instrument, family, pitched, midi_measured, dynamic, licence.

    Raises:
        TrainingError: When there is none, or it cannot be read.
    """
    path = folder / "manifest.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["files"]
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror})", "recordings need a manifest.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a manifest", "it needs a list 'files'") from error
    if not isinstance(entries, list) or not entries:
        raise TrainingError(f"{path} lists no files", "add an entry for every recording")
    return entries


def build_dataset(
    out: Path,
    real: list[Path],
    soundfonts: list[Path] | None = None,
    workers: int = 2,
    report: Report | None = None,
    nsynth: list[Path] | None = None,
    nsynth_choice: Choice | None = None,
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
        nsynth: Unpacked folders of NSynth; those named …valid and …test are never trained on.
        nsynth_choice: Which of NSynth's notes; all when None. Another choice needs another `out`.
        held_out: Put every instrument on the validation side: a data set to measure with and never to train on.

    Returns:
        The index.

    Raises:
        TrainingError: When a SoundFont, a manifest, a sound file or FluidSynth is missing, NSynth is not laid out as
            published, or nothing was found to analyse.
    """
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
    out.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(out, real, soundfonts, nsynth or [], nsynth_choice or Choice())
    for _, _, (*_, facts) in jobs if held_out else []:
        facts["validation"] = True
    todo = [job for job in jobs if not any((out / f"{job[0]}{end}").exists() for end in (".safetensors", ".empty"))]
    n_done = len(jobs) - len(todo)
    if workers <= 1:
        for name, function, arguments in todo:
            function(*arguments)
            n_done += 1
            if report is not None:
                report(name, n_done, len(jobs))
        return write_index(out)
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures: dict[Future[None], str] = {
            pool.submit(function, *arguments): name for name, function, arguments in todo
        }
        try:
            for future in as_completed(futures):
                future.result()
                n_done += 1
                if report is not None:
                    report(futures[future], n_done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return write_index(out)


def write_index(out: Path) -> list[Shard]:
    """Read the facts of every shard in a folder and write them to its `index.json`.

    Raises:
        TrainingError: When there is no shard, or one is damaged.
    """
    shards = []
    for path in sorted(out.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} is damaged", "delete it and build the data again") from error
        shards.append(Shard(**facts))
    if not shards:
        raise TrainingError(f"{out} holds no data", "name SoundFonts, recordings or NSynth folders")
    text = json.dumps({"format": FORMAT_VERSION, "shards": [asdict(s) for s in shards]}, indent=1)
    write_whole(out / "index.json", lambda aside: aside.write_text(text, encoding="utf-8"))
    return shards


def read_index(out: Path) -> list[Shard]:
    """The index of a data set.

    Raises:
        TrainingError: When there is none, or it is of another format.
    """
    try:
        index = json.loads((out / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT_VERSION:
            raise TrainingError(f"{out} has data of format {index['format']}", "build it again with hgs train data")
        return [Shard(**facts) for facts in index["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{out} is not a complete data set", "build it with hgs train data") from error


def read_shard(out: Path, shard: Shard) -> dict[str, Tensor]:
    """Tensors of a shard: 8-bit mel (N, n_mels, n_frames) and periodicity (N, N_BANDS, N_STEPS), and facts of N notes.

    Those are pitch, velocity, bandwidth_hz and sample, the same number for notes that play the same samples of a
    SoundFont. Shards that were built before these were stored are full-band, and no two notes of them share a sample.
    """
    tensors = load_file(out / f"{shard.name}.safetensors")
    plain = {
        "bandwidth_hz": torch.full_like(tensors["pitch"], FULL_BANDWIDTH_HZ),
        "sample": torch.arange(tensors["pitch"].shape[0]),
    }
    return plain | tensors
