"""The pitch of a recording: one MIDI note, how it moves, or the finding that there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.audio.mel import resample
from hgs_cli.pitch import hz_to_midi, midi_to_hz
from hgs_cli.spectrum import HOP_LENGTH, MODEL_SAMPLES, N_FRAMES, SAMPLE_RATE


@dataclass(frozen=True)
class SearchRules:
    """How the pitch of a recording is searched for."""

    rate: int = 11_025  # the coarse search hears up to 5.5 kHz: beyond the highest note of a piano
    window: int = 2048  # 186 ms: almost four periods of the lowest note searched
    hop: int = 512  # samples between windows
    finer: int = 8  # points per lag: the highest notes have a period of less than three lags
    lowest_hz: float = 19.5  # of the notes that are searched
    highest_hz: float = 4400.0  # likewise
    max_candidates: int = 12  # periods that are looked at closely
    peak_fraction: float = 0.75  # a lower peak, beside the tallest, is no candidate
    pitched_height: float = 0.6  # of the mean autocorrelation: drums stay below, notes with a noisy attack above
    pitched_contrast: float = 0.22  # a lone sine shows 0.27; a period of which the spectrum shows less is chance
    contrast_weight: float = 0.5  # of the spectrum's word against the autocorrelation's
    near_height: float = 0.3  # enough where the note is known beforehand
    near_ratio: float = 2.0 ** (1.0 / 12.0)  # of a note that is known beforehand: how far off it may be found


SEARCH = SearchRules()


@dataclass(frozen=True)
class ContourRules:
    """How the pitch is followed over time."""

    periods: float = 4.0  # a Hann window of four periods tells neighbouring harmonics apart
    top_hz: float = 2000.0  # higher harmonics are weaker and, on strings, stretched
    floor: float = 1e-4  # frames 40 dB below the loudest are half believed


CONTOUR = ContourRules()


@dataclass(frozen=True)
class SourcePitch:
    """The pitch found in a recording."""

    midi: float | None  # MIDI note number, cents included; None for an unpitched sound
    pitch_contour_cents: Tensor  # deviation from `midi` over time, (N_FRAMES,); 0 where nothing periodic sounds
    confidence: float  # 0 … 1, how periodic the sound is at that pitch
    harmonic_salience: float = 0.0  # how far its harmonics stand out of the spectrum, at most 1; 0.27 for a lone sine


@dataclass(frozen=True)
class Candidate:
    """A note that a sound may have."""

    f0_hz: float  # its frequency
    height: float  # of the mean autocorrelation at its period, at most about 1
    harmonic_salience: float  # how far its harmonics stand above the points half-way between them, at most 1

    @property
    def midi(self) -> float:
        """MIDI note number, cents included."""
        return hz_to_midi(self.f0_hz)


def normalized_autocorrelation(frames: Tensor, n_lags: int) -> Tensor:
    """Normalised square difference function of each frame, n'(tau) in [-1, 1].

    Args:
        frames: (n, window).
        n_lags: Lags 0 … n_lags - 1 are returned; at most the window.

    Returns:
        (n, n_lags); 1 at the period of a periodic frame.

    Source: McLeod & Wyvill, A smarter way to find pitch (ICMC 2005), equations 6 and 9.
    """
    window = frames.shape[-1]
    spectrum = torch.fft.rfft(frames, 2 * window)
    correlation: Tensor = torch.fft.irfft(spectrum.abs().square(), 2 * window)[:, :n_lags]
    energy = frames.square()
    before = energy.cumsum(-1)  # (n, window): energy of the first j + 1 samples
    total = before[:, -1:]
    lags = torch.arange(n_lags)
    head = before[:, window - 1 - lags]  # samples 0 … window - 1 - tau
    tail = total - torch.cat([torch.zeros_like(total), before[:, : n_lags - 1]], dim=1)
    return 2.0 * correlation / (head + tail + 1e-12)


def _search_frames(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Frames at the search rate without their mean, (n, SEARCH.window), and their weights, which sum to 1, (n,)."""
    slow = resample(audio[None, :MODEL_SAMPLES], SAMPLE_RATE, SEARCH.rate)[0]
    slow = torch.nn.functional.pad(slow, (0, max(0, SEARCH.window - slow.shape[-1])))
    frames = slow.unfold(0, SEARCH.window, SEARCH.hop)
    frames = frames - frames.mean(-1, keepdim=True)
    weight = frames.square().sum(-1).sqrt()  # the amplitude: a long decay counts, its noisy end hardly
    return frames, weight / (weight.sum() + 1e-12)


def _finer(curve: Tensor) -> Tensor:
    """An autocorrelation, (n,), which is even around lag 0, at `finer` points per lag, (finer · (n - 1) + 1,)."""
    period = 2 * (len(curve) - 1)
    spectrum = torch.fft.rfft(torch.cat([curve, curve[1:-1].flip(0)]))
    finer: Tensor = torch.fft.irfft(spectrum, SEARCH.finer * period)
    return SEARCH.finer * finer[: SEARCH.finer * (len(curve) - 1) + 1]


def _peak(curve: Tensor, index: int) -> tuple[float, float]:
    """Position and height of the parabola through a maximum of `curve` and its two neighbours."""
    left, middle, right = (float(value) for value in curve[index - 1 : index + 2])
    bend = left - 2.0 * middle + right
    shift = 0.0 if bend >= 0.0 else min(0.5, max(-0.5, 0.5 * (left - right) / bend))
    return index + shift, middle - 0.25 * (left - right) * shift


def _follow_period(curve: Tensor, period: float) -> float:
    """Sharpen a period (in lags) by the peaks at twice, four times, … the lag, as far as they stand out."""
    multiple = 2
    height = _peak(curve, max(1, round(period)))[1]
    while (multiple + 0.5) * period < len(curve) - 2:
        reach = max(1, min(round(0.3 * period), round(0.06 * multiple * period)))
        centre = round(multiple * period)
        start = max(1, centre - reach)
        index = start + int(curve[start : centre + reach + 1].argmax())
        position, value = _peak(curve, min(index, len(curve) - 2))
        if (index in (start, centre + reach) and reach > 1) or value < 0.6 * height:
            break
        period = position / multiple
        multiple *= 2
    return period


def _harmonic_salience(spectrum: Tensor, f0_hz: float) -> float:
    """How far the harmonics of f0 stand above the points half-way between them, at most 1.

    Args:
        spectrum: Square root of the mean magnitude spectrum, (n_bins,), 0 Hz … half the search rate.
        f0_hz: Candidate fundamental frequency.

    Source: the alternating kernel of Camacho & Harris, A sawtooth waveform inspired pitch estimator (JASA 2008),
    with point samples in place of cosine lobes; harmonics 1 and the primes, so that subharmonics gain nothing.
    """
    bin_hz = SEARCH.rate / 2 / (len(spectrum) - 1)
    score, norm, loudest = 0.0, 0.0, 1e-12
    for harmonic in (1, 2, 3, 5, 7, 11, 13):
        inside = (harmonic + 0.5) * f0_hz < SEARCH.rate / 2
        if not inside and harmonic > 1:
            break
        weight = harmonic**-0.5
        before, at = (float(spectrum[round((harmonic + half) * f0_hz / bin_hz)]) for half in (-0.5, 0.0))
        # the fundamental of the highest notes has no point half-way above it that could be heard
        after = float(spectrum[round((harmonic + 0.5) * f0_hz / bin_hz)]) if inside else before
        score += weight * (at - 0.5 * (before + after))
        norm += weight
        loudest = max(loudest, at, before, after)
    return score / (norm * loudest + 1e-12)


def find_candidates(audio: Tensor, near: float | None = None) -> list[Candidate]:
    """Possible notes of a sound at 44.1 kHz, (T,), those of short periods first; `near` as in detect_pitch."""
    frames, weight = _search_frames(audio)
    n_lags = int(SEARCH.rate / SEARCH.lowest_hz) + 2
    curve = _finer((weight[:, None] * normalized_autocorrelation(frames, n_lags)).sum(0))
    rate_hz = SEARCH.finer * SEARCH.rate
    window = torch.hann_window(SEARCH.window)
    magnitude = torch.fft.rfft(frames * window, 2 * SEARCH.window).abs()
    loudness = frames.square().sum(-1, keepdim=True).sqrt() + 1e-9
    spectrum = (weight[:, None] * magnitude / loudness).sum(0).sqrt()

    below_zero = (curve < 0).nonzero()  # the slope that falls from lag 0 is no period
    first = max(2, int(below_zero[0]) if len(below_zero) else 2)
    last = len(curve) - 2
    if near is not None:
        lag = rate_hz / midi_to_hz(near)
        first, last = max(1, math.floor(lag / SEARCH.near_ratio)), min(last, math.ceil(lag * SEARCH.near_ratio))
    inner = curve[first : last + 1]
    rising = inner > curve[first - 1 : last]
    falling = inner >= curve[first + 1 : last + 2]
    peaks = ((rising & falling).nonzero()[:, 0] + first).tolist()
    tallest = max((float(curve[index]) for index in peaks), default=0.0)
    found: list[Candidate] = []
    for index in peaks:
        position, height = _peak(curve, index)
        if height >= SEARCH.peak_fraction * tallest and height > 0.0 and len(found) < SEARCH.max_candidates:
            f0_hz = rate_hz / _follow_period(curve, position)
            if f0_hz <= SEARCH.highest_hz:
                found.append(Candidate(f0_hz, height, _harmonic_salience(spectrum, f0_hz)))
    return found


def choose(found: Sequence[Candidate], contrast_weight: float = SEARCH.contrast_weight) -> Candidate | None:
    """The candidate for which time and spectrum together speak most; None where there is no candidate."""
    return max(
        found, key=lambda candidate: candidate.height + contrast_weight * candidate.harmonic_salience, default=None
    )


def contour(audio: Tensor, f0_hz: float) -> tuple[float, Tensor]:
    """Mean deviation from f0 in cents, and the deviation from that mean over time, (N_FRAMES,).

    Each low harmonic is brought down to 0 Hz; the phase it gains between two nearby frames is its deviation. Every
    harmonic is compared with its own mean, so that the stretched partials of a string are not taken for a bend.
    """
    window_samples = 2048
    while window_samples < CONTOUR.periods * SAMPLE_RATE / f0_hz and window_samples < 8192:
        window_samples *= 2
    n_harmonics = max(1, min(8, int(CONTOUR.top_hz / f0_hz)))
    harmonics = torch.arange(1, n_harmonics + 1)
    # a semitone of deviation in the highest harmonic may turn the phase by less than half a circle
    step = max(1, min(HOP_LENGTH, int(0.5 * SAMPLE_RATE / (n_harmonics * f0_hz * 0.06))))
    half = window_samples // 2
    padded = torch.nn.functional.pad(
        audio[:MODEL_SAMPLES], (half, half + step + MODEL_SAMPLES - min(len(audio), MODEL_SAMPLES))
    )
    time = torch.arange(window_samples, dtype=torch.float64)
    angle = (2.0 * math.pi / SAMPLE_RATE) * f0_hz * harmonics[:, None].double() * time
    window = torch.hann_window(window_samples)
    basis = torch.cat([window * torch.cos(angle).float(), window * torch.sin(angle).float()]).T
    early = padded.unfold(0, window_samples, HOP_LENGTH)[:N_FRAMES] @ basis
    late = padded[step:].unfold(0, window_samples, HOP_LENGTH)[:N_FRAMES] @ basis
    early_z = torch.complex(early[:, :n_harmonics], -early[:, n_harmonics:])
    late_z = torch.complex(late[:, :n_harmonics], -late[:, n_harmonics:])
    turn = late_z * early_z.conj() * torch.polar(
        torch.ones(n_harmonics), -(2.0 * math.pi / SAMPLE_RATE) * f0_hz * step * harmonics.float()
    )  # fmt: skip
    ratio = turn.angle() * (SAMPLE_RATE / (2.0 * math.pi * step)) / (f0_hz * harmonics)  # relative deviation
    weight = turn.abs() * harmonics.float() ** 2  # information about f0 grows with the square of the harmonic number
    power = turn.abs().sum(1)
    own_mean = (weight * ratio).sum(0) / (weight.sum(0) + 1e-20)
    mean = float((own_mean * weight.sum(0)).sum() / (weight.sum() + 1e-20))
    deviation = ((ratio - own_mean) * weight).sum(1) / (weight.sum(1) + 1e-20)
    # frames that hardly sound are drawn to zero, and a short smoothing follows the energy
    trust = power / (power + CONTOUR.floor * power.max() + 1e-20)
    deviation = deviation * trust
    kernel = torch.tensor([0.25, 0.5, 0.25])[None, None]
    smooth = torch.nn.functional.conv1d(
        torch.nn.functional.pad(deviation[None, None], (1, 1), mode="replicate"), kernel
    )
    to_cents = 1200.0 / math.log(2.0)
    return to_cents * mean, (to_cents * smooth[0, 0]).clamp(-100.0, 100.0)


def detect_pitch(audio: Tensor, near: float | None = None) -> SourcePitch:
    """Find the note of a recording and how its pitch moves around that note.

    Args:
        audio: Mono sound at 44.1 kHz, (T,); what lies beyond MODEL_SAMPLES is not heard.
        near: A MIDI note known beforehand: only a semitone around it is searched, and it is kept as it is when
            nothing periodic is found there.

    Returns:
        The pitch; `midi` is None when the sound is unpitched and `near` was not given.
    """
    audio = audio.detach().float().cpu()
    best = choose(find_candidates(audio, near))
    flat = torch.zeros(N_FRAMES)
    if best is None:
        return SourcePitch(near, flat, 0.0)
    doubtful = best.height < SEARCH.pitched_height or best.harmonic_salience < SEARCH.pitched_contrast
    if doubtful if near is None else best.height < SEARCH.near_height:
        return SourcePitch(near, flat, max(0.0, best.height))
    mean_cents, cents = contour(audio, best.f0_hz)
    if abs(mean_cents) > 50.0:  # the harmonics disagree with the period: the period is what one hears
        mean_cents = 0.0
    return SourcePitch(best.midi + mean_cents / 100.0, cents, min(1.0, best.height), best.harmonic_salience)
