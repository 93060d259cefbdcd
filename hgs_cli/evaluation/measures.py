"""What is measured of one sound beside another: the cross-pitch distance, side measures, pitch, and means over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torchaudio
from torch import Tensor

from hgs_cli.audio.mel import resample
from hgs_cli.evaluation.report import number, plain
from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE, MelConfig, mel_filters


@dataclass(frozen=True)
class MeasureRules:
    """What the distance and the side measures look at."""

    # window, hop and mel bands of each spectrogram of the distance
    resolutions: tuple[tuple[int, ...], ...] = ((2048, 512, 128), (4096, 1024, 192), (1024, 256, 64))
    distance_range_hz: tuple[float, float] = (30.0, 18_000.0)  # of its bands
    floor_db: float = 70.0  # below the reference's loudest bin nothing is compared
    aligned_db: float = 50.0  # bins within this of the loudest decide by how much the output is shifted
    hnr_range_hz: tuple[float, float] = (100.0, 5000.0)  # of the harmonic-to-noise ratio
    n_bootstrap: int = 2000  # samples behind every interval


MEASURED = MeasureRules()


@dataclass(frozen=True)
class Yin:
    """How pitch is tracked."""

    threshold: float = 0.15  # of the normalised difference, below which a lag is a period
    rate_hz: int = 22_050  # at which it is looked for
    finer: int = 4  # points per lag: between whole lags bright sounds repeat too, and are else heard an octave low


YIN = Yin()


@dataclass(frozen=True)
class SideMeasures:
    """What the distance forgives: blur, buzz, noise, a wrong flutter."""

    rise_ms: float  # time in which the onset rises from a tenth to nine tenths of its peak
    crest_db: float  # peak over root mean square
    hnr_db: float  # harmonic-to-noise ratio between 0.1 and 5 kHz at the known pitch
    modulation_db: float  # mean change of a mel band from one frame to the next

    def minus(self, other: SideMeasures) -> SideMeasures:
        """Their differences."""
        return SideMeasures(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))


class Distance:
    """The cross-pitch distance between an output and a real recording.

    Power mels at three resolutions; the recording clamped `floor_db` below its maximum; the output shifted by the
    median difference over the bins within `aligned_db` of that maximum and clamped at the same floor; the mean absolute
    difference in dB, averaged over the resolutions.
    """

    def __init__(self) -> None:
        low, high = MEASURED.distance_range_hz
        self._filters = [
            mel_filters(MelConfig(n_fft=n_fft, hop_length=hop, n_mels=n_mels, f_min_hz=low, f_max_hz=high))
            for n_fft, hop, n_mels in MEASURED.resolutions
        ]

    def mels(self, audio: Tensor) -> list[Tensor]:
        """Power mels of audio (T,) in dB at every resolution, each (n_mels, n_frames)."""
        result = []
        for (n_fft, hop, _), filters in zip(MEASURED.resolutions, self._filters, strict=True):
            window = torch.hann_window(n_fft)
            spectrum = torch.stft(
                audio, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
            )
            result.append(10.0 * torch.log10(filters.T @ spectrum.abs().square() + 1e-12))
        return result

    def __call__(self, output: Tensor, reference: Tensor, n_samples: int) -> float:
        """Distance in dB over the first `n_samples` of both, (T,) each; what lacks is silence."""
        return self.between(self.mels(fit(output, n_samples)), self.mels(fit(reference, n_samples)))

    def between(self, output: list[Tensor], reference: list[Tensor]) -> float:
        """Distance in dB of what `mels` made of two sounds of one length."""
        total = 0.0
        for ours, real in zip(output, reference, strict=True):
            top = float(real.max())
            real = real.clamp(min=top - MEASURED.floor_db)
            aligned = real > top - MEASURED.aligned_db
            ours = (ours + (real - ours)[aligned].median()).clamp(min=top - MEASURED.floor_db)
            total += float((ours - real).abs().mean())
        return total / len(MEASURED.resolutions)


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
    period = SAMPLE_RATE / midi_to_hz(midi) / box
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
    spectrum = spectrum * ((hz >= MEASURED.hnr_range_hz[0]) & (hz <= MEASURED.hnr_range_hz[1]))
    band = torch.fft.irfft(spectrum, audio.shape[-1]).float()
    period = SAMPLE_RATE / midi_to_hz(midi)
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
    n_fft, hop, _ = MEASURED.resolutions[0]
    spectrum = torch.stft(
        audio, n_fft, hop, window=torch.hann_window(n_fft), center=True, pad_mode="constant", return_complex=True
    )
    mel = 10.0 * torch.log10(mel_filters(MelConfig()).T @ spectrum.abs().square() + 1e-12)
    audible = mel > mel.max() - MEASURED.aligned_db
    both = audible[:, 1:] & audible[:, :-1]
    change = (mel[:, 1:] - mel[:, :-1]).abs()
    return float(change[both].mean()) if bool(both.any()) else 0.0


def track_pitch(audio: Tensor) -> float | None:
    """MIDI note of a sustained sound (T,), by another road than `audio.source_pitch`: YIN, sharpened on the spectrum.

    Returns:
        None where nothing periodic is heard.

    Source: de Cheveigné & Kawahara, YIN (JASA 2002), equations 6 and 8, over the loudest second, at YIN.finer points
    per lag; the period found is sharpened by the peaks of the first harmonics in a long spectrum.
    """
    slow = resample(audio[None], SAMPLE_RATE, YIN.rate_hz)[0]
    n_lags, window = YIN.rate_hz // 20, 2048
    span = window + n_lags
    if slow.shape[-1] < span:
        slow = torch.nn.functional.pad(slow, (0, span - slow.shape[-1]))
    frames = slow.unfold(0, span, 1024)
    energy = frames.square().sum(1)
    frames = frames[energy > 0.1 * energy.max()][:40]
    n_fft = 4096
    head = torch.fft.rfft(frames[:, :window], n_fft)
    whole = torch.fft.rfft(frames, n_fft)
    finer = YIN.finer * n_fft
    correlation = YIN.finer * torch.fft.irfft(head.conj() * whole, finer)[:, : YIN.finer * n_lags + 1]
    cumulative = torch.nn.functional.pad(frames.square().cumsum(1), (1, 0))
    late = cumulative[:, window : window + n_lags + 1] - cumulative[:, : n_lags + 1]
    late = torch.nn.functional.interpolate(late[:, None], correlation.shape[1], mode="linear", align_corners=True)[:, 0]
    difference = (late[:, :1] + late - 2.0 * correlation).clamp(min=0.0)
    lags = torch.arange(1, correlation.shape[1])
    normed = difference[:, 1:] * lags / (difference[:, 1:].cumsum(1) + 1e-12)  # (n, lags), the first lag above 0 first
    estimates = []
    first = 3 * YIN.finer - 1
    for curve in normed:
        below = (curve[first:] < YIN.threshold).nonzero()
        if len(below):
            lag = int(below[0]) + first
            while lag + 1 < len(curve) and curve[lag + 1] < curve[lag]:
                lag += 1
            estimates.append(YIN.finer * YIN.rate_hz / (lag + 1))
    if len(estimates) < max(1, len(normed) // 4):
        return None
    f0_hz = median(estimates)
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
    return hz_to_midi(found / weights if weights else f0_hz)


@dataclass(frozen=True)
class Mean:
    """A mean over instruments of each one's mean, and how far it can be trusted."""

    mean: float  # the figure; nan where nothing was measured
    low: float  # lower end of its 95 % interval, bootstrap over instruments
    high: float  # upper end
    n: int  # values
    n_instruments: int  # instruments they are of

    @classmethod
    def over_instruments(cls, values: Iterable[tuple[str, float]]) -> Mean:
        """The mean of values that each belong to an instrument."""
        groups: dict[str, list[float]] = {}
        for instrument, value in values:
            groups.setdefault(instrument, []).append(value)
        means = [sum(group) / len(group) for group in groups.values()]
        if not means:
            return cls(math.nan, math.nan, math.nan, 0, 0)
        low, high = bootstrap_interval(means)
        return cls(sum(means) / len(means), low, high, sum(len(group) for group in groups.values()), len(means))

    def text(self, digits: int = 2, signed: bool = False) -> str:
        """The mean and its interval for a table."""
        if not self.n:
            return number(math.nan)
        form = f"{'+' if signed else ''}.{digits}f"
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def figures(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "mean": plain(self.mean),
            "interval_95": plain([self.low, self.high]),
            **plain(self, "mean", "low", "high"),
        }


def bootstrap_interval(means: Sequence[float], n_draws: int = MEASURED.n_bootstrap) -> tuple[float, float]:
    """95 % interval of the mean of instruments' means, instruments drawn with replacement, the same at every call.

    Notes of one instrument resemble each other: drawn singly they would promise more than they know.
    """
    values = torch.tensor(means, dtype=torch.float64)
    drawn = torch.randint(len(means), (n_draws, len(means)), generator=torch.Generator().manual_seed(0))
    low, high = torch.quantile(values[drawn].mean(1), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def frechet(features_a: Tensor, features_b: Tensor) -> float:
    """Fréchet distance of two sets of features (N, D), (M, D), each taken as a Gaussian; in double precision.

    Raises:
        ValueError: N or M is below 2·D: covariances of so few samples say little.

    Source: Heusel et al. (2017).
    """
    dim = features_a.shape[1]
    if min(features_a.shape[0], features_b.shape[0]) < 2 * dim:
        raise ValueError(
            f"{features_a.shape[0]} and {features_b.shape[0]} features of {dim} values; 2·{dim} are needed"
        )
    a, b = features_a.double(), features_b.double()
    distance = torchaudio.functional.frechet_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    return max(0.0, float(distance))


def fit(audio: Tensor, n_samples: int) -> Tensor:
    """Audio (T,) cut or continued by silence to `n_samples`."""
    audio = audio[:n_samples]
    return torch.nn.functional.pad(audio, (0, n_samples - audio.shape[-1]))


def median(values: Iterable[float]) -> float:
    """The middle one of values, the upper of two; nan for none."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else math.nan
