"""HyperGANStrument: f, G and H composed as in the paper's figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hgs_cli.models.detail_transfer import DetailTransfer, DetailTransferConfig
from hgs_cli.models.feature_extractor import FeatureExtractor, FeatureExtractorConfig
from hgs_cli.models.generator import Envelopes, Generator, GeneratorConfig, Theta
from hgs_cli.models.hypernetwork import Hypernetwork, HypernetworkConfig, add_offsets
from hgs_cli.models.layers import Change
from hgs_cli.spectrum import MelConfig


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of all networks and of the front end that they were trained with."""

    feature_extractor: FeatureExtractorConfig = field(default_factory=FeatureExtractorConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    hypernetwork: HypernetworkConfig = field(default_factory=HypernetworkConfig)
    detail_transfer: DetailTransferConfig = field(default_factory=DetailTransferConfig)
    mel: MelConfig = field(default_factory=MelConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Rebuild from `to_dict`'s values.

        Raises:
            TypeError, KeyError: When a name is unknown or missing.
        """

        def tuples(section: dict[str, Any]) -> dict[str, Any]:
            return {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}

        return cls(
            feature_extractor=FeatureExtractorConfig(**tuples(values["feature_extractor"])),
            generator=GeneratorConfig(**tuples(values["generator"])),
            hypernetwork=HypernetworkConfig(**tuples(values["hypernetwork"])),
            detail_transfer=DetailTransferConfig(**tuples(values["detail_transfer"])),
            mel=MelConfig(**tuples(values["mel"])),
        )


class HyperGANStrument(nn.Module):
    """The whole network, from the log-mel of one sound to the envelopes of a note at any pitch.

    Args:
        config: Sizes.
        filters: Mel filters of the front end, (n_freqs, n_mels); they travel with the weights.
    """

    def __init__(self, config: ModelConfig, filters: Tensor) -> None:
        super().__init__()
        self.config = config
        self.mel = config.mel
        self.feature_extractor = FeatureExtractor(config.feature_extractor)
        self.generator = Generator(config.generator, filters)
        self.hypernetwork = Hypernetwork(
            config.hypernetwork, config.feature_extractor.h_dim, self.generator.offset_shapes()
        )
        self.detail_transfer = DetailTransfer(config.detail_transfer)

    def extract(self, x: Tensor) -> Tensor:
        """h = f(x): timbre feature of log-mels x (B, n_mels, n_frames), (B, h_dim)."""
        return self.feature_extractor(x)

    def zero_noise(self, h: Tensor) -> Tensor:
        """The z of a plain note for features h (B, h_dim): zeros, (B, z_dim)."""
        return h.new_zeros(h.shape[0], self.config.generator.z_dim)

    def envelopes(
        self, h: Tensor, p: Tensor, offsets: Mapping[str, Change] | None = None, z: Tensor | None = None
    ) -> Envelopes:
        """E_h and E_n of notes: G(h, z, p; θ(1 + Δ)).

        Args:
            h: Feature, (B, h_dim).
            p: Pitch as MIDI note numbers, (B,).
            offsets: Δ from `refine`, of as many sounds as divide B, each with B / N notes in a row; none for the
                plain θ. Or what `fold` makes of those of one sound.
            z: Noise, (B, z_dim); zeros when not given.
        """
        return self.generator(h, self.zero_noise(h) if z is None else z, p, offsets)

    def fold(self, offsets: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> Theta:
        """θ(1 + Δ) of one sound, to be played at any number of pitches; arguments as `Generator.fold`."""
        return self.generator.fold(offsets, dtype)

    def compose(self, envelopes: Envelopes, p: Tensor, known: Tensor | None = None) -> Tensor:
        """x̂, the log-mel of the envelopes at pitch p (B,): (B, n_mels, n_frames).

        Args:
            envelopes: E_h and E_n.
            p: Pitch, (B,).
            known: Mel bands to be filled, (B, n_mels), bool; the others are left at the floor. All when None.
        """
        x = self.generator.compose(envelopes, p)
        return x if known is None else torch.where(known[:, :, None], x, -1.0)

    def refine(self, h: Tensor, p: Tensor, passes: int | None = None, known: Tensor | None = None) -> dict[str, Tensor]:
        """Offsets Δ for features h: Δ_{k+1} = Δ_k + H(h, h_k), h_k = f(G(h, 0, p; θ(1 + Δ_k))), Δ_0 = 0.

        Args:
            h: Feature of the input, (B, h_dim).
            p: Pitch at which the first reconstruction is made, (B,).
            passes: How often; the configured number by default, 0 for none.
            known: Mel bands of the input that its file could hold, (B, n_mels), bool; all when None. f hears no others
                of the reconstruction either.

        Returns:
            Offsets by layer name, of batch B; empty for 0 passes.

        Source: HyperGANStrument for one pass, HyperStyle for several.
        """
        offsets: dict[str, Tensor] = {}
        for _ in range(self.config.hypernetwork.n_passes if passes is None else passes):
            with torch.no_grad():  # what H hears of itself is an input; unrolling through G costs far more
                x_k = self.compose(self.envelopes(h, p, offsets), p, known)
            h_k = self.extract(x_k)
            offsets = add_offsets(offsets, self.hypernetwork(h, h_k))
        return offsets

    def forward(self, x: Tensor, p: Tensor, q: Tensor, passes: int | None = None) -> Tensor:
        """The paper's figure: invert x, heard at pitch p, and play it at pitch q.

        Args:
            x: Log-mel of the input, (B, n_mels, n_frames).
            p: Its pitch, (B,).
            q: The wanted pitch, (B,).
            passes: Passes of H.

        Returns:
            x̂ at q, (B, n_mels, n_frames).
        """
        h = self.extract(x)
        offsets = self.refine(h, p, passes)
        return self.compose(self.envelopes(h, q, offsets), q)


def tiny_config() -> ModelConfig:
    """A model small enough to test with: every part is there, nothing is trained."""
    return ModelConfig(
        feature_extractor=FeatureExtractorConfig(
            channels=(4, 4, 8, 8), timbre_dim=8, map_width=4, map_grid=(2, 3), map_channels=2
        ),
        generator=GeneratorConfig(timbre_dim=8, z_dim=4, w_dim=8, mapping_dim=8, channels=(8, 8, 8, 8)),
        hypernetwork=HypernetworkConfig(hidden_dim=8, block_dim=4, plain_dim=4, rank=2, head_rank=2, n_passes=1),
        detail_transfer=DetailTransferConfig(width=4),
    )
