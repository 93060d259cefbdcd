"""A carrier moved: its frames at other pitches, with their gains, as sound.

Source: Laroche & Dolson, as in `carrier`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from hgs_cli.sampler.carrier import BLOCK_FRAMES, OVERLAP, RULES, Carrier, bell, hann, short_spectra
from hgs_cli.sampler.rises import RISES
from hgs_cli.side_by_side import side_by_side
from hgs_cli.spectrum import power_of


@lru_cache(maxsize=8)
def _unit_noise(n_fft: int, seed: int) -> Tensor:
    """Spectra of periodic white noise of unit expected power in every bin, (RULES.noise_frames, n_freqs)."""
    hop = n_fft // OVERLAP
    drawn = torch.randn(1, RULES.noise_frames * hop, generator=torch.Generator().manual_seed(seed % 2**63))
    around = torch.cat([drawn, drawn[:, :n_fft]], 1)
    return short_spectra(around, n_fft, OVERLAP, RULES.noise_frames + OVERLAP)[0] / float(
        hann(n_fft).square().sum().sqrt()
    )


@dataclass(frozen=True)
class CarrierFrames:
    """Some frames of a carrier, as all notes read them."""

    carrier: Carrier  # whose they are
    start: int  # the first of them
    peaks: slice  # of all frames, in the carrier's list
    spectra: Tensor  # RULES.finer points a bin, (C, n, RULES.finer · n_fft / 2 + 1)
    peak: Tensor  # of every bin, counted from the first of `peaks`, (n, n_freqs), int32
    noise: Tensor  # share of every bin that is noise, (n, n_freqs)
    # of that noise, smooth across bins, twice as real and imaginary part, (C, n, n_freqs); None where nothing moves up
    noise_amplitude: Tensor | None

    @cached_property
    def tone_amplitude(self) -> Tensor:
        """Of all that is not noise, (n, n_freqs)."""
        return (1.0 - self.noise).sqrt_()


def read_frames(carrier: Carrier, start: int, end: int, upwards: bool = True) -> CarrierFrames:
    """Frames start … end - 1 of a carrier, to be moved to any pitch, or to none above its own."""
    first = torch.from_numpy(carrier.first[start:end] - carrier.first[start]).int()
    spectra = short_spectra(carrier.audio, carrier.n_fft, start, end, RULES.finer)
    noise = 1.0 - carrier.tone[start:end].float()
    noise_amplitude = None
    if upwards:
        power = power_of(spectra[..., :: RULES.finer]).mul_(noise)
        padded = torch.nn.functional.pad(power, (RULES.smooth_bins, RULES.smooth_bins))
        noise_power = torch.zeros_like(power)
        for step, weight in enumerate(bell(RULES.smooth_bins).tolist()):
            noise_power.add_(padded[..., step : step + power.shape[-1]], alpha=weight)
        noise_power.sqrt_()
        noise_amplitude = torch.complex(noise_power, noise_power)
    return CarrierFrames(
        carrier=carrier,
        start=start,
        peaks=slice(int(carrier.first[start]), int(carrier.first[end])),
        spectra=spectra,
        peak=carrier.region[start:end].int() + first[:, None],
        noise=noise,
        noise_amplitude=noise_amplitude,
    )


def moved_spectra(carrier: Carrier, ratios: Sequence[float], start: int, end: int, seed: int = 0) -> list[Tensor]:
    """Frames start … end - 1 of a recording with its frequencies times each of `ratios`: (C, n, n_freqs) each.

    The seed is that of drawn noise, of which every note hears another part.
    """
    frames = read_frames(carrier, start, end, max(ratios) > 1.0)
    return side_by_side(lambda ratio: moved(frames, ratio, seed), ratios)


def moved(frames: CarrierFrames, ratio: float, seed: int) -> Tensor:
    """Frames with their frequencies times a ratio, (C, n, n_freqs)."""
    carrier, spectra = frames.carrier, frames.spectra
    n_channels, n = spectra.shape[:2]
    n_freqs = carrier.n_fft // 2 + 1
    if ratio == 1.0 and carrier.bend is None:
        return spectra[..., :: RULES.finer]
    # Bins that would come to lie above half the sample rate are left out from the start.
    n_bins = min(n_freqs, math.ceil(n_freqs / ratio * (1.0 if carrier.bend is None else 1.06)) + 2)
    factor = ratio if carrier.bend is None else ratio * carrier.bend[frames.peaks]
    shift = (factor - 1.0) * carrier.frequency[frames.peaks]
    whole = torch.round(shift)
    back = torch.round((whole - shift) * RULES.finer)
    phasor = _unit_phasor(ratio * carrier.bent[frames.peaks] - carrier.cycles[frames.peaks])
    peak = frames.peak[:, :n_bins].flatten()
    bins = torch.arange(n_bins, dtype=torch.int32)
    rows = torch.arange(n, dtype=torch.int32)[:, None]
    target = (whole.int().index_select(0, peak).view(n, n_bins) + bins).clamp_(-1, n_freqs)
    # A column on either side takes what falls beyond the spectrum.
    flat = target.add_(1 + rows * (n_freqs + 2)).flatten()
    place = back.int().index_select(0, peak).view(n, n_bins).add_(bins * RULES.finer)
    source = place.abs_().clamp_(max=spectra.shape[2] - 1).add_(rows * spectra.shape[2])
    drawn = min(1.0, max(0.0, (12.0 * math.log2(ratio) - RULES.noise_from) / (RULES.noise_to - RULES.noise_from)))
    turned = phasor.index_select(0, peak)
    if drawn:
        tone = frames.tone_amplitude if drawn == 1.0 else (1.0 - drawn * frames.noise).sqrt_()
        turned *= tone[:, :n_bins].flatten()
    landed = torch.zeros(n_channels, n * (n_freqs + 2), dtype=torch.complex64)
    for row, channel in zip(landed, spectra, strict=True):
        row.index_add_(0, flat, channel.reshape(-1).index_select(0, source.flatten()).mul_(turned))
    result = landed.view(n_channels, n, n_freqs + 2)[..., 1:-1]
    if drawn:
        _add_noise(result, frames, drawn, ratio, seed)
    return result


def _unit_phasor(turns: Tensor) -> Tensor:
    """Complex numbers of magnitude 1 from phases in cycles, float64, that nobody else reads."""
    angle = turns.frac_().float().mul_(math.tau)
    return torch.complex(torch.cos(angle), torch.sin(angle))  # three times as fast as from polar coordinates


def _add_noise(spectra: Tensor, frames: CarrierFrames, share: float, ratio: float, seed: int) -> None:
    """Add noise as loud as that share of the frames', moved by `ratio`, to spectra (C, n, n_freqs)."""
    carrier, amplitude = frames.carrier, frames.noise_amplitude
    assert amplitude is not None
    n_channels, n, n_freqs = amplitude.shape
    origin = torch.round(torch.arange(n_freqs) / ratio).long()  # it is smooth: the nearest bin will do
    loud = torch.view_as_real(amplitude.index_select(-1, origin))
    made, scale = torch.view_as_real(spectra), math.sqrt(share / ratio)  # real numbers: a third of the time
    first = (frames.start + round(1200.0 * math.log2(ratio))) % RULES.noise_frames
    alike = carrier.coherence
    for start in range(-first, n, RULES.noise_frames):  # it repeats
        at, of = slice(max(0, start), start + RULES.noise_frames), slice(max(0, -start), n - start)
        common = _unit_noise(carrier.n_fft, seed)[of]
        if n_channels == 1:
            made[0, at].addcmul_(torch.view_as_real(common), loud[0, at], value=scale)
            continue
        for channel in range(n_channels):
            own = _unit_noise(carrier.n_fft, seed + 1 + channel)[of]
            mixed = alike**0.5 * common + (1.0 - alike) ** 0.5 * own
            made[channel, at].addcmul_(torch.view_as_real(mixed), loud[channel, at], value=scale)


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
            spectra = moved(read_frames(carrier, start, end, ratio > 1.0), ratio, seed)
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
        behind = (rise - low) // RISES.step
        if behind < 1 or high - rise < 4 * RISES.step:
            continue
        real, made = (_energy(each[:, low:high]) for each in (carrier.audio, audio))
        scale = real[behind:].sum() / made[behind:].sum().clamp(min=RULES.tiny)
        factor = (real / (scale * made).clamp(min=RULES.tiny)).clamp(1e-6, 1.0).sqrt()
        factor[behind:] = 1.0
        audio[:, low:high] *= torch.nn.functional.interpolate(factor[None, None], size=high - low, mode="linear")[0, 0]
    return audio


def _energy(audio: Tensor) -> Tensor:
    """Energy of audio (C, T) at every RISES.step samples, over three of them, (T / RISES.step,)."""
    energy = torch.nn.functional.avg_pool1d(audio.square().sum(0)[None, None], RISES.step, RISES.step)
    return torch.nn.functional.avg_pool1d(energy, 3, 1, 1)[0, 0]


def overlap_add(spectra: Tensor, n_fft: int) -> Tensor:
    """Audio of frames (C, n, n_freqs) that follow each other, from half a window before the first: (C, n · hop + …)."""
    hop = n_fft // OVERLAP
    frames = torch.fft.irfft(spectra, n_fft)  # their second halves first
    window = (hann(n_fft) * (hop / float(hann(n_fft).square().sum()))).view(OVERLAP, hop)
    n = frames.shape[1]
    hops = frames.new_zeros(len(frames), n + OVERLAP - 1, hop)
    pieces = frames.reshape(len(frames), n, OVERLAP, hop)
    for piece in range(OVERLAP):
        hops[:, piece : piece + n].addcmul_(pieces[:, :, (piece + OVERLAP // 2) % OVERLAP], window[piece])
    return hops.flatten(1)
