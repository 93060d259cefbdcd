"""G: the GANStrument generator with a harmonic-plus-noise head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgs_cli.models.feature_extractor import timbre_part
from hgs_cli.models.layers import (
    ACTIVATION_GAIN,
    FoldedWeight,
    ModulatedConv1d,
    PitchEmbedding,
    WeightUpdate,
    activate,
    apply_offsets,
    rectify,
    serve_rows,
)
from hgs_cli.pitch import midi_to_hz
from hgs_cli.spectrum import N_FRAMES, N_MELS, comb_power, level_to_power, noise_template, power_to_level

FRAMES_PER_STEP = 4
N_PARTS = 2  # harmonic, noise
Z_INIT = 0.15
MIN_COMB = 1e-4  # of a harmonic's power
MAX_LEVEL = 1.2  # of an envelope: 10 dB above a full-scale sinusoid


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of G."""

    timbre_dim: int = 128  # width of the timbre part of h
    z_dim: int = 64  # width of the noise z
    w_dim: int = 256  # width of the style w
    mapping_dim: int = 384  # width of the mapping network's hidden layers
    channels: tuple[int, ...] = (512, 512, 384, 384)  # channels at 11, 22, 44 and 88 time steps
    n_mels: int = N_MELS  # mel bands of both envelopes
    n_frames: int = N_FRAMES  # frames of both envelopes; the last resolution times FRAMES_PER_STEP

    @property
    def first_steps(self) -> int:
        """Time steps of the learned constant."""
        return self.n_frames // FRAMES_PER_STEP // 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class Envelopes:
    """Log-envelopes of the two parts of a sound."""

    harmonic: Tensor  # E_h, level of a harmonic that stands at a mel band's centre, (B, n_mels, n_frames)
    noise_part: Tensor  # E_n, level of the expected noise power per DFT bin, (B, n_mels, n_frames)


FoldedWeights = dict[str, FoldedWeight]
"""θ(1 + Δ) of one sound by layer name, from `Generator.fold`."""


@lru_cache(maxsize=4)
def _expected_noise(filters: Tensor) -> Tensor:
    """`noise_template` of filters that stay as they are: a millisecond of every call without it."""
    with torch.inference_mode(False):
        return noise_template(filters)


class MappingNetwork(nn.Module):
    """Timbre, noise and pitch → style w."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.timbre_dim = config.timbre_dim
        self.pitch = PitchEmbedding()
        self.layers = nn.ModuleList(
            [
                nn.Linear(config.timbre_dim + config.z_dim + PitchEmbedding.dim(), config.mapping_dim),
                nn.Linear(config.mapping_dim, config.mapping_dim),
                nn.Linear(config.mapping_dim, config.w_dim),
            ]
        )
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1.0 / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)
        # The warm-up runs with z = 0 and leaves these columns as they are: small, so that the noise which the GAN
        # stage brings in is a variation of the note and not another one.
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight[:, config.timbre_dim : config.timbre_dim + config.z_dim].mul_(Z_INIT)

    def forward(self, h: Tensor, z: Tensor, p: Tensor) -> Tensor:
        """Map h (B, h_dim), z (B, z_dim), p (B,) to w (B, w_dim)."""
        w = torch.cat([timbre_part(h, self.timbre_dim), z, self.pitch(p) * 2.0], dim=1)
        for layer in self.layers:
            w = activate(layer(w))
        return w


class SynthesisBlock(nn.Module):
    """Two modulated convolutions at one resolution, with a learned signal of position and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, n_steps: int, w_dim: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.position = nn.Parameter(torch.randn(out_channels, n_steps) * 0.3)
        self.conv0 = ModulatedConv1d(in_channels, out_channels, 3, w_dim)
        self.conv1 = ModulatedConv1d(out_channels, out_channels, 3, w_dim)
        self.shortcut = nn.Conv1d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, w: Tensor, offsets: Mapping[str, WeightUpdate], name: str) -> Tensor:
        """Map (B, in_channels, T) to (B, out_channels, T or 2T); `name` prefixes this block's offsets."""
        if self.up:  # in two dimensions the channels may stay last in memory
            x = F.interpolate(x[:, :, None], scale_factor=(1, 2), mode="bilinear")[:, :, 0]
        position = apply_offsets(self.position, offsets.get(f"{name}.position"), x.shape[0])
        y = rectify(self.conv0(x, w, offsets.get(f"{name}.conv0"), added=position))
        y = rectify(self.conv1(y, w, offsets.get(f"{name}.conv1"), gain=ACTIVATION_GAIN))
        return torch.add(self.shortcut(x), y, alpha=ACTIVATION_GAIN).mul_(math.sqrt(0.5))


class Generator(nn.Module):
    """G(h, z, p; θ): timbre, noise and pitch to two smooth envelopes, by modulated convolutions along time.

    The network never draws harmonics. `compose` sets the envelopes on fixed templates, a comb of unit harmonics at
    exactly p and flat noise, which gives the log-mel that losses, f and D see.

    Source: GANStrument (generator), StyleGAN2 (modulation); 1-D convolutions and the head are ours.

    Args:
        config: Sizes of G.
        filters: Mel filters of the front end, (n_freqs, n_mels); part of the weights.
    """

    filters: Tensor

    def __init__(self, config: GeneratorConfig, filters: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("filters", filters.clone())
        self.mapping = MappingNetwork(config)
        channels = config.channels
        steps = config.first_steps
        self.constant = nn.Parameter(torch.randn(channels[0], steps))
        self.blocks = nn.ModuleList()
        for index, width in enumerate(channels):
            narrow = channels[max(0, index - 1)]
            self.blocks.append(SynthesisBlock(narrow, width, steps * 2**index, config.w_dim, up=index > 0))
        head_channels = FRAMES_PER_STEP * N_PARTS * config.n_mels
        self.head = ModulatedConv1d(channels[-1], head_channels, 1, config.w_dim, demodulate=False)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            # Away from zero, so that θ·(1 + Δ) can move it; near the mean level of the data.
            self.head.bias.copy_(torch.tensor([-0.3, -0.7]).repeat_interleave(config.n_mels).repeat(FRAMES_PER_STEP))

    def offset_shapes(self) -> dict[str, tuple[int, int]]:
        """Layers that offsets may change: name → (outputs, inputs) of their factors; inputs 0: a plain vector."""
        shapes: dict[str, tuple[int, int]] = {"constant": (self.constant.shape[0], self.constant.shape[1])}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, SynthesisBlock)
            shapes[f"block{index}.position"] = (block.position.shape[0], block.position.shape[1])
            for part in ("conv0", "conv1"):
                layer = getattr(block, part)
                shapes[f"block{index}.{part}"] = (layer.out_channels, layer.in_channels)
        shapes["head"] = (self.head.out_channels, self.head.in_channels)
        shapes["head_bias"] = (self.head.out_channels, 0)
        return shapes

    def fold(self, offsets: dict[str, Tensor]) -> FoldedWeights:
        """θ(1 + Δ) of one sound, to be played at any number of pitches.

        Args:
            offsets: Δ by layer name, each of batch 1; an absent name is an untouched layer.
        """
        folded: FoldedWeights = {"head": self.head.fold(offsets.get("head"))}
        folded["constant"] = FoldedWeight(apply_offsets(self.constant, offsets.get("constant"), 1)[0])
        if "head_bias" in offsets:
            folded["head_bias"] = FoldedWeight(self.head.bias * offsets["head_bias"][0])
        for index, block in enumerate(self.blocks):
            assert isinstance(block, SynthesisBlock)
            name = f"block{index}.position"
            position = apply_offsets(block.position, offsets.get(name), 1)[0]
            folded[name] = FoldedWeight(position.T.contiguous().T)  # channels last, as what it is added to
            for part in ("conv0", "conv1"):
                name = f"block{index}.{part}"
                folded[name] = getattr(block, part).fold(offsets.get(name))
        return folded

    def forward(self, h: Tensor, z: Tensor, p: Tensor, offsets: Mapping[str, WeightUpdate] | None = None) -> Envelopes:
        """Generate the envelopes of a note.

        Args:
            h: Timbre feature, (B, h_dim); the first `timbre_dim` values are read.
            z: Noise, (B, z_dim); zeros for the plain note.
            p: Pitch as MIDI note numbers, fractions included, (B,).
            offsets: Δ by layer name as `offset_shapes` lists them: factors (N, outputs + inputs, rank), or
                (N, outputs) for a plain vector; N divides B, and each of the N sounds has B / N notes in a row. An
                absent name is an untouched layer. Or θ(1 + Δ) from `fold`.

        Returns:
            E_h and E_n, each (B, n_mels, n_frames), float32.
        """
        offsets = offsets or {}
        w = self.mapping(h, z, p)
        x = apply_offsets(self.constant, offsets.get("constant"), h.shape[0]).expand(h.shape[0], -1, -1)
        for index, block in enumerate(self.blocks):
            x = block(x, w, offsets, f"block{index}")
        head_bias = offsets.get("head_bias")
        if isinstance(head_bias, FoldedWeight):
            head_bias = head_bias.weight[None]
        elif head_bias is not None:
            head_bias = serve_rows(self.head.bias * head_bias, x.shape[0])
        added = None if head_bias is None else head_bias[:, :, None]
        y = self.head(x, w, offsets.get("head"), added=added).float()
        y = y.unflatten(1, (FRAMES_PER_STEP, N_PARTS, self.config.n_mels))
        # (B, frame in step, part, mel, step) → (B, part, mel, step, frame in step)
        y = y.permute(0, 2, 3, 4, 1).flatten(3)
        return Envelopes(harmonic=y[:, 0], noise_part=y[:, 1])

    def comb_template(self, p: Tensor) -> Tensor:
        """Mel power of unit harmonics at pitch p (B,): (B, n_mels); 0 where only their side lobes reach.

        Without that zero G explained the noise below a high note by raising the side lobes of its fundamental.
        """
        comb = torch.matmul(comb_power(midi_to_hz(p.float())), self.filters)
        return torch.where(comb > MIN_COMB, comb, torch.zeros_like(comb))

    def noise_template(self) -> Tensor:
        """Mel power of noise with unit expected power in every DFT bin, (n_mels,)."""
        return self.filters.sum(0)

    @property
    def _noise_power(self) -> Tensor:
        """As `noise_template`, of the expectation of the logarithm; kept."""
        return _expected_noise(self.filters)

    def part_powers(
        self, envelopes: Envelopes, p: Tensor, noise_texture: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mel powers of the harmonic and the noise part.

        Args:
            envelopes: E_h and E_n, (B, n_mels, n_frames) each.
            p: Pitch, (B,).
            noise_texture: A random realisation of unit noise, as factors (B, n_mels, n_frames); without it the
                expectation of the logarithm.

        Returns:
            Two tensors (B, n_mels, n_frames).
        """
        harmonic = level_to_power(envelopes.harmonic.clamp(-3.0, MAX_LEVEL)) * self.comb_template(p)[:, :, None]
        noise = level_to_power(envelopes.noise_part.clamp(-3.0, MAX_LEVEL))
        if noise_texture is None:
            return harmonic, noise * self._noise_power[:, None]
        return harmonic, noise * self.noise_template()[None, :, None] * noise_texture

    def compose(self, envelopes: Envelopes, p: Tensor, noise_texture: Tensor | None = None) -> Tensor:
        """The log-mel x̂ of both envelopes on their templates; arguments as `part_powers`: (B, n_mels, n_frames)."""
        harmonic, noise = self.part_powers(envelopes, p, noise_texture)
        return power_to_level(harmonic + noise)
