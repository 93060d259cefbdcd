"""Families of made sounds: how long a patch of each is, and what draws its pitch and how it sounds at any key."""

from __future__ import annotations

from collections.abc import Callable

from hgs_cli.evaluation import known_truth_held as held
from hgs_cli.evaluation import known_truth_noise as noise
from hgs_cli.evaluation import known_truth_struck as struck
from hgs_cli.evaluation.known_truth_draws import Random, Sound

RECIPES: dict[str, tuple[float, float, Callable[[Random], tuple[float, Sound]]]] = {
    "chord": (1.5, 4.0, held.chord),
    "stacked intervals": (1.5, 4.0, held.stacked_intervals),
    "detuned stack": (1.5, 4.0, held.detuned_stack),
    "bell": (2.0, 4.0, struck.bell),
    "bar": (1.5, 3.0, struck.bar),
    "plate": (2.0, 4.0, struck.plate),
    "membrane": (1.5, 2.5, struck.membrane),
    "harmonic FM": (1.5, 4.0, held.harmonic_fm),
    "inharmonic FM": (1.5, 4.0, held.inharmonic_fm),
    "ring modulation": (1.5, 4.0, held.ring_modulation),
    "kick": (1.5, 2.0, struck.kick),
    "tom": (1.5, 2.0, struck.tom),
    "cowbell": (1.5, 2.0, struck.cowbell),
    "snare": (1.5, 2.0, struck.snare),
    "hat": (1.5, 2.0, struck.hat),
    "two notes": (1.5, 3.0, held.two_notes),
    "filter sweep": (1.5, 4.0, held.filter_sweep),
    "vowel": (1.5, 4.0, held.vowel),
    "ensemble": (1.5, 4.0, held.ensemble),
    "swept noise": (1.5, 3.0, noise.swept_noise),
    "band noise": (1.5, 3.0, noise.band_noise),
}
"""Family → least and most seconds, and what draws its pitch and its sound."""
