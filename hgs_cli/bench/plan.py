"""What a bench times, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from hgs_cli.errors import UsageError
from hgs_cli.evaluation.peers import RUBBER_BAND_R3, SIGNALSMITH, Peer, find_peers
from hgs_cli.inversion import SUFFIX

OCTAVES = tuple(float(pitch) for pitch in range(48, 73))  # two octaves, 25 notes
BATCHES = (1, 2, 4, 8, 16, 25, 88)  # notes: up to a piano's keys
LENGTHS_S = (0.5, 1.0, 2.0, 4.0)
ALONE = 63.0  # one note alone lies a few semitones from its source, where both G and H have a say
COMPARED = {"rubberband": RUBBER_BAND_R3, "signalsmith": SIGNALSMITH}


@dataclass(frozen=True)
class TimingRules:
    """How often things are timed."""

    other_rate_hz: int = 48_000  # from which a sound is resampled
    cold_runs: int = 3  # of what takes seconds each
    peak_runs: int = 15  # the fastest of which tells what the machine can do
    copied_bytes: int = 2**27  # more than caches hold
    short_s: float = 0.5  # of the short sound in a comparison, the beginning of the whole one


TIMING = TimingRules()


@dataclass(frozen=True)
class BenchPlan:
    """What is timed."""

    sound: Path | None  # what is played; None for a four-second tone made here
    runs: int  # how often each thing is, at least 1
    cold: bool = False  # whether whole calls in new processes are, TIMING.cold_runs times
    profile: bool = False  # whether the time of notes is told by operation
    peers: tuple[Peer, ...] = ()  # other programs that play the same notes
    missing: dict[str, str] = field(default_factory=dict)  # those that were asked for and are not there → why
    pitches: tuple[float, ...] = OCTAVES  # of many notes
    batches: tuple[int, ...] = BATCHES  # numbers of notes
    lengths_s: tuple[float, ...] = LENGTHS_S  # of sounds
    rules: TimingRules = TIMING  # how often each thing is timed


def plan_bench(
    sound: Path | None, runs: int, *, cold: bool = False, profile: bool = False, compare: str = ""
) -> BenchPlan:
    """What is timed; `compare` names other programs, with commas between.

    Raises:
        UsageError: The sound is an inversion, a program is unknown, or none that is named is there.
    """
    if sound is not None and sound.suffix.lower() == SUFFIX:
        raise UsageError(f"{sound} is an inversion", "give a sound: reading and inverting one is timed, too")
    names = list(dict.fromkeys(part.strip().lower() for part in compare.split(",") if part.strip()))
    for name in names:
        if name not in COMPARED:
            raise UsageError(f"--compare {name}", f"give {', '.join(COMPARED)} or several of them with commas between")
    peers: tuple[Peer, ...] = ()
    missing: dict[str, str] = {}
    if names:
        there = find_peers()
        wanted = [COMPARED[name] for name in names]
        peers = tuple(peer for peer in there.found if peer.name in wanted)
        missing = {name: there.missing[name] for name in wanted if name in there.missing}
        if not peers:
            raise UsageError(
                f"nothing to compare with: {'; '.join(missing.values())}", "install it, or leave out --compare"
            )
    return BenchPlan(sound, runs, cold, profile, peers, missing, OCTAVES, BATCHES, LENGTHS_S, TIMING)


def thread_counts() -> list[int]:
    """1, 2, 4, … and as many as are used."""
    most = torch.get_num_threads()
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})
