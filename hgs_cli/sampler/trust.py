"""Trust: how far the networks' word for a sound at another pitch is better than the sound itself, moved.

Chords, bells, drums and most synthesisers are best as they are, moved; winds, strings and voices, whose resonances stay
where they are, are not. Which of both a sound is, is heard in five of its traits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.spectrum import DB_PER_UNIT

MIN_TRUST = 0.03  # of a weight: below it the networks need not be asked
AUDIBLE_DB, SILENT_DB = 40.0, 85.0  # below the loudest point of a log-mel
# likewise: where nothing is louder any more a sound is over, and silence behind it says nothing of it; what is softer
# is no part of the distance, which silence would else make small or large
OVER_DB = 50.0
MAX_DISTANCE_DB = 20.0
CLEAR_DB = (50.0, 100.0)  # of clarity: below the first all are recordings, above the second none is
SWING_FRAMES = 16  # on either side, 0.4 s together: a tremolo of 3 Hz swings once in it


@dataclass(frozen=True)
class TrustLaw:
    """A logistic law, of recordings that no network had heard and of made sounds.

    Fitted to their notes, not to levels as `hgs train eval --trust` does, and drawn to the coefficients of before:
    what it costs beside the best weight of every sound is 0.20 dB on instruments and families that are left out,
    where the law before it cost 0.39. As the weight of the wanted level against the moved recording's own, in the
    log-mel domain, it is 4.61 dB from the real notes of 73 training instruments that weights 0.2.0 had not heard,
    where the best constant weight, 0.35, has 4.99, and 4.50 instead of 4.90 on 24 others; on families of made
    sounds that were left out 1.05 dB, as 0, the best constant there, where 1 has 6.01. Fitted to levels it would
    have 4.51, 4.57 and 1.05.
    """

    harmonic_share: float = 8.85  # of the share of energy on the harmonics of the pitch
    distance_db: float = -1.04  # of the distance between what is heard and the networks' reconstruction of it, in dB
    # of the logarithm of the mean change from frame to frame, in dB, without the swing that all bands have in common: a
    # synthesiser with a tremolo would be as lively as a violin
    liveliness: float = 4.12
    silence: float = -2.57  # of the share of the log-mel that is silent: recordings have a floor
    # of how clear the space between harmonics is, in dB within CLEAR_DB: detuned oscillators are as lively as strings
    clarity_db: float = -0.16
    bias: float = 8.87  # constant


LAW = TrustLaw()


@dataclass(frozen=True)
class Traits:
    """What trust is judged by; attributes as those of `TrustLaw`."""

    harmonic_share: float
    distance_db: float
    liveliness: float
    silence: float
    clarity_db: float


def measure_traits(x: Tensor, x_hat: Tensor, harmonic_share: float, clarity_db: float) -> Traits:
    """The traits of a sound.

    Args:
        x: Its log-mel while it lasts, (n_mels, n).
        x_hat: The networks' reconstruction of it, likewise.
        harmonic_share: Share of its energy on the harmonics of its pitch, 0 … 1.
        clarity_db: As `audio.clarity` measures it.
    """
    level_db = DB_PER_UNIT * x.float()
    top = float(level_db.max())
    n_frames = int((level_db.amax(0) > top - OVER_DB).nonzero()[-1]) + 1
    x, x_hat, level_db = x[:, :n_frames], x_hat[:, :n_frames], level_db[:, :n_frames]
    audible = level_db > top - AUDIBLE_DB
    both = audible[:, 1:] & audible[:, :-1]
    change = level_db[:, 1:] - level_db[:, :-1]
    change = (change - _swing((change * both).sum(0) / both.sum(0).clamp(min=1))).abs()[both]
    floor = x.max() - OVER_DB / DB_PER_UNIT
    apart = (x.clamp(min=floor) - x_hat.clamp(min=floor)).abs()[torch.maximum(x, x_hat) > floor]
    return Traits(
        harmonic_share=harmonic_share,
        distance_db=min(MAX_DISTANCE_DB, float(apart.mean()) * DB_PER_UNIT),
        liveliness=math.log(float(change.mean()) + 0.05) if len(change) else math.log(0.05),
        silence=float((level_db < top - SILENT_DB).float().mean()),
        clarity_db=min(max(clarity_db, CLEAR_DB[0]), CLEAR_DB[1]),
    )


def _swing(change: Tensor) -> Tensor:
    """What changes (n,) are beside their running median: of a tremolo all, of a decay nothing."""
    if not len(change):
        return change
    padded = torch.nn.functional.pad(change[None], (SWING_FRAMES, SWING_FRAMES), mode="replicate")[0]
    return change - padded.unfold(0, 2 * SWING_FRAMES + 1, 1).median(-1).values


def judge_trust(traits: Traits, law: TrustLaw = LAW) -> float:
    """Weight of the networks' word for a sound, 0 … 1."""
    score = law.bias + sum(getattr(law, name) * value for name, value in vars(traits).items())
    weight = float(torch.sigmoid(torch.tensor(score)))
    return 0.0 if weight < MIN_TRUST else weight
