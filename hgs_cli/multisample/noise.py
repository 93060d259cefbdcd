"""Recordings whose noise stands out from that of their neighbours, and the same ones with no more than those have.

As in `cli`, nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hgs_cli.commands import Call

if TYPE_CHECKING:
    from torch import Tensor

    from hgs_cli.multisample.file import Recorded
    from hgs_cli.pipeline import Inversion


@dataclass(frozen=True)
class NoiseRules:
    """Which recordings are noisy."""

    # by which a recording's floor is above the median of the nearest ones' from which it is named
    noisy_db: float = 10.0
    nearest: int = 4  # so many, of the same layer


NOISE = NoiseRules()


@dataclass(frozen=True)
class Noisy:
    """A recording whose noise stands out."""

    recorded: Recorded  # it
    louder_db: float  # by which its floor is above the median of the nearest ones'
    nearest: Sequence[Recorded]  # those


def noisy_recordings(recorded: Sequence[Recorded]) -> list[Noisy]:
    """Recordings whose floor stands out from those of the nearest keys of their layer."""
    from hgs_cli.audio.noise_floor import noise_floor_db

    # A file may hold a recording without weights: nothing is known then of what the networks heard of it.
    heard = [one for one in recorded if one.inversion.recording is not None and one.inversion.mono_weights is not None]
    floors_db = {id(one): noise_floor_db(_mono(one.inversion)) for one in heard}
    found = []
    for one in heard:
        others = [each for each in heard if each is not one and each.recording.layer == one.recording.layer]
        near = sorted(others, key=lambda each: abs(each.recording.pitch - one.recording.pitch))[: NOISE.nearest]
        if len(near) < NOISE.nearest // 2:
            continue
        louder_db = floors_db[id(one)] - statistics.median(floors_db[id(each)] for each in near)
        if louder_db > NOISE.noisy_db:
            found.append(Noisy(one, louder_db, near))
    return found


def even_noise(call: Call, recorded: Sequence[Recorded], keep: bool) -> list[Recorded]:
    """The same recordings, those that stand out with no more noise than their neighbours have, which is said.

    Args:
        call: For the model and messages.
        recorded: All of an instrument.
        keep: Whether those are only named.
    """
    evened = {}
    for noisy in noisy_recordings(recorded):
        one, told = noisy.recorded, f"{noisy.louder_db:.0f} dB louder than that of its neighbours"
        inversion = None if keep else _evened(call, noisy)
        evened[id(one)] = one if inversion is None else replace(one, inversion=inversion)
        done = "" if inversion is None else ", and is lowered to it"
        call.messages.warn(f"the noise of {one.recording.name} is {told}{done}")
    return [evened.get(id(one), one) for one in recorded]


def _evened(call: Call, noisy: Noisy) -> Inversion | None:
    """A recording without what its noise has more than others', heard again; None where it is too long for that."""
    import torch

    from hgs_cli.audio.noise_floor import FLOOR, floor_spectrum_db, lower_floor
    from hgs_cli.pipeline import invert
    from hgs_cli.spectrum import SAMPLE_RATE

    was = noisy.recorded.inversion
    assert was.recording is not None
    if was.recording.shape[-1] > FLOOR.longest_s * SAMPLE_RATE:
        return None
    heard = [_mono(each.inversion) for each in noisy.nearest]
    spectra_db = [floor_spectrum_db(each) for each in heard if len(each) >= FLOOR.n_fft and bool(each.any())]
    if not spectra_db:
        return None
    lowered = lower_floor(was.recording, _mono(was), torch.stack(spectra_db).median(0).values)
    again = invert(
        call.model,
        lowered.T,
        SAMPLE_RATE,
        pitch=was.source_pitch,
        passes=was.passes,
        stereo=len(lowered) == 2,
        start_s=0.0,
        max_seconds=FLOOR.longest_s,
    )
    return replace(again, stands_at=was.stands_at, cropped=was.cropped)


def _mono(inversion: Inversion) -> Tensor:
    """What the networks hear of a recording, (T,)."""
    assert inversion.recording is not None
    assert inversion.mono_weights is not None
    return (inversion.recording * inversion.mono_weights[:, None]).sum(0)
