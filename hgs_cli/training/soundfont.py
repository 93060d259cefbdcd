"""SoundFonts as training data: which presets there are, which samples they share, and their notes rendered."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgs_cli.errors import TrainingError
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

DEBIAN_SOUNDFONTS = (
    (Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), "fluid-soundfont-gm"),
    (Path("/usr/share/sounds/sf3/MuseScore_General_Full.sf3"), "musescore-general-soundfont"),
)
HELD_SAMPLES = 3 * SAMPLE_RATE
DRUM_BANK = 128
FIRST_EFFECT_PROGRAM = 119  # reverse cymbal, then the sound effects of General MIDI
# SoundFont 2.04, section 8.1.2: the generators that say what a zone plays, and where.
GEN_INSTRUMENT, GEN_KEY_RANGE, GEN_VELOCITY_RANGE, GEN_SAMPLE, GEN_ROOT_KEY = 41, 43, 44, 53, 58


@dataclass
class Preset:
    """A preset of a SoundFont."""

    # its MIDI address
    bank: int
    program: int
    name: str  # as the SoundFont spells it
    samples: set[int] = field(default_factory=set)  # indices of the samples that it plays
    # what plays which sample: lowest and highest key, lowest and highest velocity, sample
    zones: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    # keys that its zones answer to
    key_low: int = 127
    key_high: int = 0
    # lowest and highest pitch that was recorded for it
    root_low: int = 127
    root_high: int = 0

    @property
    def pitched(self) -> bool:
        """Whether it plays notes, by its place in General MIDI: no drum kit and no effect."""
        return self.bank != DRUM_BANK and self.program < FIRST_EFFECT_PROGRAM

    def sample_of(self, key: int, velocity: int) -> int:
        """The first of the samples that sound for a note: notes that share it are one recording at two speeds."""
        playing = [zone[4] for zone in self.zones if zone[0] <= key <= zone[1] and zone[2] <= velocity <= zone[3]]
        return min(playing, default=-1)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


def _zones(bags: memoryview, generators: memoryview, first: int, last: int) -> Iterator[dict[int, int]]:
    """Generators of the zones first … last - 1, by number."""
    for bag in range(first, last):
        start, end = (struct.unpack_from("<H", bags, 4 * index)[0] for index in (bag, bag + 1))
        yield dict(struct.unpack_from("<HH", generators, 4 * index) for index in range(start, end))


def read_presets(path: Path) -> list[Preset]:
    """Presets of a SoundFont (.sf2 or .sf3), from its preset data alone.

    Raises:
        TrainingError: When the file is no SoundFont.

    Source: SoundFont 2.04 specification, section 7.
    """
    data = memoryview(path.read_bytes())
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:12]) != b"sfbk":
        raise TrainingError(f"{path} is not a SoundFont", "name an .sf2 or .sf3 file")
    pdta = next((part[4:] for name, part in _chunks(data[12:]) if name == b"LIST" and bytes(part[:4]) == b"pdta"), None)
    if pdta is None:
        raise TrainingError(f"{path} has no presets", "name a complete SoundFont")
    table = dict(_chunks(pdta))
    roots = [table[b"shdr"][offset + 40] for offset in range(0, len(table[b"shdr"]) - 46, 46)]
    first_bags = [struct.unpack_from("<H", table[b"inst"], at + 20)[0] for at in range(0, len(table[b"inst"]), 22)]

    presets = []
    headers = [struct.unpack_from("<20sHHH", table[b"phdr"], at) for at in range(0, len(table[b"phdr"]), 38)]
    for header, following in pairwise(headers):
        name, program, bank, bag = header
        preset = Preset(bank, program, name.split(b"\0")[0].decode("latin-1").strip())
        for preset_zone in _zones(table[b"pbag"], table[b"pgen"], bag, following[3]):
            if GEN_INSTRUMENT not in preset_zone:
                continue
            low, high = preset_zone.get(GEN_KEY_RANGE, 127 << 8) & 255, preset_zone.get(GEN_KEY_RANGE, 127 << 8) >> 8
            index = preset_zone[GEN_INSTRUMENT]
            for zone in _zones(table[b"ibag"], table[b"igen"], first_bags[index], first_bags[index + 1]):
                if GEN_SAMPLE not in zone:
                    continue
                sample = zone[GEN_SAMPLE]
                keys = zone.get(GEN_KEY_RANGE, 127 << 8)
                spans = [part.get(GEN_VELOCITY_RANGE, 127 << 8) for part in (preset_zone, zone)]
                softest, loudest = max(span & 255 for span in spans), min(span >> 8 for span in spans)
                root = zone.get(GEN_ROOT_KEY, roots[sample])
                preset.samples.add(sample)
                zone_keys = max(low, keys & 255), min(high, keys >> 8)
                preset.zones.append((*zone_keys, softest, loudest, sample))
                preset.key_low = min(preset.key_low, max(low, keys & 255))
                preset.key_high = max(preset.key_high, min(high, keys >> 8))
                if root <= 127:
                    preset.root_low, preset.root_high = min(preset.root_low, root), max(preset.root_high, root)
        if preset.samples:
            presets.append(preset)
    return presets


class Renderer:
    """Notes of a SoundFont through FluidSynth, without reverb and chorus.

    Args:
        path: The SoundFont.

    Raises:
        TrainingError: When FluidSynth or its Python binding is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            import fluidsynth
        except ImportError as error:
            raise TrainingError(
                "FluidSynth cannot be loaded",
                "install the system package libfluidsynth3 and the extra: pip install 'hgs[train]'",
            ) from error
        self._synth: Any = fluidsynth.Synth(gain=0.7, samplerate=float(SAMPLE_RATE))
        self._synth.setting("synth.reverb.active", 0)
        self._synth.setting("synth.chorus.active", 0)
        self._synth.setting("synth.dynamic-sample-loading", 1)  # all of a compressed font take 8 s
        # The binding offers 16-bit samples only; quiet notes need the float ones.
        self._write = fluidsynth.cfunc(
            "fluid_synth_write_float",
            ctypes.c_int,
            ("synth", ctypes.c_void_p, 1),
            ("len", ctypes.c_int, 1),
            ("lbuf", ctypes.c_void_p, 1),
            ("loff", ctypes.c_int, 1),
            ("lincr", ctypes.c_int, 1),
            ("rbuf", ctypes.c_void_p, 1),
            ("roff", ctypes.c_int, 1),
            ("rincr", ctypes.c_int, 1),
        )
        self._soundfont = self._synth.sfload(str(path))
        if self._soundfont < 0:
            raise TrainingError(f"FluidSynth cannot read {path}", "check that the file is whole")

    def _samples(self, n_samples: int) -> NDArray[np.float32]:
        buffer = np.zeros((2, n_samples), np.float32)
        left, right = (row.ctypes.data_as(ctypes.c_void_p) for row in buffer)
        self._write(self._synth.synth, n_samples, left, 0, 1, right, 0, 1)
        return buffer.mean(0)

    def select(self, preset: Preset) -> None:
        """Play this preset from now on."""
        self._synth.program_select(0, self._soundfont, preset.bank, preset.program)

    def render(self, key: int, velocity: int) -> NDArray[np.float32]:
        """A note held for 3 s and released, (MODEL_SAMPLES,), mono at 44.1 kHz."""
        self._synth.all_sounds_off(0)
        self._samples(2048)
        self._synth.noteon(0, key, velocity)
        held = self._samples(HELD_SAMPLES)
        self._synth.noteoff(0, key)
        return np.concatenate([held, self._samples(MODEL_SAMPLES - HELD_SAMPLES)])

    def close(self) -> None:
        """Free the synthesiser."""
        self._synth.delete()
