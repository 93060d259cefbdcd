"""Independent programs that play and read what hgs writes, and what is heard of them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hgs_cli.audio.loop import Loop
from hgs_cli.export.zones import Sample

RATE = 44_100
TICKS_PER_S = 1000


def needs(program: str, package: str) -> str:
    """Path of a program; skips the test where it is absent."""
    found = shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return found


def run(*command: str | Path) -> str:
    """What a program printed."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def read_chunk(path: Path, name: bytes) -> bytes | None:
    """Data of a WAV or AIFF file's first chunk of a name; None if there is none."""
    data = path.read_bytes()
    order, position = "<" if data[:4] == b"RIFF" else ">", 12
    while position + 8 <= len(data):
        found, length = struct.unpack_from(f"{order}4sI", data, position)
        if found == name:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return None


def looped_sine(
    folder: Path, pitch: float, layer: int = 0, level: float = 0.5, channels: int = 1, rate: int = RATE
) -> Sample:
    """A sine in a file, near a pitch, that a whole number of samples loops exactly."""
    # Of about 50 ms, so that a held note goes through it many times.
    wanted_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    periods = max(1, round(wanted_hz / 20.0))
    length = round(periods * rate / wanted_hz)
    f0_hz = periods * rate / length
    n_frames = length + 200
    time = np.arange(n_frames) / rate
    audio = np.stack([level / (side + 1) * np.sin(2 * np.pi * f0_hz * time) for side in range(channels)], 1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sine {pitch:.2f} ü {layer}.wav"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    midi = 69.0 + 12.0 * np.log2(f0_hz / 440.0)
    return Sample(path, float(midi), layer, n_frames, rate, channels, Loop(150, 150 + length))


def play(soundfont: Path, notes: Sequence[tuple[float, float, int, int]], seconds: float) -> np.ndarray:
    """What FluidSynth plays: (T, 2) at RATE.

    Args:
        soundfont: Preset 0 of it.
        notes: Start and end in seconds, key and velocity.
        seconds: To the end.
    """
    fluidsynth = needs("fluidsynth", "fluidsynth")
    events = []
    for start, end, key, velocity in notes:
        events += [(start, bytes([0x90, key, velocity])), (end, bytes([0x80, key, 0]))]
    track, now = b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big"), 0  # a beat is a second
    for time, message in [*sorted(events), (seconds, b"\xff\x2f\x00")]:
        ticks = round(time * TICKS_PER_S)
        track += _variable_length(ticks - now) + message
        now = ticks
    midi, rendered = soundfont.with_suffix(".mid"), soundfont.with_suffix(".rendered.wav")
    header = struct.pack(">4sI3H", b"MThd", 6, 0, 1, TICKS_PER_S)
    midi.write_bytes(header + struct.pack(">4sI", b"MTrk", len(track)) + track)
    run(
        fluidsynth,
        "-ni",
        "-R",
        "0",
        "-C",
        "0",
        "-g",
        "1",
        "-r",
        str(RATE),
        "-O",
        "float",
        "-F",
        rendered,
        soundfont,
        midi,
    )
    audio, rate = soundfile.read(rendered, always_2d=True)
    assert rate == RATE
    return np.asarray(audio)


def _variable_length(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def cents_off(audio: np.ndarray, pitch: float) -> float:
    """How far a sine (T,) sounds above a MIDI pitch that it is near to, in cents; exact even for a few periods."""
    distance, cosine, _ = _predicted(audio, pitch)
    return float(1200.0 * np.log2(np.arccos(cosine) / distance / _angle(pitch)))


def beside_sine_db(audio: np.ndarray, pitch: float) -> float:
    """The highest peak of what is not a sine near a MIDI pitch in a sound (T,), against its own: clicks show here."""
    _, _, rest = _predicted(audio, pitch)
    return peak_db(rest) - peak_db(audio)


def _predicted(audio: np.ndarray, pitch: float) -> tuple[int, float, np.ndarray]:
    """Samples of a sine of w, d apart, obey x[n + d] + x[n - d] = 2 cos(w d) x[n]: d, cos(w d) and what does not."""
    d = max(1, round(np.pi / 2 / _angle(pitch)))
    middle, around = audio[d:-d], audio[2 * d :] + audio[: -2 * d]
    cosine = float(np.clip(middle @ around / (2 * middle @ middle), -1, 1))
    return d, cosine, around - 2 * cosine * middle


def _angle(pitch: float) -> float:
    return float(2 * np.pi * 440.0 * 2.0 ** ((pitch - 69.0) / 12.0) / RATE)


def peak_db(audio: np.ndarray) -> float:
    """Highest peak of a sound."""
    return float(20 * np.log10(np.abs(audio).max() + 1e-12))


def between(audio: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """A stretch of the first channel, (T,)."""
    stretch: np.ndarray = audio[round(start_s * RATE) : round(end_s * RATE), 0]
    return stretch
