"""Weights bundles: find, verify and open them, and build the model that they hold.

A bundle is one safetensors file, parameters in half precision, whose header holds the format version, the sizes of
the networks and the version of the weights. Where a SHA256SUMS lies beside it and names it, its checksum must agree.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hgs_cli.audio.mel import LogMel, mel_filters
from hgs_cli.errors import UsageError, WeightsError
from hgs_cli.models.hyperganstrument import HyperGANStrument, ModelConfig
from hgs_cli.models.vocoder import Vocoder
from hgs_cli.outputs import write_whole
from hgs_cli.spectrum import MelConfig

FORMAT = "hgs-weights"
FORMAT_VERSION = 1
BUNDLE_NAME = "hgs.safetensors"
CHECKSUMS_NAME = "SHA256SUMS"
ENVIRONMENT_NAME = "HGS_WEIGHTS"
MAX_BYTES = 512 * 2**20
DEVICES = ("auto", "cpu", "cuda")

_REINSTALL = "get the file again, or install hgs again"


@dataclass(frozen=True)
class Model:
    """Everything that turns sound into an instrument, on one device, ready for use.

    Attributes:
        network: f, G and H.
        vocoder: Envelopes to waveform.
        log_mel: The front end that the network was trained with.
        device: Where all three are.
        version: Of the weights.
        sha256: Checksum of the bundle file.
        path: The bundle.
    """

    network: HyperGANStrument
    vocoder: Vocoder
    log_mel: LogMel
    device: torch.device
    version: str
    sha256: str
    path: Path


def find_bundle(weights: Path | None = None) -> Path:
    """The bundle to use: the one given, then HGS_WEIGHTS, then the installed one, then a checkout's.

    Raises:
        WeightsError: The first of these that is given does not exist, or none is there.
    """
    for name, value in ((None, weights), (ENVIRONMENT_NAME, os.environ.get(ENVIRONMENT_NAME))):
        if value:
            path = Path(value)
            if not path.is_file():
                source = f" (from {name})" if name else ""
                raise WeightsError(f"weights {path}{source} are not a file", "give a bundle such as hgs.safetensors")
            return path
    package = Path(__file__).resolve().parent
    for folder in (package / "weights_data", package.parent / "weights"):
        if (folder / BUNDLE_NAME).is_file():
            return folder / BUNDLE_NAME
    raise WeightsError("this installation has no weights", f"give a bundle with --weights or {ENVIRONMENT_NAME}")


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        UsageError: The name is another one, or there is no CUDA device.
    """
    if name not in DEVICES:
        raise UsageError(f"unknown device {name!r}", "choose auto, cpu or cuda")
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise UsageError("no CUDA device is available", "use --device cpu or auto")
    return torch.device("cpu")


def load_model(weights: Path | None = None, device: str = "auto") -> Model:
    """Load the networks from a bundle.

    Args:
        weights: A bundle; found as `find_bundle` says if not given.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: The device does not exist.
        WeightsError: The bundle is missing, fails its checksum, or does not hold what this version reads.
    """
    target = choose_device(device)
    path = find_bundle(weights)
    sha256 = verify_checksum(path)
    header, tensors = _read_bundle(path)
    try:
        config = ModelConfig.from_dict(header["config"])
        version = str(header["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the header of {path} lacks something this hgs needs: {error}", _REINSTALL) from error
    if config.mel != MelConfig():
        raise WeightsError(f"{path} was trained for another front end", "use weights made by this version of hgs")
    filters = mel_filters(config.mel)
    with _SkipInit():
        network = HyperGANStrument(config, filters)
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"the tensors in {path} do not fit the networks its header tells of", _REINSTALL) from error
    network.requires_grad_(False).eval().to(target)
    vocoder, log_mel = Vocoder(filters).to(target), LogMel(config.mel).to(target)
    return Model(network, vocoder, log_mel, target, version, sha256, path)


def build_model(config: ModelConfig, seed: int = 0) -> HyperGANStrument:
    """Freshly initialised networks, to train or to test with; the global random state is left as it was.

    Args:
        config: Sizes.
        seed: Of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HyperGANStrument(config, mel_filters(config.mel))


def save_bundle(path: Path, network: HyperGANStrument, version: str, extra: dict[str, Any] | None = None) -> None:
    """Write a bundle, parameters in half precision, aside and renamed; enter its checksum into SHA256SUMS beside it.

    Args:
        path: Its place.
        network: The networks to release.
        version: Of the weights.
        extra: Further facts for the header that JSON can hold: how it was trained, measures.

    Raises:
        ValueError: A weight is not finite in half precision.
    """
    tensors: dict[str, Tensor] = {}
    learned = dict(network.named_parameters())
    for name, tensor in network.state_dict().items():
        # Buffers, such as the mel filters, are exact constants: they keep their precision.
        stored = (tensor.half() if name in learned else tensor).detach().cpu().contiguous().clone()
        if not bool(torch.isfinite(stored).all()):
            raise ValueError(f"{name} is not finite in half precision")
        tensors[name] = stored
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": version,
        "config": network.config.to_dict(),
        "extra": extra or {},
    }
    write_whole(path, lambda aside: save_file(tensors, aside, metadata={"hgs": json.dumps(header)}))
    checksums = {**_read_checksums(path.parent), path.name: _sha256(path)}
    lines = "".join(f"{value}  {name}\n" for name, value in sorted(checksums.items()))
    write_whole(path.parent / CHECKSUMS_NAME, lambda aside: aside.write_text(lines, encoding="utf-8"))


def read_header(path: Path) -> dict[str, Any]:
    """Header of a bundle: format, format_version, version, config, extra.

    Raises:
        WeightsError: The file is no bundle, or one of another format version.
    """
    header: dict[str, Any] = _open_bundle(path, lambda header, file: header)
    return header


def verify_checksum(path: Path) -> str:
    """SHA-256 of a bundle, in hexadecimal.

    Raises:
        WeightsError: A SHA256SUMS beside it names another checksum for it.
    """
    actual = _sha256(path)
    expected = _read_checksums(path.parent).get(path.name, actual)
    if actual != expected:
        raise WeightsError(f"{path} fails its checksum in {CHECKSUMS_NAME}", _REINSTALL)
    return actual


class _SkipInit(TorchFunctionMode):
    """Leave out random initialisation: every value is about to be replaced, and drawing millions takes a while."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


def _open_bundle(path: Path, read: Callable[[dict[str, Any], Any], Any]) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path} is larger than any bundle", "give a bundle such as hgs.safetensors")
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["hgs"])
            if header["format"] != FORMAT:
                raise KeyError(FORMAT)
            if header["format_version"] != FORMAT_VERSION:
                raise WeightsError(
                    f"{path} has bundle format {header['format_version']}; this hgs reads {FORMAT_VERSION}",
                    "use weights and hgs of one version",
                )
            return read(header, file)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not a weights bundle of hgs", _REINSTALL) from error


def _read_bundle(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    def read(header: dict[str, Any], file: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return header, {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}

    header, tensors = _open_bundle(path, read)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name} in {path} is not finite", _REINSTALL)
    return header, tensors


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_checksums(folder: Path) -> dict[str, str]:
    """Checksums by file name, as `sha256sum` writes them; empty where no file lists them."""
    try:
        lines = (folder / CHECKSUMS_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {name.lstrip("*").strip(): value.lower() for value, name in pairs}
