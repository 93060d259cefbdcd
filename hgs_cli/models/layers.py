"""Blocks that two or more networks share."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2
ACTIVATION_GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))  # keeps the variance through a leaky ReLU (He et al. 2015)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance of its input."""
    return F.leaky_relu(x, LEAK).mul_(ACTIVATION_GAIN)


def rectify(x: Tensor) -> Tensor:
    """Leaky ReLU in place of what is read by nobody else; ACTIVATION_GAIN is left to the layer behind it."""
    return F.leaky_relu_(x, LEAK)


class PitchEmbedding(nn.Module):
    """Continuous embedding of pitch: a line and slow sinusoids of the MIDI number, cents included."""

    N_OCTAVES = 4

    def forward(self, p: Tensor) -> Tensor:
        """Embed MIDI note numbers (B,), fractions included: (B, 2 · N_OCTAVES + 1)."""
        position = ((p - 60.0) / 48.0)[:, None]
        rates = math.pi * 2.0 ** torch.arange(self.N_OCTAVES, device=p.device, dtype=p.dtype) / 2
        return torch.cat([position, torch.sin(position * rates), torch.cos(position * rates)], dim=1)

    @classmethod
    def dim(cls) -> int:
        """Width of the embedding."""
        return 2 * cls.N_OCTAVES + 1


def serve_rows(offsets: Tensor, n_rows: int) -> Tensor:
    """Offsets of N sounds (N, …) for a batch in which each has `n_rows` / N rows in a row: (n_rows, …), or (1, …)."""
    return offsets if offsets.shape[0] == 1 else offsets.repeat_interleave(n_rows // offsets.shape[0], 0)


def low_rank_product(factors: Tensor, out_channels: int) -> Tensor:
    """Offsets of a weight from their factors.

    Args:
        factors: (B, out_channels + in_channels, rank), output factors first.
        out_channels: Where the input factors begin.

    Returns:
        (B, out_channels, in_channels).
    """
    return torch.matmul(factors[:, :out_channels], factors[:, out_channels:].transpose(1, 2))


@dataclass(frozen=True)
class FoldedWeight:
    """A weight with the offsets of one sound folded in, θ' = θ·(1 + Δ): made once, played at any number of pitches."""

    weight: Tensor  # as the parameter; of a modulated convolution (out_channels, in_channels, 1, kernel), channels last
    # of a modulated convolution, the sums of its squares over the taps, (in_channels, out_channels)
    energy: Tensor | None = None

    @cached_property
    def packed(self) -> dict[int, Tensor]:
        """The weight in the order in which oneDNN reads it, by the length of the input: made once and kept."""
        return {}

    def pack(self, n_steps: int) -> Tensor:
        """The same for one length, by one thread: where several share a layer, the order changes with the batch."""
        if n_steps not in self.packed:
            usual = [16, self.weight.shape[1], 1, n_steps]  # what it is for 16 notes is good for any number
            self.packed[n_steps] = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
                self.weight.to_mkldnn(), list(self._padding), [1, 1], [1, 1], 1, usual
            )
        return self.packed[n_steps]

    @property
    def _padding(self) -> tuple[int, int]:
        return 0, self.weight.shape[-1] // 2

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve x (B, in_channels, T), channels last in memory, which is up to twice as fast on a CPU: (B, out, T).

        Notes ask oneDNN itself, as torch's compilers do: G takes a third less for a note alone, a tenth less for 16.
        """
        x = x[:, :, None].contiguous(memory_format=torch.channels_last)
        if torch.is_inference_mode_enabled() and x.dtype == torch.float32 and x.device.type == "cpu" and _packs():
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self.pack(x.shape[-1]), None, self._padding, (1, 1), (1, 1), 1, "none", [], ""
            )
        else:
            y = F.conv2d(x, self.weight, padding=self._padding)
        return y[:, :, 0]

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and sent to other processes: what is packed cannot be."""
        return {name: value for name, value in vars(self).items() if name != "packed"}


def _packs() -> bool:
    """Whether convolutions of this thread go to oneDNN, in single precision, and the thread works alone."""
    if torch.get_num_threads() > 1 or not torch.backends.mkldnn.enabled or torch.is_autocast_enabled("cpu"):
        return False
    return torch._C._has_mkldnn and platform.machine().lower() in ("x86_64", "amd64")


WeightUpdate = Tensor | FoldedWeight | None
"""What enters a layer: factors of Δ of one or several sounds, a weight that has them already, or nothing."""


def apply_offsets(parameter: Tensor, update: WeightUpdate, n_rows: int) -> Tensor:
    """A parameter θ (out, in) as θ·(1 + Δ), for a batch: (n_rows or 1, out, in)."""
    if update is None:
        return parameter[None]
    if isinstance(update, FoldedWeight):
        return update.weight[None]
    return serve_rows(parameter * (1.0 + low_rank_product(update, parameter.shape[0])), n_rows)


class ModulatedConv1d(nn.Module):
    """Convolution along time whose weights are modulated by a style and demodulated (StyleGAN2), and may be offset.

    Offsets enter here and nowhere else: θ' = θ · (1 + Δ), Δ = A·Bᵀ of low rank, the same for every tap of the kernel,
    before modulation and demodulation. Offsets of zero leave the result unchanged to the last bit: Δ's contribution is
    computed beside the layer's own and added.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd; the length in time is kept.
        w_dim: Width of the style w.
        demodulate: Whether outputs are brought back to unit variance; off in the head.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, w_dim: int, *, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.demodulate = demodulate
        fan_in = in_channels * kernel_size
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size) / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = nn.Linear(w_dim, in_channels)
        nn.init.normal_(self.affine.weight, std=1.0 / math.sqrt(w_dim))
        nn.init.ones_(self.affine.bias)

    def fold(self, factors: Tensor | None = None) -> FoldedWeight:
        """The weight with one sound's factors of Δ, (1, out_channels + in_channels, rank); θ itself without."""
        weight: Tensor = self.weight
        if factors is not None:
            weight = weight * (1.0 + low_rank_product(factors, self.out_channels)[0, :, :, None])
        weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        return FoldedWeight(weight, weight.square().sum((2, 3)).T if self.demodulate else None)

    def forward(
        self, x: Tensor, w: Tensor, update: WeightUpdate = None, *, gain: float = 1.0, added: Tensor | None = None
    ) -> Tensor:
        """Convolve x (B, in_channels, T) under the style w (B, w_dim).

        Args:
            x: Input, (B, in_channels, T).
            w: Style, (B, w_dim).
            update: Low-rank factors of Δ, (N, out_channels + in_channels, rank), or nothing; N divides B, and each of
                the N sounds serves B / N rows in a row. Or the folded weight of one sound.
            gain: On x, which demodulation does not take back.
            added: To the bias, (B or 1, out_channels, T).

        Returns:
            (B, out_channels, T), bias added, not activated.
        """
        style = self.affine(w)
        x = x * (style.to(x.dtype) * gain)[:, :, None]  # in half precision the gain itself would be rounded
        if update is None or (isinstance(update, Tensor) and update.shape[0] == 1):
            update = self.fold(update)
        if isinstance(update, FoldedWeight):
            y, energy = update.convolve(x), update.energy
            total = None if energy is None else torch.matmul(style.square(), energy)
        else:
            y, total = self._convolve_by_sound(x, style, low_rank_product(update, self.out_channels))
        bias = self.bias[:, None] if added is None else self.bias[:, None] + added
        if total is None:
            return y + bias
        return torch.addcmul(bias, y, torch.rsqrt(total.float() + 1e-8).to(y.dtype)[:, :, None])

    def _convolve_by_sound(self, x: Tensor, style: Tensor, delta: Tensor) -> tuple[Tensor, Tensor | None]:
        """The layer's own convolution and, beside it, that with θ·Δ, of several sounds, Δ (N, out, in).

        Returns:
            Outputs (B, out, T), and the energy by which they are demodulated, (B, out).
        """
        own = self.fold()
        y = own.convolve(x) + self._offset_convolution(x, delta)
        if own.energy is None:
            return y, None
        power = style.square()
        sounds = power.reshape(delta.shape[0], -1, self.in_channels)  # (N, B / N, in_channels)
        added = own.energy * (delta * (2.0 + delta)).transpose(1, 2)
        return y, torch.matmul(power, own.energy) + torch.bmm(sounds, added.to(sounds.dtype)).flatten(0, 1)

    def _offset_convolution(self, x: Tensor, delta: Tensor) -> Tensor:
        """Convolve the rows of x (B, in, T) with the weights θ·Δ of their sounds, Δ (N, out, in): (B, out, T)."""
        half = self.kernel_size // 2
        padded = F.pad(x, (half, half))
        n_sounds, n_steps = delta.shape[0], x.shape[-1]
        columns = torch.cat([padded[:, :, tap : tap + n_steps] for tap in range(self.kernel_size)], dim=1)
        # (B, K·in, T) → (N, K·in, B / N · T): one product for all rows of a sound
        columns = columns.reshape(n_sounds, -1, columns.shape[1], n_steps).transpose(1, 2).flatten(2)
        delta = delta.to(columns.dtype)
        taps = torch.cat([self.weight[:, :, tap].to(columns.dtype) * delta for tap in range(self.kernel_size)], dim=2)
        y = torch.bmm(taps, columns)  # (N, out, B / N · T)
        return y.reshape(n_sounds, self.out_channels, -1, n_steps).transpose(1, 2).flatten(0, 1)


class ConvBlock2d(nn.Module):
    """Strided 3×3 convolution with a convolved shortcut, halving frequency and time; for f and D.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Over frequency and time.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.conv = nn.Conv2d(out_channels, out_channels, (3, 3), padding=1, groups=out_channels)
        self.mix = nn.Conv2d(out_channels, out_channels, 1)
        for layer in (self.down, self.conv, self.mix):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=1.0 / math.sqrt(fan_in))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, F, T) to (B, out_channels, F / 2, T / 2), or as the strides say."""
        x = activate(self.down(x))
        return (x + activate(self.mix(self.conv(x)))) * math.sqrt(0.5)


class MelTrunk(nn.Module):
    """Strided convolutions over a log-mel spectrogram; for f and D.

    Args:
        channels: Channels after the stem and after every block; each block halves frequency and time.
    """

    STEM_STRIDE = (2, 4)

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels[0], (5, 7), stride=self.STEM_STRIDE, padding=(2, 3))
        nn.init.normal_(self.stem.weight, std=1.0 / math.sqrt(35))
        self.blocks = nn.ModuleList([ConvBlock2d(narrow, wide) for narrow, wide in pairwise(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Map a log-mel x (B, n_mels, n_frames) to (B, channels[-1], n_mels / 2^n, n_frames / 2^(n+1))."""
        return self.last_two(x)[1]

    @classmethod
    def n_steps(cls, n_frames: int, n_channels: int) -> int:
        """Time steps that so many frames become, by as many channels as `channels` lists."""
        steps = math.ceil(n_frames / cls.STEM_STRIDE[1])
        for _ in range(n_channels - 1):
            steps = math.ceil(steps / 2)
        return steps

    def last_two(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes into the last block, twice as fine in frequency and time, and what comes out of it."""
        y = activate(self.stem(x[:, None] * 1.5))
        for block in self.blocks[:-1]:
            y = block(y)
        return y, self.blocks[-1](y)
