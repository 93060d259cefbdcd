"""Pitch trackers of other libraries, each brought to one note for a recording in the same way."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hgs_cli.audio.mel import resample
from hgs_cli.audio.source_pitch import SEARCH
from hgs_cli.pitch import hz_to_midi
from hgs_cli.spectrum import SAMPLE_RATE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrackerRules:
    """How other trackers are asked."""

    hop_s: float = 0.01  # between two of their frames
    # its lowest class is 31.7 Hz; a search from below that wraps round and finds nothing
    crepe_lowest_hz: float = 32.0
    voiced_share: float = 0.5  # of a recording's amplitude, over time: less, and it counts as unpitched


TRACKER = TrackerRules()


@dataclass(frozen=True)
class Track:
    """The pitch of a recording over time."""

    f0_hz: Floats  # frequency of each frame; only where it is voiced does it count
    voiced: NDArray[np.bool_]  # whether the tracker hears a pitch in the frame
    hop_s: float  # time from one frame to the next; frame 0 is at 0 s


@dataclass(frozen=True)
class Tracker:
    """A tracker of another library."""

    package: str  # what Python imports
    track: Callable[[Any, Tensor], Track]  # module of the package and mono sound at 44.1 kHz, (T,), to its track

    def installed(self) -> bool:
        """Whether the package is there; it is not imported."""
        return importlib.util.find_spec(self.package) is not None

    def note(self, audio: Tensor) -> float | None:
        """MIDI note of a recording, mono at 44.1 kHz, (T,); None for an unpitched one."""
        return summarize(self.track(importlib.import_module(self.package), audio), audio)


def summarize(track: Track, audio: Tensor) -> float | None:
    """One MIDI note for a track: the median of its voiced frames, weighted with the amplitude of the sound there.

    Returns:
        The note; None where frames with less than TRACKER.voiced_share of the amplitude are voiced.
    """
    half = SAMPLE_RATE // 50
    energy = torch.nn.functional.pad(audio.double().square().cumsum(0), (1, 0)).numpy()
    centre = np.round(np.arange(len(track.f0_hz)) * track.hop_s * SAMPLE_RATE).astype(int)
    low, high = (np.clip(centre + side, 0, len(audio)) for side in (-half, half))
    weight = np.sqrt(np.maximum(0.0, energy[high] - energy[low]))
    heard = track.voiced & np.isfinite(track.f0_hz) & (track.f0_hz > 0.0)
    if weight[heard].sum() < TRACKER.voiced_share * weight.sum() or not weight[heard].sum() > 0.0:
        return None
    f0_hz, weight = track.f0_hz[heard], weight[heard]
    order = np.argsort(f0_hz)
    middle = int(np.searchsorted(weight[order].cumsum(), 0.5 * weight.sum()))
    return hz_to_midi(float(f0_hz[order][min(middle, len(order) - 1)]))


def _at(audio: Tensor, rate_hz: int) -> NDArray[np.float32]:
    return resample(audio[None], SAMPLE_RATE, rate_hz)[0].numpy()


def _pyin(librosa: Any, audio: Tensor) -> Track:
    f0_hz, voiced, _ = librosa.pyin(
        _at(audio, 22_050), fmin=SEARCH.lowest_hz, fmax=SEARCH.highest_hz, sr=22_050, frame_length=4096, hop_length=512
    )
    return Track(f0_hz, voiced, 512 / 22_050)


def _yin(librosa: Any, audio: Tensor) -> Track:
    f0_hz = librosa.yin(
        _at(audio, 22_050), fmin=SEARCH.lowest_hz, fmax=SEARCH.highest_hz, sr=22_050, frame_length=4096, hop_length=512
    )
    return Track(f0_hz, np.ones(len(f0_hz), bool), 512 / 22_050)  # it knows no unvoiced frames


def _harvest(pyworld: Any, audio: Tensor) -> Track:
    # it works at 8 kHz inside, so that it cannot search as high as the others
    f0_hz, _ = pyworld.harvest(
        audio.double().numpy(), SAMPLE_RATE, f0_floor=SEARCH.lowest_hz, f0_ceil=3500.0, frame_period=10
    )
    return Track(f0_hz, f0_hz > 0.0, TRACKER.hop_s)


def _dio(pyworld: Any, audio: Tensor) -> Track:
    samples = audio.double().numpy()
    coarse, time_s = pyworld.dio(
        samples, SAMPLE_RATE, f0_floor=SEARCH.lowest_hz, f0_ceil=SEARCH.highest_hz, frame_period=10
    )
    f0_hz = pyworld.stonemask(samples, coarse, time_s, SAMPLE_RATE)
    return Track(f0_hz, f0_hz > 0.0, TRACKER.hop_s)


def _praat(parselmouth: Any, audio: Tensor) -> Track:
    sound = parselmouth.Sound(audio.double().numpy(), SAMPLE_RATE)
    pitch = sound.to_pitch_ac(time_step=TRACKER.hop_s, pitch_floor=SEARCH.lowest_hz, pitch_ceiling=SEARCH.highest_hz)
    f0_hz = pitch.selected_array["frequency"]
    before = round(pitch.get_time_from_frame_number(1) / TRACKER.hop_s)  # its first frame starts where a window fits
    f0_hz = np.concatenate([np.zeros(before), f0_hz])
    return Track(f0_hz, f0_hz > 0.0, TRACKER.hop_s)


def _aubio(aubio: Any, audio: Tensor) -> Track:
    detector = aubio.pitch("yinfft", 4096, 512, SAMPLE_RATE)
    padded = torch.nn.functional.pad(audio, (0, 2048 + (-len(audio)) % 512)).numpy()
    f0_hz = np.array([float(detector(padded[at : at + 512])[0]) for at in range(0, len(padded) - 511, 512)])
    f0_hz = f0_hz[2048 // 512 :]  # a frame is known half a window late
    return Track(f0_hz, (f0_hz >= SEARCH.lowest_hz) & (f0_hz <= SEARCH.highest_hz), 512 / SAMPLE_RATE)


def _crepe(torchcrepe: Any, audio: Tensor) -> Track:
    samples = torch.from_numpy(_at(audio, 16_000))[None]
    f0_hz, periodicity = torchcrepe.predict(
        samples, 16_000, 160, fmin=TRACKER.crepe_lowest_hz, model="tiny", batch_size=512, return_periodicity=True
    )
    # the threshold that its documentation gives
    return Track(f0_hz[0].double().numpy(), periodicity[0].numpy() >= 0.21, TRACKER.hop_s)


def _pesto(pesto: Any, audio: Tensor) -> Track:
    _, f0_hz, confidence, _ = pesto.predict(audio, SAMPLE_RATE, step_size=1000.0 * TRACKER.hop_s)
    return Track(f0_hz.double().numpy(), confidence.numpy() >= 0.5, TRACKER.hop_s)


def _swift_f0(swift_f0: Any, audio: Tensor) -> Track:
    found = swift_f0.SwiftF0().detect(_at(audio, 16_000), 16_000)
    return Track(found.pitch_hz, found.confidence >= 0.5, 256 / 16_000)


TRACKERS: dict[str, Tracker] = {
    "librosa.yin": Tracker("librosa", _yin),
    "librosa.pyin": Tracker("librosa", _pyin),
    "pyworld.dio": Tracker("pyworld", _dio),
    "pyworld.harvest": Tracker("pyworld", _harvest),
    "praat": Tracker("parselmouth", _praat),
    "aubio.yinfft": Tracker("aubio", _aubio),
    "torchcrepe-tiny": Tracker("torchcrepe", _crepe),
    "pesto": Tracker("pesto", _pesto),
    "swift-f0": Tracker("swift_f0", _swift_f0),
}
"""Searched from SEARCH.lowest_hz to SEARCH.highest_hz as far as each allows, with its own rule for what is voiced."""
