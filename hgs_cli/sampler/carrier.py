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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.periodicity import delay
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import SAMPLE_RATE

OVERLAP = 4  # frames over every sample
BLOCK_FRAMES = 128  # analysed and moved at once


@dataclass(frozen=True)
class CarrierRules:
    """What the analysis of a recording goes by.

    Attributes:
        n_fft: Window in samples. Real instruments moved by 1-5 / 6-12 / 13-24 semitones: 5.33 / 6.19 / 7.90 dB from the
            real notes with 2048, 5.27 / 6.07 / 7.81 with 4096, 5.27 / 6.10 / 7.80 with 8192.
        short_n_fft: For what is spread over fewer points in short windows: drums.
        short_ratio: By how much fewer. Drums, clicks and shakers are below it, all notes but two kalimbas' above.
        long_n_fft: For notes below long_below (MIDI), whose harmonics the usual window does not part, and for sounds
            that are no single note and are spread over fewer points in long windows.
        long_below: 41 Hz made 0.3 dB from the truth instead of 0.6.
        long_ratio: By how much fewer. Made plates are 1.5 dB from their truth instead of 2.1, chords 1.15 instead of
            1.28, bells 0.8 instead of 0.7.
        rise_db: Of all energy within 12 ms: an onset.
        new_db: By which a peak in an onset's window is above the frame before it, if it belongs to the onset.
        noise_db, tone_db: Level above the local median, after averaging, of what is all noise and all tone. A tenth of
            white noise is taken for tone, whose fine spectrum, moved up, then spreads 5.9 dB, its own 5.5. With 5
            and 9 dB it is 5.8, and instruments are 0.01 dB further from the real notes.
        noise_from, noise_to: Semitones upwards between which noise is drawn anew.
        finer: Points of the analysed spectrum per bin: a region stands within an eighth of a bin of its place.
        noise_frames: Of drawn noise before it repeats, 3 s at the least.
        rise_s, lately_s: Over which a rise is measured, and above all of how much before it.
        step: Samples that are one point of the energy in which it is seen.
        near_frames, near_bins, smooth_bins: Of averages: power in time, its median, the level of noise.
        tiny: Power that keeps silence over silence finite.
    """

    n_fft: int = 4096
    short_n_fft: int = 2048
    short_ratio: float = 0.98
    long_n_fft: int = 8192
    long_below: float = 33.0
    long_ratio: float = 0.84
    rise_db: float = 10.0
    new_db: float = 6.0
    noise_db: float = 3.0
    tone_db: float = 6.0
    noise_from: float = 0.5
    noise_to: float = 3.0
    finer: int = 4
    noise_frames: int = 256
    rise_s: float = 0.012
    lately_s: float = 0.05
    step: int = 64
    near_frames: int = 4
    near_bins: int = 24
    smooth_bins: int = 6
    tiny: float = 1e-20


RULES = CarrierRules()


@lru_cache(maxsize=4)
def _hann(n_fft: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(n_fft)


@lru_cache(maxsize=8)
def _bell(reach: int) -> Tensor:
    """Weights of a smooth mean over 2 · reach + 1 neighbours."""
    with torch.inference_mode(False):
        kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
        return kernel / kernel.sum()


@dataclass(frozen=True)
class Carrier:
    """A recording, analysed so that it can be moved to any pitch.

    Frame t stands on sample t · hop - n_fft / 2. Peaks of all frames stand in one list, those of frame t at
    `first[t]` … `first[t + 1] - 1`.

    Attributes:
        audio: (C, T).
        mono: Weights of the channels in the mono sound that the networks hear, (C,).
        n_fft: Window in samples; frames are n_fft / OVERLAP apart.
        first: (n_frames + 1,).
        region: Which of its frame's peaks each bin belongs to, (n_frames, n_freqs), int16.
        frequency: Of every peak, in bins, (n_peaks,).
        cycles: What its phase has gathered, (n_peaks,), float64.
        bent: The same when the pitch is bent, float64; `cycles` itself when it is not.
        bend: Factor on the frequencies of every peak, (n_peaks,); None when the pitch is not bent.
        parent: Peak of the frame before that it goes on from, -1 where it is counted anew, (n_peaks,).
        advance: Cycles since then, float64, (n_peaks,).
        tone: Share of every bin that is tone, or an attack, and no noise, (n_frames, n_freqs), half precision.
        rises: Samples at which the sound rises at once.
        coherence: How alike the noise of both channels is, 0 … 1; 1 for mono.
    """

    audio: Tensor
    mono: Tensor
    n_fft: int
    first: NDArray[np.int64]
    region: Tensor
    frequency: Tensor
    cycles: Tensor
    bent: Tensor
    bend: Tensor | None
    parent: NDArray[np.int64]
    advance: NDArray[np.float64]
    tone: Tensor
    rises: tuple[int, ...]
    coherence: float

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


# --- analysis -------------------------------------------------------------------------------------------------------


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
        spectrum = torch.stft(padded, n_fft, n_fft // 2, window=_hann(n_fft), center=False, return_complex=True)
        magnitude = spectrum.abs()
        return float(magnitude.sum() / magnitude.square().sum().clamp(min=RULES.tiny).sqrt())

    usual = spread(RULES.n_fft)
    if pitch is None and spread(RULES.long_n_fft) < RULES.long_ratio * usual:
        return RULES.long_n_fft
    return RULES.short_n_fft if spread(RULES.short_n_fft) < RULES.short_ratio * usual else RULES.n_fft


def _spectra(audio: Tensor, n_fft: int, start: int, end: int, finer: int = 1) -> Tensor:
    """Spectra of frames start … end - 1 of audio (C, T), phases counted from their middles.

    Returns:
        (C, n, finer · n_fft / 2 + 1).
    """
    hop, half = n_fft // OVERLAP, n_fft // 2
    low, high = start * hop - n_fft, (end - 1) * hop
    part = audio[:, max(0, low) : max(0, high)]
    part = torch.nn.functional.pad(part, (max(0, -low), high - max(0, low) - part.shape[1]))
    frames = part.unfold(1, n_fft, hop) * _hann(n_fft)
    turned = frames.new_zeros(*frames.shape[:2], finer * n_fft)
    turned[..., :half] = frames[..., half:]
    turned[..., -half:] = frames[..., :half]
    spectra: Tensor = torch.fft.rfft(turned)
    return spectra


def find_rises(audio: Tensor) -> tuple[int, ...]:
    """Samples at which the energy of audio (C, T) rises at once, in order, at least 50 ms apart."""
    energy = torch.nn.functional.avg_pool1d(audio.square().sum(0)[None, None], RULES.step, RULES.step)
    if energy.shape[-1] < 8:
        return ()
    energy = torch.nn.functional.avg_pool1d(energy, 3, 1, 1)[0, 0]
    span = round(RULES.rise_s * SAMPLE_RATE / RULES.step)
    level = 10.0 * torch.log10(energy + 1e-6 * float(energy.max()) + 1e-14)
    # Above all that was within the last periods: a low note is a train of pulses.
    lately = round(RULES.lately_s * SAMPLE_RATE / RULES.step)
    padded = torch.nn.functional.pad(level, (span + lately - 1, 0), value=float(level.min()))[: len(level) + lately - 1]
    before = padded.unfold(0, lately, 1).amax(1)
    rising = ((level - before > RULES.rise_db) & (energy > 0.01 * energy.max())).nonzero()[:, 0].tolist()
    found: list[int] = []
    steepest = torch.diff(level, prepend=level[:1])
    for step in rising:
        if not found or step * RULES.step - found[-1] > 0.05 * SAMPLE_RATE:
            low = max(0, step - span)
            found.append((low + int(steepest[low : step + span].argmax())) * RULES.step)
    return tuple(found)


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
        spectra = _spectra(audio, n_fft, start, end)
        power[start:end] = spectra.abs().square().sum(0)
        turn[start:end] = (spectra * torch.cat([last, spectra[:, :-1]], 1).conj()).sum(0).angle()
        last = spectra[:, -1:]
    frame, place, first, region = _peaks(power)
    rises = find_rises(audio)
    frequency, parent, advance = _follow(power.numpy(), turn.numpy(), frame, place, first, region, rises, n_fft)
    cycles = torch.from_numpy(_gathered(first, parent, advance))
    return Carrier(
        audio=audio,
        mono=torch.full((len(audio),), 1.0 / len(audio)) if mono is None else mono,
        n_fft=n_fft,
        first=first,
        region=torch.from_numpy(region),
        frequency=torch.from_numpy(frequency.astype(np.float32)),
        cycles=cycles,
        bent=cycles,
        bend=None,
        parent=parent,
        advance=advance,
        tone=_tone_share(power).masked_fill_(_sees_rise(rises, n_frames, n_fft)[:, None], 1.0),
        rises=rises,
        coherence=_coherence(audio),
    )


def _peaks(power: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int16]]:
    """Peaks of power (n_frames, n_freqs), than which no bin within two is higher, and the nearest of them to each bin.

    Returns:
        Frame and bin of every peak, (n_peaks,) each; `first` and `region` as a `Carrier` has them.
    """
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
    return frame, place, first, region


def _follow(
    power: NDArray[np.float32],
    turn: NDArray[np.float32],
    frame: NDArray[np.int64],
    place: NDArray[np.int64],
    first: NDArray[np.int64],
    region: NDArray[np.int16],
    rises: tuple[int, ...],
    n_fft: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Frequency in bins, parent and advance of every peak, as a `Carrier` has them.

    Args:
        power: Of all channels, (n_frames, n_freqs).
        turn: By which phases turn from the frame before, likewise.
        frame: From `_peaks`.
        place: From `_peaks`.
        first: From `_peaks`.
        region: From `_peaks`.
        rises: From `find_rises`.
        n_fft: Window.
    """
    n_frames, hop = len(power), n_fft // OVERLAP
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
    parent = np.where(anew, -1, first[before] + region[before, place])
    advance = np.where(anew, frequency / OVERLAP * since, backward)
    return frequency, parent.astype(np.int64), advance


def _sees_rise(rises: tuple[int, ...], n_frames: int, n_fft: int) -> Tensor:
    """Whether frames have a rise in their windows, (n_frames,): noise drawn there would be as long as the window."""
    centre = torch.arange(n_frames) * (n_fft // OVERLAP) - n_fft // 2
    seen = torch.zeros(n_frames, dtype=torch.bool)
    for rise in rises:
        seen |= (centre - rise).abs() <= n_fft // 2
    return seen


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
        for step, weight in enumerate(_bell(RULES.near_frames).tolist()):
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


# --- motion ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _unit_noise(n_fft: int, seed: int) -> Tensor:
    """Spectra of periodic white noise of unit expected power in every bin, (RULES.noise_frames, n_freqs)."""
    hop = n_fft // OVERLAP
    drawn = torch.randn(1, RULES.noise_frames * hop, generator=torch.Generator().manual_seed(seed % 2**63))
    around = torch.cat([drawn, drawn[:, :n_fft]], 1)
    return _spectra(around, n_fft, OVERLAP, RULES.noise_frames + OVERLAP)[0] / float(_hann(n_fft).square().sum().sqrt())


@dataclass(frozen=True)
class _Block:
    """Some frames of a carrier, as all notes read them.

    Attributes:
        start: Its first frame.
        peaks: Of all frames, in the carrier's list.
        spectra: RULES.finer points a bin, (C, n, RULES.finer · n_fft / 2 + 1).
        peak: Of every bin, counted from the first of `peaks`, (n, n_freqs), int32.
        noise: Share of every bin that is noise, (n, n_freqs).
        noise_power: Of that noise, smooth across bins, (C, n, n_freqs); None where nothing moves up.
    """

    start: int
    peaks: slice
    spectra: Tensor
    peak: Tensor
    noise: Tensor
    noise_power: Tensor | None


def _block(carrier: Carrier, start: int, end: int, upwards: bool) -> _Block:
    first = torch.from_numpy(carrier.first[start:end] - carrier.first[start]).int()
    spectra = _spectra(carrier.audio, carrier.n_fft, start, end, RULES.finer)
    noise = 1.0 - carrier.tone[start:end].float()
    noise_power = None
    if upwards:
        power = spectra[..., :: RULES.finer].abs().square() * noise
        padded = torch.nn.functional.pad(power, (RULES.smooth_bins, RULES.smooth_bins))
        noise_power = torch.zeros_like(power)
        for step, weight in enumerate(_bell(RULES.smooth_bins).tolist()):
            noise_power.add_(padded[..., step : step + power.shape[-1]], alpha=weight)
    return _Block(
        start=start,
        peaks=slice(int(carrier.first[start]), int(carrier.first[end])),
        spectra=spectra,
        peak=carrier.region[start:end].int() + first[:, None],
        noise=noise,
        noise_power=noise_power,
    )


def moved_spectra(carrier: Carrier, ratios: Sequence[float], start: int, end: int, seed: int = 0) -> list[Tensor]:
    """Frames start … end - 1 of a recording with its frequencies times each of `ratios`: (C, n, n_freqs) each.

    The seed is that of drawn noise, of which every note hears another part.
    """
    block = _block(carrier, start, end, max(ratios) > 1.0)
    return side_by_side(lambda ratio: _moved(carrier, ratio, block, seed), ratios)


def _moved(carrier: Carrier, ratio: float, block: _Block, seed: int) -> Tensor:
    """One note's frames."""
    spectra = block.spectra
    n_channels, n = spectra.shape[:2]
    n_freqs = carrier.n_fft // 2 + 1
    if ratio == 1.0 and carrier.bend is None:
        return spectra[..., :: RULES.finer]
    # Bins that would come to lie above half the sample rate are left out from the start.
    n_bins = min(n_freqs, math.ceil(n_freqs / ratio * (1.0 if carrier.bend is None else 1.06)) + 2)
    factor = ratio if carrier.bend is None else ratio * carrier.bend[block.peaks]
    shift = (factor - 1.0) * carrier.frequency[block.peaks]
    whole = torch.round(shift)
    fine = torch.round((shift - whole) * RULES.finer)
    phasor = torch.polar(*_unit_angle(ratio * carrier.bent[block.peaks] - carrier.cycles[block.peaks]))
    peak = block.peak[:, :n_bins].flatten()
    bins = torch.arange(n_bins, dtype=torch.int32)
    rows = torch.arange(n, dtype=torch.int32)[:, None]
    target = (whole.int().index_select(0, peak).view(n, n_bins) + bins).clamp_(-1, n_freqs)
    # A column on either side takes what falls beyond the spectrum.
    flat = (target + (1 + rows * (n_freqs + 2))).flatten()
    place = (
        (bins * RULES.finer - fine.int().index_select(0, peak).view(n, n_bins)).abs_().clamp_(max=spectra.shape[2] - 1)
    )
    source = (place + rows * spectra.shape[2]).flatten()
    drawn = min(1.0, max(0.0, (12.0 * math.log2(ratio) - RULES.noise_from) / (RULES.noise_to - RULES.noise_from)))
    turned = phasor.index_select(0, peak)
    if drawn:
        turned *= (1.0 - drawn * block.noise[:, :n_bins]).sqrt_().flatten()
    moved = torch.zeros(n_channels, n * (n_freqs + 2), dtype=torch.complex64)
    for row, channel in zip(moved, spectra, strict=True):
        row.index_add_(0, flat, channel.reshape(-1).index_select(0, source).mul_(turned))
    result = moved.view(n_channels, n, n_freqs + 2)[..., 1:-1]
    if drawn:
        result = result + _drawn_noise(carrier, block, drawn, ratio, seed)
    return result


def _unit_angle(turns: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude 1 and angle of phases in cycles, float64."""
    angle = ((turns - torch.floor(turns)) * math.tau).float()
    return torch.ones_like(angle), angle


def _drawn_noise(carrier: Carrier, block: _Block, share: float, ratio: float, seed: int) -> Tensor:
    """Noise as loud as that share of a block's, moved by `ratio`: (C, n, n_freqs)."""
    assert block.noise_power is not None
    n_freqs, start = block.noise.shape[1], block.start
    origin = torch.arange(n_freqs) / ratio
    low = origin.long().clamp(max=n_freqs - 2)
    below, above = (block.noise_power.index_select(-1, low + step) for step in (0, 1))
    level = below.lerp_(above, origin - low).mul_(share / ratio).sqrt_()
    frames = (torch.arange(start, start + len(block.noise)) + round(1200.0 * math.log2(ratio))) % RULES.noise_frames
    common = _unit_noise(carrier.n_fft, seed)[frames]
    if len(level) == 1:
        return level * common
    own = [_unit_noise(carrier.n_fft, seed + 1 + channel)[frames] for channel in range(len(level))]
    alike = carrier.coherence
    drawn: Tensor = alike**0.5 * common + (1.0 - alike) ** 0.5 * torch.stack(own)
    return level * drawn


def sound(
    carrier: Carrier, ratio: float, head: Tensor, gain: Callable[[int, int], Tensor], n_samples: int, seed: int = 0
) -> Tensor:
    """The moved recording as audio, (C, n_samples).

    Args:
        carrier: From `analyse`.
        ratio: Of its frequencies.
        head: Its first frames, from `moved_spectra`; the others are moved here, block by block.
        gain: Takes the first frame and one past the last, gives factors (n, n_freqs).
        n_samples: At most as many as the recording has.
        seed: Of drawn noise.
    """
    n_frames, hop = carrier.frames_until(n_samples), carrier.hop
    audio = carrier.audio.new_zeros(len(carrier.audio), (n_frames + OVERLAP) * hop)
    start = 0
    while start < n_frames:
        if start < head.shape[1]:
            end = min(n_frames, head.shape[1])
            spectra = head[:, start:end]
        else:
            end = min(n_frames, start + BLOCK_FRAMES)
            spectra = _moved(carrier, ratio, _block(carrier, start, end, ratio > 1.0), seed)
        made = overlap_add(spectra * gain(start, end), carrier.n_fft)
        audio[:, start * hop : start * hop + made.shape[1]] += made
        start = end
    audio = audio[:, carrier.n_fft : carrier.n_fft + n_samples]
    return audio if ratio == 1.0 and carrier.bend is None else sharpened(carrier, audio)


def sharpened(carrier: Carrier, audio: Tensor) -> Tensor:
    """Audio (C, T), made of a recording, without what windows hear of its onsets before them; in its place."""
    for rise in carrier.rises:
        low = max(0, rise - RULES.long_n_fft)
        high = min(audio.shape[1], rise + carrier.n_fft // 4)
        behind = (rise - low) // RULES.step
        if behind < 1 or high - rise < 4 * RULES.step:
            continue
        real, made = (_energy(each[:, low:high]) for each in (carrier.audio, audio))
        scale = real[behind:].sum() / made[behind:].sum().clamp(min=RULES.tiny)
        factor = (real / (scale * made).clamp(min=RULES.tiny)).clamp(1e-6, 1.0).sqrt()
        factor[behind:] = 1.0
        audio[:, low:high] *= torch.nn.functional.interpolate(factor[None, None], size=high - low, mode="linear")[0, 0]
    return audio


def _energy(audio: Tensor) -> Tensor:
    """Energy of audio (C, T) at every RULES.step samples, over three of them, (T / RULES.step,)."""
    energy = torch.nn.functional.avg_pool1d(audio.square().sum(0)[None, None], RULES.step, RULES.step)
    return torch.nn.functional.avg_pool1d(energy, 3, 1, 1)[0, 0]


def overlap_add(spectra: Tensor, n_fft: int) -> Tensor:
    """Audio of frames (C, n, n_freqs) that follow each other, from half a window before the first: (C, n · hop + …)."""
    hop, half = n_fft // OVERLAP, n_fft // 2
    frames = torch.fft.irfft(spectra, n_fft)
    frames = torch.cat([frames[..., half:], frames[..., :half]], -1)
    frames *= _hann(n_fft) * (hop / float(_hann(n_fft).square().sum()))
    n = frames.shape[1]
    hops = frames.new_zeros(len(frames), n + OVERLAP - 1, hop)
    pieces = frames.reshape(len(frames), n, OVERLAP, hop)
    for piece in range(OVERLAP):
        hops[:, piece : piece + n] += pieces[:, :, piece]
    return hops.flatten(1)
