"""The bench command: how long loading, inverting and rendering take, and what they need."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import hgs_cli
from hgs_cli.pipeline import Inversion, Model, Settings, invert, load_model, open_sound, render
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

STEPS = 4  # things that `run_bench` times
FIRST_PITCH = 60.0
OCTAVES = [float(pitch) for pitch in range(48, 73)]  # two octaves, 25 notes


@dataclass(frozen=True)
class Timing:
    """How long one thing took.

    Attributes:
        name: What was timed.
        median_ms: Median over the runs.
        p95_ms: 95th percentile over the runs.
        real_time_factor: Seconds of sound made a second of median time; None where no sound is made.
        runs: How often it was timed.
    """

    name: str
    median_ms: float
    p95_ms: float
    real_time_factor: float | None
    runs: int


@dataclass(frozen=True)
class BenchReport:
    """All timings of a run and the circumstances.

    Attributes:
        timings: In the order in which they were taken.
        peak_memory_mib: Largest resident memory of the process so far; on CUDA the device's peak instead.
        environment: Device, threads, versions, weights.
    """

    timings: tuple[Timing, ...]
    peak_memory_mib: float
    environment: dict[str, str | int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def run_bench(
    sound: Path | None,
    weights: Path | None,
    device: str,
    runs: int,
    advance: Callable[[int], None] = lambda steps: None,
) -> BenchReport:
    """Time the main path, every step `runs` times after one run that is not counted.

    Args:
        sound: What is inverted; a four-second tone made here if not given.
        weights: As for `load_model`.
        device: `auto`, `cpu` or `cuda`.
        runs: At least 1.
        advance: Takes the number of steps done since its last call; there are `STEPS`.

    Raises:
        HgsError: As `load_model` and `open_sound` say.
    """
    timings: list[Timing] = []

    def timed(name: str, work: Callable[[], Any], seconds_of_sound: float = 0.0, note_name: str = "") -> Any:
        result = work()  # the first run pays for caches that later ones find filled
        spent = [_seconds(work, model.device if timings else None) for _ in range(runs)]
        if note_name:
            n_notes = len(OCTAVES)
            timings.append(_timing(note_name, [value / n_notes for value in spent], seconds_of_sound / n_notes))
        timings.append(_timing(name, spent, seconds_of_sound))
        advance(1)
        return result

    model: Model = timed("load weights", lambda: load_model(weights, device))
    inversion: Inversion
    if sound is None:
        tone = _tone()
        inversion = timed("invert", lambda: invert(model, tone, SAMPLE_RATE), MODEL_SAMPLES / SAMPLE_RATE)
    else:
        length_s = open_sound(model, sound).length_samples / SAMPLE_RATE
        inversion = timed("invert, with reading", lambda: open_sound(model, sound), length_s)
    note_s = inversion.length_samples / SAMPLE_RATE
    settings = Settings()
    timed("first note", lambda: render(model, inversion, [FIRST_PITCH], settings), note_s)
    everything_s = len(OCTAVES) * note_s
    timed("25 notes", lambda: render(model, inversion, OCTAVES, settings), everything_s, "note in a batch")
    return BenchReport(tuple(timings), _peak_memory_mib(model.device), _environment(model))


def _timing(name: str, spent: list[float], seconds_of_sound: float) -> Timing:
    median = statistics.median(spent)
    factor = seconds_of_sound / median if seconds_of_sound else None
    return Timing(name, median * 1e3, _percentile(spent, 0.95) * 1e3, factor, len(spent))


def _seconds(work: Callable[[], Any], device: torch.device | None) -> float:
    start = time.perf_counter()
    work()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _percentile(values: list[float], fraction: float) -> float:
    """Percentile by linear interpolation between the sorted values."""
    return float(torch.quantile(torch.tensor(values, dtype=torch.float64), fraction))


def _tone() -> torch.Tensor:
    """A decaying tone with eight harmonics at A3, as long as the model hears, (MODEL_SAMPLES,)."""
    seconds = torch.arange(MODEL_SAMPLES) / SAMPLE_RATE
    waves = [torch.sin(2 * torch.pi * 220.0 * k * seconds) / k for k in range(1, 9)]
    return 0.3 * torch.stack(waves).sum(0) * torch.exp(-seconds)


def _peak_memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _environment(model: Model) -> dict[str, str | int]:
    name = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
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
