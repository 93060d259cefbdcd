"""Notes of SoundFonts with a known pitch, which the source-pitch detector was not set with, and their odd sounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hgs_cli.evaluation.mixes import NamedSound
from hgs_cli.evaluation.odd_sounds import OddSound
from hgs_cli.evaluation.source_pitch import Sound
from hgs_cli.training.pitch_check import verify_pitch
from hgs_cli.training.soundfont import DEBIAN_SOUNDFONTS, DRUM_BANK, FIRST_EFFECT_PROGRAM, Renderer, read_presets

VELOCITY = 100
KEY_SHARES = (1 / 6, 1 / 2, 5 / 6)  # of a preset's range: low, middle, high
PIANO_KEYS = (21, 108)
KEYS_BESIDE_RECORDED = 2
GM_FAMILIES = (
    "piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass",
    "reed", "pipe", "synth lead", "synth pad", "synth effect", "folk", "percussive",
)  # fmt: skip
UNPITCHED_KEYS = (36, 37, 38, 39, 40, 42, 44, 46, 49, 51, 52, 54, 55, 57, 58, 59)
"""Keys of General MIDI's drum map: kicks, snares, hats, cymbals, claps, tambourine. Toms and bells have a pitch."""
DRUM_KEYS = range(35, 82)  # General MIDI's drum map
EFFECT_KEYS = range(60, 61)
NOTE_PROGRAMS = (4, 11, 24, 48, 61, 73, 81)
"""Electric piano, vibraphone, nylon guitar, strings, brass, flute and a saw wave."""
NOTE_KEY = 60


def rendered_sounds(soundfonts: Sequence[Path] = ()) -> Iterator[Sound]:
    """Three notes of every melodic preset of bank 0 and the unpitched keys of the standard drum kit.

    A note counts when it repeats at the period of its key, and no better at half of it (`verify_pitch`): presets that
    sound an octave or a fifth off are left out.

    Args:
        soundfonts: Files; those of Debian's packages that are there if empty.

    Raises:
        TrainingError: A file is no SoundFont, or FluidSynth is missing.
    """
    for path in soundfonts or [path for path, _ in DEBIAN_SOUNDFONTS if path.is_file()]:
        renderer = Renderer(path)
        try:
            for preset in read_presets(path):
                name = f"{path.stem} {preset.bank:03d}-{preset.program:03d} {preset.name}"
                renderer.select(preset)
                if preset.pitched and preset.bank == 0:
                    low = max(PIANO_KEYS[0], preset.key_low, preset.root_low - KEYS_BESIDE_RECORDED)
                    high = min(PIANO_KEYS[1], preset.key_high, preset.root_high + KEYS_BESIDE_RECORDED)
                    for key in sorted({round(low + share * (high - low)) for share in KEY_SHARES}):
                        audio = torch.from_numpy(renderer.render(key, VELOCITY))
                        midi = verify_pitch(audio, key)
                        if midi is not None:
                            yield Sound(f"{name} {key}", name, GM_FAMILIES[preset.program // 8], midi, audio)
                elif (preset.bank, preset.program) == (DRUM_BANK, 0):
                    for key in UNPITCHED_KEYS:
                        audio = torch.from_numpy(renderer.render(key, VELOCITY))
                        if float(audio.abs().max()) > 0.0:
                            yield Sound(f"{name} {key}", name, "drums", None, audio)
        finally:
            renderer.close()


def rendered_odd_sounds(soundfonts: Sequence[Path] = ()) -> Iterator[OddSound]:
    """The standard drum kit, every key, and the effects of General MIDI, of the first SoundFont.

    One font: the two of Debian share most of these samples, and a sound's double is no other sound.

    Args:
        soundfonts: Files; those of Debian's packages that are there if empty.

    Raises:
        TrainingError: A file is no SoundFont, or FluidSynth is missing.
    """
    for path in (soundfonts or [path for path, _ in DEBIAN_SOUNDFONTS if path.is_file()])[:1]:
        renderer = Renderer(path)
        try:
            for preset in read_presets(path):
                if (preset.bank, preset.program) == (DRUM_BANK, 0):
                    kind, keys = "rendered drums", DRUM_KEYS
                elif preset.bank == 0 and preset.program >= FIRST_EFFECT_PROGRAM:
                    kind, keys = "rendered effects", EFFECT_KEYS
                else:
                    continue
                renderer.select(preset)
                for key in keys:
                    audio = torch.from_numpy(renderer.render(key, VELOCITY))
                    if float(audio.abs().max()) > 0.0:
                        yield OddSound(f"{preset.name} {key}", kind, audio)
        finally:
            renderer.close()


def rendered_notes(soundfonts: Sequence[Path] = ()) -> list[NamedSound]:
    """One note of some presets of the first SoundFont, as far apart as their families are.

    Args:
        soundfonts: Files; those of Debian's packages that are there if empty.

    Raises:
        TrainingError: A file is no SoundFont, or FluidSynth is missing.
    """
    sounds = []
    for path in (soundfonts or [path for path, _ in DEBIAN_SOUNDFONTS if path.is_file()])[:1]:
        renderer = Renderer(path)
        try:
            for preset in read_presets(path):
                if preset.bank == 0 and preset.program in NOTE_PROGRAMS:
                    renderer.select(preset)
                    audio = torch.from_numpy(renderer.render(NOTE_KEY, VELOCITY))
                    sounds.append(NamedSound(preset.name, "rendered notes", float(NOTE_KEY), audio))
        finally:
            renderer.close()
    return sounds
