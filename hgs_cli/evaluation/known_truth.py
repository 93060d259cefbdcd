"""Made sounds with known truth: patches drawn at random by families, each played at any pitch by the same code.

At other pitches every partial, band edge, filter and noise band moves with the key; decay times, glides and vibrato
keep their pace, and formants of voices stay.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hgs_cli.evaluation.known_truth_draws import Sound
from hgs_cli.evaluation.known_truth_families import RECIPES
from hgs_cli.evaluation.known_truth_voices import attack, seconds_from_onset
from hgs_cli.spectrum import SAMPLE_RATE


@dataclass(frozen=True)
class PatchRules:
    """How patches are drawn and played."""

    peak: float = 0.5  # of every sound
    onset_s: float = 0.005  # of silence before it
    # from their own pitch, at which patches are asked for
    semitones: tuple[float, ...] = (3.0, -4.0, 7.0, -12.0, 12.0, 19.0, -17.0)
    quick_semitones: tuple[float, ...] = (3.0, -12.0, 19.0)  # the same for a quick measurement
    end_s: float = 0.01  # faded at the end of every sound
    evaluation_seed: int = 1_000_000  # the first seed of patches that are measured with; training draws below


PATCHES = PatchRules()


HELD_OUT_FAMILIES = ("stacked intervals", "plate", "ring modulation", "cowbell", "filter sweep", "band noise")
"""Families that nothing is trained with: what is learned from the others is measured on these."""

TRAINING_FAMILIES = tuple(family for family in RECIPES if family not in HELD_OUT_FAMILIES)

FAMILIES = tuple(RECIPES)


@dataclass(frozen=True)
class Patch:
    """A made sound that can be played at any pitch."""

    family: str  # one of TRAINING_FAMILIES or HELD_OUT_FAMILIES
    seed: int  # with the family it says all
    # the pitch that a user would tell of it: of a chord its lowest note, of a bell the strike note, of a plate the
    # strongest mode, of a drum the lowest, of FM the carrier, NOISE_MIDI of noise
    midi: float
    seconds: float  # length
    sound: Sound = field(repr=False, compare=False)  # how it is made

    @property
    def name(self) -> str:
        """Family and seed; evaluation's patches are numbered from 0."""
        return f"{self.family} {self.seed % PATCHES.evaluation_seed}"

    def render(self, semitones: float = 0.0, seconds: float | None = None) -> Tensor:
        """The patch so many semitones above its own pitch, mono at SAMPLE_RATE with a peak of PATCHES.peak, (T,).

        Args:
            semitones: Any interval, 0 for the patch as it is.
            seconds: Length, its own if not given.
        """
        n_samples = round((self.seconds if seconds is None else seconds) * SAMPLE_RATE)
        n_before = round(PATCHES.onset_s * SAMPLE_RATE)
        time_s = seconds_from_onset(n_samples - n_before)
        audio = self.sound(2.0 ** (semitones / 12.0), time_s) * attack(time_s[-1] - time_s, PATCHES.end_s)
        return torch.nn.functional.pad(PATCHES.peak * audio / audio.abs().max(), (n_before, 0)).float()


def draw_patch(family: str, seed: int) -> Patch:
    """A patch of a family, the same for the same seed.

    Raises:
        KeyError: There is no such family.
    """
    shortest, longest, draw = RECIPES[family]
    rng = np.random.default_rng([zlib.crc32(family.encode()), seed])
    seconds = round(rng.uniform(shortest, longest), 2)
    midi, sound = draw(rng)
    return Patch(family, seed, midi, seconds, sound)


def evaluation_patches(family: str, n: int) -> list[Patch]:
    """The first patches of a family that are measured with, and never trained with."""
    return [draw_patch(family, PATCHES.evaluation_seed + index) for index in range(n)]
