"""A recording without what sounds all the time behind it: mains hum, hiss, a fan."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class BackgroundRules:
    """What counts as background, and how it is taken away.

    Mains hum (50 Hz and seven overtones) whose peak is 30 dB below that of 111 notes of 37 instruments: the pitch of 90
    of them is found with it, of 105 without it again, of 107 where there was none.
    """

    n_fft: int = 8192  # 186 ms, so that the overtones of hum are told from a bass beside them
    quiet: float = 0.1  # of the frames, the quietest: what they hold is background
    min_quiet_s: float = 0.28  # of them at the least
    # by which they are softer than the loudest frame: a note that is hardly softer there is itself what is heard. With
    # 15 dB the pitch of 80 of those notes is found where hum is 20 dB below, with 10 dB that of 90, of 64 without this
    below_db: float = 10.0
    steady_db: float = 1.5  # between their two halves: what falls by more is a note that dies away
    unheard_db: float = 45.0  # below the loudest frame: what is softer leads nobody astray
    # by which the middle frame may be louder in a bin of background: partials that die away are louder by more
    lasting_db: float = 5.0
    least_share: float = 0.3  # of the energy of quiet frames that such bins hold: else they are the end of a note
    subtracted: float = 2.0  # times the background's mean power: noise is now louder, now softer
    left: float = 0.03  # of an amplitude at the least


BACKGROUND = BackgroundRules()


def without_background(audio: Tensor) -> Tensor | None:
    """A sound (T,) without its steady background, or None where it has none that matters or none can be told.

    For listening to, not for playing: what dies away in the background is cut short. Of shorter sounds than 0.7 s none
    can be told.

    Source: Boll, Suppression of acoustic noise in speech using spectral subtraction (1979).
    """
    n_fft, hop = BACKGROUND.n_fft, BACKGROUND.n_fft // 4
    min_quiet = round(BACKGROUND.min_quiet_s * SAMPLE_RATE / hop)
    if len(audio) < n_fft + 2 * min_quiet * hop:
        return None
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(audio, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square()
    inside = power[:, 2:-2]  # whole windows
    level_db = 10.0 * torch.log10(inside.sum(0) + 1e-20)
    quiet = level_db.argsort()[: max(min_quiet, int(BACKGROUND.quiet * len(level_db)))].sort().values
    below_db = float(level_db.max() - level_db[quiet].mean())
    half = len(quiet) // 2
    falls_db = float(level_db[quiet[half:]].median() - level_db[quiet[:half]].median())
    if not BACKGROUND.below_db <= below_db <= BACKGROUND.unheard_db or abs(falls_db) > BACKGROUND.steady_db:
        return None
    background = inside[:, quiet].mean(1)
    lasts = inside.median(1).values <= 10.0 ** (BACKGROUND.lasting_db / 10.0) * background
    if float(background[lasts].sum()) < BACKGROUND.least_share * float(background.sum()):
        return None
    taken = BACKGROUND.subtracted * (background * lasts)[:, None]
    gain = (1.0 - taken / power.clamp(min=1e-20)).clamp(min=BACKGROUND.left**2).sqrt()
    return torch.istft(spectrum * gain, n_fft, hop, window=window, length=len(audio))
