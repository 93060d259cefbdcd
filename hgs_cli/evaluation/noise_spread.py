"""The fine spectrum of noise that was moved: whether it is still noise, or has become sparse or a comb."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.evaluation.known_truth_draws import NOISE_MIDI
from hgs_cli.evaluation.known_truth_voices import VOICES, held, noise, seconds_from_onset
from hgs_cli.evaluation.measures import fit
from hgs_cli.evaluation.peers import RESAMPLING, RUBBER_BAND_R3, SIGNALSMITH, find_peers
from hgs_cli.evaluation.report import Table, number
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.pipeline import Model, Settings, invert, make_instrument, synthesize
from hgs_cli.spectrum import SAMPLE_RATE

SLOPES_DB = {"white": 0.0, "pink": -3.0}
"""Density an octave, by name of the noise."""

SEMITONES = (7.0, 12.0, -12.0)


@dataclass(frozen=True)
class SpreadRules:
    """How the fine spectrum of noise is measured."""

    burst_s: float = 1.5  # length of the noise
    margin_s: float = 0.1  # left out at both ends
    range_hz: tuple[float, ...] = (200.0, 12_000.0)  # between which its spectrum is looked at
    # of that spectrum
    n_fft: int = 2048
    hop: int = 512
    smoothed_octaves: float = 1.0 / 3.0  # of the outline that the bins are compared with
    smoothed_bins: int = 13  # at least


SPREAD = SpreadRules()


GAUSSIAN_SPREAD_DB = 10.0 / math.log(10.0) * math.pi / math.sqrt(6.0)  # of a bin's power, which is exponential: 5.57

TRUTH = "the noise itself"
ROWS = (
    TRUTH,
    "hgs, pitch told",
    "hgs, pitch found",
    "hgs, unpitched, tonal 0",
    RUBBER_BAND_R3,
    RESAMPLING,
    SIGNALSMITH,
)


@dataclass(frozen=True)
class NoiseSpreads:
    """Spread of the fine spectrum of noise."""

    # by name of the noise, semitones as text, and row; rows of peers that are not installed are left out
    spread_db: dict[str, dict[str, dict[str, float]]]

    def table(self) -> Table:
        """Rows against noises and intervals."""
        columns = [(name, interval) for name, moved in self.spread_db.items() for interval in moved]
        first = next(iter(next(iter(self.spread_db.values())).values()))
        return Table(
            "Spread of the fine spectrum of noise, dB, by semitones",
            ("row", *(f"{name} {interval}" for name, interval in columns)),
            [(row, *(number(self.spread_db[name][interval][row]) for name, interval in columns)) for row in first],
            (
                f"Standard deviation in dB of bins ({SPREAD.n_fft} points) around the smooth outline; Gaussian noise"
                f" has {GAUSSIAN_SPREAD_DB:.2f}. More: sparse or with tones; less: drawn too evenly.",
                f"Pitch told: {NOISE_MIDI:.0f}, as if noise had one. Tonal 0: no tone is added to what is unpitched.",
            ),
        )


def fine_spread_db(audio: Tensor, low_hz: float, high_hz: float) -> float:
    """Standard deviation of a stationary noise's (T,) power in dB around its outline over frequency and over time.

    The outline is the mean power of neighbouring bins over all frames, times that of each frame.
    """
    window = torch.hann_window(SPREAD.n_fft, dtype=torch.float64)
    spectrum = torch.stft(audio.double(), SPREAD.n_fft, SPREAD.hop, window=window, center=False, return_complex=True)
    power = spectrum.abs().square() + 1e-20  # (F, N)
    hz = torch.arange(power.shape[0], dtype=torch.float64) * (SAMPLE_RATE / SPREAD.n_fft)
    first, last = (int(torch.searchsorted(hz, edge)) for edge in (low_hz, high_hz))
    total = torch.nn.functional.pad(power.mean(1).cumsum(0), (1, 0))
    bins = torch.arange(first, last)
    reach = (bins * (2.0 ** (SPREAD.smoothed_octaves / 2.0) - 1.0)).round().long().clamp(min=SPREAD.smoothed_bins // 2)
    below, above = (bins - reach).clamp(min=0), (bins + reach + 1).clamp(max=power.shape[0])
    outline = (total[above] - total[below]) / (above - below)
    flat = power[first:last] / outline[:, None]
    deviation_db = 10.0 * torch.log10(flat / flat.mean(0))
    return float(deviation_db.std())


def measure_noise_spread(model: Model, options: CrossPitchOptions, workers: int = 1) -> NoiseSpreads:
    """Move bursts of noise with a model and with its peers, and measure the spread of their fine spectra.

    Args:
        model: From `load_model`.
        options: Detail, H, seed.
        workers: Processes.
    """
    names = {name: name for name in SLOPES_DB}
    return NoiseSpreads(measure_each(model, names, partial(_spreads, options=options), workers))


def noise_burst(name: str, semitones: float = 0.0) -> Tensor:
    """A stationary burst of noise of one of SLOPES_DB, as it is or moved, with a peak of 0.5, (T,)."""
    slope = SLOPES_DB[name] / 20.0 / math.log10(2.0)
    time_s = seconds_from_onset(round(SPREAD.burst_s * SAMPLE_RATE))
    # What the source has above VOICES.top_hz nobody can move down.
    moved = noise(time_s, 1, 2.0 ** (semitones / 12.0), lambda hz: (hz / 1000.0) ** slope * (hz < VOICES.top_hz))
    burst = moved * held(time_s, 0.01, 0.01)
    return (0.5 * burst / burst.abs().max()).float()


def _spreads(model: Model, name: str, options: CrossPitchOptions) -> dict[str, dict[str, float]]:
    """Spread by semitones and row."""
    source = noise_burst(name)
    pitches = [NOISE_MIDI + semitones for semitones in SEMITONES]
    passes = None if options.hyper else 0
    rendered: list[list[Tensor]] = [[noise_burst(name, semitones) for semitones in SEMITONES]]
    for hint in (NOISE_MIDI, "auto"):
        instrument = make_instrument(model, invert(model, source, SAMPLE_RATE, pitch=hint, passes=passes))
        rendered.append(render_notes(model, instrument, pitches, options.detail, options.seed))
    unpitched = make_instrument(model, invert(model, source, SAMPLE_RATE, pitch=None, passes=passes))
    plain = Settings(detail=options.detail, seed=options.seed, tonal=0.0)
    rendered.append(list(synthesize(model, unpitched, pitches, plain).cpu()))
    rows = dict(zip(ROWS, rendered, strict=False))
    for peer in find_peers().found:
        if peer.name in ROWS:
            shift = peer.open(source, NOISE_MIDI)
            rows[peer.name] = [shift(semitones) for semitones in SEMITONES]
    low_hz, high_hz = SPREAD.range_hz
    result = {}
    for index, semitones in enumerate(SEMITONES):
        edge_hz = min(high_hz, VOICES.top_edge * VOICES.top_hz * 2.0 ** (semitones / 12.0))
        result[f"{semitones:+.0f}"] = {
            row: fine_spread_db(_inside(notes[index], semitones, row), low_hz, edge_hz)
            for row, notes in sorted(rows.items(), key=lambda item: ROWS.index(item[0]))
        }
    return result


def _inside(audio: Tensor, semitones: float, row: str) -> Tensor:
    """Audio (T,) without its ends; resampling upwards ends early."""
    seconds = SPREAD.burst_s * (min(1.0, 2.0 ** (-semitones / 12.0)) if row == RESAMPLING else 1.0)
    n_margin = round(SPREAD.margin_s * SAMPLE_RATE)
    return fit(audio, round(seconds * SAMPLE_RATE))[n_margin:-n_margin]
