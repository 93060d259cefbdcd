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

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hgs_cli.audio.io import MIN_SAMPLES
from hgs_cli.errors import InputError
from hgs_cli.inputs import StoredTensor, check_file, read_stored
from hgs_cli.models.detail import N_PHASES, Detail
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.vocoder import GAIN_STEP_SAMPLES
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, N_MELS

FORMAT = "hgs-inversion"
FORMAT_VERSION = 2
READ_VERSIONS = (1, 2)  # 1 knew neither stretch nor remainder
SUFFIX = ".hgs"
MAX_BYTES = 64 * 2**20
MAX_PASSES = 64

_REMAKE = "make it again with hgs invert"
_GRID = (N_MELS, N_FRAMES)
_SHAPES = {
    "cents": (N_FRAMES,),
    "mel": _GRID,
    "first.harmonic": _GRID,
    "first.noise_part": _GRID,
    "detail.harmonic": _GRID,
    "detail.noise_part": _GRID,
}
_OPTIONAL_SHAPES = {
    "detail.attack": (MODEL_SAMPLES // GAIN_STEP_SAMPLES + 1,),
    "detail.phases": (N_PHASES,),
    "detail.stretch": (2,),
    "detail.remainder": _GRID,
    "side": _GRID,
}
# What no sound comes near, and from which finite notes can be made; see `Inversion.impossible`.
_MOST = {
    "feature": 2.0,  # its parts are of unit length
    "cents": 200.0,
    "mel": 1.5,
    "harmonic": 50.0,  # a G that was never asked for such a note gives -15 now and then, and its residual 14
    "noise_part": 50.0,
    "remainder": 50.0,
    "attack": 10.0,
    "phases": 10.0,
    "stretch": 1200.0,
    "side": 4.0,
    "offsets": 1000.0,
}
MOST_DB = 300.0  # of gains and levels
_FULL_PRECISION = ("feature", "cents", "detail.stretch")  # small, and the networks or the ear are sensitive to them


@dataclass(frozen=True)
class Inversion:
    """One sound as an instrument.

    Attributes:
        feature: h, (h_dim,).
        offsets: Δ by layer name, each of batch 1; empty if no pass of H was made.
        passes: How many passes of H made them.
        source_pitch: The sound's MIDI note number, cents included; None for an unpitched sound.
        cents: How its pitch moves around that, in cents, (N_FRAMES,).
        mel: Log-mel x of the sound, (N_MELS, N_FRAMES).
        first: Envelopes that G gives at the source pitch, which `detail` is measured against, each (N_MELS, N_FRAMES).
        detail: What G could not say of the sound.
        length_samples: Length of the sound at SAMPLE_RATE, at most MODEL_SAMPLES.
        input_gain_db: What the sound was raised by before it was analysed.
        reference_lufs: Median loudness of the reference notes, before any gain.
        reference_peak_db: Their peak, in dB of full scale, before any gain.
        weights_sha256: Checksum of the bundle that made it.
        side: Of a stereo sound, level of its side above that of its middle, (N_MELS, N_FRAMES).
    """

    feature: Tensor
    offsets: dict[str, Tensor]
    passes: int
    source_pitch: float | None
    cents: Tensor
    mel: Tensor
    first: Envelopes
    detail: Detail
    length_samples: int
    input_gain_db: float
    reference_lufs: float
    reference_peak_db: float
    weights_sha256: str
    side: Tensor | None = None

    def rounded(self) -> Inversion:
        """The same, rounded to what its file holds."""
        return _assemble(_header(self), {name: value.float() for name, value in _tensors(self).items()})

    def save(self, path: Path) -> None:
        """Write the .hgs file in place; `outputs.OutputSet` gives the path of a file put aside."""
        # Not save_file, whose errors are no OSError: a full disk would look like a bug.
        path.write_bytes(save(_tensors(self), metadata={"hgs": json.dumps(_header(self))}))

    @classmethod
    def load(cls, path: Path) -> Inversion:
        """Read an .hgs file and check it: format, names, shapes, finite values, size.

        Raises:
            InputError: It is missing, not an inversion, damaged, or of a version that this hgs does not read.
        """
        check_file(path, "give an .hgs file")
        try:
            stored = read_stored(path, MAX_BYTES)
            _check_header(path, stored.facts)
            _check_shapes(path, stored.tensors)
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name).float() for name in stored.tensors}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not an inversion of hgs", _REMAKE) from error
        inversion = _assemble(stored.facts, tensors)
        wrong = inversion.impossible()
        if wrong is not None:
            raise InputError(f"{path} is damaged: {wrong} holds values that no sound has", _REMAKE)
        return inversion

    def impossible(self) -> str | None:
        """Name of a tensor that holds values no sound gives: not finite, or so large that a note would not be."""
        for name, tensor in _named(self).items():
            most = _MOST["offsets" if name.startswith("offsets.") else name.split(".")[-1]]
            if tensor.numel() and not float(tensor.abs().max()) <= most:  # NaN is not less than anything
                return name
        return None


def rounded_offsets(offsets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Offsets as a file holds them."""
    return {name: value.half().float() for name, value in offsets.items()}


def _header(inversion: Inversion) -> dict[str, Any]:
    """What is no tensor; every number here survives JSON exactly."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "passes": inversion.passes,
        "source_pitch": inversion.source_pitch,
        "length_samples": inversion.length_samples,
        "input_gain_db": inversion.input_gain_db,
        "reference_lufs": inversion.reference_lufs,
        "reference_peak_db": inversion.reference_peak_db,
        "weights_sha256": inversion.weights_sha256,
    }


def _named(inversion: Inversion) -> dict[str, Tensor]:
    """Every tensor under its name in the file."""
    tensors = {name: getattr(inversion, name) for name in ("feature", "cents", "mel", "side")}
    for part in ("first", "detail"):
        held = getattr(inversion, part)
        tensors |= {f"{part}.{field.name}": getattr(held, field.name) for field in fields(held)}
    tensors |= {f"offsets.{name}": value for name, value in inversion.offsets.items()}
    return {name: value for name, value in tensors.items() if value is not None}


def _tensors(inversion: Inversion) -> dict[str, Tensor]:
    """Every tensor under its name in the file, in the precision of the file."""
    return {
        name: (value.float() if name in _FULL_PRECISION else value.half()).cpu().contiguous().clone()
        for name, value in _named(inversion).items()
    }


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor]) -> Inversion:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    detail = part("detail.")
    return Inversion(
        feature=tensors["feature"],
        offsets=part("offsets."),
        passes=header["passes"],
        source_pitch=header["source_pitch"],
        cents=tensors["cents"],
        mel=tensors["mel"],
        first=Envelopes(**part("first.")),
        detail=Detail(**{field.name: detail.get(field.name) for field in fields(Detail)}),  # type: ignore[arg-type]
        length_samples=header["length_samples"],
        input_gain_db=header["input_gain_db"],
        reference_lufs=header["reference_lufs"],
        reference_peak_db=header["reference_peak_db"],
        weights_sha256=header["weights_sha256"],
        side=tensors.get("side"),
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
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > MOST_DB:
            raise ValueError(value)
    if pitch is not None and not 0.0 <= pitch <= 127.0:
        raise ValueError(pitch)
    for name, least, most in (("length_samples", MIN_SAMPLES, MODEL_SAMPLES), ("passes", 0, MAX_PASSES)):
        if type(header[name]) is not int or not least <= header[name] <= most:
            raise ValueError(name)
    if not isinstance(header["weights_sha256"], str):
        raise ValueError("weights_sha256")


def _check_shapes(path: Path, tensors: dict[str, StoredTensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name, shape in _SHAPES.items():
        if shapes.get(name) != shape:
            raise InputError(f"{path} is damaged: {name} is missing or of the wrong shape", _REMAKE)
    if len(shapes.get("feature", ())) != 1:
        raise InputError(f"{path} is damaged: feature is missing or of the wrong shape", _REMAKE)
    for name, shape in shapes.items():
        known = name == "feature" or name in _SHAPES or name.startswith("offsets.")
        if not known and _OPTIONAL_SHAPES.get(name) != shape:
            raise InputError(f"{path} is damaged: {name} is unknown or of the wrong shape", _REMAKE)
