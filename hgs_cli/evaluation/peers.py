"""Other ways to play a recording at another pitch: copying, resampling, Rubber Band, Signalsmith Stretch, WORLD.

The only imports of pyworld and python_stretch.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgs_cli.audio.io import MODEL_SECONDS, read_audio, write_audio
from hgs_cli.audio.mel import resample
from hgs_cli.errors import InputError
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import SAMPLE_RATE

RESAMPLING = "resampling"
RUBBER_BAND_R3 = "Rubber Band R3"
SIGNALSMITH = "Signalsmith Stretch"
RUBBER_BAND = "rubberband"
USUAL_PEERS = (RUBBER_BAND_R3, RESAMPLING, SIGNALSMITH)
"""Beside whom sounds stand of which there are too many for all."""


@dataclass(frozen=True)
class PeerRules:
    """How programs are asked for a pitch."""

    rubber_band_major: int = 3  # the first with the R3 engine
    searched_semitones: float = 6.0  # WORLD looks for f0 this far around the recording's known note
    deepest_semitones: float = 26.0  # WORLD's frames are long enough for notes this far below the recording's


PEER = PeerRules()


Shift = Callable[[float], Tensor]
"""Takes semitones, gives the recording at that interval, (T',)."""


@dataclass(frozen=True)
class Peer:
    """One way to play a recording at another pitch."""

    name: str  # its row
    version: str  # of what does it; empty for our own code
    # takes a recording (T,) and its MIDI note, gives the function that shifts it
    open: Callable[[Tensor, float], Shift]
    while_it_lasts: bool = False  # compared only for as long as its output lasts; otherwise silence follows


@dataclass(frozen=True)
class Peers:
    """What can be compared here."""

    found: list[Peer]  # in the order of the table
    missing: dict[str, str]  # name → why it is not there

    @property
    def usual(self) -> Peers:
        """Those of USUAL_PEERS."""
        missing = {name: reason for name, reason in self.missing.items() if name in USUAL_PEERS}
        return Peers([peer for peer in self.found if peer.name in USUAL_PEERS], missing)

    @property
    def notes(self) -> list[str]:
        """Lines below a table: who made the rows, and who is missing."""
        made_by = dict.fromkeys(peer.version for peer in self.found if peer.version)
        lines = ["By " + ", ".join(made_by) + "."] if made_by else []
        return lines + [f"Not measured: {name} ({reason})." for name, reason in self.missing.items()]

    @property
    def figures(self) -> dict[str, Any]:
        """The same for programs."""
        return {"peers": {peer.name: peer.version for peer in self.found}, "missing_peers": self.missing}


def find_peers() -> Peers:
    """The peers that are installed, and those that are not."""
    found = [
        Peer("copy", "", lambda audio, midi: lambda semitones: audio),
        Peer(RESAMPLING, "", _open_resampling),
        Peer("resampling, while it lasts", "", _open_resampling, while_it_lasts=True),
    ]
    missing: dict[str, str] = {}
    program = find_rubber_band()
    for name, options in ((RUBBER_BAND_R3, ()), (f"{RUBBER_BAND_R3} -F", ("-F",))):
        if program.path is None:
            missing[name] = program.reason
        else:
            found.append(Peer(name, program.version, _rubber_band_opener(program.path, options)))
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        missing[SIGNALSMITH] = f"the package python-stretch cannot be imported: {error}"
    else:
        made_by = f"python-stretch {version('python-stretch')}"
        found.append(Peer(SIGNALSMITH, made_by, _signalsmith_opener(Signalsmith.Stretch)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyworld asks pkg_resources for its version, which warns of its own end
            import pyworld
    except ImportError as error:
        missing["WORLD"] = f"the package pyworld cannot be imported: {error}"
    else:
        found.append(Peer("WORLD", f"pyworld {pyworld.__version__}", _world_opener(pyworld)))
    return Peers(found, missing)


def play_faster(audio: Tensor, semitones: float) -> Tensor:
    """A recording (T,) played at another speed, as the plainest sampler does."""
    ratio = Fraction(2.0 ** (semitones / 12.0)).limit_denominator(150)  # within 0.1 cent
    return resample(audio[None], ratio.numerator, ratio.denominator)[0]


def _open_resampling(audio: Tensor, midi: float) -> Shift:
    return lambda semitones: play_faster(audio, semitones)


@dataclass(frozen=True)
class Program:
    """Another program."""

    path: Path | None  # where it is, None where it cannot be used
    version: str = ""  # with its name
    reason: str = ""  # why it cannot be used


def find_rubber_band() -> Program:
    """Rubber Band's command, if its engine R3 is there."""
    path = shutil.which(RUBBER_BAND)
    if path is None:
        return Program(None, reason=f"the program {RUBBER_BAND} is not installed")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    matched = re.search(r"(\d+)\.\d+(\.\d+)?", done.stdout + done.stderr)
    if matched is None or int(matched[1]) < PEER.rubber_band_major:
        return Program(None, reason=f"the program {RUBBER_BAND} is older than {PEER.rubber_band_major}.0")
    return Program(Path(path), f"{RUBBER_BAND} {matched[0]}")


def _rubber_band_opener(program: Path, options: tuple[str, ...]) -> Callable[[Tensor, float], Shift]:
    """Rubber Band's finer engine, the length kept."""

    def shift(audio: Tensor, semitones: float) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            source, result = Path(folder) / "source.wav", Path(folder) / "result.wav"
            write_audio(source, 0.5 * audio / audio.abs().max(), "FLOAT", 0)  # a level that no engine clips at
            command = [str(program), "--fine", *options, "--quiet", "--pitch", f"{semitones:.6f}"]
            command += [str(source), str(result)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise InputError(f"{RUBBER_BAND} failed: {said}", "update it, or remove it to measure without it")
            return read_audio(result, max_seconds=MODEL_SECONDS).audio

    return lambda audio, midi: lambda semitones: shift(audio, semitones)


def _signalsmith_opener(stretch: Callable[[int], Any]) -> Callable[[Tensor, float], Shift]:
    """Signalsmith Stretch with its full preset, the length kept; `stretch` takes a seed.

    What it returns stands where the recording stands: the package takes the latency off. But it fades in within its
    first block and out within its last, which are therefore silence around the recording.
    """

    def shift(audio: Tensor, semitones: float) -> Tensor:
        processor = stretch(0)
        processor.preset(1, float(SAMPLE_RATE))
        processor.setTransposeSemitones(semitones)
        margin = processor.blockSamples()
        padded = torch.nn.functional.pad(audio, (margin, margin))
        shifted = torch.from_numpy(processor.process(padded[None].numpy()))[0]
        return shifted[margin : margin + audio.shape[-1]]

    return lambda audio, midi: lambda semitones: shift(audio, semitones)


def _world_opener(pyworld: Any) -> Callable[[Tensor, float], Shift]:
    """WORLD's analysis of a recording, once, told where its f0 lies; f0 is scaled for each note.

    Source: Morise, Yokomori & Ozawa, WORLD (2016): Harvest, CheapTrick, D4C and its synthesis, as the package has them.
    """

    def open_sound(audio: Tensor, midi: float) -> Shift:
        samples = audio.double().numpy()
        floor_hz = midi_to_hz(midi - PEER.searched_semitones)
        ceiling_hz = midi_to_hz(midi + PEER.searched_semitones)
        f0_hz, times = pyworld.harvest(samples, SAMPLE_RATE, f0_floor=floor_hz, f0_ceil=ceiling_hz)
        # Its synthesis takes a note whose period exceeds the frame for noise.
        n_fft = pyworld.get_cheaptrick_fft_size(SAMPLE_RATE, midi_to_hz(midi - PEER.deepest_semitones))
        envelope = pyworld.cheaptrick(samples, f0_hz, times, SAMPLE_RATE, fft_size=n_fft)
        aperiodicity = pyworld.d4c(samples, f0_hz, times, SAMPLE_RATE, fft_size=n_fft)

        def shift(semitones: float) -> Tensor:
            scaled = f0_hz * 2.0 ** (semitones / 12.0)
            return torch.from_numpy(pyworld.synthesize(scaled, envelope, aperiodicity, SAMPLE_RATE)).float()

        return shift

    return open_sound
