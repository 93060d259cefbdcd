"""The tables of quality: what is rendered from one recording, beside the real recordings of the same instrument."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.audio.io import read_audio
from hgs_cli.audio.mel import mel_filters, resample
from hgs_cli.errors import InputError
from hgs_cli.pipeline import Instrument, Model, Settings, invert, reconstruct, single, synthesize
from hgs_cli.spectrum import SAMPLE_RATE, MelConfig

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

BANDS = (("0", 0, 0), ("1-5", 1, 5), ("6-12", 6, 12), ("13-24", 13, 24))
"""Intervals in semitones between the recording and the note that is asked for: name, least, most."""

RESOLUTIONS = ((2048, 512, 128), (4096, 1024, 192), (1024, 256, 64))
DISTANCE_RANGE_HZ = (30.0, 18_000.0)
FLOOR_DB = 70.0  # below the reference's loudest bin
ALIGNED_DB = 50.0  # bins within this of the loudest decide by how much the output is shifted

SUSTAINED_FAMILIES = ("wind", "bowed", "brass")
HNR_RANGE_HZ = (100.0, 5000.0)
YIN_THRESHOLD = 0.15
YIN_RATE = 22_050
N_BOOTSTRAP = 2000

QUICK_PER_BAND = 2
QUICK_HYPER_PER_INSTRUMENT = 3
HYPER_PER_INSTRUMENT = 12


@dataclass(frozen=True)
class Note:
    """One real recording of the manifest."""

    path: Path
    instrument: str
    family: str
    midi: float
    dynamic: str


@dataclass(frozen=True)
class SideMeasures:
    """What the distance forgives: blur, buzz, noise, a wrong flutter.

    Attributes:
        rise_ms: Time in which the onset rises from a tenth to nine tenths of its peak.
        crest_db: Peak over root mean square.
        hnr_db: Harmonic-to-noise ratio between 0.1 and 5 kHz at the known pitch.
        modulation_db: Mean change of a mel band from one frame to the next.
    """

    rise_ms: float
    crest_db: float
    hnr_db: float
    modulation_db: float


@dataclass(frozen=True)
class Pair:
    """One rendered note beside its recording: distance in dB by row, and side measures minus the recording's."""

    instrument: str
    source_midi: float
    target_midi: float
    interval: int
    distance_db: dict[str, float]
    side: dict[str, SideMeasures]
    cents: float | None


@dataclass(frozen=True)
class HyperResult:
    """G with and without H at the recording's own pitch, detail off.

    Attributes:
        n_pairs: Recordings compared.
        n_instruments: Instruments they are of.
        mse_off: Mean square error of the log-mel in [-1, 1], H off; H on likewise.
        db_off: Mean absolute error in dB, H off; H on likewise.
        gain_db: Mean of the paired differences, positive where H helps.
        interval_db: 95 % of that, bootstrap over instruments.
        better: Share of recordings that H brings nearer.
    """

    n_pairs: int
    n_instruments: int
    mse_off: float
    mse_on: float
    db_off: float
    db_on: float
    gain_db: float
    interval_db: tuple[float, float]
    better: float


@dataclass(frozen=True)
class Table:
    """A table for people: title, header, rows of text."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """Everything one evaluation found; figures are means over instruments of each instrument's mean.

    Attributes:
        weights: Version and checksum of the bundle.
        quick: Whether only a few notes of each interval were taken.
        detail: Amount of detail in the rows with detail.
        seed: Of the renders.
        pairs: All of them.
        hyper: H on against H off; None if H was left out.
        source_pitch: Instrument → cents between the source pitch found and the real one; None where it was not found.
    """

    weights: dict[str, str]
    quick: bool
    detail: float
    seed: int
    pairs: list[Pair]
    hyper: HyperResult | None
    source_pitch: dict[str, float | None] = field(default_factory=dict)

    def row_names(self) -> list[str]:
        """Rows in the order in which they were made."""
        return list(self.pairs[0].distance_db) if self.pairs else []

    def distance(self, row: str, band: str) -> float:
        """Mean distance of a row in an interval band, dB; nan without pairs."""
        return _instrument_mean((pair.instrument, pair.distance_db[row]) for pair in self._in_band(band))

    def side_difference(self, row: str, measure: str) -> float:
        """Mean absolute difference of a side measure to the real note, over all pairs but the source itself."""
        return _instrument_mean(
            (pair.instrument, abs(getattr(pair.side[row], measure))) for pair in self.pairs if pair.interval > 0
        )

    def side_bias(self, row: str, measure: str) -> float:
        """The same, signed: positive where the render has more."""
        return _instrument_mean(
            (pair.instrument, getattr(pair.side[row], measure)) for pair in self.pairs if pair.interval > 0
        )

    def _side_cell(self, row: str, measure: str) -> str:
        return f"{_number(self.side_difference(row, measure))} ({self.side_bias(row, measure):+.1f})"

    def pitch_errors(self) -> list[float]:
        """Cents between asked and heard pitch of the sustained renders, in magnitude; infinite where none was heard."""
        return [
            math.inf if math.isnan(pair.cents) else abs(pair.cents) for pair in self.pairs if pair.cents is not None
        ]

    def _in_band(self, band: str) -> list[Pair]:
        least, most = next((low, high) for name, low, high in BANDS if name == band)
        return [pair for pair in self.pairs if least <= pair.interval <= most]

    def tables(self) -> list[Table]:
        """The report for people."""
        bands = [name for name, _, _ in BANDS]
        counts = tuple(f"{name} ({len(self._in_band(name))})" for name in bands)
        distance = Table(
            f"Distance to the real note in dB by semitones (pairs), {self._n_instruments()} instruments",
            ("row", *counts),
            [(row, *(_number(self.distance(row, band)) for band in bands)) for row in self.row_names()],
        )
        measures = (("rise_ms", "onset rise ms"), ("crest_db", "crest dB"), ("hnr_db", "harmonic-to-noise dB"),
                    ("modulation_db", "modulation dB"))  # fmt: skip
        side = Table(
            "Mean absolute difference to the real note (signed mean), other pitches",
            ("row", *(title for _, title in measures)),
            [(row, *(self._side_cell(row, name) for name, _ in measures)) for row in self.row_names()],
        )
        found = [
            Table("Each instrument with its source, default render", ("instrument", *bands), self._by_instrument())
        ]
        errors = self.pitch_errors()
        if errors:
            within = [f"{100.0 * sum(error <= limit for error in errors) / len(errors):.1f} %" for limit in (10, 50)]
            found.append(
                Table(
                    "Pitch of sustained renders, by YIN and the spectrum",
                    ("renders", "within 10 cents", "within 50 cents", "median cents"),
                    [(str(len(errors)), *within, f"{_median(errors):.1f}")],
                )
            )
        if self.hyper is not None:
            h = self.hyper
            gain = f"{h.gain_db:+.3f} [{h.interval_db[0]:+.3f}, {h.interval_db[1]:+.3f}]"
            found.append(
                Table(
                    f"H at the source pitch, detail off: {h.n_pairs} recordings, {h.n_instruments} instruments",
                    ("", "MSE of log-mel in [-1, 1]", "distance dB"),
                    [
                        ("H off (GANStrument)", f"{h.mse_off:.5f}", f"{h.db_off:.3f}"),
                        ("H on (HyperGANStrument)", f"{h.mse_on:.5f}", f"{h.db_on:.3f}"),
                        ("ratio on / off", f"{_ratio(h.mse_on, h.mse_off):.3f}", f"{_ratio(h.db_on, h.db_off):.3f}"),
                        ("gain, 95 % interval", f"better in {100 * h.better:.0f} %", gain),
                    ],
                )
            )
        return [distance, side, *found]

    def to_json(self) -> str:
        """All figures, summary first."""
        bands = [name for name, _, _ in BANDS]
        errors = self.pitch_errors()
        summary = {
            "format_version": FORMAT_VERSION,
            "weights": self.weights,
            "quick": self.quick,
            "detail": self.detail,
            "seed": self.seed,
            "n_instruments": self._n_instruments(),
            "n_pairs": {band: len(self._in_band(band)) for band in bands},
            "distance_db": {
                row: {band: _finite(self.distance(row, band)) for band in bands} for row in self.row_names()
            },
            "side": {
                row: {
                    name: {
                        "absolute": _finite(self.side_difference(row, name)),
                        "signed": _finite(self.side_bias(row, name)),
                    }
                    for name in SideMeasures.__dataclass_fields__
                }
                for row in self.row_names()
            },
            "pitch": {
                "n": len(errors),
                "within_10_cents": _finite(sum(error <= 10 for error in errors) / max(1, len(errors))),
                "within_50_cents": _finite(sum(error <= 50 for error in errors) / max(1, len(errors))),
            },
            "hyper": None if self.hyper is None else asdict(self.hyper),
            "source_pitch_cents": self.source_pitch,
        }
        return json.dumps(summary | {"pairs": [_plain(asdict(pair)) for pair in self.pairs]}, indent=1, allow_nan=False)

    def to_markdown(self) -> str:
        """The tables, for the model card."""
        head = f"Weights {self.weights['version']} (sha256 {self.weights['sha256'][:12]}…), seed {self.seed}"
        lines = [head + (", quick: not every note." if self.quick else "."), ""]
        for table in self.tables():
            lines += [f"**{table.title}**", "", "| " + " | ".join(table.header) + " |"]
            lines.append("|" + "|".join(["---"] + ["---:"] * (len(table.header) - 1)) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
        return "\n".join(lines)

    def _n_instruments(self) -> int:
        return len({pair.instrument for pair in self.pairs})

    def _by_instrument(self) -> list[tuple[str, ...]]:
        row = self.row_names()[-1] if self.pairs else ""
        rows = []
        for instrument in dict.fromkeys(pair.instrument for pair in self.pairs):
            of_it = [pair for pair in self.pairs if pair.instrument == instrument]
            cells = []
            for _, least, most in BANDS:
                values = [pair.distance_db[row] for pair in of_it if least <= pair.interval <= most]
                cells.append(_number(sum(values) / len(values)) if values else "–")
            rows.append((f"{instrument} {of_it[0].source_midi:.0f}", *cells))
        return rows


# --- measures -------------------------------------------------------------------------------------------------------


class Distance:
    """The cross-pitch distance between an output and a real recording.

    Power mels at three resolutions; the recording clamped FLOOR_DB below its maximum; the output shifted by the median
    difference over the bins within ALIGNED_DB of that maximum and clamped at the same floor; the mean absolute
    difference in dB, averaged over the resolutions.
    """

    def __init__(self) -> None:
        low, high = DISTANCE_RANGE_HZ
        self._filters = [
            mel_filters(MelConfig(n_fft=n_fft, hop_length=hop, n_mels=n_mels, f_min_hz=low, f_max_hz=high))
            for n_fft, hop, n_mels in RESOLUTIONS
        ]

    def mels(self, audio: Tensor) -> list[Tensor]:
        """Power mels of audio (T,) in dB at every resolution, each (n_mels, n_frames)."""
        result = []
        for (n_fft, hop, _), filters in zip(RESOLUTIONS, self._filters, strict=True):
            window = torch.hann_window(n_fft)
            spectrum = torch.stft(
                audio, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
            )
            result.append(10.0 * torch.log10(filters.T @ spectrum.abs().square() + 1e-12))
        return result

    def __call__(self, output: Tensor, reference: Tensor, n_samples: int) -> float:
        """Distance in dB over the first `n_samples` of both, (T,) each; what lacks is silence."""
        output, reference = (_fit(audio, n_samples) for audio in (output, reference))
        total = 0.0
        for ours, real in zip(self.mels(output), self.mels(reference), strict=True):
            top = float(real.max())
            real = real.clamp(min=top - FLOOR_DB)
            aligned = real > top - ALIGNED_DB
            ours = (ours + (real - ours)[aligned].median()).clamp(min=top - FLOOR_DB)
            total += float((ours - real).abs().mean())
        return total / len(RESOLUTIONS)


def side_measures(audio: Tensor, midi: float) -> SideMeasures:
    """Onset rise, crest factor, harmonic-to-noise ratio and modulation of a note (T,) whose pitch is known."""
    return SideMeasures(
        onset_rise_ms(audio, midi), crest_factor_db(audio), harmonic_to_noise_db(audio, midi), modulation_db(audio)
    )


def onset_rise_ms(audio: Tensor, midi: float) -> float:
    """Time in which the envelope of a note (T,) rises from a tenth to nine tenths of its peak in the first half second.

    The envelope is smoothed over one period of the note, so that single swings of a bass are no onsets.
    """
    box = 64
    head = audio[: SAMPLE_RATE // 2]
    energy = torch.nn.functional.avg_pool1d(head.square()[None, None], box, box)
    period = SAMPLE_RATE / (440.0 * 2.0 ** ((midi - 69.0) / 12.0)) / box
    width = 2 * max(1, math.ceil(period / 2.0)) + 1
    envelope = torch.nn.functional.avg_pool1d(energy, width, 1, padding=width // 2)[0, 0].sqrt()
    top = int(envelope.argmax())
    rising = envelope[: top + 1]
    last_below = (rising < 0.1 * envelope[top]).nonzero()
    start = int(last_below[-1]) if len(last_below) else 0
    end = start + int((rising[start:] >= 0.9 * envelope[top]).nonzero()[0])
    return (end - start) * box / SAMPLE_RATE * 1000.0


def crest_factor_db(audio: Tensor) -> float:
    """Peak over root mean square of the half second from the loudest moment of a note (T,), after its attack."""
    energy = torch.nn.functional.avg_pool1d(audio.square()[None, None], 1024, 256)[0, 0]
    start = int(energy.argmax()) * 256 + 1024
    part = audio[start : start + SAMPLE_RATE // 2]
    if part.shape[-1] < 2048:
        part = audio
    return float(20.0 * torch.log10(part.abs().max() / (part.square().mean().sqrt() + 1e-12) + 1e-12))


def harmonic_to_noise_db(audio: Tensor, midi: float) -> float:
    """Harmonic-to-noise ratio of a note (T,) of known pitch between 0.1 and 5 kHz, -20 … 40 dB.

    Source: Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio (1993):
    r / (1 - r) of the normalised autocorrelation r at one period, here averaged over frames by their energy.
    """
    spectrum = torch.fft.rfft(audio.double())
    hz = torch.arange(spectrum.shape[-1]) * (SAMPLE_RATE / audio.shape[-1])
    spectrum = spectrum * ((hz >= HNR_RANGE_HZ[0]) & (hz <= HNR_RANGE_HZ[1]))
    band = torch.fft.irfft(spectrum, audio.shape[-1]).float()
    period = SAMPLE_RATE / (440.0 * 2.0 ** ((midi - 69.0) / 12.0))
    window = max(1024, 2 * math.ceil(period))
    lags = torch.arange(max(1, math.floor(0.97 * period)), math.ceil(1.03 * period) + 1)
    if audio.shape[-1] < window + int(lags[-1]) + 1:
        return -20.0
    reach = window + int(lags[-1])
    frames = band.unfold(0, reach, window)
    early = frames[:, :window]
    values = []
    for lag in lags.tolist():
        late = frames[:, lag : lag + window]
        values.append((early * late).sum(1) / (early.square().sum(1) * late.square().sum(1) + 1e-20).sqrt())
    curve = torch.stack(values)  # (n_lags, n_frames)
    energy = early.square().sum(1)
    mean = (curve * energy).sum(1) / (energy.sum() + 1e-20)
    best = int(mean.argmax())
    height = float(mean[best])
    if 0 < best < len(mean) - 1:  # the true peak lies between two samples
        left, right = float(mean[best - 1]), float(mean[best + 1])
        bend = left - 2.0 * height + right
        height -= 0.0 if bend >= 0.0 else (left - right) ** 2 / (8.0 * bend)
    height = min(max(height, 0.0099), 0.9999)
    return 10.0 * math.log10(height / (1.0 - height))


def modulation_db(audio: Tensor) -> float:
    """Mean absolute change of a note's mel bands from one frame (11.6 ms) to the next, where they are audible, dB."""
    n_fft, hop, _ = RESOLUTIONS[0]
    spectrum = torch.stft(
        audio, n_fft, hop, window=torch.hann_window(n_fft), center=True, pad_mode="constant", return_complex=True
    )
    mel = 10.0 * torch.log10(mel_filters(MelConfig()).T @ spectrum.abs().square() + 1e-12)
    audible = mel > mel.max() - ALIGNED_DB
    both = audible[:, 1:] & audible[:, :-1]
    change = (mel[:, 1:] - mel[:, :-1]).abs()
    return float(change[both].mean()) if bool(both.any()) else 0.0


def track_pitch(audio: Tensor) -> float | None:
    """MIDI note of a sustained sound (T,), by another road than `audio.source_pitch`: YIN, sharpened on the spectrum.

    Returns:
        None where nothing periodic is heard.

    Source: de Cheveigné & Kawahara, YIN (JASA 2002), equations 6 and 8, over the loudest second; the period found is
    sharpened by the peaks of the first harmonics in a long spectrum.
    """
    slow = resample(audio[None], SAMPLE_RATE, YIN_RATE)[0]
    n_lags, window = YIN_RATE // 20, 2048
    span = window + n_lags
    if slow.shape[-1] < span:
        slow = torch.nn.functional.pad(slow, (0, span - slow.shape[-1]))
    frames = slow.unfold(0, span, 1024)
    energy = frames.square().sum(1)
    frames = frames[energy > 0.1 * energy.max()][:40]
    n_fft = 4096
    head = torch.fft.rfft(frames[:, :window], n_fft)
    whole = torch.fft.rfft(frames, n_fft)
    correlation = torch.fft.irfft(head.conj() * whole, n_fft)[:, : n_lags + 1]
    cumulative = torch.nn.functional.pad(frames.square().cumsum(1), (1, 0))
    late = cumulative[:, window : window + n_lags + 1] - cumulative[:, : n_lags + 1]
    difference = (late[:, :1] + late - 2.0 * correlation).clamp(min=0.0)
    lags = torch.arange(1, n_lags + 1)
    normed = difference[:, 1:] * lags / (difference[:, 1:].cumsum(1) + 1e-12)  # (n, n_lags), lag 1 first
    estimates = []
    for curve in normed:
        below = (curve[2:] < YIN_THRESHOLD).nonzero()
        if len(below):
            lag = int(below[0]) + 2
            while lag + 1 < n_lags and curve[lag + 1] < curve[lag]:
                lag += 1
            estimates.append(YIN_RATE / (lag + 1))
    if len(estimates) < max(1, len(normed) // 4):
        return None
    f0_hz = _median(estimates)
    return _sharpen(audio, f0_hz)


def _sharpen(audio: Tensor, f0_hz: float) -> float:
    """MIDI note near f0 from the peaks of the strongest low harmonics in one long spectrum of audio (T,)."""
    energy = torch.nn.functional.avg_pool1d(audio.square()[None, None], 4096, 1024)[0, 0]
    start = int(energy.argmax()) * 1024 if energy.numel() else 0
    part = audio[start : start + 32_768]
    n_fft = 131_072
    magnitude = torch.fft.rfft(part * torch.hann_window(part.shape[-1]), n_fft).abs()
    bin_hz = SAMPLE_RATE / n_fft
    found, weights = 0.0, 0.0
    for harmonic in range(1, 9):
        centre = harmonic * f0_hz / bin_hz
        reach = max(2, round(0.04 * f0_hz / bin_hz))
        first = max(1, round(centre) - reach)
        if first + 2 * reach + 2 > len(magnitude) or harmonic * f0_hz > 5000.0:
            break
        index = first + int(magnitude[first : first + 2 * reach + 1].argmax())
        left, middle, right = (float(value) for value in magnitude[index - 1 : index + 2].log())
        bend = left - 2.0 * middle + right
        shift = 0.0 if bend >= 0.0 else 0.5 * (left - right) / bend
        weight = float(magnitude[index]) ** 2
        found += weight * (index + shift) * bin_hz / harmonic
        weights += weight
    return 69.0 + 12.0 * math.log2((found / weights if weights else f0_hz) / 440.0)


# --- the evaluation -------------------------------------------------------------------------------------------------


def read_notes(real_dir: Path, instruments: Sequence[str]) -> dict[str, list[Note]]:
    """Pitched recordings of a manifest directory by instrument, by pitch.

    Raises:
        InputError: There is no manifest, or none of the instruments is in it.
    """
    path = real_dir / MANIFEST_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["files"]
        rows = [
            Note(real_dir / e["file"], e["instrument"], e["family"], float(e["midi_measured"]), e["dynamic"])
            for e in entries
            if e["pitched"] and e["instrument"] in instruments
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a manifest of recordings", "give the folder that holds one") from error
    if not rows:
        raise InputError(f"{path} holds none of the instruments asked for", "name instruments that it lists")
    by_name: dict[str, list[Note]] = {}
    for note in sorted(rows, key=lambda note: (note.instrument, note.midi)):
        by_name.setdefault(note.instrument, []).append(note)
    return by_name


def evaluate(
    model: Model,
    real_dir: Path,
    instruments: Sequence[str],
    *,
    quick: bool = False,
    detail: float = 1.0,
    hyper: bool = True,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Measure the released model against real recordings.

    From one recording of an instrument (its middle loud note) every other loud note within two octaves is rendered and
    compared with the real one, and the note itself.

    Args:
        model: From `load_model`.
        real_dir: Folder with a manifest and recordings.
        instruments: Whose recordings are used; those the model was never trained on, for figures that count.
        quick: At most two notes of each interval band.
        detail: Amount of detail in the rows with detail.
        hyper: Whether H is used and measured; without it the table has GANStrument's rows alone.
        seed: Of all renders.
        advance: Takes instruments done and their number.

    Raises:
        InputError: The manifest or a recording cannot be used.
    """
    notes = read_notes(real_dir, instruments)
    distance = Distance()
    pairs: list[Pair] = []
    heard: dict[str, float | None] = {}
    for done, (instrument, recordings) in enumerate(notes.items()):
        advance(done, len(notes))
        loud = [note for note in recordings if note.dynamic == "loud"] or recordings
        source = loud[len(loud) // 2]
        found, cents = _pairs_of(model, distance, source, _targets(source, loud, quick), detail, hyper, seed)
        pairs += found
        heard[instrument] = cents
    advance(len(notes), len(notes))
    return Report(
        weights={"version": model.version, "sha256": model.sha256},
        quick=quick,
        detail=detail,
        seed=seed,
        pairs=pairs,
        hyper=_compare_hyper(model, notes, quick) if hyper else None,
        source_pitch=heard,
    )


def _targets(source: Note, notes: Iterable[Note], quick: bool) -> list[Note]:
    """Notes to render from a source: itself and all within two octaves, or a few of each band, evenly spread."""
    chosen = []
    for _, least, most in BANDS:
        band = [note for note in notes if least <= abs(round(note.midi - source.midi)) <= most]
        if quick and len(band) > QUICK_PER_BAND:
            band = [band[round(i * (len(band) - 1) / (QUICK_PER_BAND - 1))] for i in range(QUICK_PER_BAND)]
        chosen += band
    return chosen


def _pairs_of(
    model: Model, distance: Distance, source: Note, targets: list[Note], detail: float, hyper: bool, seed: int
) -> tuple[list[Pair], float | None]:
    """All pairs of one instrument, and by how many cents its source pitch was missed."""
    original = read_audio(source.path).audio
    pitches = [target.midi for target in targets]
    plain = single(model, invert(model, original, SAMPLE_RATE, passes=0))
    renders = {"GANStrument (H off), detail off": _render(model, plain, pitches, 0.0, seed)}
    names = ["GANStrument (H off)"]
    inversion = None
    if hyper:
        inversion = invert(model, original, SAMPLE_RATE)
        refined = single(model, inversion)
        renders["hgs, detail off"] = _render(model, refined, pitches, 0.0, seed)
        renders["GANStrument (H off)"] = _render(model, plain, pitches, detail, seed)
        renders["hgs"] = _render(model, refined, pitches, detail, seed)
        names = ["hgs"]
    else:
        renders["GANStrument (H off)"] = _render(model, plain, pitches, detail, seed)
    pairs = []
    for index, target in enumerate(targets):
        real = read_audio(target.path).audio
        n_samples = min(original.shape[-1], real.shape[-1])
        outputs = {"copy": original, "resampling": _play_faster(original, target.midi - source.midi)}
        outputs |= {name: audio[index] for name, audio in renders.items()}
        truth = side_measures(real[:n_samples], target.midi)
        cents = None
        if target.family in SUSTAINED_FAMILIES:
            tracked = track_pitch(outputs[names[0]])
            cents = math.nan if tracked is None else 100.0 * (tracked - target.midi)
        pairs.append(
            Pair(
                instrument=source.instrument,
                source_midi=source.midi,
                target_midi=target.midi,
                interval=abs(round(target.midi - source.midi)),
                distance_db={
                    name: distance(audio, real, min(n_samples, audio.shape[-1])) for name, audio in outputs.items()
                },
                side={
                    name: _minus(side_measures(_fit(audio, n_samples), target.midi), truth)
                    for name, audio in outputs.items()
                },
                cents=cents,
            )
        )
    found = (inversion or invert(model, original, SAMPLE_RATE, passes=0)).source_pitch
    return pairs, None if found is None else 100.0 * (found - source.midi)


def _render(model: Model, instrument: Instrument, pitches: Sequence[float], detail: float, seed: int) -> Tensor:
    """Notes (N, T) without gain."""
    return synthesize(model, instrument, pitches, Settings(detail=detail, seed=seed)).cpu()


def _play_faster(audio: Tensor, semitones: float) -> Tensor:
    """A recording (T,) played at another speed: the plainest sampler; compared for as long as it lasts."""
    ratio = Fraction(2.0 ** (semitones / 12.0)).limit_denominator(150)  # within 0.1 cent
    return resample(audio[None], ratio.numerator, ratio.denominator)[0]


def _compare_hyper(model: Model, notes: dict[str, list[Note]], quick: bool) -> HyperResult:
    """H on against H off at the recordings' own pitch, detail off."""
    wanted = QUICK_HYPER_PER_INSTRUMENT if quick else HYPER_PER_INSTRUMENT
    gains: dict[str, list[float]] = {}
    rows = []
    for instrument, recordings in notes.items():
        step = max(1, math.ceil(len(recordings) / wanted))
        for note in recordings[step // 2 :: step]:
            result = reconstruct(model, invert(model, read_audio(note.path).audio, SAMPLE_RATE, pitch=note.midi))
            mel = result.mel[:, : result.length_frames]
            mses = [float((mel - x[:, : result.length_frames]).square().mean()) for x in (result.first, result.refined)]
            dbs = [result.distance_db(x) for x in (result.first, result.refined)]
            rows.append((*mses, *dbs))
            gains.setdefault(instrument, []).append(dbs[0] - dbs[1])
    mse_off, mse_on, db_off, db_on = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    every = [gain for values in gains.values() for gain in values]
    return HyperResult(
        n_pairs=len(rows),
        n_instruments=len(gains),
        mse_off=mse_off,
        mse_on=mse_on,
        db_off=db_off,
        db_on=db_on,
        gain_db=sum(every) / len(every),
        interval_db=bootstrap_interval(list(gains.values())),
        better=sum(gain > 0.0 for gain in every) / len(every),
    )


def bootstrap_interval(groups: list[list[float]], n_draws: int = N_BOOTSTRAP) -> tuple[float, float]:
    """95 % interval of the mean of all values, whole groups drawn with replacement.

    Notes of one instrument resemble each other: drawn singly they would promise more than they know.
    """
    sums = torch.tensor([sum(group) for group in groups], dtype=torch.float64)
    counts = torch.tensor([len(group) for group in groups], dtype=torch.float64)
    drawn = torch.randint(len(groups), (n_draws, len(groups)), generator=torch.Generator().manual_seed(0))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _fit(audio: Tensor, n_samples: int) -> Tensor:
    """Audio (T,) cut or continued by silence to `n_samples`."""
    audio = audio[:n_samples]
    return torch.nn.functional.pad(audio, (0, n_samples - audio.shape[-1]))


def _minus(ours: SideMeasures, real: SideMeasures) -> SideMeasures:
    return SideMeasures(*(getattr(ours, name) - getattr(real, name) for name in SideMeasures.__dataclass_fields__))


def _instrument_mean(values: Iterable[tuple[str, float]]) -> float:
    """Mean over instruments of the mean of each one's values; nan for none."""
    groups: dict[str, list[float]] = {}
    for instrument, value in values:
        groups.setdefault(instrument, []).append(value)
    means = [sum(group) / len(group) for group in groups.values()]
    return sum(means) / len(means) if means else math.nan


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _ratio(on: float, off: float) -> float:
    return on / off if off > 0.0 else math.nan


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(values: Any) -> Any:
    """Values that JSON can hold: no nan, no infinity."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    return _finite(values) if isinstance(values, float) else values
