"""Where a recorded sound begins, and how many separate hits are in it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.audio.io import MIN_SAMPLES, SILENCE_DB, Recording
from hgs_cli.errors import InputError
from hgs_cli.spectrum import SAMPLE_RATE

FRAME_SAMPLES = 882  # 20 ms, a period of mains hum: its level is the same in every frame
HOP_SAMPLES = 220  # 5 ms
FINE_SAMPLES = 88  # 2 ms: where in its frame the sound begins
RANGE_DB = 66.0  # below the loudest frame: further down everything is silence
LOUD_DB = 12.0  # below the loudest frame: whatever comes before, here the sound has begun
ABOVE_FLOOR_DB = 6.0  # 20 ms of noise are within 1 dB of their mean, of rumble within 4
FLOOR_QUANTILES = (0.5, 0.25, 0.1)  # of the lead-in's level: less of it may be noise where a swell has begun in it
# A swell that rises evenly is 6 dB above its own median only after it has risen by 6 dB between the halves of what
# lies before: a lead-in that rises less is steady. A sharp attack ends any lead-in.
STEADY_DB = 3.0
SHARP_DB, SHARP_FRAMES = 12.0, 12  # a rise within 60 ms
# Of the loudest frame, the median of a lead-in that ends sharply or not: bowed notes begin steadily at -20.
SHARP_LEAD_DB, LEAD_DB = 26.0, 34.0
GAP_FRAMES = 12  # 60 ms: a shorter pause does not part what comes before it from the sound
SOFT_DB, SOFT_FRAMES = 40.0, 20  # what is that far below the loudest for 100 ms is a soft beginning; less is a click
MIN_LEAD_SAMPLES = 2205  # 50 ms: a shorter lead-in is no delay that anyone would cut
BEFORE_SAMPLES = 441  # 10 ms are left before the onset: the softest part of an attack is not yet seen as one
CUT_FADE_SAMPLES = 88  # 2 ms

HIT_N_FFT = 4096  # 93 ms
HIT_HOP = 441  # 10 ms
HIT_REACH = 5  # frames: half a window
HIT_BOTTOM_HZ, HIT_TOP_HZ = 60.0, 8000.0
HIT_BINS_PER_OCTAVE = 60
HIT_BINS_AROUND = 3  # 60 cents: vibrato brings nothing new
PIECE_FRAMES = 1000  # at once
AFTER_FRAMES = 5
LATER_FRAMES = 9  # and again so much later: where a sound stops short, a click seems new, and is gone by then
BEFORE_FRAMES = 20  # 200 ms: each swing of a tremolo is compared with the last
LAST_FRAMES = 2  # of these, where the level has just risen: a stroke may repeat what was there a little earlier
NEW_RATIO = 4.0  # a bin is new by as much as it is more than 6 dB above all that was just before
COMPRESSION = 0.3  # of power: a hit is seen in all that it brings, not in its strongest partial alone
# Of 1,876 recorded single notes 9 seem to hold two at 0.4, most of them hummed after a cough; 15 at 0.3. Notes in a row
# that are two semitones or more apart, not an octave, show 0.43 and more.
NEW_SHARE = 0.4
RESTRUCK_DB, RESTRUCK_FRAMES = 12.0, 6  # a rise within 60 ms; that of beating strings is as steep, and not as new
LEVEL_SAMPLES = 4 * HIT_HOP  # 40 ms: a period of the lowest notes
HIT_DB = 25.0  # below the loudest frame: what is softer is no hit of its own
FIRST_HIT_DB = 18.0
HIT_DISTANCE = 12  # frames: hits nearer than 120 ms are one


def find_onset(audio: Tensor) -> int:
    """The sample at which a sound begins to matter, about 10 ms before its onset.

    Noise, hum and silence before the sound do not count, nor do clicks far below it. A swell begins where it emerges
    from what lies before it.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).

    Returns:
        0 where the lead-in is shorter than 50 ms, or where a sound cannot be told from what comes before it.
    """
    if audio.shape[-1] < FRAME_SAMPLES:
        return 0
    level = _levels_db(audio, FRAME_SAMPLES, HOP_SAMPLES)
    peak = float(level.max())
    level = level.clamp(min=peak - RANGE_DB)
    loud = int((level >= peak - LOUD_DB).nonzero()[0])
    if loud * HOP_SAMPLES < MIN_LEAD_SAMPLES:
        return 0
    for quantile in FLOOR_QUANTILES:
        floor = float(level[:loud].quantile(quantile))
        threshold = min(floor + ABOVE_FLOOR_DB, peak - LOUD_DB)
        start = _first_segment(level[: loud + 1] > threshold, level, peak)
        if start and _is_lead_in(level, start, threshold):
            break
    else:
        return 0
    begin = start * HOP_SAMPLES
    fine = _levels_db(audio[begin : begin + FRAME_SAMPLES + HOP_SAMPLES], FINE_SAMPLES, FINE_SAMPLES // 2)
    above = (fine > threshold).nonzero()[:, 0].tolist()
    onset = begin + (above[0] * (FINE_SAMPLES // 2) if above else 0) - BEFORE_SAMPLES
    return onset if onset >= MIN_LEAD_SAMPLES else 0


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
    is_hit = ((new >= NEW_SHARE) | ((newer >= NEW_SHARE) & (rise_db >= RESTRUCK_DB))) & (below_db <= HIT_DB)
    strength = torch.where(is_hit, torch.maximum(new, newer), 0.0)
    # A soft beginning, such as breath before a note, is no hit: the first one is over when the sound was loud once.
    loud = int((below_db <= FIRST_HIT_DB).nonzero()[0]) + HIT_REACH
    frame = max(loud, hits[0] // HIT_HOP) + HIT_DISTANCE
    while frame < strength.shape[0]:
        if strength[frame] > 0.0:
            frame += int(strength[frame : frame + HIT_DISTANCE].argmax())
            hits.append(frame * HIT_HOP)
            frame += HIT_DISTANCE
        else:
            frame += 1
    return hits


def count_hits(audio: Tensor) -> int:
    """How many separate hits are in a sound, at least 1; see `find_hits`."""
    return len(find_hits(audio))


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
    if rest.shape[-1] < MIN_SAMPLES or float((rest - rest.mean()).abs().max()) < 10.0 ** (SILENCE_DB / 20.0):
        raise InputError(f"there is no sound after {start / SAMPLE_RATE:.2f} s", "give an earlier start")
    channels = None if recording.channels is None else _faded_in(recording.channels[:, start:])
    return replace(recording, audio=_faded_in(rest), channels=channels)


def _faded_in(audio: Tensor) -> Tensor:
    """A copy of audio (…, T), at least MIN_SAMPLES of it, that comes from silence."""
    faded = audio.clone()
    faded[..., :CUT_FADE_SAMPLES] *= torch.linspace(0.0, 1.0, CUT_FADE_SAMPLES)
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
        if frame - before > GAP_FRAMES:
            if _is_soft_beginning(level[start : before + 1], peak):
                return start
            start = frame
    return start


def _is_soft_beginning(level: Tensor, peak: float) -> bool:
    return level.shape[0] >= SOFT_FRAMES and float(level.max()) >= peak - SOFT_DB


def _is_lead_in(level: Tensor, start: int, threshold: float) -> bool:
    """Whether what lies before a frame is noise of its own and no slow beginning of the sound."""
    quiet = level[:start][level[:start] <= threshold]  # without clicks
    half = quiet.shape[0] // 2
    if half == 0:
        return False
    below_db = float(level.max() - quiet.median())
    if float(level[start : start + SHARP_FRAMES + 1].max() - level[start]) >= SHARP_DB:
        return below_db >= SHARP_LEAD_DB
    return below_db >= LEAD_DB and float(quiet[half:].median() - quiet[:half].median()) < STEADY_DB


def _new_shares(audio: Tensor) -> Tensor:
    """The share of the spectrum after each HIT_HOP that was not there before it.

    Args:
        audio: Mono at SAMPLE_RATE, (T,).

    Returns:
        (2, n_frames): what stays and was not there in all of BEFORE_FRAMES; what was not there in the LAST_FRAMES.
    """
    n_frames = audio.shape[-1] // HIT_HOP + 1
    n_before, n_after = BEFORE_FRAMES + HIT_REACH, AFTER_FRAMES + LATER_FRAMES + HIT_REACH
    padded = torch.nn.functional.pad(audio, (n_before * HIT_HOP + HIT_N_FFT // 2, n_after * HIT_HOP + HIT_N_FFT // 2))
    window = torch.hann_window(HIT_N_FFT)
    octaves = torch.arange(0.0, math.log2(HIT_TOP_HZ / HIT_BOTTOM_HZ), 1.0 / HIT_BINS_PER_OCTAVE)
    bins = (HIT_BOTTOM_HZ * 2.0**octaves * HIT_N_FFT / SAMPLE_RATE).round().long()
    floor = 10.0 ** (-RANGE_DB / 10.0) * HIT_N_FFT * float(audio.square().max()) + 1e-20  # of the power of a bin
    shares = []
    for start in range(0, n_frames, PIECE_FRAMES):  # a long sound piece by piece, so that memory stays bounded
        n = min(PIECE_FRAMES, n_frames - start)
        end = (start + n - 1 + n_before + n_after) * HIT_HOP + HIT_N_FFT
        frames = padded[start * HIT_HOP : end].unfold(0, HIT_N_FFT, HIT_HOP)  # (n_before + n + n_after, HIT_N_FFT)
        power = torch.fft.rfft(frames * window).abs().square()[:, bins].clamp(min=floor)
        near = torch.nn.functional.max_pool1d(power[:, None], 2 * HIT_BINS_AROUND + 1, 1, HIT_BINS_AROUND)[:, 0]
        before = near[: n + BEFORE_FRAMES - 1].unfold(0, BEFORE_FRAMES, 1)  # (n, n_bins, BEFORE_FRAMES)
        # (n + LATER_FRAMES, n_bins), from the first frame that holds nothing of what is before
        after = power[n_before + HIT_REACH : n_before + n + n_after].unfold(0, AFTER_FRAMES, 1).mean(-1)
        known = before.amax(-1)
        stays = torch.minimum(_new_share(after[:n], known, floor), _new_share(after[-n:], known, floor))
        shares.append(torch.stack([stays, _new_share(after[:n], before[..., -LAST_FRAMES:].amax(-1), floor)]))
    return torch.cat(shares, -1)


def _new_share(after: Tensor, known: Tensor, floor: float) -> Tensor:
    """Share of power spectra (n, n_bins) that stands above what is known (n, n_bins), (n,)."""
    heard = after**COMPRESSION
    new = (heard - (NEW_RATIO * known) ** COMPRESSION).clamp(min=0.0)
    share: Tensor = new.sum(-1) / ((heard - floor**COMPRESSION).sum(-1) + 1e-20)
    return share


def _rises_db(audio: Tensor) -> tuple[Tensor, Tensor]:
    """How far the level of audio (T,) rises at each HIT_HOP, and up to which level, in dB, (n_frames,) each."""
    n_window = LEVEL_SAMPLES // HIT_HOP
    reach = RESTRUCK_FRAMES * HIT_HOP
    padded = torch.nn.functional.pad(audio, (LEVEL_SAMPLES + reach, LEVEL_SAMPLES + reach))
    level = _levels_db(padded, LEVEL_SAMPLES, HIT_HOP)
    level = level.clamp(min=float(level.max()) - RANGE_DB)
    near = level.unfold(0, RESTRUCK_FRAMES + 1, 1)  # what begins at frame i reaches over RESTRUCK_FRAMES more
    before, after = near.amin(-1), near.amax(-1)[RESTRUCK_FRAMES + n_window :]
    return after - before[: after.shape[0]], after
