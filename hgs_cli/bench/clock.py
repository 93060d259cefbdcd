"""Timing: of work in this process, and of programs."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hgs_cli.bench.report import Timing
from hgs_cli.console import Advance
from hgs_cli.errors import InputError


class Clock:
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
        result, spent = self.measure(work, runs or self.runs)
        median = statistics.median(spent)
        timing = Timing(section, name, median * 1e3, _percentile(spent, 0.95) * 1e3, len(spent), notes)
        if notes:
            timing = replace(timing, notes_per_s=notes / median, real_time_factor=notes * note_s / median)
        self.timings.append(timing)
        return result

    def measure(self, work: Callable[[], Any], runs: int) -> tuple[Any, list[float]]:
        """The result of the work, and what it took each time in seconds, after once that does not count."""
        result = work()
        spent = [self.seconds(work) for _ in range(runs)]
        self.advance(1)
        return result, spent

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


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch use so many while the body runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_program(command: list[str]) -> None:
    """Run a command to its end, without a word; as for users, Python keeps what it has compiled.

    Raises:
        InputError: It failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603 - our own
        command, capture_output=True, text=True, errors="replace", check=False, env=environment
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{Path(command[0]).name} failed: {said}", "give another sound, or leave out what runs it")


def _percentile(values: list[float], fraction: float) -> float:
    """Percentile by linear interpolation between the sorted values."""
    return float(torch.quantile(torch.tensor(values, dtype=torch.float64), fraction))
