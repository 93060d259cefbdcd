"""How loud the hiss of a recording is beside its note, and the same recording with less of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hgs_cli.audio.loudness import note_lufs
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class FloorRules:
    """What counts as floor.

    White noise 40 dB below the note, added to one recording of each of 89 instruments, is told from its neighbours' own
    floors for 93 %, and 3 of 721 recordings without any are taken for noisy; from 2 kHz on it is 83 % and 10 of 721.
    """

    n_fft: int = 4096  # 93 ms, so that harmonics leave room between them
    lasting_db: float = 60.0  # below its loudest frame a sound has ended: what a gate left is no floor
    quiet: float = 0.1  # of the frames, and then of the bins of an octave: the quantile that is floor
    # in which it is looked for
    low_hz: float = 4000.0
    octaves: int = 2
    unheard_db: float = -65.0  # below it no floor is heard
    # in which it is lowered
    lowest_hz: float = 125.0
    all_octaves: int = 7
    mean_db: float = 11.1  # that white noise lies above its quiet quantile of frames and bins
    gain_n_fft: int = 2048  # 46 ms, of the frames that are lowered
    smooth: tuple[int, int] = (3, 5)  # bins and frames, before power is compared with noise, so that nothing chirps
    longest_s: float = 60.0  # longer recordings are left as they are: all frames are at hand at once


FLOOR = FloorRules()


def noise_floor_db(audio: Tensor) -> float:
    """Level of white noise that would be as loud as the floor of a note (T,), beside the note's loudness, in dB.

    Never below FLOOR.unheard_db, which is also that of sounds shorter than a window, and of silence.
    """
    if len(audio) < FLOOR.n_fft or not math.isfinite(note_lufs(audio)):
        return FLOOR.unheard_db
    return max(FLOOR.unheard_db, float(_floor_of_octaves(audio, FLOOR.low_hz, FLOOR.octaves).mean()))


def floor_spectrum_db(audio: Tensor) -> Tensor:
    """The same in every octave from FLOOR.lowest_hz, of a note (T,) that is no shorter than FLOOR.n_fft, no silence."""
    return _floor_of_octaves(audio, FLOOR.lowest_hz, FLOOR.all_octaves)


def _floor_of_octaves(audio: Tensor, low_hz: float, n_octaves: int) -> Tensor:
    window = torch.hann_window(FLOOR.n_fft)
    spectrum = torch.stft(audio, FLOOR.n_fft, FLOOR.n_fft // 4, window=window, center=False, return_complex=True)
    density = spectrum.abs().square() / window.square().sum()  # (n_bins, n_frames); of white noise its mean square
    power = density.sum(0)
    quiet = density[:, power > power.max() * 10.0 ** (-FLOOR.lasting_db / 10.0)].quantile(FLOOR.quiet, 1)
    edges = [round(low_hz * 2**octave * FLOOR.n_fft / SAMPLE_RATE) for octave in range(n_octaves + 1)]
    octaves = torch.stack([quiet[low:high].quantile(FLOOR.quiet) for low, high in pairwise(edges)])
    return 10.0 * torch.log10(octaves + 1e-20) - note_lufs(audio)


def lower_floor(channels: Tensor, mono: Tensor, wanted_db: Tensor) -> Tensor:
    """A recording whose floor is no louder than wanted.

    Args:
        channels: It, (C, T).
        mono: What is heard of it, (T,), as for `floor_spectrum_db`.
        wanted_db: Floor of every octave, as `floor_spectrum_db` has it.

    Returns:
        (C, T): spectral subtraction that stops at the wanted floor, the same in all channels.

    Source: Boll (1979); Berouti, Schwartz & Makhoul (1979) for the floor.
    """
    floor_db = floor_spectrum_db(mono)
    n_fft, lufs = FLOOR.gain_n_fft, note_lufs(mono)
    window = torch.hann_window(n_fft)
    noise, left = (
        10.0 ** ((_at_bins(octaves_db, n_fft) + FLOOR.mean_db + lufs) / 10.0) * float(window.square().sum())
        for octaves_db in (floor_db, torch.minimum(wanted_db, floor_db))
    )

    def frames(audio: Tensor) -> Tensor:
        return torch.stft(audio, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True)

    power = frames(mono).abs().square()[None]
    reach = (FLOOR.smooth[0] // 2, FLOOR.smooth[1] // 2)
    power = torch.nn.functional.avg_pool2d(power, FLOOR.smooth, 1, reach, count_include_pad=False)[0]
    kept = (power - (noise - left)[:, None]) / power.clamp(min=1e-20)
    gain = kept.maximum((left / noise)[:, None]).sqrt()
    return torch.istft(frames(channels) * gain, n_fft, n_fft // 4, window=window, length=channels.shape[-1])


def _at_bins(octaves_db: Tensor, n_fft: int) -> Tensor:
    """Levels of octaves on straight lines to the bins of a window, (n_fft / 2 + 1,)."""
    hz = torch.linspace(0.0, SAMPLE_RATE / 2, n_fft // 2 + 1).clamp(min=1.0)
    place = (torch.log2(hz / FLOOR.lowest_hz) - 0.5).clamp(0.0, len(octaves_db) - 1.0)
    low = place.long().clamp(max=len(octaves_db) - 2)
    return torch.lerp(octaves_db[low], octaves_db[low + 1], place - low)
