"""The carrier: the recording itself, moved to other pitches in its own short-time spectrum.

Around every spectral peak a region of bins is moved by (r - 1)·f and turned by the phase that this move gathers from
frame to frame. Phases inside a region stay locked, so that beating, attacks and partials that are no harmonics stay
what they are; at r = 1 it is the recording.

Source: Laroche & Dolson, New phase-vocoder techniques for pitch-shifting, harmonizing and other exotic effects (WASPAA
1999). Ours: what a peak gathers is linear in r, so one analysis serves every pitch; at an onset it is counted from the
onset on, which keeps all partials of an attack in step; noise that moves up is drawn anew at its moved level, since
regions that move apart leave it sparse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.periodicity import delay
from hgs_cli.sampler.rises import find_rises, sees_rise
from hgs_cli.spectrum import SAMPLE_RATE

OVERLAP = 4  # frames over every sample
BLOCK_FRAMES = 128  # analysed and moved at once


@dataclass(frozen=True)
class CarrierRules:
    """What the analysis of a recording goes by."""

    # window in samples. Real instruments moved by 1-5 / 6-12 / 13-24 semitones: 5.33 / 6.19 / 7.90 dB from the real
    # notes with 2048, 5.27 / 6.07 / 7.81 with 4096, 5.27 / 6.10 / 7.80 with 8192
    n_fft: int = 4096
    short_n_fft: int = 2048  # for what is spread over fewer points in short windows: drums
    # by how much fewer. Drums, clicks and shakers are below it, all notes but two kalimbas' above
    short_ratio: float = 0.98
    # for notes below long_below (MIDI), whose harmonics the usual window does not part, and for sounds that are no
    # single note and are spread over fewer points in long windows
    long_n_fft: int = 8192
    long_below: float = 33.0  # 41 Hz made 0.3 dB from the truth instead of 0.6
    # by how much fewer. Made plates are 1.5 dB from their truth instead of 2.1, chords 1.15 instead of 1.28, bells 0.8
    # instead of 0.7
    long_ratio: float = 0.84
    new_db: float = 6.0  # by which a peak in an onset's window is above the frame before it, if it belongs to the onset
    # level above the local median, after averaging, of what is all noise and all tone. A tenth of white noise is taken
    # for tone, whose fine spectrum, moved up, then spreads 5.9 dB, its own 5.5. With 5 and 9 dB it is 5.8, and
    # instruments are 0.01 dB further from the real notes
    noise_db: float = 3.0
    tone_db: float = 6.0
    # semitones upwards between which noise is drawn anew
    noise_from: float = 0.5
    noise_to: float = 3.0
    finer: int = 4  # points of the analysed spectrum per bin: a region stands within an eighth of a bin of its place
    noise_frames: int = 256  # of drawn noise before it repeats, 3 s at the least
    # of averages: power in time, its median, the level of noise
    near_frames: int = 4
    near_bins: int = 24
    smooth_bins: int = 6
    tiny: float = 1e-20  # power that keeps silence over silence finite


RULES = CarrierRules()


@lru_cache(maxsize=4)
def hann(n_fft: int) -> Tensor:
    """The window, (n_fft,)."""
    with torch.inference_mode(False):
        return torch.hann_window(n_fft)


@lru_cache(maxsize=8)
def bell(reach: int) -> Tensor:
    """Weights of a smooth mean over 2 · reach + 1 neighbours."""
    with torch.inference_mode(False):
        kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
        return kernel / kernel.sum()


@dataclass(frozen=True, eq=False)  # one is as good as itself: what was read of it is kept
class Carrier:
    """A recording, analysed so that it can be moved to any pitch.

    Frame t stands on sample t · hop - n_fft / 2. Peaks of all frames stand in one list, those of frame t at
    `first[t]` … `first[t + 1] - 1`.
    """

    audio: Tensor  # (C, T)
    mono: Tensor  # weights of the channels in the mono sound that the networks hear, (C,)
    n_fft: int  # window in samples; frames are n_fft / OVERLAP apart
    first: NDArray[np.int64]  # (n_frames + 1,)
    region: Tensor  # which of its frame's peaks each bin belongs to, (n_frames, n_freqs), int16
    frequency: Tensor  # of every peak, in bins, (n_peaks,)
    cycles: Tensor  # what its phase has gathered, (n_peaks,), float64
    bent: Tensor  # the same when the pitch is bent, float64; `cycles` itself when it is not
    bend: Tensor | None  # factor on the frequencies of every peak, (n_peaks,); None when the pitch is not bent
    parent: NDArray[np.int64]  # peak of the frame before that it goes on from, -1 where it is counted anew, (n_peaks,)
    advance: NDArray[np.float64]  # cycles since then, float64, (n_peaks,)
    tone: Tensor  # share of every bin that is tone, or an attack, and no noise, (n_frames, n_freqs), half precision
    rises: tuple[int, ...]  # samples at which the sound rises at once
    coherence: float  # how alike the noise of both channels is, 0 … 1; 1 for mono

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return self.n_fft // OVERLAP

    @property
    def n_frames(self) -> int:
        """Frames that reach into the recording."""
        return int(self.region.shape[0])

    def frames_until(self, sample: int) -> int:
        """How many frames reach into what lies before a sample."""
        return min(self.n_frames, (sample - 1 + self.n_fft) // self.hop + 1)


def choose_window(audio: Tensor, pitch: float | None = None) -> int:
    """Length in samples of the window for a recording (C, T), of one note of a pitch, or of anything else.

    Of two windows the better one shows a sound more sparsely: with the smaller sum of magnitudes at the same energy.

    Source: Jones & Parks, A high resolution data-adaptive time-frequency representation (1990), with the 1-norm.
    """
    if pitch is not None and pitch < RULES.long_below:
        return RULES.long_n_fft
    part = audio.mean(0)[: 4 * SAMPLE_RATE]

    def spread(n_fft: int) -> float:
        padded = torch.nn.functional.pad(part, (n_fft // 2, n_fft))
        spectrum = torch.stft(padded, n_fft, n_fft // 2, window=hann(n_fft), center=False, return_complex=True)
        magnitude = spectrum.abs()
        return float(magnitude.sum() / magnitude.square().sum().clamp(min=RULES.tiny).sqrt())

    usual = spread(RULES.n_fft)
    if pitch is None and spread(RULES.long_n_fft) < RULES.long_ratio * usual:
        return RULES.long_n_fft
    return RULES.short_n_fft if spread(RULES.short_n_fft) < RULES.short_ratio * usual else RULES.n_fft


def short_spectra(audio: Tensor, n_fft: int, start: int, end: int, finer: int = 1) -> Tensor:
    """Spectra of frames start … end - 1 of audio (C, T), phases counted from their middles.

    Returns:
        (C, n, finer · n_fft / 2 + 1).
    """
    hop, half = n_fft // OVERLAP, n_fft // 2
    low, high = start * hop - n_fft, (end - 1) * hop
    part = audio[:, max(0, low) : max(0, high)]
    part = torch.nn.functional.pad(part, (max(0, -low), high - max(0, low) - part.shape[1]))
    frames = part.unfold(1, n_fft, hop) * hann(n_fft)
    turned = frames.new_zeros(*frames.shape[:2], finer * n_fft)
    turned[..., :half] = frames[..., half:]
    turned[..., -half:] = frames[..., :half]
    spectra: Tensor = torch.fft.rfft(turned)
    return spectra


def analyse(audio: Tensor, mono: Tensor | None = None, *, pitch: float | None = None) -> Carrier:
    """Analyse a recording; all its channels share regions and phases.

    Args:
        audio: (C, T) at SAMPLE_RATE.
        mono: Weights of the channels in the mono sound, (C,); alike when None.
        pitch: MIDI note number, if known.
    """
    audio = audio.detach().float().cpu()
    n_fft = choose_window(audio, pitch)
    hop, n_freqs = n_fft // OVERLAP, n_fft // 2 + 1
    n_frames = (audio.shape[1] - 1 + n_fft) // hop + 1
    power, turn = torch.empty(n_frames, n_freqs), torch.empty(n_frames, n_freqs)
    last = torch.zeros(len(audio), 1, n_freqs, dtype=torch.complex64)
    for start in range(0, n_frames, BLOCK_FRAMES):
        end = min(n_frames, start + BLOCK_FRAMES)
        spectra = short_spectra(audio, n_fft, start, end)
        power[start:end] = spectra.abs().square().sum(0)
        turn[start:end] = (spectra * torch.cat([last, spectra[:, :-1]], 1).conj()).sum(0).angle()
        last = spectra[:, -1:]
    peaks, rises = _find_peaks(power), find_rises(audio)
    frequency, parent, advance = _follow(power.numpy(), turn.numpy(), peaks, rises, n_fft)
    cycles = torch.from_numpy(_gathered(peaks.first, parent, advance))
    return Carrier(
        audio=audio,
        mono=torch.full((len(audio),), 1.0 / len(audio)) if mono is None else mono,
        n_fft=n_fft,
        first=peaks.first,
        region=torch.from_numpy(peaks.region),
        frequency=torch.from_numpy(frequency.astype(np.float32)),
        cycles=cycles,
        bent=cycles,
        bend=None,
        parent=parent,
        advance=advance,
        tone=_tone_share(power).masked_fill_(sees_rise(rises, n_frames, hop, n_fft)[:, None], 1.0),
        rises=rises,
        coherence=_coherence(audio),
    )


@dataclass(frozen=True)
class _Peaks:
    """Spectral peaks, those of all frames in one list."""

    # frame and bin of every peak, (n_peaks,) each
    frame: NDArray[np.int64]
    place: NDArray[np.int64]
    # as a `Carrier` has them
    first: NDArray[np.int64]
    region: NDArray[np.int16]


def _find_peaks(power: Tensor) -> _Peaks:
    """Peaks of power (n_frames, n_freqs), than which no bin within two is higher."""
    n_frames, n_freqs = power.shape
    padded = torch.nn.functional.pad(power[None], (2, 2), value=-1.0)
    peaks = (power >= torch.nn.functional.max_pool1d(padded, 5, 1)[0]) & (power > 1e-16)
    peaks[:, 0] = peaks[:, -1] = False
    peaks[~peaks.any(1), n_freqs // 2] = True  # silence moves as one
    frame, place = (value.numpy() for value in peaks.nonzero(as_tuple=True))
    first = np.searchsorted(frame, np.arange(n_frames + 1))
    region = np.empty((n_frames, n_freqs), dtype=np.int16)
    bins = np.arange(n_freqs)
    for t in range(n_frames):
        own = place[first[t] : first[t + 1]]
        region[t] = np.searchsorted(0.5 * (own[1:] + own[:-1]), bins, side="right")
    return _Peaks(frame, place, first, region)


def _follow(
    power: NDArray[np.float32],
    turn: NDArray[np.float32],
    peaks: _Peaks,
    rises: tuple[int, ...],
    n_fft: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Frequency in bins, parent and advance of every peak, as a `Carrier` has them.

    Args:
        power: Of all channels, (n_frames, n_freqs).
        turn: By which phases turn from the frame before, likewise.
        peaks: From `_find_peaks`.
        rises: From `find_rises`.
        n_fft: Window.
    """
    n_frames, hop = len(power), n_fft // OVERLAP
    frame, place = peaks.frame, peaks.place
    before, after = np.maximum(frame - 1, 0), np.minimum(frame + 1, n_frames - 1)
    expected = place / OVERLAP

    def cycles_per_hop(to: NDArray[np.int64]) -> NDArray[np.float64]:
        deviation = turn[to, place] / (2.0 * math.pi) - expected
        unwrapped: NDArray[np.float64] = expected + deviation - np.round(deviation)
        return unwrapped

    backward, forward = cycles_per_hop(frame), cycles_per_hop(after)

    def level(of: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of every peak's bin in another frame, in dB."""
        decibels: NDArray[np.float32] = 10.0 * np.log10(power[of, place] + RULES.tiny)
        return decibels

    here = level(frame)
    # Of its neighbours in time the louder one tells the frequency; one outside its own lobe is chance.
    later = np.clip(0.5 + (level(after) - level(before)) / 12.0, 0.0, 1.0)
    frequency = OVERLAP * (later * forward + (1.0 - later) * backward)
    frequency = np.where(np.abs(frequency - place) > 1.5, place, frequency)

    centre = np.arange(n_frames) * hop - n_fft // 2
    onsets = np.array(rises or (0,), dtype=np.int64)
    seen = onsets[np.maximum(np.searchsorted(onsets, centre + n_fft // 2, side="right") - 1, 0)]  # the last in sight
    sees = (np.abs(centre - seen) <= n_fft // 2)[frame]
    clear = np.clip(seen // hop, 0, n_frames - 1)[frame]  # the last frame that does not see it
    anew = sees & ((here > level(clear) + RULES.new_db) | (clear >= frame))
    anew |= frame == 0
    since = np.where(sees, (centre - seen)[frame] / hop, 0.0)
    parent = np.where(anew, -1, peaks.first[before] + peaks.region[before, place])
    advance = np.where(anew, frequency / OVERLAP * since, backward)
    return frequency, parent.astype(np.int64), advance


def _gathered(first: NDArray[np.int64], parent: NDArray[np.int64], advance: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the phase of every peak has gathered along its parents, in cycles, (n_peaks,)."""
    cycles = advance.copy()
    for t in range(1, len(first) - 1):
        part = slice(first[t], first[t + 1])
        own = parent[part]
        cycles[part] += np.where(own >= 0, cycles[np.maximum(own, 0)], 0.0)
    return cycles


def _tone_share(power: Tensor) -> Tensor:
    """Share of every bin of power (n_frames, n_freqs) that is tone, half precision: how far it stands out around it."""
    n_frames, n_freqs = power.shape
    padded = torch.nn.functional.pad(power, (0, 0, RULES.near_frames, RULES.near_frames))
    share = torch.empty(n_frames, n_freqs, dtype=torch.half)
    for start in range(0, n_frames, BLOCK_FRAMES):
        end = min(n_frames, start + BLOCK_FRAMES)
        slow = torch.zeros(end - start, n_freqs)
        for step, weight in enumerate(bell(RULES.near_frames).tolist()):
            slow.add_(padded[start + step : end + step], alpha=weight)
        level = slow.add_(RULES.tiny).log10_().mul_(10.0)
        spaced = torch.nn.functional.pad(level[:, None], (RULES.near_bins, RULES.near_bins), mode="replicate")[:, 0]
        medians = spaced.unfold(1, 2 * RULES.near_bins + 1, RULES.near_bins // 2)[..., ::2].median(-1).values
        floor = torch.nn.functional.interpolate(medians[:, None], size=n_freqs, mode="linear", align_corners=True)[:, 0]
        above = ((level - floor - RULES.noise_db) / (RULES.tone_db - RULES.noise_db)).clamp_(0.0, 1.0)
        share[start:end] = torch.nn.functional.max_pool1d(above[:, None], 5, 1, 2)[:, 0]  # a lobe is four bins wide
    return share


def _coherence(audio: Tensor) -> float:
    """Correlation of the two channels of audio (C, T), 0 … 1; 1 for mono."""
    if len(audio) < 2:
        return 1.0
    left, right = audio[0].double(), audio[1].double()
    scale = float(left.square().sum() * right.square().sum()) ** 0.5
    return min(1.0, max(0.0, float((left * right).sum()) / scale)) if scale > 0.0 else 1.0


def bend(carrier: Carrier, cents: Tensor, step_samples: int) -> Carrier:
    """The same with its pitch bent; what is flat then moves by one ratio.

    Args:
        carrier: From `analyse`.
        cents: By how much at every `step_samples` samples, (n,); the last one holds.
        step_samples: Of `cents`.
    """
    centre = np.arange(carrier.n_frames) * carrier.hop - carrier.n_fft // 2
    cents_at = np.interp(centre / step_samples, np.arange(len(cents)), cents.double().cpu().numpy())
    factor = np.repeat(2.0 ** (cents_at / 1200.0), np.diff(carrier.first))
    bent = _gathered(carrier.first, carrier.parent, carrier.advance * factor)
    return replace(carrier, bent=torch.from_numpy(bent), bend=torch.from_numpy(factor).float())


def straightened(audio: Tensor, cents: Tensor, step_samples: int) -> Tensor:
    """Audio (C, T) played slower where its pitch is higher, so that it stands still; bends inside a window go, too.

    Args:
        audio: At SAMPLE_RATE.
        cents: How its pitch moves, at every `step_samples` samples, (n,); the last one holds.
        step_samples: Of `cents`.
    """
    n_samples = audio.shape[1]
    sample = np.arange(n_samples, dtype=np.float64)
    cents_at = np.interp(sample / step_samples, np.arange(len(cents)), cents.double().cpu().numpy())
    even = np.cumsum(2.0 ** (cents_at / 1200.0)) - 1.0  # the time of every sample, were its pitch even
    late = torch.from_numpy(sample - np.interp(sample, even, sample))
    return torch.stack([delay(channel, late) for channel in audio])
