"""The bench command: where the time goes, how fast notes are made, and how that compares, in one run on one machine."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import hgs_cli
from hgs_cli.audio.io import read_audio, to_sample_rate, write_audio
from hgs_cli.audio.loudness import note_lufs
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.bench_report import BenchReport, Bound, Timing
from hgs_cli.console import Advance
from hgs_cli.errors import InputError, UsageError
from hgs_cli.evaluation.peers import RUBBER_BAND, RUBBER_BAND_R3, SIGNALSMITH, Peer, find_peers
from hgs_cli.inversion import SUFFIX
from hgs_cli.models.generator import Envelopes
from hgs_cli.pipeline import Inversion, Model, Settings, load_model, open_sound, play
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.carrier import analyse
from hgs_cli.sampler.detail import measure_detail, transfer_detail
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import UNPITCHED_REFERENCE, make_instrument
from hgs_cli.sampler.notes import drawn_voices
from hgs_cli.sampler.voices import ask_networks, move_carriers, note_voices, read_carriers
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, SAMPLE_RATE

OCTAVES = [float(pitch) for pitch in range(48, 73)]  # two octaves, 25 notes
N_STAGES = 20  # that are timed alone, in `_time_stages` and before it
BATCHES = (1, 2, 4, 8, 16, 25, 88)  # notes: up to a piano's keys
LENGTHS_S = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class TimingRules:
    """How often things are timed.

    Attributes:
        other_rate_hz: From which a sound is resampled.
        cold_runs: Of what takes seconds each.
        n_calls: That are timed in new processes.
        peak_runs: The fastest of which tells what the machine can do.
        copied_bytes: More than caches hold.
    """

    other_rate_hz: int = 48_000
    cold_runs: int = 3
    n_calls: int = 4
    peak_runs: int = 15
    copied_bytes: int = 2**27


TIMING = TimingRules()


IMPORTING, RENDERING = "import torch, torchaudio, soundfile, pyloudnorm", "hgs render, 25 notes"
COMPARED = (RUBBER_BAND_R3, SIGNALSMITH)


class _Clock:
    """Times work and keeps the results.

    Args:
        runs: How often each thing is timed, after one run that pays for caches which later ones find filled.
        advance: Takes the number of things done since its last call.
    """

    def __init__(self, runs: int, advance: Advance) -> None:
        self.runs, self.advance = runs, advance
        self.device = torch.device("cpu")
        self.timings: list[Timing] = []

    def time(
        self, section: str, name: str, work: Callable[[], Any], notes: int = 0, note_s: float = 0.0, runs: int = 0
    ) -> Any:
        """The result of the work; notes are how many it makes, each of so many seconds."""
        result = work()
        spent = [self.seconds(work) for _ in range(runs or self.runs)]
        median = statistics.median(spent)
        timing = Timing(section, name, median * 1e3, _percentile(spent, 0.95) * 1e3, len(spent), notes)
        if notes:
            timing = replace(timing, notes_per_s=notes / median, real_time_factor=notes * note_s / median)
        self.timings.append(timing)
        self.advance(1)
        return result

    def seconds(self, work: Callable[[], Any]) -> float:
        """What it takes once."""
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median_s(self, section: str, name: str) -> float:
        """Of something that was timed."""
        return next(each.median_ms for each in self.timings if (each.section, each.name) == (section, name)) / 1e3


@dataclass(frozen=True)
class BenchPlan:
    """What is timed.

    Attributes:
        sound: What is played; None for a four-second tone made here.
        runs: How often each thing is, at least 1.
        cold: Whether whole calls in new processes are, TIMING.cold_runs times.
        peers: What is timed at the same notes: Rubber Band's finer engine, and Signalsmith Stretch if it is installed.
    """

    sound: Path | None
    runs: int
    cold: bool = False
    peers: tuple[Peer, ...] = ()

    @property
    def n_steps(self) -> int:
        """How many things are timed."""
        played = len(BATCHES) + len(_thread_counts()) + len(LENGTHS_S)
        return N_STAGES + played + 1 + (TIMING.n_calls if self.cold else 0) + len(self.peers)


def plan_bench(sound: Path | None, runs: int, *, cold: bool, compare: bool) -> BenchPlan:
    """What is timed, with other programs if it is to be compared.

    Raises:
        UsageError: The sound is an inversion, or Rubber Band is not there.
    """
    peers: tuple[Peer, ...] = ()
    if compare:
        there = find_peers()
        if RUBBER_BAND_R3 in there.missing:
            reason = there.missing[RUBBER_BAND_R3]
            raise UsageError(f"nothing to compare with: {reason}", "install it, or leave out --compare")
        peers = tuple(peer for peer in there.found if peer.name in COMPARED)
    if sound is not None and sound.suffix.lower() == SUFFIX:
        raise UsageError(f"{sound} is an inversion", "give a sound: reading and inverting one is timed, too")
    return BenchPlan(sound, runs, cold, peers)


def run_bench(plan: BenchPlan, weights: Path | None, device: str, advance: Advance = lambda steps: None) -> BenchReport:
    """Time every stage, then notes in batches, by threads and by length, and G against the machine's bound.

    Args:
        plan: From `plan_bench`.
        weights: As for `load_model`.
        device: `auto`, `cpu` or `cuda`.
        advance: Takes the number of things timed since its last call.

    Raises:
        HgsError: As `load_model` and `open_sound` say; a call that is timed fails.
    """
    clock = _Clock(plan.runs, advance)
    with tempfile.TemporaryDirectory(prefix="hgs-") as folder:
        model: Model = clock.time("stages", "load weights", lambda: load_model(weights, device))
        clock.device = model.device
        path = plan.sound or Path(folder, "tone.wav")
        if plan.sound is None:
            write_audio(path, _tone(), "FLOAT", 0)
        inversion, instrument = _time_stages(clock, model, path, Path(folder))
        _time_notes(clock, model, instrument)
        bound = _bound(clock, model, instrument)
        if plan.cold:
            _time_calls(clock, model, path, Path(folder))
        own_pitch = UNPITCHED_REFERENCE if inversion.source_pitch is None else inversion.source_pitch
        for peer in plan.peers:
            _time_peer(clock, peer, read_audio(path).audio[: instrument.length_samples], own_pitch, Path(folder))
    environment = _environment(model) | {
        "sound": "a tone made here" if plan.sound is None else plan.sound.name,
        "seconds": round(instrument.length_samples / SAMPLE_RATE, 3),
    }
    if plan.peers:
        environment |= {"compared with": plan.peers[0].version}
    return BenchReport(tuple(clock.timings), bound, _ratios(clock, plan), _peak_memory_mib(model.device), environment)


def _ratios(clock: _Clock, plan: BenchPlan) -> dict[str, float]:
    """What is compared → how many times as long it takes as `hgs` does."""
    ratios: dict[str, float] = {}
    if plan.cold:
        cold_s = clock.median_s("cold", RENDERING)
        ratios["hgs, cold / import of its libraries"] = cold_s / clock.median_s("cold", IMPORTING)
    for peer in plan.peers:
        peer_s = clock.median_s("compare", f"{peer.name}, 25 notes")
        ratios[f"{peer.name} / hgs, warm"] = peer_s / clock.median_s("batches", f"{len(OCTAVES)} notes")
        if plan.cold and peer.name == RUBBER_BAND_R3:
            ratios[f"{peer.name} / hgs, cold"] = peer_s / cold_s
    return ratios


def _time_stages(clock: _Clock, model: Model, path: Path, folder: Path) -> tuple[Inversion, Instrument]:
    """Every stage alone, in the order in which a sound goes through them; the last ones for 25 notes at once."""
    network, settings = model.network, Settings()

    def stage(name: str, work: Callable[[], Any], notes: int = 0, note_s: float = 0.0) -> Any:
        with torch.inference_mode():
            return clock.time("stages", name, work, notes, note_s)

    audio = stage("read", lambda: read_audio(path)).audio
    stage("resample from 48 kHz", lambda: to_sample_rate(audio, TIMING.other_rate_hz))
    x = stage("log-mel", lambda: model.log_mel(audio[None].to(model.device)))
    source = stage("source pitch", lambda: detect_pitch(audio))
    midi = source.midi
    h = stage("f", lambda: network.extract(x))
    p = x.new_tensor([UNPITCHED_REFERENCE if midi is None else midi])
    offsets = stage("H, one pass", lambda: network.refine(h, p, 1))
    theta = stage("fold the offsets in", lambda: model.fold(offsets))
    with torch.inference_mode():
        first = network.envelopes(h, p, theta)
        known = Envelopes(first.harmonic[0].cpu(), first.noise_part[0].cpu())
        periodicity = measure_periodicity(audio, midi_to_hz(p[0].cpu() + source.pitch_contour_cents / 100.0))
    stage("measure detail", lambda: measure_detail(x[0].cpu(), periodicity, midi, known))
    inversion: Inversion = stage("invert, all of it", lambda: open_sound(model, path))
    instrument: Instrument = stage("ready to play", lambda: make_instrument(model, inversion))

    n_notes, note_s = len(OCTAVES), instrument.length_samples / SAMPLE_RATE
    q = torch.tensor(OCTAVES, device=model.device)
    h, part = instrument.feature.expand(n_notes, -1), instrument.parts[0]
    drawn = stage("G", lambda: network.envelopes(h, q, instrument.weights), n_notes, note_s)
    stage(
        "detail transfer",
        lambda: transfer_detail(network.detail_transfer, part.source, drawn, q),
        n_notes,
        note_s,
    )
    assert part.carrier is not None
    recorded, mono = part.carrier.audio, part.carrier.mono
    stage("analyse the recording", lambda: analyse(recorded, mono, pitch=midi))
    carriers = read_carriers(instrument, max(OCTAVES), settings)
    heads = stage("move the recording", lambda: move_carriers(carriers, OCTAVES, settings), n_notes, note_s)
    asked = stage("the networks", lambda: ask_networks(model, instrument, q, settings, True), n_notes, note_s)
    made = stage("levels, all of it", lambda: note_voices(asked, heads), n_notes, note_s)
    stage("tone and noise", lambda: drawn_voices(model, instrument, q, settings, made), n_notes, note_s)
    notes = [note.audio for note in play(model, instrument, OCTAVES, settings).notes]
    stage("loudness", lambda: [note_lufs(note) for note in notes], n_notes, note_s)
    stage("write 24 bits", lambda: _write(folder / "note.wav", notes), n_notes, note_s)
    return inversion, instrument


def _write(path: Path, notes: list[torch.Tensor]) -> None:
    for note in notes:
        write_audio(path, note, "PCM_24", 0)
        with open(path, "rb+") as written:
            os.fsync(written.fileno())


def _time_notes(clock: _Clock, model: Model, instrument: Instrument) -> None:
    """Notes of an instrument that is ready, from envelopes to levelled sound, as `hgs render` makes them."""
    whole_s = instrument.length_samples / SAMPLE_RATE

    def played(section: str, name: str, pitches: list[float], note_s: float = whole_s) -> None:
        cut = replace(instrument, length_samples=min(round(note_s * SAMPLE_RATE), MODEL_SAMPLES))
        clock.time(section, name, lambda: play(model, cut, pitches, Settings()), len(pitches), note_s)

    for n_notes in BATCHES:
        pitches = OCTAVES[:n_notes] if n_notes <= len(OCTAVES) else [21.0 + step for step in range(n_notes)]
        # One note alone lies a few semitones from its source, where both G and H have a say.
        played("batches", f"{n_notes} note{'s' if n_notes > 1 else ''}", [63.0] if n_notes == 1 else pitches)
    for count in _thread_counts():
        with _threads(count):
            played("threads", f"{count}", OCTAVES)
    for seconds in LENGTHS_S:
        played("lengths", f"{seconds:g} s", OCTAVES, seconds)


def _thread_counts() -> list[int]:
    """1, 2, 4, … and as many as are used."""
    most = torch.get_num_threads()
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def _bound(clock: _Clock, model: Model, instrument: Instrument) -> Bound:
    """G for 25 notes, beside what its multiply-adds and its bytes need at the highest speeds that are seen here."""
    from torch.utils.flop_counter import FlopCounterMode

    generator, q = model.network.generator, torch.tensor(OCTAVES, device=model.device)
    h = instrument.feature.expand(len(OCTAVES), -1)
    with FlopCounterMode(display=False) as counter:
        drawn = model.network.envelopes(h, q, instrument.weights)
    operations = counter.get_total_flops() // 2
    held = sum(each.weight.numel() for each in instrument.weights.values())
    n_bytes = 4 * (held + drawn.harmonic.numel() + drawn.noise_part.numel())

    def fastest_s(work: Callable[[], Any]) -> float:
        work()
        return min(clock.seconds(work) for _ in range(TIMING.peak_runs))

    # The shape that is fastest here: G's widest layer, with channels last, for as many notes.
    width, steps = generator.config.channels[-1], N_FRAMES // 4
    x = torch.randn(len(OCTAVES), width, 1, steps, device=model.device).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(width, width, 1, 3, device=model.device).contiguous(memory_format=torch.channels_last)
    square = torch.randn(1024, 1024, device=model.device)
    speeds = [
        x.numel() * width * 3 / fastest_s(lambda: torch.nn.functional.conv2d(x, weight, padding=(0, 1))),
        square.shape[0] ** 3 / fastest_s(lambda: square @ square),
    ]
    memory = torch.zeros(TIMING.copied_bytes, dtype=torch.uint8, device=model.device)
    other = torch.empty_like(memory)
    bytes_per_s = 2.0 * TIMING.copied_bytes / fastest_s(lambda: other.copy_(memory))
    bound_s = max(operations / max(speeds), n_bytes / bytes_per_s)
    clock.advance(1)
    measured_ms = clock.median_s("stages", "G") * 1e3
    return Bound(operations, n_bytes, max(speeds), bytes_per_s, bound_s * 1e3, measured_ms, len(OCTAVES))


def _time_calls(clock: _Clock, model: Model, path: Path, folder: Path) -> None:
    """Whole calls in new processes, from nothing to files."""
    out = folder / "out"
    hgs = [sys.executable, "-m", "hgs_cli"]
    render = [*hgs, "render", str(path), "--quiet", "--weights", str(model.path), "--device", model.device.type]
    render += ["--threads", str(torch.get_num_threads()), "-o", str(out), "-p"]

    def call(name: str, command: list[str], notes: int = 0) -> None:
        def work() -> None:
            shutil.rmtree(out, ignore_errors=True)
            _run(command)

        clock.time("cold", name, work, notes, runs=TIMING.cold_runs)

    call("hgs --help", [*hgs, "--help"])
    call(IMPORTING, [sys.executable, "-c", IMPORTING])
    call("hgs render, 1 note", [*render, "60"], 1)
    call(RENDERING, [*render, "48-72"], len(OCTAVES))


def _run(command: list[str]) -> None:
    """Run a command to its end, without a word.

    Raises:
        InputError: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - our own
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{Path(command[0]).name} failed: {said}", "give another sound, or leave out what runs it")


def _time_peer(clock: _Clock, peer: Peer, audio: torch.Tensor, source: float, folder: Path) -> None:
    """A peer at the same 25 notes: in this process, or Rubber Band's command as it is used, a process each."""
    is_program = peer.name == RUBBER_BAND_R3
    wave = folder / "source.wav"
    if is_program:
        write_audio(wave, 0.5 * audio / audio.abs().max(), "PCM_24", 0)
    shift = peer.open(audio, source)

    def work() -> None:
        for pitch in OCTAVES:
            if is_program:
                interval, shifted = f"{pitch - source:.6f}", str(folder / "shifted.wav")
                _run([RUBBER_BAND, "--fine", "--quiet", "--pitch", interval, str(wave), shifted])
            else:
                shift(pitch - source)

    seconds, runs = len(audio) / SAMPLE_RATE, TIMING.cold_runs if is_program else 0
    clock.time("compare", f"{peer.name}, 25 notes", work, len(OCTAVES), seconds, runs=runs)


def _percentile(values: list[float], fraction: float) -> float:
    """Percentile by linear interpolation between the sorted values."""
    return float(torch.quantile(torch.tensor(values, dtype=torch.float64), fraction))


def _tone() -> torch.Tensor:
    """A decaying tone with eight harmonics at A3, four seconds long, (T,)."""
    seconds = torch.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    waves = [torch.sin(2 * torch.pi * 220.0 * k * seconds) / k for k in range(1, 9)]
    return 0.3 * torch.stack(waves).sum(0) * torch.exp(-seconds)


def _peak_memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _environment(model: Model) -> dict[str, str | int | float]:
    if model.device.type == "cuda":
        name = torch.cuda.get_device_name(model.device)
    else:
        name = str(torch.cpu.get_capabilities().get("cpu_name", platform.machine()))
    return {
        "hgs": hgs_cli.__version__,
        "weights": model.version,
        "weights_sha256": model.sha256,
        "device": f"{model.device.type} ({name})",
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count() or 0,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
