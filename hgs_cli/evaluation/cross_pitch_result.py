"""What the cross-pitch test found: means over instruments, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hgs_cli.evaluation.decay import decay_figures, decay_tables
from hgs_cli.evaluation.measures import Mean, median
from hgs_cli.evaluation.pairs import BANDS, HyperNote, InstrumentResult, Pair
from hgs_cli.evaluation.peers import Peers
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions

OFF, ON = "GANStrument (H off)", "hgs"
PLAIN = ", detail 0"

TOLERATED_CENTS = 10.0
SIDE_TITLES = (
    ("rise_ms", "Onset rise, ms", 1),
    ("crest_db", "Crest factor, dB", 2),
    ("hnr_db", "Harmonic-to-noise ratio, dB", 2),
    ("modulation_db", "Modulation, dB a frame", 2),
)


@dataclass(frozen=True)
class CrossPitchResult:
    """The cross-pitch test of one model."""

    options: CrossPitchOptions  # what was rendered
    instruments: dict[str, InstrumentResult]  # results by name
    peers: Peers  # that were measured, or could not be

    @property
    def pairs(self) -> list[Pair]:
        """Those of all instruments."""
        return [pair for result in self.instruments.values() for pair in result.pairs]

    @property
    def rows(self) -> list[str]:
        """Rows in the order of the table."""
        return list(self.pairs[0].distance_db)

    @property
    def main_row(self) -> str:
        """What users hear: hgs, or GANStrument if H was left out."""
        return self.rows[-1]

    @property
    def shifting_peers(self) -> list[str]:
        """Rows of the peers that can be asked for a pitch, each once."""
        return [peer.name for peer in self.peers.found if peer.name not in ("copy", "resampling, while it lasts")]

    @property
    def families(self) -> list[str]:
        """Families of the instruments, in alphabetical order."""
        return sorted({pair.source.family for pair in self.pairs})

    def distance(self, row: str, band: str, family: str | None = None) -> Mean:
        """Distance of a row to the real notes in an interval band, dB; of one family or of all instruments."""
        return Mean.over_instruments((p.instrument, p.distance_db[row]) for p in self._select(band, family))

    def gain(self, row: str, band: str) -> Mean:
        """The main row's distance minus that of another, pair by pair, dB: negative where the main row is nearer."""
        main = self.main_row
        return Mean.over_instruments(
            (p.instrument, p.distance_db[main] - p.distance_db[row]) for p in self._select(band, None)
        )

    def best_peer(self, band: str, family: str) -> tuple[str, Mean]:
        """The peer that comes nearest in a band and family, chosen after the fact, and its distance."""
        found = {name: self.distance(name, band, family) for name in self.shifting_peers}
        name = min(found, key=lambda name: found[name].mean)
        return name, found[name]

    def side_absolute(self, row: str, measure: str) -> Mean:
        """Mean absolute difference of a side measure to the real note, at other pitches than the source's."""
        return Mean.over_instruments((name, abs(value)) for name, value in self._side(row, measure))

    def side_signed(self, row: str, measure: str) -> Mean:
        """Mean difference: positive where the render has more."""
        return Mean.over_instruments(self._side(row, measure))

    def side_median(self, row: str, measure: str) -> float:
        """Median absolute difference over all pairs: a few wild notes do not move it."""
        return median(abs(value) for _, value in self._side(row, measure))

    def tracked(self) -> list[Pair]:
        """Pairs whose pitch was tracked."""
        return [pair for pair in self.pairs if pair.cents is not None]

    def misses(self) -> list[Pair]:
        """Renders further than TOLERATED_CENTS from the pitch asked for, or without any that could be heard."""
        return [pair for pair in self.tracked() if not abs(pair.cents or 0.0) <= TOLERATED_CENTS]

    def _select(self, band: str, family: str | None) -> list[Pair]:
        least, most = next((low, high) for name, low, high in BANDS if name == band)
        return [
            pair
            for pair in self.pairs
            if least <= pair.interval <= most and (family is None or pair.source.family == family)
        ]

    def _side(self, row: str, measure: str) -> list[tuple[str, float]]:
        return [(p.instrument, getattr(p.side[row], measure)) for p in self.pairs if p.interval > 0]

    def section(self) -> Section:
        """The test as tables and figures."""
        tables = [self._distance_table(), self._gain_table(), self._family_table(), self._instrument_table()]
        tables += [self._side_table(*titles) for titles in SIDE_TITLES]
        tables += decay_tables([pair.decay for pair in self.pairs], BANDS, self.main_row)
        tables += self._pitch_tables()
        if self.options.hyper:
            tables.append(self._hyper_table())
        return Section("cross_pitch", tables, self._figures())

    # --- tables ---

    def _distance_table(self) -> Table:
        bands = [name for name, _, _ in BANDS]
        notes = [
            "Means over instruments of each one's mean; in brackets 95 %, bootstrap over instruments. 0 is the own "
            "pitch of the sound as it was found, where peers move it by nothing."
        ]
        if "resampling" in self.rows:
            notes.append("Resampling upwards ends early and silence follows, but not in the row `while it lasts`.")
        notes += self.peers.notes
        return Table(
            f"Distance to the real note in dB by semitones (pairs), {len(self.instruments)} instruments",
            ("row", *(f"{band} ({len(self._select(band, None))})" for band in bands)),
            [(row, *(self.distance(row, band).text() for band in bands)) for row in self.rows],
            tuple(notes),
        )

    def _gain_table(self) -> Table:
        bands = [name for name, _, _ in BANDS]
        return Table(
            f"{self.main_row} minus row, dB by semitones; negative: {self.main_row} is nearer",
            ("row", *bands),
            [(row, *(self.gain(row, band).text(signed=True) for band in bands)) for row in self.rows[:-1]],
            ("Pair by pair; in brackets 95 %, bootstrap over instruments.",),
        )

    def _family_table(self) -> Table:
        bands = [name for name, _, _ in BANDS]
        rows = []
        for family in self.families:
            instruments = {pair.instrument for pair in self.pairs if pair.source.family == family}
            ours = (number(self.distance(self.main_row, band, family).mean) for band in bands)
            rows.append((f"{family} ({len(instruments)})", self.main_row, *ours))
            if not self.shifting_peers:
                continue
            peers = (self.best_peer(band, family) for band in bands)
            rows.append(("", "best peer", *(f"{mean.mean:.2f} {name}" if mean.n else "–" for name, mean in peers)))
        note = "The best peer is chosen for each cell after the fact; copying and `while it lasts` left out."
        return Table("By family (instruments), dB by semitones", ("family", "row", *bands), rows, (note,))

    def _instrument_table(self) -> Table:
        rows = []
        for name, result in self.instruments.items():
            cells = []
            for _, least, most in BANDS:
                values = [p.distance_db[self.main_row] for p in result.pairs if least <= p.interval <= most]
                cells.append(number(sum(values) / len(values) if values else math.nan))
            cents = result.source_pitch_cents
            heard = "none" if cents is None else f"{cents:+.1f}"
            rows.append((f"{name} {result.pairs[0].source.midi:.0f}", *cells, heard))
        return Table(
            f"Each instrument and its source note, {self.main_row}, dB by semitones",
            ("instrument", *(name for name, _, _ in BANDS), "source heard off by cents"),
            rows,
        )

    def _side_table(self, measure: str, title: str, digits: int) -> Table:
        rows = [
            (
                row,
                self.side_absolute(row, measure).text(digits),
                number(self.side_median(row, measure), digits),
                self.side_signed(row, measure).text(digits, signed=True),
            )
            for row in self.rows
        ]
        return Table(
            f"{title}: difference to the real note at other pitches",
            ("row", "mean absolute", "median absolute", "mean signed"),
            rows,
        )

    def _pitch_tables(self) -> list[Table]:
        tracked = self.tracked()
        if not tracked:
            return []
        rows = []
        for name, values in (
            (self.main_row, [pair.cents for pair in tracked]),
            ("real recordings", [pair.real_cents for pair in tracked]),
        ):
            errors = [_error(value) for value in values]
            within = [f"{sum(error <= limit for error in errors)} of {len(errors)}" for limit in (TOLERATED_CENTS, 50)]
            rows.append((name, *within, number(median(errors), 1)))
        note = (
            "Tracked by YIN and sharpened on the spectrum; the real recordings show the tracker's own errors against "
            "the pitch that the manifest gives."
        )
        pitch = Table(
            "Pitch of sustained renders", ("row", "within 10 cents", "within 50 cents", "median cents"), rows, (note,)
        )
        misses = Table(
            f"Renders off by more than {TOLERATED_CENTS:.0f} cents: {len(self.misses())}",
            ("render", "semitones", "cents", "cents of the real recording"),
            [
                (p.decay.name, f"{p.target.midi - p.source.midi:+.1f}", _signed(p.cents), _signed(p.real_cents))
                for p in self.misses()
            ],
        )
        return [pitch, misses]

    def _hyper_table(self) -> Table:
        h = self._hyper_figures()
        return Table(
            f"H at the source pitch, detail off: {h['mse_off'].n} recordings, {h['mse_off'].n_instruments} instruments",
            ("row", "MSE of log-mel in [-1, 1]", "distance dB"),
            [
                (f"H off ({OFF.split(' ')[0]})", h["mse_off"].text(5), h["db_off"].text(3)),
                ("H on (HyperGANStrument)", h["mse_on"].text(5), h["db_on"].text(3)),
                ("ratio on / off", _ratio(h["mse_on"], h["mse_off"]), _ratio(h["db_on"], h["db_off"])),
                ("off minus on", h["mse_gain"].text(5, signed=True), h["db_gain"].text(3, signed=True)),
                ("share that H brings nearer", "", f"{100.0 * h['better'].mean:.0f} %"),
            ],
        )  # fmt: skip

    def _hyper_figures(self) -> dict[str, Mean]:
        notes = [note for result in self.instruments.values() for note in result.hyper]
        columns: dict[str, Callable[[HyperNote], float]] = {
            "mse_off": lambda note: note.mse_off,
            "mse_on": lambda note: note.mse_on,
            "mse_gain": lambda note: note.mse_off - note.mse_on,
            "db_off": lambda note: note.db_off,
            "db_on": lambda note: note.db_on,
            "db_gain": lambda note: note.db_off - note.db_on,
            "better": lambda note: float(note.db_on < note.db_off),
        }
        return {
            name: Mean.over_instruments((note.instrument, value(note)) for note in notes)
            for name, value in columns.items()
        }

    # --- figures ---

    def _figures(self) -> dict[str, Any]:
        bands = [name for name, _, _ in BANDS]
        errors, hyper = [_error(pair.cents) for pair in self.tracked()], self._hyper_figures()
        return {
            "instruments": list(self.instruments),
            **self.peers.figures,
            "distance_db": {row: {band: self.distance(row, band).figures() for band in bands} for row in self.rows},
            "main_row": self.main_row,
            "main_minus_row_db": {
                row: {band: self.gain(row, band).figures() for band in bands} for row in self.rows[:-1]
            },
            "by_family_db": {
                family: {row: {band: self.distance(row, band, family).figures() for band in bands} for row in self.rows}
                for family in self.families
            },
            "side": {
                row: {
                    name: {
                        "mean_absolute": self.side_absolute(row, name).figures(),
                        "median_absolute": self.side_median(row, name),
                        "mean_signed": self.side_signed(row, name).figures(),
                    }
                    for name, _, _ in SIDE_TITLES
                }
                for row in self.rows
            },
            "decay": decay_figures([pair.decay for pair in self.pairs], BANDS),
            "pitch": {
                "n": len(errors),
                "n_within_10_cents": sum(error <= TOLERATED_CENTS for error in errors),
                "n_within_50_cents": sum(error <= 50.0 for error in errors),
                "median_cents": median(errors),
                "misses": [
                    {"render": p.decay.name, "cents": p.cents, "real_cents": p.real_cents} for p in self.misses()
                ],
            },
            "hyper": {name: mean.figures() for name, mean in hyper.items()} if self.options.hyper else None,
            "source_pitch_cents": {name: result.source_pitch_cents for name, result in self.instruments.items()},
            "pairs": [_pair_figures(pair) for pair in self.pairs],
        }  # fmt: skip


def _error(cents: float | None) -> float:
    """Without sign; infinite where nothing was heard."""
    return math.inf if cents is None or math.isnan(cents) else abs(cents)


def _signed(value: float | None) -> str:
    return number(math.nan) if value is None or math.isnan(value) else f"{value:+.1f}"


def _ratio(on: Mean, off: Mean) -> str:
    return number(on.mean / off.mean if off.mean > 0.0 else math.nan, 3)


def _pair_figures(pair: Pair) -> dict[str, Any]:
    return {
        "instrument": pair.instrument,
        "family": pair.source.family,
        "source_midi": pair.source.midi,
        "target_midi": pair.target.midi,
        "distance_db": pair.distance_db,
        "side": pair.side,
        "cents": pair.cents,
        "real_cents": pair.real_cents,
    }
