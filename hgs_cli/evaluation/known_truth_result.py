"""The test on made sounds with known truth: each patch moved by hgs and its peers, beside the patch played there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from hgs_cli.console import HowFar
from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.evaluation.known_truth import FAMILIES, HELD_OUT_FAMILIES, PATCHES, Patch, draw_patch, evaluation_patches
from hgs_cli.evaluation.measures import Distance, Mean, fit
from hgs_cli.evaluation.noise_spread import NoiseSpreads, measure_noise_spread
from hgs_cli.evaluation.pairs import BANDS
from hgs_cli.evaluation.peers import USUAL_PEERS, Peers, find_peers
from hgs_cli.evaluation.report import Section, Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.pipeline import Model, SourceHint, invert, make_instrument
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class KnownTruthRules:
    """How much is measured of made sounds."""

    n_patches: int = 4  # of a family
    quick_patches: int = 1  # the same for a quick measurement
    n_worst: int = 10  # that are listed
    right_semitones: float = 0.5  # a pitch found is right up to this


KNOWN_TRUTH = KnownTruthRules()


TOLD, FOUND = "hgs, pitch told", "hgs, pitch found"


@dataclass(frozen=True)
class PatchResult:
    """What was measured of one patch."""

    # of the patch
    family: str
    name: str
    midi: float  # the pitch that is told of it
    found_midi: float | None  # the pitch that hgs finds, None for none
    distance_db: dict[str, dict[float, float]]  # by row and semitones, to the patch played there

    @property
    def right(self) -> bool:
        """Whether the pitch that was found is the one that is told."""
        return self.found_midi is not None and abs(self.found_midi - self.midi) <= KNOWN_TRUTH.right_semitones

    def moved_db(self, row: str) -> float:
        """Mean distance over all intervals but 0."""
        values = [value for semitones, value in self.distance_db[row].items() if semitones]
        return sum(values) / len(values)


@dataclass(frozen=True)
class KnownTruthResult:
    """The test of one model."""

    patches: list[PatchResult]  # in the order of their families
    spreads: NoiseSpreads  # of noise
    peers: Peers  # that were measured, or could not be

    @property
    def rows(self) -> list[str]:
        """Rows in the order of the tables."""
        return [row for row in (TOLD, FOUND, *USUAL_PEERS) if row in self.patches[0].distance_db]

    @property
    def families(self) -> list[str]:
        """Families that were measured."""
        return list(dict.fromkeys(patch.family for patch in self.patches))

    def distance(self, row: str, band: str, families: Sequence[str] = FAMILIES) -> Mean:
        """Distance of a row to the truth in a band of intervals, dB, bootstrap over patches."""
        least, most = next((low, high) for name, low, high in BANDS if name == band)
        return Mean.over_instruments(
            (patch.name, value)
            for patch in self.patches
            for semitones, value in patch.distance_db[row].items()
            if patch.family in families and least <= abs(semitones) <= most
        )

    def moved(self, row: str, family: str) -> Mean:
        """Distance of a row for a family over all intervals but 0, dB."""
        return Mean.over_instruments((p.name, p.moved_db(row)) for p in self.patches if p.family == family)

    def section(self) -> Section:
        """Tables and figures."""
        tables = [
            self._distance_table("all families", FAMILIES),
            self._distance_table("families held out of training", HELD_OUT_FAMILIES),
            self._family_table(),
            self._worst_table(),
            self.spreads.table(),
        ]
        return Section("known_truth", tables, self._figures())

    def _distance_table(self, title: str, families: Sequence[str]) -> Table:
        patches = [patch for patch in self.patches if patch.family in families]
        bands = [name for name, _, _ in BANDS]
        notes = [
            "Distance as of real notes; means over patches, in brackets 95 %, bootstrap over patches.",
            f"Found is the pitch that is told for {sum(patch.right for patch in patches)} of {len(patches)}, none for"
            f" {sum(patch.found_midi is None for patch in patches)}. Notes are asked for by the pitch that is told.",
        ]
        notes += self.peers.notes
        return Table(
            f"Made sounds with known truth, {title}: dB by semitones, {len(patches)} patches",
            ("row", *bands),
            [(row, *(self.distance(row, band, families).text() for band in bands)) for row in self.rows],
            tuple(notes),
        )

    def _family_table(self) -> Table:
        rows = []
        for family in self.families:
            name = f"{family} (held out)" if family in HELD_OUT_FAMILIES else family
            own = self.distance(TOLD, BANDS[0][0], [family]).mean
            right = [patch.right for patch in self.patches if patch.family == family]
            moved = (number(self.moved(row, family).mean) for row in self.rows)
            rows.append((name, f"{sum(right)} of {len(right)}", number(own), *moved))
        return Table(
            "Made sounds by family, dB over all intervals but 0",
            ("family", "pitch found", "hgs at its own pitch", *self.rows),
            rows,
        )

    def _worst_table(self) -> Table:
        worst = sorted(self.patches, key=lambda patch: -patch.moved_db(TOLD))[: KNOWN_TRUTH.n_worst]
        return Table(
            "Made sounds furthest from their truth, pitch told, dB over all intervals but 0",
            ("patch", "pitch told", "found", *self.rows),
            [
                (
                    patch.name,
                    number(patch.midi),
                    "none" if patch.found_midi is None else number(patch.found_midi),
                    *(number(patch.moved_db(row)) for row in self.rows),
                )
                for patch in worst
            ],
        )

    def _figures(self) -> dict[str, Any]:
        bands = [name for name, _, _ in BANDS]

        def by_band(families: Sequence[str]) -> dict[str, Any]:
            return {row: {band: self.distance(row, band, families).figures() for band in bands} for row in self.rows}

        return {
            **self.peers.figures,
            "held_out_families": list(HELD_OUT_FAMILIES),
            "distance_db": by_band(FAMILIES),
            "held_out_db": by_band(HELD_OUT_FAMILIES),
            "by_family_db": {family: by_band([family]) for family in self.families},
            "noise_spread_db": self.spreads.spread_db,
            "patches": [
                {
                    "family": patch.family, "name": patch.name, "midi": patch.midi, "found_midi": patch.found_midi,
                    "distance_db": {
                        row: {f"{semitones:+.0f}": value for semitones, value in values.items()}
                        for row, values in patch.distance_db.items()
                    },
                }
                for patch in self.patches
            ],
        }  # fmt: skip


def measure_known_truth(
    model: Model,
    options: CrossPitchOptions | None = None,
    *,
    families: Sequence[str] = FAMILIES,
    workers: int = 1,
    advance: HowFar = lambda done, total: None,
) -> KnownTruthResult:
    """Measure a model and its peers on made sounds whose truth at every pitch is known.

    Args:
        model: From `load_model`.
        options: How much is measured, detail, H, seed.
        families: Whose patches are played.
        workers: Processes, one thread each; 1 stays in this one. The figures are the same with any number.
        advance: Takes patches done and their number.

    Raises:
        InputError: A peer fails.
    """
    options = options or CrossPitchOptions()
    n = KNOWN_TRUTH.quick_patches if options.quick else KNOWN_TRUTH.n_patches
    patches = [patch for family in families for patch in evaluation_patches(family, n)]
    longest_first = sorted(patches, key=lambda patch: -patch.seconds)
    items = {patch.name: (patch.family, patch.seed) for patch in longest_first}
    found = measure_each(model, items, partial(_measure_patch, options=options), workers, advance)
    return KnownTruthResult(
        patches=[found[patch.name] for patch in patches],
        spreads=measure_noise_spread(model, options, workers),
        peers=find_peers().usual,
    )


def _measure_patch(model: Model, which: tuple[str, int], options: CrossPitchOptions) -> PatchResult:
    """One patch, by family and seed: what makes its sound does not go to another process."""
    patch = draw_patch(*which)
    source = patch.render()
    intervals = (0.0, *(PATCHES.quick_semitones if options.quick else PATCHES.semitones))
    told, _ = _render(model, patch, patch.midi, intervals, options)
    ours, found_midi = _render(model, patch, "auto", intervals, options)
    shifts = {peer.name: peer.open(source, patch.midi) for peer in find_peers().usual.found}
    distance = Distance()
    result: dict[str, dict[float, float]] = {row: {} for row in (TOLD, FOUND, *shifts)}
    for index, semitones in enumerate(intervals):
        truth = distance.mels(patch.render(semitones))
        outputs = {TOLD: told[index], FOUND: ours[index]}
        outputs |= {name: shift(semitones) for name, shift in shifts.items()}
        for row, output in outputs.items():
            result[row][semitones] = distance.between(distance.mels(fit(output, source.shape[-1])), truth)
    return PatchResult(patch.family, patch.name, patch.midi, found_midi, result)


def _render(
    model: Model, patch: Patch, hint: SourceHint, intervals: Sequence[float], options: CrossPitchOptions
) -> tuple[list[Tensor], float | None]:
    """The patch at every interval, each (T,), and the pitch that was found."""
    passes = None if options.hyper else 0
    inversion = invert(model, patch.render(), SAMPLE_RATE, pitch=hint, passes=passes)
    pitches = [patch.midi + semitones for semitones in intervals]
    notes = render_notes(model, make_instrument(model, inversion), pitches, options.detail, options.seed)
    return notes, inversion.source_pitch
