"""Notes of SoundFonts with a known pitch, which the source-pitch detector was not set with, and their odd sounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hgs_cli.evaluation.mixes import NamedSound
from hgs_cli.evaluation.odd_sounds import OddSound
from hgs_cli.evaluation.source_pitch import Sound
from hgs_cli.training.pitch_check import verify_pitch
from hgs_cli.training.soundfont import (
    DEBIAN_SOUNDFONTS,
    DRUM_BANK,
    FIRST_EFFECT_PROGRAM,
    Preset,
    Renderer,
    read_presets,
)


@dataclass(frozen=True)
class RenderedRules:
    """Which notes of SoundFonts are rendered."""

    velocity: int = 100  # of all of them
    key_shares: tuple[float, ...] = (1 / 6, 1 / 2, 5 / 6)  # of a preset's range: low, middle, high
    piano_keys: tuple[int, int] = (21, 108)  # the lowest and the highest that a preset is asked for
    keys_beside_recorded: int = 2  # beyond a recorded key, at most: further out samples are stretched
    # of General MIDI's drum map: kicks, snares, hats, cymbals, claps, tambourine. Toms and bells have a pitch
    unpitched_keys: tuple[int, ...] = (36, 37, 38, 39, 40, 42, 44, 46, 49, 51, 52, 54, 55, 57, 58, 59)
    drum_keys: range = range(35, 82)  # General MIDI's drum map
    effect_keys: range = range(60, 61)  # at which effects are heard
    # electric piano, vibraphone, nylon guitar, strings, brass, flute and a saw wave
    note_programs: tuple[int, ...] = (4, 11, 24, 48, 61, 73, 81)
    note_key: int = 60  # at which those are heard


RENDERED = RenderedRules()


GM_FAMILIES = (
    "piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass",
    "reed", "pipe", "synth lead", "synth pad", "synth effect", "folk", "percussive",
)  # fmt: skip


def rendered_sounds() -> Iterator[Sound]:
    """Three notes of every melodic preset of bank 0 and the unpitched keys of the standard drum kit, where fonts are.

    A note counts when it repeats at the period of its key, and no better at half of it (`verify_pitch`): presets that
    sound an octave or a fifth off are left out.

    Raises:
        TrainingError: FluidSynth is missing.
    """
    for path, preset, renderer in _presets(_installed()):
        name = f"{path.stem} {preset.bank:03d}-{preset.program:03d} {preset.name}"
        if preset.pitched and preset.bank == 0:
            low = max(RENDERED.piano_keys[0], preset.key_low, preset.root_low - RENDERED.keys_beside_recorded)
            high = min(RENDERED.piano_keys[1], preset.key_high, preset.root_high + RENDERED.keys_beside_recorded)
            keys = sorted({round(low + share * (high - low)) for share in RENDERED.key_shares})
            for key, audio in _notes(renderer, preset, keys):
                midi = verify_pitch(audio, key)
                if midi is not None:
                    yield Sound(f"{name} {key}", name, GM_FAMILIES[preset.program // 8], midi, audio)
        elif (preset.bank, preset.program) == (DRUM_BANK, 0):
            for key, audio in _notes(renderer, preset, RENDERED.unpitched_keys):
                if float(audio.abs().max()) > 0.0:
                    yield Sound(f"{name} {key}", name, "drums", None, audio)


def rendered_odd_sounds() -> Iterator[OddSound]:
    """The standard drum kit, every key, and the effects of General MIDI, of the first SoundFont.

    One font: the two of Debian share most of these samples, and a sound's double is no other sound.

    Raises:
        TrainingError: FluidSynth is missing.
    """
    for _, preset, renderer in _presets(_installed()[:1]):
        if (preset.bank, preset.program) == (DRUM_BANK, 0):
            kind, keys = "rendered drums", RENDERED.drum_keys
        elif preset.bank == 0 and preset.program >= FIRST_EFFECT_PROGRAM:
            kind, keys = "rendered effects", RENDERED.effect_keys
        else:
            continue
        for key, audio in _notes(renderer, preset, keys):
            if float(audio.abs().max()) > 0.0:
                yield OddSound(f"{preset.name} {key}", kind, audio)


def rendered_notes() -> list[NamedSound]:
    """One note of some presets of the first SoundFont, as far apart as their families are.

    Raises:
        TrainingError: FluidSynth is missing.
    """
    return [
        NamedSound(preset.name, "rendered notes", float(key), audio)
        for _, preset, renderer in _presets(_installed()[:1])
        if preset.bank == 0 and preset.program in RENDERED.note_programs
        for key, audio in _notes(renderer, preset, [RENDERED.note_key])
    ]


def _installed() -> list[Path]:
    """The SoundFonts of Debian's packages that are there."""
    return [path for path, _ in DEBIAN_SOUNDFONTS if path.is_file()]


def _presets(fonts: Sequence[Path]) -> Iterator[tuple[Path, Preset, Renderer]]:
    """Every preset of some SoundFonts, with what plays them."""
    for path in fonts:
        with closing(Renderer(path)) as renderer:
            for preset in read_presets(path):
                yield path, preset, renderer


def _notes(renderer: Renderer, preset: Preset, keys: Iterable[int]) -> Iterator[tuple[int, Tensor]]:
    """Keys of a preset, and how each sounds, (T,)."""
    renderer.select(preset)
    for key in keys:
        yield key, torch.from_numpy(renderer.render(key, RENDERED.velocity))
