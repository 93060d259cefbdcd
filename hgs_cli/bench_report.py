"""What a bench found, and how it is shown: tables, bars, plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hgs_cli.console import print_table


@dataclass(frozen=True)
class Timing:
    """How long one thing took.

    Attributes:
        section: Of the report.
        name: What was timed.
        median_ms: Median over the runs.
        p95_ms: 95th percentile over the runs.
        runs: How often it was timed, after one run that does not count.
        notes: Notes that were made each time, 0 if none.
        notes_per_s: By the median; None where no note is made.
        real_time_factor: Seconds of sound made a second of median time; None likewise.
    """

    section: str
    name: str
    median_ms: float
    p95_ms: float
    runs: int
    notes: int = 0
    notes_per_s: float | None = None
    real_time_factor: float | None = None


@dataclass(frozen=True)
class Bound:
    """How near G comes to what the machine can do.

    Attributes:
        operations: Multiply-adds of G for all notes of a batch.
        n_bytes: Of weights and results that must be moved for it at least.
        operations_per_s: The most that was measured here.
        bytes_per_s: Likewise, reading and writing.
        bound_ms: The longer of what both need.
        median_ms: What G takes.
        notes: In the batch.
    """

    operations: int
    n_bytes: int
    operations_per_s: float
    bytes_per_s: float
    bound_ms: float
    median_ms: float
    notes: int


@dataclass(frozen=True)
class BenchReport:
    """All timings of a run and the circumstances.

    Attributes:
        timings: In the order in which they were taken.
        bound: Of G.
        ratios: What is compared → how many times as long it takes as `hgs` does.
        peak_memory_mib: Largest resident memory of the process so far; on CUDA the device's peak instead.
        environment: Device, threads, versions, weights, the sound.
    """

    timings: tuple[Timing, ...]
    bound: Bound
    ratios: dict[str, float]
    peak_memory_mib: float
    environment: dict[str, str | int | float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def print_report(report: BenchReport, runs: int) -> None:
    """A bench's report as tables on stdout, a section each."""
    titles = {
        "stages": "Stages",
        "batches": "Notes at once",
        "threads": "25 notes by threads",
        "lengths": "25 notes by their length",
        "cold": "Whole calls in new processes",
        "compare": "Compared",
    }
    for section, title in titles.items():
        rows = [
            (
                timing.name,
                f"{timing.median_ms:.2f}",
                f"{timing.p95_ms:.2f}",
                f"{timing.median_ms / timing.notes:.2f}" if timing.notes else "",
                f"{timing.notes_per_s:.0f}" if timing.notes_per_s else "",
                f"{timing.real_time_factor:.0f}×" if timing.real_time_factor else "",
            )
            for timing in report.timings
            if timing.section == section
        ]
        if rows:
            header = (section, "median ms", "p95 ms", "ms a note", "notes/s", "real time")
            print_table(title, rows, header, to_stdout=True)
    _print_bound(report.bound)
    if report.ratios:
        ratios = [(name, f"{value:.2f}") for name, value in report.ratios.items()]
        print_table("Ratios", ratios, to_stdout=True)
    facts = [(name, str(value)) for name, value in report.environment.items()]
    facts += [("runs", str(runs)), ("peak memory", f"{report.peak_memory_mib:.0f} MiB")]
    print_table("Circumstances", facts, to_stdout=True)


def _print_bound(bound: Bound) -> None:
    limits = [
        (
            f"{bound.operations / bound.notes / 1e6:.0f} M multiply-adds",
            f"{bound.operations_per_s / 1e9:.0f} G/s",
            f"{bound.operations / bound.operations_per_s * 1e3:.1f}",
        ),
        (
            f"{bound.n_bytes / bound.notes / 1e6:.2f} MB moved",
            f"{bound.bytes_per_s / 1e9:.0f} GB/s",
            f"{bound.n_bytes / bound.bytes_per_s * 1e3:.1f}",
        ),
        ("measured", f"{bound.median_ms / bound.bound_ms:.2f}× the bound", f"{bound.median_ms:.1f}"),
    ]
    columns = (f"G, a note of {bound.notes}", "the most seen here", "ms for all")
    print_table("What the machine can do", limits, columns, to_stdout=True)


def list_bars(report: BenchReport) -> list[tuple[str, list[tuple[str, float]]]]:
    """A bench's report as groups of named bars, in milliseconds, of a note where notes are made."""
    groups: dict[str, list[tuple[str, float]]] = {}
    names = {"stages": "stages, ms (of a note where notes are made)", "batches": "ms a note, so many at once"}
    names |= {"threads": "ms a note, by threads", "lengths": "ms a note, by length", "cold": "whole calls, ms"}
    for timing in report.timings:
        if timing.section in names:
            each = timing.median_ms / timing.notes if timing.notes and timing.section != "cold" else timing.median_ms
            groups.setdefault(names[timing.section], []).append((timing.name, each))
    return list(groups.items())
