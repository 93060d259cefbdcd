"""The bench command: all that is timed, in one run on one machine."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

import hgs_cli
from hgs_cli.audio.io import write_audio
from hgs_cli.bench.clock import Clock, limited_threads, run_program
from hgs_cli.bench.comparison import compare, n_compared
from hgs_cli.bench.plan import ALONE, BenchPlan, thread_counts
from hgs_cli.bench.profile import N_PROFILED, count_products, measure_peak, profile_notes
from hgs_cli.bench.report import BenchReport, Bound, Compared, Profile
from hgs_cli.bench.stages import N_STAGES, time_stages
from hgs_cli.console import Advance
from hgs_cli.pipeline import Model, Settings, load_model, play
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import UNPITCHED_REFERENCE
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

IMPORTING, ONE_NOTE = "import torch", "hgs render, 1 note"
N_CALLS = 4


def count_steps(plan: BenchPlan) -> int:
    """How many things are timed."""
    played = len(plan.batches) + len(thread_counts()) + len(plan.lengths_s)
    return 1 + N_STAGES + played + 1 + N_CALLS * plan.cold + N_PROFILED * plan.profile + n_compared(plan)


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
    clock = Clock(plan.runs, advance)
    compared: list[Compared] = []
    profiles: tuple[Profile, ...] = ()
    with tempfile.TemporaryDirectory(prefix="hgs-") as folder:
        model: Model = clock.time("stages", "load weights", lambda: load_model(weights, device))
        clock.device = model.device
        path = plan.sound or Path(folder, "tone.wav")
        if plan.sound is None:
            write_audio(path, _tone(), "FLOAT", 0)
        inversion, instrument = time_stages(clock, plan, model, path, Path(folder))
        _time_notes(clock, plan, model, instrument)
        bound = _bound(clock, plan, model, instrument)
        if plan.profile:
            profiles = profile_notes(clock, plan, model, instrument)
        if plan.cold:
            _time_calls(clock, plan, model, path, Path(folder))
        if plan.peers:
            own_pitch = UNPITCHED_REFERENCE if inversion.source_pitch is None else inversion.source_pitch
            compared = compare(clock, plan, model, path, own_pitch, Path(folder))
    environment = _environment(model) | {
        "sound": "a tone made here" if plan.sound is None else plan.sound.name,
        "seconds": round(instrument.length_samples / SAMPLE_RATE, 3),
    }
    if plan.peers:
        environment["compared with"] = ", ".join(peer.version for peer in plan.peers)
    ratios = {}
    if plan.cold:
        ratios[f"{ONE_NOTE}, cold / {IMPORTING}"] = clock.median_s("cold", ONE_NOTE) / clock.median_s("cold", IMPORTING)
    memory_mib = _peak_memory_mib(model.device)
    return BenchReport(
        tuple(clock.timings), tuple(compared), plan.missing, profiles, bound, ratios, memory_mib, environment
    )


def _time_notes(clock: Clock, plan: BenchPlan, model: Model, instrument: Instrument) -> None:
    """Notes of an instrument that is ready, from envelopes to levelled sound, as `hgs render` makes them."""
    whole_s = instrument.length_samples / SAMPLE_RATE

    def played(section: str, name: str, pitches: Sequence[float], note_s: float = whole_s) -> None:
        cut = replace(instrument, length_samples=min(round(note_s * SAMPLE_RATE), MODEL_SAMPLES))
        clock.time(section, name, lambda: play(model, cut, pitches, Settings()), len(pitches), note_s)

    for n_notes in plan.batches:
        pitches = plan.pitches[:n_notes] if n_notes <= len(plan.pitches) else [21.0 + step for step in range(n_notes)]
        played("batches", f"{n_notes} note{'s' if n_notes > 1 else ''}", [ALONE] if n_notes == 1 else pitches)
    for count in thread_counts():
        with limited_threads(count):
            played("threads", f"{count}", plan.pitches)
    for seconds in plan.lengths_s:
        played("lengths", f"{seconds:g} s", plan.pitches, seconds)


@torch.inference_mode()
def _bound(clock: Clock, plan: BenchPlan, model: Model, instrument: Instrument) -> Bound:
    """G for 25 notes, beside what its multiply-adds and its bytes need at the highest speeds that are seen here."""
    generator, q = model.network.generator, torch.tensor(plan.pitches, device=model.device)
    h = instrument.feature.expand(len(plan.pitches), -1)
    with count_products() as counter:
        drawn = model.network.envelopes(h, q, instrument.weights)
    operations = counter.get_total_flops() // 2
    held = sum(each.weight.numel() for each in instrument.weights.values())
    n_bytes = 4 * (held + drawn.harmonic.numel() + drawn.noise_part.numel())

    peak = measure_peak(clock, generator, plan.rules, len(plan.pitches))
    bound_s = max(operations / peak.operations_per_s, n_bytes / peak.bytes_per_s)
    clock.advance(1)
    measured_ms = clock.median_s("stages", "G") * 1e3
    return Bound(
        operations, n_bytes, peak.operations_per_s, peak.bytes_per_s, bound_s * 1e3, measured_ms, len(plan.pitches)
    )


def _time_calls(clock: Clock, plan: BenchPlan, model: Model, path: Path, folder: Path) -> None:
    """Whole calls in new processes, from nothing to files."""
    out = folder / "out"
    hgs = [sys.executable, "-m", "hgs_cli"]
    render = [*hgs, "render", str(path), "--quiet", "--weights", str(model.path), "--device", model.device.type]
    render += ["--threads", str(torch.get_num_threads()), "-o", str(out), "-p"]

    def call(name: str, command: list[str], notes: int = 0) -> None:
        def work() -> None:
            shutil.rmtree(out, ignore_errors=True)
            run_program(command)

        clock.time("cold", name, work, notes, runs=plan.rules.cold_runs)

    call("hgs --help", [*hgs, "--help"])
    call(IMPORTING, [sys.executable, "-c", IMPORTING])
    call(ONE_NOTE, [*render, "60"], 1)
    pitches = ",".join(f"{pitch:g}" for pitch in plan.pitches)
    call(f"hgs render, {len(plan.pitches)} notes", [*render, pitches], len(plan.pitches))


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
