"""What a bench found, and how it is shown: tables, bars, plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hgs_cli.console import print_table

OWN_NAME = "hgs"


@dataclass(frozen=True)
class Timing:
    """How long one thing took."""

    section: str  # of the report
    name: str  # what was timed
    median_ms: float  # median over the runs
    p95_ms: float  # 95th percentile over the runs
    runs: int  # how often it was timed, after one run that does not count
    notes: int = 0  # notes that were made each time, 0 if none
    notes_per_s: float | None = None  # by the median; None where no note is made
    real_time_factor: float | None = None  # seconds of sound made a second of median time; None likewise


@dataclass(frozen=True)
class Bound:
    """How near G comes to what the machine can do."""

    operations: int  # multiply-adds of G for all notes of a batch
    n_bytes: int  # of weights and results that must be moved for it at least
    operations_per_s: float  # the most that was measured here
    bytes_per_s: float  # likewise, reading and writing
    bound_ms: float  # the longer of what both need
    median_ms: float  # what G takes
    notes: int  # in the batch


@dataclass(frozen=True)
class Compared:
    """How long a program took for the same notes as the others."""

    program: str  # its name
    seconds: float  # of the sound
    threads: int  # cores that were used
    notes: int  # how many
    cold: bool  # whether new processes were started
    median_ms: float  # for all of them


@dataclass(frozen=True)
class Peak:
    """The highest speeds that were seen."""

    operations_per_s: float  # multiply-adds
    bytes_per_s: float  # read and written
    call_s: float  # what calling an operator takes that has nothing to do


@dataclass(frozen=True)
class Stage:
    """What a stage took for all notes."""

    name: str  # of the stage
    median_ms: float  # its time
    operations: int  # multiply-adds of products and convolutions; transforms and what works point by point have others
    n_bytes: int  # of what its operators read and write, be it in a cache or not
    calls: int  # of operators


@dataclass(frozen=True)
class Profile:
    """Where the time of notes goes on one core."""

    notes: int  # how many
    whole: Stage  # all of it
    stages: tuple[Stage, ...]  # in the order of the work; their times add up to about that of the whole
    peak: Peak  # what the core can do


@dataclass(frozen=True)
class BenchReport:
    """All timings of a run and the circumstances."""

    timings: tuple[Timing, ...]  # in the order in which they were taken
    compared: tuple[Compared, ...]  # with other programs
    missing: dict[str, str]  # programs that were asked for and are not there → why
    profiles: tuple[Profile, ...]  # of a note alone and of many
    bound: Bound  # of G
    ratios: dict[str, float]  # what is compared → how many times as long it takes as `hgs` does
    peak_memory_mib: float  # largest resident memory of the process so far; on CUDA the device's peak instead
    environment: dict[str, str | int | float]  # device, threads, versions, weights, the sound

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
    _print_compared(report)
    for profile in report.profiles:
        _print_profile(profile)
    _print_bound(report.bound)
    if report.ratios:
        ratios = [(name, f"{value:.2f}") for name, value in report.ratios.items()]
        print_table("Ratios", ratios, to_stdout=True)
    facts = [(name, str(value)) for name, value in report.environment.items()]
    facts += [("runs", str(runs)), ("peak memory", f"{report.peak_memory_mib:.0f} MiB")]
    print_table("Circumstances", facts, to_stdout=True)


def _print_compared(report: BenchReport) -> None:
    """A row for every number of notes, cores and start; every program's time, and how many times that of hgs it is."""
    names = list(dict.fromkeys(each.program for each in report.compared if each.program != OWN_NAME))
    times = {(each.seconds, each.threads, each.notes, each.cold, each.program): each for each in report.compared}
    rows = []
    for seconds, threads, notes, cold in dict.fromkeys(key[:4] for key in times):
        own = times.get((seconds, threads, notes, cold, OWN_NAME))
        if own is None:
            continue
        cells = [
            f"{seconds:.2g} s",
            str(threads),
            str(notes),
            "cold" if cold else "warm",
            f"{own.median_ms / notes:.1f}",
        ]
        for name in names:
            # A program has no warm start: the same time stands for both.
            peer = times.get((seconds, threads, notes, cold, name)) or times.get((seconds, threads, notes, True, name))
            cells += [f"{peer.median_ms / notes:.1f}", f"{peer.median_ms / own.median_ms:.1f}×"] if peer else ["", ""]
        rows.append(tuple(cells))
    if rows:
        header = ["sound", "cores", "notes", "start", "hgs, ms a note"]
        print_table("Compared", rows, header + [cell for name in names for cell in (name, "/ hgs")], to_stdout=True)
    if report.missing:
        print_table("Not compared", list(report.missing.items()), to_stdout=True)


def _print_profile(profile: Profile) -> None:
    """A row a stage: what it takes, what it does, and what that needs at the highest speeds seen here."""
    peak, n = profile.peak, profile.notes

    def row(stage: Stage) -> tuple[str, ...]:
        needed = stage.operations / peak.operations_per_s, stage.n_bytes / peak.bytes_per_s, stage.calls * peak.call_s
        return (
            stage.name,
            f"{stage.median_ms / n:.2f}",
            f"{100.0 * stage.median_ms / profile.whole.median_ms:.0f} %",
            f"{stage.operations / n / 1e6:.1f}",
            f"{stage.n_bytes / n / 1e6:.1f}",
            f"{stage.calls / n:.0f}",
            *(f"{1e3 * seconds / n:.2f}" for seconds in needed),
        )

    columns = ("of a note", "ms", "share", "M multiply-adds", "MB", "calls")
    speeds = (
        f"ms at {peak.operations_per_s / 1e9:.0f} G/s",
        f"at {peak.bytes_per_s / 1e9:.0f} GB/s",
        f"at {peak.call_s * 1e6:.1f} µs a call",
    )
    title = "Where the time goes: " + ("a note alone" if n == 1 else f"{n} notes") + ", one core"
    stages = [stage for stage in (*profile.stages, profile.whole) if stage.calls]
    print_table(title, [row(stage) for stage in stages], columns + speeds, to_stdout=True)


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
