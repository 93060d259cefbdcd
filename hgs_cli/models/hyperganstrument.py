"""HyperGANStrument: f, G and H composed as in the paper's figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hgs_cli.models.detail_transfer import DetailTransfer, DetailTransferConfig
from hgs_cli.models.feature_extractor import FeatureExtractor, FeatureExtractorConfig
from hgs_cli.models.generator import FRAMES_PER_STEP, Envelopes, FoldedWeights, Generator, GeneratorConfig
from hgs_cli.models.hypernetwork import Hypernetwork, HypernetworkConfig, add_offsets
from hgs_cli.models.layers import MelTrunk, WeightUpdate
from hgs_cli.spectrum import MelConfig

MAX_SIZE = 65_536  # of any number in a header: the sample rate is one of them
MAX_SIZES = 16  # in a list of them, and of passes: no network has more


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
        """Rebuild from `to_dict`'s values, and refuse sizes that are none or do not fit each other.

        Raises:
            TypeError, KeyError: When a name is unknown or missing.
            ValueError: When a size is out of range, or of another type than it is here.
        """
        config = cls(
            feature_extractor=FeatureExtractorConfig(**_sizes(FeatureExtractorConfig(), values["feature_extractor"])),
            generator=GeneratorConfig(**_sizes(GeneratorConfig(), values["generator"])),
            hypernetwork=HypernetworkConfig(**_sizes(HypernetworkConfig(), values["hypernetwork"])),
            detail_transfer=DetailTransferConfig(**_sizes(DetailTransferConfig(), values["detail_transfer"])),
            mel=MelConfig(**_sizes(MelConfig(), values["mel"])),
        )
        f, g = config.feature_extractor, config.generator
        last_steps = MelTrunk.n_steps(config.mel.n_frames, len(f.channels))
        if len(f.channels) < 2 or f.segments != tuple(sorted(set(f.segments))) or f.segments[-1] > last_steps:
            raise ValueError("channels and segments of f do not fit the frames")
        if config.hypernetwork.n_passes > MAX_SIZES:
            raise ValueError("n_passes is out of range")
        if len(f.map_grid) != 2 or f.timbre_dim != g.timbre_dim:
            raise ValueError("f does not fit G")
        n_frames = g.first_steps * 2 ** (len(g.channels) - 1) * FRAMES_PER_STEP
        if (g.n_mels, g.n_frames, n_frames) != (config.mel.n_mels, config.mel.n_frames, config.mel.n_frames):
            raise ValueError("channels of G do not fit the frames")
        return config


def _sizes(usual: object, values: dict[str, Any]) -> dict[str, Any]:
    """Sizes of one network, each checked to be as the usual one is: a number, or a few of them.

    Raises:
        ValueError: One is unknown, of another type, or out of range.
    """
    if not isinstance(values, dict):
        raise TypeError(type(values))
    sizes: dict[str, Any] = {}
    for name, value in values.items():
        like = getattr(usual, name, None)
        several = isinstance(like, tuple)
        each = value if several else [value]
        if not isinstance(each, list | tuple) or not 1 <= len(each) <= MAX_SIZES:
            raise ValueError(f"{name} is out of range")
        kind: Any = type(like[0]) if isinstance(like, tuple) else type(like)
        if kind not in (int, float) or not all(type(size) is kind and 1 <= size <= MAX_SIZE for size in each):
            raise ValueError(f"{name} is out of range")
        sizes[name] = tuple(each) if several else value
    return sizes


@dataclass(frozen=True)
class Played:
    """A sound on its way through all networks."""

    h: Tensor  # its feature, (1, h_dim)
    offsets: dict[str, Tensor]  # Δ by layer name, of batch 1; empty for 0 passes
    weights: FoldedWeights  # θ(1 + Δ)
    envelopes: Envelopes  # E_h and E_n at the wanted pitches, batch B
    x_hat: Tensor  # their log-mel, (B, n_mels, n_frames)


def rounded_offsets(offsets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Offsets in half precision, as a file holds them."""
    return {name: value.half().float() for name, value in offsets.items()}


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
        self, h: Tensor, p: Tensor, offsets: Mapping[str, WeightUpdate] | None = None, z: Tensor | None = None
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

    def fold(self, offsets: dict[str, Tensor]) -> FoldedWeights:
        """θ(1 + Δ) of one sound, to be played at any number of pitches; arguments as `Generator.fold`."""
        return self.generator.fold(offsets)

    def compose(self, envelopes: Envelopes, p: Tensor, band_mask: Tensor | None = None) -> Tensor:
        """x̂, the log-mel of the envelopes at pitch p (B,): (B, n_mels, n_frames).

        Args:
            envelopes: E_h and E_n.
            p: Pitch, (B,).
            band_mask: Mel bands to be filled, (B, n_mels), bool; the others are left at the floor. All when None.
        """
        x = self.generator.compose(envelopes, p)
        return x if band_mask is None else torch.where(band_mask[:, :, None], x, -1.0)

    def refine(
        self,
        h: Tensor,
        p: Tensor,
        passes: int | None = None,
        band_mask: Tensor | None = None,
        plain: FoldedWeights | None = None,
    ) -> dict[str, Tensor]:
        """Offsets Δ for features h: Δ_{k+1} = Δ_k + H(h, h_k), h_k = f(G(h, 0, p; θ(1 + Δ_k))), Δ_0 = 0.

        Args:
            h: Feature of the input, (B, h_dim).
            p: Pitch at which the first reconstruction is made, (B,).
            passes: How often; the configured number by default, 0 for none.
            band_mask: Mel bands of the input that its file could hold, (B, n_mels), bool; all when None. f hears no
                others of the reconstruction either.
            plain: θ as `fold` makes it of no offsets, where somebody has it; made here otherwise.

        Returns:
            Offsets by layer name, of batch B; empty for 0 passes.

        Source: HyperGANStrument for one pass, HyperStyle for several.
        """
        offsets: dict[str, Tensor] = {}
        for _ in range(self.config.hypernetwork.n_passes if passes is None else passes):
            with torch.no_grad():  # what H hears of itself is an input; unrolling through G costs far more
                x_k = self.compose(self.envelopes(h, p, offsets or plain), p, band_mask)
            h_k = self.extract(x_k)
            offsets = add_offsets(offsets, self.hypernetwork(h, h_k))
        return offsets

    def forward(
        self, x: Tensor, p: Tensor, q: Tensor, passes: int | None = None, plain: FoldedWeights | None = None
    ) -> Played:
        """The paper's figure: invert x, heard at pitch p, and play it at pitches q.

        `hgs invert` goes all of this way, with q = p; notes go the rest of it again, each at its own q.

        Args:
            x: Log-mel of one sound, (1, n_mels, n_frames).
            p: Its pitch, (1,).
            q: The wanted pitches, (B,).
            passes: Passes of H; as for `refine`.
            plain: As for `refine`.
        """
        h = self.extract(x)
        offsets = rounded_offsets(self.refine(h, p, passes, plain=plain))
        weights = plain if plain is not None and not offsets else self.fold(offsets)
        envelopes = self.envelopes(h.expand(len(q), -1), q, weights)
        return Played(h, offsets, weights, envelopes, self.compose(envelopes, q))


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
