"""The networks of a bundle with the front end and the vocoder around them, on one device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hgs_cli.audio.mel import LogMel
from hgs_cli.checked import AnyPath, as_path
from hgs_cli.models.generator import FoldedWeights
from hgs_cli.models.hyperganstrument import HyperGANStrument
from hgs_cli.models.weights import choose_device, find_bundle, open_bundle
from hgs_cli.sampler.vocoder import Vocoder
from hgs_cli.side_by_side import survive_forks
from hgs_cli.spectrum import mel_filters


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

    @cached_property
    def plain_weights(self) -> FoldedWeights:
        """G's own weights, without offsets, ready to be played."""
        return self.network.fold({})

    def fold(self, offsets: dict[str, Tensor]) -> FoldedWeights:
        """G's weights with the offsets of one sound, ready to be played; its own without."""
        if not offsets:
            return self.plain_weights
        return self.network.fold({name: value.to(self.device) for name, value in offsets.items()})


def load_model(weights: AnyPath | None = None, device: str = "auto") -> Model:
    """Load the networks from a bundle.

    A process that is forked afterwards may go on using them, on the CPU, with one thread.

    Args:
        weights: A bundle; where none is given the one that HGS_WEIGHTS names, then the released one.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: The device does not exist, or is a GPU that the process had used before it was forked.
        WeightsError: The bundle is missing, fails its checksum, or does not hold what this version reads.
    """
    target = choose_device(device)
    bundle = open_bundle(find_bundle(None if weights is None else as_path(weights, "weights")), target)
    survive_forks()
    mel = bundle.network.config.mel
    vocoder, log_mel = Vocoder(mel_filters(mel), target), LogMel(mel, target)
    return Model(bundle.network, vocoder, log_mel, target, bundle.version, bundle.sha256, bundle.path)
