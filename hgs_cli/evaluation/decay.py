"""How notes die away: how far they fall, and whether they rise again where nothing was struck.

The cross-pitch distance is a mean over what is mostly loud: a note that rings on at a low level, or swells once more
after it has died, costs it little and is heard at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hgs_cli.evaluation.measures import Mean
from hgs_cli.evaluation.report import Table, number
from hgs_cli.spectrum import SAMPLE_RATE

N_WORST = 10

Band = tuple[str, int, int]


@dataclass(frozen=True)
class DecayRule:
    """By what notes are said to die away, and to rise again."""

    level_s: float = 0.05  # over which levels are measured for a fall
    smooth_s: float = 0.1  # over which they are for a rise
    step_s: float = 0.01  # from one level to the next
    # after the onset, between which a note falls
    begin_s: float = 0.2
    end_s: float = 3.6
    fade_s: float = 0.1  # of a recording's end, where it may be faded out
    min_fall_s: float = 0.3  # between the two, for a fall to be measured
    onset_db: float = 20.0  # below the loudest moment: there the note has begun
    floor_db: float = 70.0  # below the loudest moment everything is silence
    decaying_db: float = 6.0  # by which a note falls that is not held
    died_db: float = 25.0  # below the loudest moment: what comes louder after that has risen again
    risen_db: float = 3.0  # beyond what real notes do: heard


RULE = DecayRule()


@dataclass(frozen=True)
class Decay:
    """How one note dies away."""

    fall_db: float  # between begin_s and end_s after its onset, or as long as all sounds last that it is compared with
    rise_db: float  # the most that it rises after it has been died_db below its loudest moment


@dataclass(frozen=True)
class DecayPair:
    """A note that was asked for, by row, beside the real one and the recording that it was made of."""

    name: str  # instrument, source and target
    instrument: str  # whose notes they are
    interval: int  # whole semitones, without sign
    real: Decay  # of the real note at that pitch, as long as the source lasts
    source: Decay  # of the recording that was given, as long as the real one lasts
    # of the renders, beside the real and the source's fall in the same time: a row may end early
    rows: dict[str, tuple[Decay, float, float]]

    @property
    def decaying(self) -> bool:
        """Whether the real note is not held."""
        return self.real.fall_db > RULE.decaying_db

    def fall_beside_real(self, row: str) -> float:
        """By how much more a row falls than the real note, dB."""
        own, real_db, _ = self.rows[row]
        return own.fall_db - real_db

    def fall_beside_source(self, row: str) -> float:
        """By how much more a row falls than the source, dB."""
        own, _, source_db = self.rows[row]
        return own.fall_db - source_db

    def risen_db(self, row: str) -> float:
        """By how much more a row rises again than the real note or the source do, dB; 0 for less."""
        return max(0.0, self.rows[row][0].rise_db - max(self.real.rise_db, self.source.rise_db))


def levels_db(audio: Tensor, window_s: float) -> Tensor:
    """Level of audio (T,) every step_s over a window, 0 dB at its loudest and -floor_db at the least, (n,)."""
    width, step = round(window_s * SAMPLE_RATE), round(RULE.step_s * SAMPLE_RATE)
    padded = torch.nn.functional.pad(audio, (0, max(0, width - audio.shape[-1])))
    energy = torch.nn.functional.avg_pool1d(padded.double().square()[None, None], width, step)[0, 0]
    level = 10.0 * torch.log10(energy + 1e-20)
    return (level - level.max()).clamp(min=-RULE.floor_db)


def onset_s(audio: Tensor) -> float:
    """Where a note (T,) begins, in seconds: at the first moment that is within onset_db of its loudest."""
    return int((levels_db(audio, RULE.step_s) > -RULE.onset_db).nonzero()[0]) * RULE.step_s


def fall_db(audio: Tensor, seconds: float) -> float:
    """By how much a note (T,) falls from begin_s after its onset to `seconds` after it, dB; nan if that is too soon."""
    level = levels_db(audio, RULE.level_s)
    begin = round((onset_s(audio) + RULE.begin_s) / RULE.step_s)
    end = min(round((onset_s(audio) + seconds - RULE.level_s) / RULE.step_s), len(level) - 1)
    if (end - begin) * RULE.step_s < RULE.min_fall_s:
        return math.nan
    return float(level[begin] - level[end])


def rise_again_db(audio: Tensor) -> float:
    """The most that a note (T,) rises after it has been died_db below its loudest moment, dB."""
    level = levels_db(audio, RULE.smooth_s)
    after = level[int(level.argmax()) :]
    died = (after < -RULE.died_db).nonzero()
    if not len(died):
        return 0.0
    rest = after[int(died[0]) :]
    return float((rest - rest.cummin(0).values).max())


def shared_seconds(*sounds: Tensor) -> float:
    """For how long after their onsets all of some sounds can be compared: to end_s at the most."""
    return min(RULE.end_s, *(audio.shape[-1] / SAMPLE_RATE - RULE.fade_s - onset_s(audio) for audio in sounds))


def compare_decay(
    name: str,
    instrument: str,
    interval: int,
    original: Tensor,
    real: Tensor,
    outputs: Mapping[str, tuple[Tensor, bool]],
) -> DecayPair:
    """Measure renders of one note.

    Args:
        name: Instrument, source and target.
        instrument: Whose notes they are.
        interval: Whole semitones, without sign.
        original: The recording that was given, (T,).
        real: The real note at the pitch asked for, (T',).
        outputs: Renders by row, and whether they count only while they last.
    """
    n_samples = min(original.shape[-1], real.shape[-1])
    seconds = shared_seconds(original, real)
    rows = {}
    for row, (audio, while_it_lasts) in outputs.items():
        n_own = min(n_samples, audio.shape[-1])
        own_s = shared_seconds(original, real, audio[:n_own]) if while_it_lasts else seconds
        decay = Decay(fall_db(audio[:n_own], own_s), rise_again_db(audio[:n_own]))
        rows[row] = (decay, fall_db(real, own_s), fall_db(original, own_s))
    return DecayPair(
        name,
        instrument,
        interval,
        Decay(fall_db(real, seconds), rise_again_db(real[:n_samples])),
        Decay(fall_db(original, seconds), rise_again_db(original[:n_samples])),
        rows,
    )


def decay_tables(pairs: Sequence[DecayPair], bands: Sequence[Band], main_row: str) -> list[Table]:
    """What was measured of notes at other pitches than their source's, for people.

    Args:
        pairs: Of all instruments.
        bands: Of intervals: name, least, most.
        main_row: Whose worst notes are named.
    """
    moved = _measured(pairs)
    if not moved:
        return []
    bands = [band for band in bands if band[1] > 0]
    falls = [_fall_table(kind, chosen, bands) for kind, chosen in _kinds(moved).items() if chosen]
    return [*falls, _rise_table(moved, bands), _worst_table(moved, main_row)]


def decay_figures(pairs: Sequence[DecayPair], bands: Sequence[Band]) -> dict[str, Any]:
    """The same for programs: by kind of note, row and band."""
    moved = _measured(pairs)
    rows = list(moved[0].rows) if moved else []

    def figures(chosen: Sequence[DecayPair], row: str, least: int, most: int) -> dict[str, Any]:
        measures: dict[str, Callable[[DecayPair], float]] = {
            "fall_beside_real_db": lambda pair: pair.fall_beside_real(row),
            "fall_off_real_db": lambda pair: abs(pair.fall_beside_real(row)),
            "fall_beside_source_db": lambda pair: pair.fall_beside_source(row),
            "risen_db": lambda pair: pair.risen_db(row),
        }
        return {name: _mean(chosen, least, most, value).figures() for name, value in measures.items()}

    return {
        kind: {
            row: {name: figures(chosen, row, least, most) for name, least, most in bands if least > 0} for row in rows
        }
        for kind, chosen in _kinds(moved).items()
    }


def _measured(pairs: Sequence[DecayPair]) -> list[DecayPair]:
    """Notes at other pitches that last long enough for a fall."""
    return [pair for pair in pairs if pair.interval > 0 and math.isfinite(pair.real.fall_db)]


def _kinds(pairs: Sequence[DecayPair]) -> dict[str, list[DecayPair]]:
    return {
        "decaying": [pair for pair in pairs if pair.decaying],
        "sustained": [pair for pair in pairs if not pair.decaying],
    }


def _mean(pairs: Sequence[DecayPair], least: int, most: int, value: Callable[[DecayPair], float]) -> Mean:
    """Mean over instruments of a value in a band of intervals, where there is one."""
    found = [(pair.instrument, value(pair)) for pair in pairs if least <= pair.interval <= most]
    return Mean.over_instruments((name, each) for name, each in found if math.isfinite(each))


def _fall_table(kind: str, pairs: Sequence[DecayPair], bands: Sequence[Band]) -> Table:
    """How far falls are from the real notes', beside how far the sources' own are."""

    def cells(beside_real: Callable[[DecayPair], float], beside_source: Callable[[DecayPair], float]) -> list[str]:
        found = []
        for _, least, most in bands:
            signed = (number(_mean(pairs, least, most, value).mean, 1) for value in (beside_real, beside_source))
            found += [_mean(pairs, least, most, lambda pair: abs(beside_real(pair))).text(1), " / ".join(signed)]
        return found

    table = [("the source as it is", *cells(lambda pair: pair.source.fall_db - pair.real.fall_db, lambda _: 0.0))]
    for row in pairs[0].rows:
        both = partial(DecayPair.fall_beside_real, row=row), partial(DecayPair.fall_beside_source, row=row)
        table.append((row, *cells(*both)))
    fallen = Mean.over_instruments((pair.instrument, pair.real.fall_db) for pair in pairs)
    return Table(
        f"Fall of {kind} notes, off the real note's in dB by semitones ({len(pairs)} notes)",
        ("row", *(text for name, _, _ in bands for text in (name, "beside real / source"))),
        table,
        (
            f"From {RULE.begin_s:g} to {RULE.end_s:g} s after the onset, or while both last; real notes fall by"
            f" {fallen.text(1)}."
            " Above 0 beside the real note or the source: it falls further.",
        ),
    )


def _rise_table(pairs: Sequence[DecayPair], bands: Sequence[Band]) -> Table:
    """How often and how far notes rise again."""
    table = []
    died = f"{RULE.died_db:g} dB below its loudest moment"
    for row in pairs[0].rows:
        value = partial(DecayPair.risen_db, row=row)
        risen = [value(pair) for pair in pairs]
        means = (_mean(pairs, least, most, value).text(1) for _, least, most in bands)
        n_heard = sum(each > RULE.risen_db for each in risen)
        table.append((row, *means, f"{n_heard} of {len(risen)}", number(max(risen), 1)))
    return Table(
        f"Rises again after it was {died}, dB beyond the real note and the source",
        ("row", *(name for name, _, _ in bands), f"above {RULE.risen_db:g} dB", "most"),
        table,
    )


def _worst_table(pairs: Sequence[DecayPair], row: str) -> Table:
    """Notes that are furthest from the real fall, and those that rise the most."""
    fallen = sorted(_kinds(pairs)["decaying"], key=lambda pair: -abs(pair.fall_beside_real(row)))[:N_WORST]
    risen = [pair for pair in sorted(pairs, key=lambda pair: -pair.risen_db(row)) if pair.risen_db(row) > RULE.risen_db]
    chosen = dict.fromkeys([*(pair.name for pair in fallen), *(pair.name for pair in risen[:N_WORST])])
    by_name = {pair.name: pair for pair in pairs}
    return Table(
        f"Notes of {row} that fall or rise again furthest from the real ones, dB",
        ("note", "falls", "real note falls", "source falls", "rises again", "real or source rises"),
        [
            (
                pair.name,
                number(pair.rows[row][0].fall_db, 1),
                number(pair.real.fall_db, 1),
                number(pair.source.fall_db, 1),
                number(pair.rows[row][0].rise_db, 1),
                number(max(pair.real.rise_db, pair.source.rise_db), 1),
            )
            for pair in (by_name[name] for name in chosen)
        ],
    )
