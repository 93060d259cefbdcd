"""hgs beside other programs: per core and on all of them, a note and many, a short and a long sound, warm and cold."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from hgs_cli.audio.io import read_audio, write_audio
from hgs_cli.bench.clock import Clock, limited_threads, run_program
from hgs_cli.bench.plan import ALONE, BenchPlan
from hgs_cli.bench.report import OWN_NAME, Compared
from hgs_cli.evaluation.peers import RUBBER_BAND, RUBBER_BAND_R3, Peer, Shift, find_peers
from hgs_cli.pipeline import Model, Settings, make_instrument, open_sound, play
from hgs_cli.spectrum import SAMPLE_RATE

# Signalsmith Stretch as a script would use it, without torch; its arguments are a sound, a result and semitones.
STRETCH = """
import sys, soundfile
from python_stretch import Signalsmith
audio, rate = soundfile.read(sys.argv[1], dtype="float32", always_2d=True)
for semitones in sys.argv[3:]:
    stretch = Signalsmith.Stretch(0)
    stretch.preset(audio.shape[1], float(rate))
    stretch.setTransposeSemitones(float(semitones))
    soundfile.write(sys.argv[2], stretch.process(audio.T.copy()).T, rate, "PCM_24")
"""


def n_compared(plan: BenchPlan) -> int:
    """How many things `compare` times of a sound that is long enough to be cut."""
    times = [1 + (plan.cold and peer.name != RUBBER_BAND_R3) for peer in plan.peers]
    return (1 + plan.cold + sum(times)) * 4 * len({1, torch.get_num_threads()}) if plan.peers else 0


def compare(clock: Clock, plan: BenchPlan, model: Model, path: Path, own_pitch: float, folder: Path) -> list[Compared]:
    """Every program at every point of the table; those of hgs stand first at each.

    Args:
        clock: Which times.
        plan: What is timed.
        model: From `load_model`.
        path: The sound.
        own_pitch: Of the sound, which semitones are counted from.
        folder: For sounds that are made.
    """
    whole = read_audio(path).audio
    n_short = round(plan.rules.short_s * SAMPLE_RATE)
    sounds = [whole] if len(whole) < 2 * n_short else [whole[:n_short], whole]
    counts = sorted({1, torch.get_num_threads()})
    compared: list[Compared] = []
    clock.advance(n_compared(plan) // 2 * (2 - len(sounds)))
    for audio in sounds:
        wave = folder / f"sound_{len(audio)}.wav"
        write_audio(wave, 0.5 * audio / audio.abs().max(), "PCM_24", 0)
        instrument = make_instrument(model, open_sound(model, wave))
        for threads in counts:
            for pitches in ([ALONE], list(plan.pitches)):
                at = (len(audio) / SAMPLE_RATE, threads, len(pitches))
                semitones = [pitch - own_pitch for pitch in pitches]

                def timed(name: str, cold: bool, work: Callable[[], Any], at: tuple[float, int, int] = at) -> None:
                    _, spent = clock.measure(work, plan.rules.cold_runs if cold else plan.runs)
                    compared.append(Compared(name, *at, cold, statistics.median(spent) * 1e3))

                with limited_threads(threads):
                    timed(OWN_NAME, False, partial(play, model, instrument, pitches, Settings()))
                for peer in plan.peers:
                    if peer.name == RUBBER_BAND_R3:  # a program: there is no warm start
                        timed(peer.name, True, _rubber_band(wave, semitones, threads))
                        continue
                    with _ready(peer, wave, own_pitch, semitones, threads) as shift_all:
                        timed(peer.name, False, shift_all)
                if plan.cold:
                    timed(OWN_NAME, True, _call_hgs(model, wave, pitches, threads, folder / "out"))
                    for peer in plan.peers:
                        if peer.name != RUBBER_BAND_R3:
                            timed(peer.name, True, _stretch(wave, semitones, threads))
    return compared


def _shared(work: Callable[[Any], Any], items: Sequence[Any], n: int) -> Callable[[], None]:
    """Work on each item, on n of them at a time."""

    def all_of_it() -> None:
        with ThreadPoolExecutor(n) as pool:
            list(pool.map(work, items))

    return all_of_it


def _rubber_band(wave: Path, semitones: Sequence[float], n: int) -> Callable[[], None]:
    """A process a note, as it is used."""

    def shift(interval: float) -> None:
        made = wave.with_name(f"shifted_{interval:.6f}.wav")
        run_program([RUBBER_BAND, "--fine", "--quiet", "--pitch", f"{interval:.6f}", str(wave), str(made)])

    return _shared(shift, semitones, n)


@contextmanager
def _ready(peer: Peer, wave: Path, own_pitch: float, semitones: Sequence[float], n: int) -> Iterator[Callable[[], Any]]:
    """A library that has the sound: in this process, or in as many as there are cores: it lets no thread run beside."""
    work = partial(_shift, peer.name, wave, own_pitch)
    if n == 1 or len(semitones) == 1:
        yield lambda: deque(map(work, semitones), 0)
        return
    with ProcessPoolExecutor(n, get_context("spawn")) as pool:
        yield lambda: deque(pool.map(work, semitones), 0)


def _shift(name: str, wave: Path, own_pitch: float, interval: float) -> None:
    _opened(name, wave, own_pitch)(interval)


@lru_cache(maxsize=1)
def _opened(name: str, wave: Path, own_pitch: float) -> Shift:
    peer = next(each for each in find_peers().found if each.name == name)
    return peer.open(read_audio(wave).audio, own_pitch)


def _stretch(wave: Path, semitones: Sequence[float], n: int) -> Callable[[], None]:
    """As many processes as cores, each with its share of the notes."""
    shares = [[f"{each:.6f}" for each in semitones[start::n]] for start in range(min(n, len(semitones)))]

    def run(index: int) -> None:
        made = wave.with_name(f"stretched_{index}.wav")
        run_program([sys.executable, "-c", STRETCH, str(wave), str(made), *shares[index]])

    return _shared(run, range(len(shares)), n)


def _call_hgs(model: Model, wave: Path, pitches: Sequence[float], threads: int, out: Path) -> Callable[[], None]:
    command = [sys.executable, "-m", "hgs_cli", "render", str(wave), "--quiet", "--weights", str(model.path)]
    command += ["--device", model.device.type, "--threads", str(threads), "-o", str(out)]
    command += ["-p", ",".join(f"{pitch:g}" for pitch in pitches)]

    def call() -> None:
        shutil.rmtree(out, ignore_errors=True)
        run_program(command)

    return call
