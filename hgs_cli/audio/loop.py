"""Sustain loops: the stretch of a note that a sampler plays again and again, and notes held longer than they are.

Where a note can be joined to itself is read from how alike it is around two moments. Vibrato needs no rule of its own:
two moments are alike only where it stands at the same point of its cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.audio.sustain import SUSTAIN, Bands, measure_bands, steadiest


@dataclass(frozen=True)
class LoopRules:
    """Which two moments of a sustain are joined, and how."""

    fade_s: float = 0.1  # over which two moments are faded into each other; they are compared over twice this
    fade_periods: int = 4  # of the note, at least, over which moments are faded
    cut_fade_samples: int = 256  # where a held note ends a little before its own end
    shortest_loop_s: float = 0.4  # in shorter ones repeated noise is heard as a flutter
    n_starts: int = 16  # tried for a loop
    n_refined: int = 8  # of the pairs found at a quarter of the rate, which are looked at again at the full rate
    decimation: int = 4  # of the rate at which pairs are looked for first
    unlike_cost: float = 25.0  # dB that two moments without any likeness count as
    length_gain: float = 2.0  # dB of difference that a loop of twice the length is worth
    # from 100 Hz up: tone and noise are faded apart
    fade_bands_per_octave: int = 3
    n_fade_bands: int = 24


LOOP = LoopRules()


@dataclass(frozen=True)
class HeldRules:
    """How a note goes on beyond its end."""

    least_segment_s: float = 0.2  # that a held note plays in one go
    # by which jumps of a held note differ from the last ones, so that nothing repeats in rhythm
    new_lag_s: float = 0.02
    remembered_lags: int = 6  # last jumps that the next one differs from
    nearly_as_like: float = 0.03  # of correlation: which of such moments is next, is drawn
    shortened_fade_s: float = 0.25  # of a note that is cut to a length


HELD = HeldRules()


@dataclass(frozen=True)
class Loop:
    """A sustain loop: playing start … end - 1 again and again is seamless."""

    start: int  # first sample
    end: int  # one past the last


@dataclass(frozen=True)
class LoopedNote:
    """A note that can be held."""

    # (T,) or (C, T): the note, with its level evened out within the loop and its ends faded into each other. What
    # follows the loop is the note's own ending, faded in after it: players that do not loop, and those that leave the
    # loop on release, hear no seam either
    audio: Tensor
    loop: Loop  # where it repeats
    period_samples: float  # of the tone
    sample_rate: int  # in Hz


def find_loop(audio: Tensor, f0_hz: float, sample_rate: int) -> LoopedNote | None:
    """Find where a note can be joined to itself, and join it there.

    Args:
        audio: A note, (T,), or its channels, (C, T).
        f0_hz: Its pitch; it may wander around it.
        sample_rate: In Hz.

    Returns:
        The note with its loop; None where nothing of it is steady for three quarters of a second, as in whatever was
        plucked or struck.
    """
    mono = audio.float().mean(0) if audio.ndim == 2 else audio.float()
    bands = measure_bands(mono, sample_rate)
    sustain = steadiest(bands)
    if sustain is None:
        return None
    period = sample_rate / f0_hz
    n_fade = _fade_samples(period, sample_rate)
    first = max(sustain[0], n_fade)
    last = min(sustain[1], mono.shape[-1] - n_fade)
    shortest = max(round(LOOP.shortest_loop_s * sample_rate), 4 * n_fade)
    if last - first < shortest + n_fade:
        return None
    loop = _best_loop(mono, bands, Loop(first, last), shortest, period, n_fade)
    even = _evened(audio.float(), bands, loop)
    return LoopedNote(_joined(even, loop, n_fade, sample_rate), loop, period, sample_rate)


def hold(note: LoopedNote, n_samples: int, seed: int = 0) -> Tensor:
    """Hold a note for as long as is asked, then let it end as it does.

    A loop that repeats is heard as one. Instead the sustain is left at moments that are drawn, for other moments that
    are like them, never twice in a row at the same distance.

    Args:
        note: From `find_loop`.
        n_samples: Length of the result.
        seed: Of what is drawn.

    Returns:
        (n_samples,) or (C, n_samples); the note faded out where that is no longer than it is.
    """
    audio, rate = note.audio, note.sample_rate
    n_note = audio.shape[-1]
    if n_samples <= n_note:
        return shorten(audio, n_samples, rate)
    generator = torch.Generator().manual_seed(seed)
    matcher = _Matcher(audio.mean(0) if audio.ndim == 2 else audio, note.period_samples, rate)
    n_fade, start, end = matcher.n_fade, note.loop.start, note.loop.end
    least = max(min(round(HELD.least_segment_s * rate), (end - start) // 4), n_fade)

    def draw(low: int, high: int) -> int:
        return low + int(torch.randint(max(1, high - low), (1,), generator=generator))

    pieces: list[tuple[int, int]] = []  # from, to: what is played of the note, in order
    at, played, lags = 0, 0, [0] * HELD.remembered_lags
    while True:
        # The last jump leaves so much of the note that it ends in time: its distance is known, its moment is not.
        missing = max(0, n_samples - played - (n_note - at))
        earliest = max(at + least, start + n_fade) if pieces else start + n_fade
        if missing <= end - start - n_fade:
            leave, enter = matcher.last_jump(earliest, end, missing, start)
            pieces += [(at, leave), (enter, n_note)]
            break
        leave = draw(min(max(earliest, (earliest + end) // 2), end - 1), end)
        to = Loop(max(start, leave - missing), end - least - n_fade)
        enter = matcher.jump(leave, to, least, lags, generator)
        pieces.append((at, leave))
        played += leave - at
        lags = [*lags[1:], leave - enter]
        at = enter
    return _fitted(_spliced(audio, pieces, n_fade, rate), n_samples)


def shorten(audio: Tensor, n_samples: int, sample_rate: int) -> Tensor:
    """The beginning of a note (…, T), faded out; a note that is no longer than asked stays as it is.

    So does a note that dies away by itself: holding it would make another instrument of it.
    """
    if audio.shape[-1] <= n_samples:
        return audio
    return fade_out(audio[..., :n_samples], min(round(HELD.shortened_fade_s * sample_rate), n_samples // 4))


def fade_out(audio: Tensor, n_fade: int) -> Tensor:
    """Audio (…, T) whose last n_fade samples, T at most, go to silence."""
    n_whole = audio.shape[-1] - n_fade
    return torch.cat([audio[..., :n_whole], audio[..., n_whole:] * fade_curve(n_fade, audio.device)], -1)


def fade_curve(n_fade: int, device: torch.device | str = "cpu") -> Tensor:
    """Factors of a fade from one to silence, (n_fade,)."""
    return torch.cos(torch.linspace(0.0, math.pi / 2, n_fade, device=device)).square()


def _fade_samples(period: float, sample_rate: int) -> int:
    return round(max(LOOP.fade_s * sample_rate, LOOP.fade_periods * period))


def _evened(audio: Tensor, bands: Bands, loop: Loop) -> Tensor:
    """Audio with a straight line added to its level in dB, so that the loop ends as loud as it starts."""
    lacking_db = bands.around(loop.start, LOOP.fade_s)[1] - bands.around(loop.end, LOOP.fade_s)[1]
    place = (torch.arange(audio.shape[-1], device=audio.device) - loop.start) / (loop.end - loop.start)
    return audio * torch.pow(10.0, lacking_db / 20.0 * place.clamp(0.0, 1.0))


# --- where two moments are alike ------------------------------------------------------------------------------------


class _Matcher:
    """How alike a note (T,) is around two moments: the correlation of what is within a fade of either."""

    def __init__(self, mono: Tensor, period: float, sample_rate: int) -> None:
        self.n_fade = _fade_samples(period, sample_rate)
        self.period, self.sample_rate = period, sample_rate
        # All harmonics are to fit, not the loudest alone.
        bright = torch.diff(mono, append=mono[-1:])
        self.bright = torch.nn.functional.pad(bright, (0, -len(bright) % LOOP.decimation))
        spectrum = torch.fft.rfft(self.bright)
        n_coarse = self.bright.shape[-1] // LOOP.decimation
        self.coarse = torch.fft.irfft(spectrum[: n_coarse // 2 + 1], n=n_coarse)
        self.reach = self.n_fade // LOOP.decimation
        self.n_fft = 1 << (n_coarse + 2 * self.reach - 1).bit_length()
        self.spectrum = torch.fft.rfft(self.coarse, self.n_fft)
        power = torch.cumsum(torch.nn.functional.pad(self.coarse.double().square(), (1, 0)), 0)
        self.energy = (power[2 * self.reach :] - power[: -2 * self.reach]).clamp(min=1e-12)

    def coarse_likeness(self, moment: int) -> Tensor:
        """Correlation of `moment` with every LOOP.decimation-th sample; -1 where a fade is cut off, (n_coarse,)."""
        middle = moment // LOOP.decimation
        template = self.coarse[middle - self.reach : middle + self.reach]
        found = torch.fft.irfft(self.spectrum * torch.fft.rfft(template, self.n_fft).conj(), self.n_fft)
        found = found[: self.energy.shape[0]]
        likeness = found / (self.energy * self.energy[middle - self.reach]).sqrt()
        result = torch.full((self.coarse.shape[0],), -1.0, device=found.device)
        result[self.reach : self.reach + likeness.shape[0]] = likeness.float()
        return result

    def refined(self, moment: int, other: int) -> tuple[int, float]:
        """The sample near `other` that is most like `moment`, and how much."""
        n_samples, reach = self.bright.shape[-1], self.n_fade
        low = max(reach, other - LOOP.decimation - 1)
        high = min(n_samples - reach, other + LOOP.decimation + 1)
        template = self.bright[moment - reach : moment + reach]
        windows = self.bright[low - reach : high + reach].unfold(0, 2 * reach, 1)
        likeness = windows @ template / (windows.square().sum(1) * template.square().sum() + 1e-20).sqrt()
        best = int(likeness.argmax())
        return low + best, float(likeness[best])

    def peaks(self, likeness: Tensor, low: int, high: int) -> Tensor:
        """The most alike moment of each period between two samples, (n,)."""
        n_period = max(1, round(self.period / LOOP.decimation))
        part = likeness[math.ceil(low / LOOP.decimation) : high // LOOP.decimation]
        part = part[: part.shape[0] // n_period * n_period].reshape(-1, n_period)
        if part.shape[0] == 0:
            return torch.zeros(0, dtype=torch.long)
        place = part.argmax(1) + torch.arange(part.shape[0], device=part.device) * n_period
        return (place + math.ceil(low / LOOP.decimation)) * LOOP.decimation

    def jump(self, leave: int, to: Loop, least: int, lags: list[int], generator: torch.Generator) -> int:
        """Where to go on from `leave`: drawn from the moments most like it, at a distance that was not used lately."""
        likeness = self.coarse_likeness(leave)
        places = self.peaks(likeness, to.start, to.end)
        distance = leave - places
        new = HELD.new_lag_s * self.sample_rate
        fresh = distance.abs() > least
        for lag in lags:
            fresh = fresh & ((distance - lag).abs() > new)
        places = places[fresh] if bool(fresh.any()) else places
        value = likeness[places // LOOP.decimation]
        near = places[value >= value.max() - HELD.nearly_as_like]
        chosen = int(near[int(torch.randint(near.shape[0], (1,), generator=generator))])
        return self.refined(leave, chosen)[0]

    def last_jump(self, earliest: int, latest: int, missing: int, lowest: int) -> tuple[int, int]:
        """A jump back by about `missing` samples, up to a period more, from the moment at which it is heard least."""
        best = (-2.0, latest, latest - missing)
        earliest = min(max(earliest, lowest + missing), latest)
        for leave in torch.linspace(earliest, latest, LOOP.n_starts).long().tolist():
            place = leave - missing
            likeness = self.coarse_likeness(leave)
            found = self.peaks(likeness, round(place - self.period - LOOP.decimation), place + LOOP.decimation)
            enter = place if found.numel() == 0 else int(found[likeness[found // LOOP.decimation].argmax()])
            enter, alike = self.refined(leave, enter)
            best = max(best, (alike, leave, enter))
        return best[1], best[2]


def _best_loop(mono: Tensor, bands: Bands, within: Loop, shortest: int, period: float, n_fade: int) -> Loop:
    """The loop in a stretch whose ends are most alike in waveform, colour and level, longer ones preferred."""
    matcher = _Matcher(mono, period, bands.sample_rate)
    room = within.end - within.start
    last = within.end - max(shortest, room // 2)
    starts = sorted(set(torch.linspace(within.start, last, LOOP.n_starts).long().tolist()))
    found: list[tuple[float, int, int]] = []

    def cost(start: int, end: int, alike: float) -> float:
        (colour, level), (colour_end, level_end) = bands.around(start, LOOP.fade_s), bands.around(end, LOOP.fade_s)
        heard = colour > colour.max() - SUSTAIN.audible_db
        unlike_db = (colour - colour_end - level + level_end)[heard].abs().mean()
        length_s = (end - start) / bands.sample_rate
        return LOOP.unlike_cost * (1.0 - alike) + float(unlike_db) - LOOP.length_gain * math.log2(length_s)

    for start in starts:
        likeness = matcher.coarse_likeness(start)
        ends = matcher.peaks(likeness, start + max(shortest, room // 4), within.end)
        if ends.numel() == 0:
            continue
        value = likeness[ends // LOOP.decimation]
        rough = LOOP.unlike_cost * (1.0 - value) - LOOP.length_gain * torch.log2((ends - start) / bands.sample_rate)
        for index in rough.argsort()[: LOOP.n_refined].tolist():
            end = int(ends[index])
            found.append((cost(start, end, float(value[index])), start, end))
    refined = []
    for _, start, end in sorted(found)[: LOOP.n_refined]:
        end, alike = matcher.refined(start, min(end, within.end))
        refined.append((cost(start, end, alike), start, end))
    _, start, end = min(refined)
    return Loop(start, end)


# --- joining --------------------------------------------------------------------------------------------------------


def crossfade(before: Tensor, after: Tensor, sample_rate: int) -> Tensor:
    """From one signal to another of the same length, (…, T), equally loud on the way.

    What is alike in both adds up in amplitude, what is not in power: where the tone wants straight lines, noise wants
    a louder middle. So every third of an octave is faded by how much it is alike.
    """
    n_samples = before.shape[-1]
    bins_hz = torch.fft.rfftfreq(n_samples, 1.0 / sample_rate, device=before.device)
    band = (
        (LOOP.fade_bands_per_octave * torch.log2(bins_hz.clamp(min=1.0) / 100.0)).long().clamp(0, LOOP.n_fade_bands - 1)
    )
    apart = torch.nn.functional.one_hot(band, LOOP.n_fade_bands).T.float()  # (LOOP.n_fade_bands, n_bins)
    both = torch.stack([before, after])
    # Without a window the ends of a loud tone would spill over all bands, and noise would seem alike.
    seen = torch.fft.rfft(both * torch.hann_window(n_samples, device=before.device), dim=-1).reshape(2, -1, len(band))
    power, common = seen.abs().square().sum(1) @ apart.T, (seen[0] * seen[1].conj()).real.sum(0) @ apart.T
    shape = (LOOP.n_fade_bands,) + (1,) * before.ndim
    alike = (common / (power[0] * power[1] + 1e-30).sqrt()).clamp(-0.5, 1.0).reshape(shape)
    spectra = torch.fft.rfft(both, dim=-1)[:, None] * apart.reshape(*shape[:-1], -1)
    old, new = torch.fft.irfft(spectra, n=n_samples, dim=-1)  # (LOOP.n_fade_bands, …, T)
    ramp = torch.sin(torch.linspace(0.0, math.pi / 2, n_samples, device=before.device)).square()
    gain = (ramp.square() + (1.0 - ramp).square() + 2.0 * alike * ramp * (1.0 - ramp)).rsqrt()
    faded: Tensor = (gain * torch.lerp(old, new, ramp)).sum(0)
    return faded


def _joined(audio: Tensor, loop: Loop, n_fade: int, sample_rate: int) -> Tensor:
    """Audio (…, T) that comes, at the loop's end, from where it would come at its start, and then goes on as it did."""
    start, end = loop.start, loop.end
    n_after = min(n_fade, audio.shape[-1] - end)
    into = crossfade(audio[..., end - n_fade : end], audio[..., start - n_fade : start], sample_rate)
    back = crossfade(audio[..., start : start + n_after], audio[..., end : end + n_after], sample_rate)
    return torch.cat([audio[..., : end - n_fade], into, back, audio[..., end + n_after :]], -1)


def _spliced(audio: Tensor, pieces: list[tuple[int, int]], n_fade: int, sample_rate: int) -> Tensor:
    """Pieces of audio (…, T) one after the other, each faded into the next around the moment where it is left."""
    half = n_fade // 2
    parts, begin = [], pieces[0][0]
    for (_, leave), (enter, _) in pairwise(pieces):
        parts.append(audio[..., begin : leave - half])
        parts.append(
            crossfade(audio[..., leave - half : leave + half], audio[..., enter - half : enter + half], sample_rate)
        )
        begin = enter + half
    parts.append(audio[..., begin : pieces[-1][1]])
    return torch.cat(parts, -1)


def _fitted(audio: Tensor, n_samples: int) -> Tensor:
    """Audio of up to a period more or less than `n_samples`, with exactly those; what is cut off is faded over."""
    extra = audio.shape[-1] - n_samples
    if extra <= 0:
        return torch.nn.functional.pad(audio, (0, -extra))
    return fade_out(audio[..., :n_samples], min(max(2 * extra, LOOP.cut_fade_samples), n_samples))
