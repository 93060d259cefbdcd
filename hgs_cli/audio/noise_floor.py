"""How loud the hiss of a recording is beside its note."""

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


FLOOR = FloorRules()


def noise_floor_db(audio: Tensor) -> float:
    """Level of white noise that would be as loud as the floor of a note (T,), beside the note's loudness, in dB.

    Never below FLOOR.unheard_db, which is also that of sounds shorter than a window, and of silence.
    """
    lufs = note_lufs(audio)
    if len(audio) < FLOOR.n_fft or not math.isfinite(lufs):
        return FLOOR.unheard_db
    window = torch.hann_window(FLOOR.n_fft)
    spectrum = torch.stft(audio, FLOOR.n_fft, FLOOR.n_fft // 4, window=window, center=False, return_complex=True)
    density = spectrum.abs().square() / window.square().sum()  # (n_bins, n_frames); of white noise its mean square
    power = density.sum(0)
    quiet = density[:, power > power.max() * 10.0 ** (-FLOOR.lasting_db / 10.0)].quantile(FLOOR.quiet, 1)
    edges = [round(FLOOR.low_hz * 2**octave * FLOOR.n_fft / SAMPLE_RATE) for octave in range(FLOOR.octaves + 1)]
    octaves = torch.stack([quiet[low:high].quantile(FLOOR.quiet) for low, high in pairwise(edges)])
    return max(FLOOR.unheard_db, float(10.0 * torch.log10(octaves + 1e-20).mean()) - lufs)
