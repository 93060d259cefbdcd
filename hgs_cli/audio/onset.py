"""Where a recorded sound begins, and how many separate hits are in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.audio.io import FILES, MIN_SAMPLES, Recording
from hgs_cli.errors import InputError
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class OnsetRules:
    """Where a sound begins after what comes before it."""

    frame_samples: int = 882  # 20 ms, a period of mains hum: its level is the same in every frame
    hop_samples: int = 220  # 5 ms
    fine_samples: int = 88  # 2 ms: where in its frame the sound begins
    range_db: float = 66.0  # below the loudest frame: further down everything is silence
    loud_db: float = 12.0  # below the loudest frame: whatever comes before, here the sound has begun
    above_floor_db: float = 6.0  # 20 ms of noise are within 1 dB of their mean, of rumble within 4
    # of the lead-in's level: less of it may be noise where a swell has begun in it
    floor_quantiles: tuple[float, ...] = (0.5, 0.25, 0.1)
    # a swell that rises evenly is 6 dB above its own median only after it has risen by 6 dB between the halves of what
    # lies before: a lead-in that rises less is steady. A sharp attack ends any lead-in
    steady_db: float = 3.0
    # a rise within 60 ms
    sharp_db: float = 12.0
    sharp_frames: int = 12
    # of the loudest frame, the median of a lead-in that ends sharply or not: bowed notes begin steadily at -20
    sharp_lead_db: float = 26.0
    lead_db: float = 34.0
    gap_frames: int = 12  # 60 ms: a shorter pause does not part what comes before it from the sound
    # what is that far below the loudest for 100 ms is a soft beginning; less is a click
    soft_db: float = 40.0
    soft_frames: int = 20
    min_lead_samples: int = 2205  # 50 ms: a shorter lead-in is no delay that anyone would cut
    before_samples: int = 441  # 10 ms are left before the onset: the softest part of an attack is not yet seen as one
    cut_fade_samples: int = 88  # 2 ms


ONSET = OnsetRules()


@dataclass(frozen=True)
class HitRules:
    """Which rises of a sound are separate hits."""

    n_fft: int = 4096  # 93 ms
    level_hops: int = 4  # over which a level is measured, 40 ms: a period of the lowest notes
    hop: int = 441  # 10 ms
    reach: int = 5  # frames: half a window
    # between which new energy counts
    bottom_hz: float = 60.0
    top_hz: float = 8000.0
    bins_per_octave: int = 60  # of the spectrum in which it is looked for
    bins_around: int = 3  # 60 cents: vibrato brings nothing new
    piece_frames: int = 1000  # at once
    after_frames: int = 5  # in which it has to stay
    later_frames: int = 9  # and again so much later: where a sound stops short, a click seems new, and is gone by then
    before_frames: int = 20  # 200 ms: each swing of a tremolo is compared with the last
    # of these, where the level has just risen: a stroke may repeat what was there a little earlier
    last_frames: int = 2
    new_ratio: float = 4.0  # a bin is new by as much as it is more than 6 dB above all that was just before
    compression: float = 0.3  # of power: a hit is seen in all that it brings, not in its strongest partial alone
    # of 1,876 recorded single notes 9 seem to hold two at 0.4, most of them hummed after a cough; 15 at 0.3. Notes in a
    # row that are two semitones or more apart, not an octave, show 0.43 and more
    new_share: float = 0.4
    # a rise within 60 ms; that of beating strings is as steep, and not as new
    restruck_db: float = 12.0
    restruck_frames: int = 6
    db: float = 25.0  # below the loudest frame: what is softer is no hit of its own
    first_hit_db: float = 18.0  # below the loudest frame: the first hit is over when the sound was louder once
    distance: int = 12  # frames: hits nearer than 120 ms are one


HITS = HitRules()


def find_onset(audio: Tensor) -> int:
    """The sample at which a sound begins to matter, about 10 ms before its onset.

    Noise, hum and silence before the sound do not count, nor do clicks far below it. A swell begins where it emerges
    from what lies before it.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).

    Returns:
        0 where the lead-in is shorter than 50 ms, or where a sound cannot be told from what comes before it.
    """
    if audio.shape[-1] < ONSET.frame_samples:
        return 0
    level = _levels_db(audio, ONSET.frame_samples, ONSET.hop_samples)
    peak = float(level.max())
    level = level.clamp(min=peak - ONSET.range_db)
    loud = int((level >= peak - ONSET.loud_db).nonzero()[0])
    if loud * ONSET.hop_samples < ONSET.min_lead_samples:
        return 0
    for quantile in ONSET.floor_quantiles:
        floor = float(level[:loud].quantile(quantile))
        threshold = min(floor + ONSET.above_floor_db, peak - ONSET.loud_db)
        start = _first_segment(level[: loud + 1] > threshold, level, peak)
        if start and _is_lead_in(level, start, threshold):
            break
    else:
        return 0
    begin = start * ONSET.hop_samples
    fine = _levels_db(
        audio[begin : begin + ONSET.frame_samples + ONSET.hop_samples], ONSET.fine_samples, ONSET.fine_samples // 2
    )
    above = (fine > threshold).nonzero()[:, 0].tolist()
    onset = begin + (above[0] * (ONSET.fine_samples // 2) if above else 0) - ONSET.before_samples
    return onset if onset >= ONSET.min_lead_samples else 0


def find_hits(audio: Tensor) -> list[int]:
    """Samples at which separate hits begin, as far as they are clear: notes in a row, repeated strokes.

    A hit brings a spectrum that was not there just before, or rises steeply out of a deep fall. Vibrato, tremolo,
    beating and slow sweeps are no hits.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).

    Returns:
        In order; the first is that of `find_onset`.
    """
    hits = [find_onset(audio)]
    (new, newer), (rise_db, level_db) = _new_shares(audio), _rises_db(audio)
    below_db = level_db.max() - level_db
    is_hit = ((new >= HITS.new_share) | ((newer >= HITS.new_share) & (rise_db >= HITS.restruck_db))) & (
        below_db <= HITS.db
    )
    strength = torch.where(is_hit, torch.maximum(new, newer), 0.0)
    # A soft beginning, such as breath before a note, is no hit: the first one is over when the sound was loud once.
    loud = int((below_db <= HITS.first_hit_db).nonzero()[0]) + HITS.reach
    frame = max(loud, hits[0] // HITS.hop) + HITS.distance
    while frame < strength.shape[0]:
        if strength[frame] > 0.0:
            frame += int(strength[frame : frame + HITS.distance].argmax())
            hits.append(frame * HITS.hop)
            frame += HITS.distance
        else:
            frame += 1
    return hits


def begin_at(recording: Recording, start_s: float | None) -> Recording:
    """Cut the lead-in of a recording off.

    Args:
        recording: As it was read.
        start_s: Seconds from the beginning; None to find the onset.

    Raises:
        InputError: There is no sound after it.
    """
    audio = recording.audio
    length_s = audio.shape[-1] / SAMPLE_RATE
    if start_s is None:
        start = find_onset(audio)
    elif 0.0 <= start_s < length_s:
        start = round(start_s * SAMPLE_RATE)
    else:
        raise InputError(f"a start at {start_s:g} s in a sound of {length_s:.2f} s", "give a start inside the sound")
    if start == 0:
        return recording
    rest = audio[start:]
    if rest.shape[-1] < MIN_SAMPLES or float((rest - rest.mean()).abs().max()) < 10.0 ** (FILES.silence_db / 20.0):
        raise InputError(f"there is no sound after {start / SAMPLE_RATE:.2f} s", "give an earlier start")
    channels = None if recording.channels is None else _faded_in(recording.channels[:, start:])
    return replace(recording, audio=_faded_in(rest), channels=channels)


def _faded_in(audio: Tensor) -> Tensor:
    """A copy of audio (…, T), at least MIN_SAMPLES of it, that comes from silence."""
    faded = audio.clone()
    faded[..., : ONSET.cut_fade_samples] *= torch.linspace(0.0, 1.0, ONSET.cut_fade_samples)
    return faded


def _levels_db(audio: Tensor, window: int, hop: int) -> Tensor:
    """Level of audio (T,) in windows, offsets and what is slower than a window left out, (n,)."""
    audio = (audio - audio.mean()).double()[None, None]
    mean = torch.nn.functional.avg_pool1d(audio, window, hop)
    square = torch.nn.functional.avg_pool1d(audio.square(), window, hop)
    return 10.0 * torch.log10((square - mean.square()).clamp(min=1e-14))[0, 0]


def _first_segment(active: Tensor, level: Tensor, peak: float) -> int:
    """The frame at which the sound begins: of all that is above the floor, the first that is no click.

    Args:
        active: Which frames are above the floor, up to the first loud one, which is.
        level: Of each frame, in dB.
        peak: The highest level.
    """
    frames: list[int] = active.nonzero()[:, 0].tolist()
    start = frames[0]
    for before, frame in pairwise(frames):
        if frame - before > ONSET.gap_frames:
            if _is_soft_beginning(level[start : before + 1], peak):
                return start
            start = frame
    return start


def _is_soft_beginning(level: Tensor, peak: float) -> bool:
    return level.shape[0] >= ONSET.soft_frames and float(level.max()) >= peak - ONSET.soft_db


def _is_lead_in(level: Tensor, start: int, threshold: float) -> bool:
    """Whether what lies before a frame is noise of its own and no slow beginning of the sound."""
    quiet = level[:start][level[:start] <= threshold]  # without clicks
    half = quiet.shape[0] // 2
    if half == 0:
        return False
    below_db = float(level.max() - quiet.median())
    if float(level[start : start + ONSET.sharp_frames + 1].max() - level[start]) >= ONSET.sharp_db:
        return below_db >= ONSET.sharp_lead_db
    return below_db >= ONSET.lead_db and float(quiet[half:].median() - quiet[:half].median()) < ONSET.steady_db


def _new_shares(audio: Tensor) -> Tensor:
    """The share of the spectrum after each HITS.hop that was not there before it.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).

    Returns:
        (2, n_frames): what stays and was not there in all of `before_frames`; what was not there in the `last_frames`.
    """
    n_frames = audio.shape[-1] // HITS.hop + 1
    n_before, n_after = HITS.before_frames + HITS.reach, HITS.after_frames + HITS.later_frames + HITS.reach
    padded = torch.nn.functional.pad(
        audio, (n_before * HITS.hop + HITS.n_fft // 2, n_after * HITS.hop + HITS.n_fft // 2)
    )
    window = torch.hann_window(HITS.n_fft)
    octaves = torch.arange(0.0, math.log2(HITS.top_hz / HITS.bottom_hz), 1.0 / HITS.bins_per_octave)
    bins = (HITS.bottom_hz * 2.0**octaves * HITS.n_fft / SAMPLE_RATE).round().long()
    floor = 10.0 ** (-ONSET.range_db / 10.0) * HITS.n_fft * float(audio.square().max()) + 1e-20  # of the power of a bin
    shares = []
    for start in range(0, n_frames, HITS.piece_frames):  # a long sound piece by piece, so that memory stays bounded
        n = min(HITS.piece_frames, n_frames - start)
        end = (start + n - 1 + n_before + n_after) * HITS.hop + HITS.n_fft
        frames = padded[start * HITS.hop : end].unfold(0, HITS.n_fft, HITS.hop)  # (n_before + n + n_after, HITS.n_fft)
        power = torch.fft.rfft(frames * window).abs().square()[:, bins].clamp(min=floor)
        near = torch.nn.functional.max_pool1d(power[:, None], 2 * HITS.bins_around + 1, 1, HITS.bins_around)[:, 0]
        before = near[: n + HITS.before_frames - 1].unfold(0, HITS.before_frames, 1)  # (n, n_bins, HITS.before_frames)
        # (n + HITS.later_frames, n_bins), from the first frame that holds nothing of what is before
        after = power[n_before + HITS.reach : n_before + n + n_after].unfold(0, HITS.after_frames, 1).mean(-1)
        known = before.amax(-1)
        stays = torch.minimum(_new_share(after[:n], known, floor), _new_share(after[-n:], known, floor))
        shares.append(torch.stack([stays, _new_share(after[:n], before[..., -HITS.last_frames :].amax(-1), floor)]))
    return torch.cat(shares, -1)


def _new_share(after: Tensor, known: Tensor, floor: float) -> Tensor:
    """Share of power spectra (n, n_bins) that stands above what is known (n, n_bins), (n,)."""
    heard = after**HITS.compression
    new = (heard - (HITS.new_ratio * known) ** HITS.compression).clamp(min=0.0)
    share: Tensor = new.sum(-1) / ((heard - floor**HITS.compression).sum(-1) + 1e-20)
    return share


def _rises_db(audio: Tensor) -> tuple[Tensor, Tensor]:
    """How far the level of audio (T,) rises at each HITS.hop, and up to which level, in dB, (n_frames,) each."""
    n_window, n_level = HITS.level_hops, HITS.level_hops * HITS.hop
    reach = HITS.restruck_frames * HITS.hop
    padded = torch.nn.functional.pad(audio, (n_level + reach, n_level + reach))
    level = _levels_db(padded, n_level, HITS.hop)
    level = level.clamp(min=float(level.max()) - ONSET.range_db)
    near = level.unfold(0, HITS.restruck_frames + 1, 1)  # what begins at frame i reaches over HITS.restruck_frames more
    before, after = near.amin(-1), near.amax(-1)[HITS.restruck_frames + n_window :]
    return after - before[: after.shape[0]], after
