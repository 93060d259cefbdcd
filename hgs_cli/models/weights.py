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

from hgs_cli.errors import InputError, UsageError, WeightsError
from hgs_cli.files.atomic import write_whole
from hgs_cli.files.safetensors_header import Stored, check_file, read_stored
from hgs_cli.models.hyperganstrument import HyperGANStrument, ModelConfig
from hgs_cli.spectrum import MelConfig, mel_filters

FORMAT = "hgs-weights"
FORMAT_VERSION = 1
BUNDLE_NAME = "hgs.safetensors"
CHECKSUMS_NAME = "SHA256SUMS"
ENVIRONMENT_NAME = "HGS_WEIGHTS"
MAX_BYTES = 128 * 2**20  # five times what is released
_LONGEST_VERSION = 100  # characters
_MAX_CHECKSUMS = 2**20  # characters that are read of a SHA256SUMS
DEVICES = ("auto", "cpu", "cuda")

_REINSTALL = "get the file again, or install hgs again"


@dataclass(frozen=True)
class Bundle:
    """The networks of a bundle, and what it is."""

    network: HyperGANStrument  # f, G and H
    version: str  # of the weights
    sha256: str  # checksum of the bundle file
    path: Path  # the bundle


def find_bundle(weights: Path | None = None) -> Path:
    """The bundle to use: the one given, then HGS_WEIGHTS, then the installed one, then a checkout's.

    Raises:
        WeightsError: The first of these that is given does not exist, or none is there.
    """
    for name, value in ((None, weights), (ENVIRONMENT_NAME, os.environ.get(ENVIRONMENT_NAME))):
        if value:
            path = Path(value)
            if not os.path.isfile(path):  # unlike Path's own, never raises: too long a name is no file either
                source = f" (from {name})" if name else ""
                raise WeightsError(f"weights {path}{source} are not a file", "give a bundle such as hgs.safetensors")
            return path
    try:
        return find_released(BUNDLE_NAME)
    except WeightsError as error:
        raise WeightsError(
            "this installation has no weights", f"give a bundle with --weights or {ENVIRONMENT_NAME}"
        ) from error


def find_released(name: str) -> Path:
    """A file that is released with the weights: the installed one, or a checkout's.

    Raises:
        WeightsError: It is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights_data", package.parent / "weights"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"this installation has no {name}", "install hgs again")


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        UsageError: The name is another one, there is no CUDA device, or a fork has made it unusable.
    """
    if not isinstance(name, str) or name not in DEVICES:
        raise UsageError(f"unknown device {name!r}", "choose auto, cpu or cuda")
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        check_not_forked(torch.device("cuda"))
        return torch.device("cuda")
    if name == "cuda":
        raise UsageError("no CUDA device is available", "use --device cpu or auto")
    return torch.device("cpu")


def check_not_forked(device: torch.device) -> None:
    """Refuse a GPU that the process had used before it was forked: CUDA does not go on in the child.

    Raises:
        UsageError: It is such a process.
    """
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise UsageError(
            "this process was forked from one that had used the GPU",
            "start it with multiprocessing's spawn, and load the model in it; or load it with device='cpu'",
        )


def open_bundle(path: Path, device: torch.device) -> Bundle:
    """Load the networks from a bundle, ready for use.

    Raises:
        WeightsError: The bundle is missing, fails its checksum, or does not hold what this version reads.
    """
    stored = _read_stored(path)  # before the checksum: a file that is no bundle may be endless
    sha256 = verify_checksum(path)
    try:
        config = ModelConfig.from_dict(stored.facts["config"])
        version = str(stored.facts["version"])[:_LONGEST_VERSION]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the header of {path} lacks something this hgs needs: {error}", _REINSTALL) from error
    if config.mel != MelConfig():
        raise WeightsError(f"{path} was trained for another front end", "use weights made by this version of hgs")
    with _ShapesOnly():
        network = HyperGANStrument(config, mel_filters(config.mel))
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in stored.tensors.items()}:
        raise WeightsError(f"the tensors in {path} do not fit the networks its header tells of", _REINSTALL)
    network.load_state_dict(_read_tensors(path, stored), strict=True, assign=True)
    return Bundle(network.requires_grad_(False).eval().to(device), version, sha256, path)


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


def verify_checksum(path: Path) -> str:
    """SHA-256 of a bundle, in hexadecimal.

    Raises:
        WeightsError: A SHA256SUMS beside it names another checksum for it.
    """
    try:
        actual = _sha256(path)
        expected = _read_checksums(path.parent).get(path.name, actual)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} or the {CHECKSUMS_NAME} beside it cannot be read", _REINSTALL) from error
    if actual != expected:
        raise WeightsError(f"{path} fails its checksum in {CHECKSUMS_NAME}", _REINSTALL)
    return actual


class _ShapesOnly(TorchFunctionMode):
    """Build networks of which only the shapes matter: every value is about to be replaced.

    Whatever sizes a header tells of, they cost no memory, and nothing is drawn at random, which for millions of values
    takes a while. torch's own meta device would do the same, and import a thousand modules in two seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.empty, torch.zeros, torch.ones, torch.randn):
            return torch.zeros(()).expand(*args)  # one number seen many times
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func in (torch.Tensor.copy_, torch.Tensor.zero_, torch.Tensor.mul_, torch.Tensor.mul, torch.Tensor.div):
            return args[0]
        return func(*args, **kwargs)


def _read_stored(path: Path) -> Stored:
    try:
        check_file(path, "give a bundle such as hgs.safetensors")
        stored = read_stored(path, MAX_BYTES)
        if stored.facts["format"] != FORMAT or type(stored.facts["format_version"]) is not int:
            raise KeyError(FORMAT)
    except InputError as error:
        raise WeightsError(error.what, error.remedy) from error
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is not a weights bundle of hgs", _REINSTALL) from error
    if stored.facts["format_version"] != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has bundle format {stored.facts['format_version']}; this hgs reads {FORMAT_VERSION}",
            "use weights and hgs of one version",
        )
    return stored


def _read_tensors(path: Path, stored: Stored) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in stored.tensors}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a weights bundle of hgs", _REINSTALL) from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name} in {path} is not finite", _REINSTALL)
    return tensors


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_checksums(folder: Path) -> dict[str, str]:
    """Checksums by file name, as `sha256sum` writes them; empty where no file lists them."""
    if not os.path.lexists(folder / CHECKSUMS_NAME):
        return {}
    with open(folder / CHECKSUMS_NAME, encoding="utf-8") as file:
        lines = file.read(_MAX_CHECKSUMS).splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {name.lstrip("*").strip(): value.lower() for value, name in pairs}
