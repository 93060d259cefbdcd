"""Inversion: what `invert` makes of a sound and `render` and `mix` read; its file format, .hgs.

An .hgs file is safetensors with one JSON header. Most tensors are kept in half precision, and an inversion is rounded
to what its file holds as soon as it is made: rendering the file and rendering the sound are the same to the last bit.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hgs_cli.audio.flac import decode_flac, encode_flac
from hgs_cli.audio.io import FILES, MAX_SECONDS, MIN_SAMPLES
from hgs_cli.checked import AnyPath, as_path
from hgs_cli.errors import InputError
from hgs_cli.files.atomic import write_whole
from hgs_cli.files.safetensors_header import StoredTensor, check_file, read_stored
from hgs_cli.models.detail_transfer import Detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, N_MELS, SAMPLE_RATE

FORMAT = "hgs-inversion"
FORMAT_VERSION = 3
READ_VERSIONS = (1, 2, 3)  # 1 and 2 hold no recording: tone and noise are drawn for all of it
SUFFIX = ".hgs"
MAX_BYTES = 256 * 2**20  # ten minutes of stereo noise in 24 bits are 160 MB
MAX_PASSES = 64
MAX_TEXT = 1000

_REMAKE = "make it again with hgs invert"
_SHAPES = dict.fromkeys(
    ("mel", "first.harmonic", "first.noise_part", "detail.harmonic", "detail.noise_part"), (N_MELS, N_FRAMES)
)
_FACTS = (
    "passes", "source_pitch", "length_samples", "input_gain_db", "reference_lufs", "reference_peak_db",
    "weights_sha256",
)  # fmt: skip
_LATER_FACTS = ("stands_at", "harmonic_share", "trust", "cropped", "heard", "kind")  # since format 3
_FORMER = ("detail.attack", "detail.phases", "detail.stretch", "detail.remainder", "side")  # of formats 1 and 2
# What no sound comes near, and from which finite notes can be made; see `Inversion.impossible`.
_MAX_OF = {
    "feature": 2.0,  # its parts are of unit length
    "cents": 200.0,
    "mel": 1.5,
    "harmonic": 50.0,  # a G that was never asked for such a note gives -15 now and then, and its residual 14
    "noise_part": 50.0,
    "offsets": 1000.0,
    "recording": FILES.loudest,
}
MAX_DB = 300.0  # of gains and levels
_FULL_PRECISION = ("feature", "cents")  # small, and the networks or the ear are sensitive to them
RECORDING_BITS = 24


@dataclass(frozen=True)
class Inversion:
    """One sound as an instrument.

    Attributes:
        feature: h, (h_dim,).
        offsets: Δ by layer name, each of batch 1; empty if no pass of H was made.
        passes: How many passes of H made them.
        source_pitch: The sound's MIDI note number, cents included; None for an unpitched sound.
        pitch_contour_cents: How its pitch moves around that, every HOP_LENGTH samples, (n,), at least N_FRAMES.
        mel: Log-mel x of the sound, (N_MELS, N_FRAMES).
        source_envelopes: G's at the source pitch, which `detail` is measured against, each (N_MELS, N_FRAMES).
        detail: What G could not say of the sound.
        length_samples: Length of the sound at SAMPLE_RATE.
        input_gain_db: What the sound was raised by before it was analysed.
        reference_lufs: Median loudness of the reference notes, before any gain.
        reference_peak_db: Their peak, in dB of full scale, before any gain.
        weights_sha256: Checksum of the bundle that made it.
        recording: The sound itself, (1, T), or its channels, (2, T); None in files of formats 1 and 2.
        mono_weights: Of the channels in what the networks heard, (C,).
        stands_at: MIDI note that the recording is: the source pitch, or an unpitched sound's strongest mode.
        harmonic_share: Share of its energy on the harmonics of its pitch, 0 … 1; None for what is no single note.
        trust: How far the networks' word for it is believed at other pitches, 0 … 1.
        cropped: Whether the sound goes on behind what was read of it.
        heard: What was heard, in words.
        kind: Likewise, in one of a few words.
    """

    feature: Tensor
    offsets: dict[str, Tensor]
    passes: int
    source_pitch: float | None
    pitch_contour_cents: Tensor
    mel: Tensor
    source_envelopes: Envelopes
    detail: Detail
    length_samples: int
    input_gain_db: float
    reference_lufs: float
    reference_peak_db: float
    weights_sha256: str
    recording: Tensor | None = None
    mono_weights: Tensor | None = None
    stands_at: float = 60.0
    harmonic_share: float | None = None
    trust: float = 1.0
    cropped: bool = False
    heard: str = ""
    kind: str = ""

    def rounded(self) -> Inversion:
        """The same, rounded to what its file holds."""
        recording = None if self.recording is None else rounded_recording(self.recording)
        return _assemble(_header(self), {name: value.float() for name, value in _tensors(self).items()}, recording)

    def save(self, path: AnyPath) -> None:
        """Write the .hgs file whole, in the place of any file of that name.

        Raises:
            OutputError: It cannot be written.
            UsageError: The path is none.
        """
        write_whole(as_path(path, "a file"), self.write)

    def write(self, path: Path) -> None:
        """Write the .hgs file in place; `files.atomic.OutputSet` gives the path of a file put aside."""
        tensors = _tensors(self)
        if self.recording is not None:
            whole = (self.recording * 2.0 ** -_exponent(self.recording)).T.numpy()
            packed = np.frombuffer(encode_flac(whole, SAMPLE_RATE, RECORDING_BITS), dtype=np.uint8)
            tensors["recording"] = torch.from_numpy(packed.copy())
        # Not save_file, whose errors are no OSError: a full disk would look like a bug.
        path.write_bytes(save(tensors, metadata={"hgs": json.dumps(_header(self))}))

    @classmethod
    def load(cls, path: AnyPath) -> Inversion:
        """Read an .hgs file and check it: format, names, shapes, finite values, size.

        Raises:
            InputError: It is missing, not an inversion, damaged, or of a version that this hgs does not read.
            UsageError: The path is none.
        """
        path = as_path(path, "a file")
        check_file(path, "give an .hgs file")
        try:
            stored = read_stored(path, MAX_BYTES)
            _check_header(path, stored.facts)
            _check_shapes(path, stored.tensors)
            if "recording" not in stored.tensors and stored.facts["length_samples"] > MODEL_SAMPLES:
                raise ValueError("longer than what can be drawn")
            with safe_open(path, framework="pt") as file:
                kept = [name for name in stored.tensors if name not in (*_FORMER, "recording")]
                # Copies: the file's own memory would change when another instrument is saved in its place.
                tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in kept}
                recording = _unpacked(stored.facts, file) if "recording" in stored.tensors else None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not an inversion of hgs", _REMAKE) from error
        inversion = _assemble(stored.facts, tensors, recording)
        wrong = inversion.impossible()
        if wrong is not None:
            raise InputError(f"{path} is damaged: {wrong} holds values that no sound has", _REMAKE)
        return inversion

    def impossible(self) -> str | None:
        """Name of a tensor that holds values no sound gives: not finite, or so large that a note would not be."""
        recording = {} if self.recording is None else {"recording": self.recording}
        for name, tensor in (_named(self) | recording).items():
            most = _MAX_OF["offsets" if name.startswith("offsets.") else name.split(".")[-1]]
            if tensor.numel() and not float(tensor.abs().max()) <= most:  # NaN is not less than anything
                return name
        return None


def _exponent(recording: Tensor) -> int:
    """The power of two by which a recording is divided to be within full scale; 0 for nearly all."""
    return max(0, math.ceil(math.log2(max(float(recording.abs().max()), 1e-9))))


def rounded_recording(recording: Tensor) -> Tensor:
    """A recording (C, T) as a file holds it: files of up to 24 bits as they are."""
    steps = 2.0 ** (RECORDING_BITS - 1 - _exponent(recording))
    whole = (recording.double() * steps).round()
    return (whole / steps).float()  # 24 bits are exact in single precision


def _unpacked(header: dict[str, Any], file: Any) -> Tensor:
    """The recording of a file, (C, T).

    Raises:
        ValueError: It is not one, or not as long as the header says.
    """
    exponent, channels = header["recording_exponent"], header["channels"]
    if type(exponent) is not int or not 0 <= exponent <= 40 or channels not in (1, 2):
        raise ValueError(exponent)
    samples = decode_flac(
        file.get_tensor("recording").numpy().tobytes(), channels, header["length_samples"], SAMPLE_RATE
    )
    return torch.from_numpy(samples.T.copy()) * 2.0**exponent


def _header(inversion: Inversion) -> dict[str, Any]:
    """What is no tensor; every number here survives JSON exactly."""
    recording, weights = inversion.recording, inversion.mono_weights
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **{name: getattr(inversion, name) for name in _FACTS},
        "recording_exponent": 0 if recording is None else _exponent(recording),
        "channels": 1 if recording is None else len(recording),
        "mono_weights": None if weights is None else weights.tolist(),
        **{name: getattr(inversion, name) for name in _LATER_FACTS},
    }


def _named(inversion: Inversion) -> dict[str, Tensor]:
    """Every tensor under its name in the file."""
    tensors = {"feature": inversion.feature, "cents": inversion.pitch_contour_cents, "mel": inversion.mel}
    for part, held in (("first", inversion.source_envelopes), ("detail", inversion.detail)):
        tensors |= {f"{part}.{field.name}": getattr(held, field.name) for field in fields(held)}
    tensors |= {f"offsets.{name}": value for name, value in inversion.offsets.items()}
    return {name: value for name, value in tensors.items() if value is not None}


def _tensors(inversion: Inversion) -> dict[str, Tensor]:
    """Every tensor under its name in the file, in the precision of the file."""
    return {
        name: (value.float() if name in _FULL_PRECISION else value.half()).cpu().contiguous().clone()
        for name, value in _named(inversion).items()
    }


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor], recording: Tensor | None) -> Inversion:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    facts = {name: header[name] for name in _FACTS}
    if header["source_pitch"] is not None:
        facts["stands_at"] = header["source_pitch"]
    facts["cropped"] = header["length_samples"] == MODEL_SAMPLES  # of formats 1 and 2, which do not say
    facts |= {name: header[name] for name in _LATER_FACTS if name in header}
    weights = header.get("mono_weights")
    return Inversion(
        feature=tensors["feature"],
        offsets=part("offsets."),
        pitch_contour_cents=tensors["cents"],
        mel=tensors["mel"],
        source_envelopes=Envelopes(**part("first.")),
        detail=Detail(**part("detail.")),
        recording=recording,
        mono_weights=None if weights is None else torch.tensor(weights),
        **facts,
    )


def _check_header(path: Path, header: dict[str, Any]) -> None:
    """Raise InputError for another format version, ValueError or KeyError for what is not as `_header` says."""
    if header["format"] != FORMAT:
        raise ValueError(header["format"])
    if type(header["format_version"]) is not int:
        raise ValueError(header["format_version"])
    if header["format_version"] not in READ_VERSIONS:
        raise InputError(
            f"{path} has inversion format {header['format_version']}; this hgs reads up to {FORMAT_VERSION}", _REMAKE
        )
    numbers = ("input_gain_db", "reference_lufs", "reference_peak_db")
    pitch = header["source_pitch"]
    for value in [header[name] for name in numbers] + ([] if pitch is None else [pitch]):
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > MAX_DB:
            raise ValueError(value)
    if pitch is not None and not 0.0 <= pitch <= 127.0:
        raise ValueError(pitch)
    longest = MODEL_SAMPLES if header["format_version"] < 3 else round(MAX_SECONDS * SAMPLE_RATE)
    for name, least, most in (("length_samples", MIN_SAMPLES, longest), ("passes", 0, MAX_PASSES)):
        if type(header[name]) is not int or not least <= header[name] <= most:
            raise ValueError(name)
    texts = ("weights_sha256", "heard", "kind") if header["format_version"] >= 3 else ("weights_sha256",)
    if not all(isinstance(header[name], str) and len(header[name]) <= MAX_TEXT for name in texts):
        raise ValueError("weights_sha256")
    if header["format_version"] >= 3:
        _check_recording(header)


def _check_recording(header: dict[str, Any]) -> None:
    """Raise ValueError for what is not as `_header` says of the recording."""
    for name, most in (("stands_at", 127.0), ("trust", 1.0), ("harmonic_share", 1.0)):
        value = header[name]
        if name == "harmonic_share" and value is None:
            continue
        if type(value) not in (int, float) or not 0.0 <= value <= most:
            raise ValueError(name)
    if type(header["cropped"]) is not bool or header["channels"] not in (1, 2):
        raise ValueError("channels")
    weights = header["mono_weights"]
    if weights is None and header["channels"] == 1:
        return
    if not isinstance(weights, list) or len(weights) != header["channels"]:
        raise ValueError("mono_weights")
    if not all(type(weight) in (int, float) and 0.0 <= weight <= 1.0 for weight in weights):
        raise ValueError("mono_weights")


def _check_shapes(path: Path, tensors: dict[str, StoredTensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name, wanted in _SHAPES.items():
        if shapes.get(name) != wanted:
            raise InputError(f"{path} is damaged: {name} is missing or of the wrong shape", _REMAKE)
    if len(shapes.get("feature", ())) != 1:
        raise InputError(f"{path} is damaged: feature is missing or of the wrong shape", _REMAKE)
    if len(shapes.get("cents", ())) != 1 or shapes["cents"][0] < N_FRAMES:
        raise InputError(f"{path} is damaged: cents is missing or of the wrong shape", _REMAKE)
    for name, shape in shapes.items():
        known = name in ("feature", "cents", *_SHAPES, *_FORMER) or name.startswith("offsets.")
        if not known and not (name == "recording" and len(shape) == 1):
            raise InputError(f"{path} is damaged: {name} is unknown or of the wrong shape", _REMAKE)
