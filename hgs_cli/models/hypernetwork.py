"""H: the pitch-invariant hypernetwork, (h, h_init) → offsets of G's weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hgs_cli.models.layers import activate


@dataclass(frozen=True)
class HypernetworkConfig:
    """Sizes of H."""

    hidden_dim: int = 256  # width of the shallow MLP
    block_dim: int = 48  # width of a refinement block
    plain_dim: int = 128  # width of the block that offsets the head's biases, a value for every mel band
    rank: int = 3  # rank of a layer's offsets
    head_rank: int = 8  # rank of the head's offsets, whose outputs are mel bands
    n_passes: int = 1  # passes at inference; one is the paper's form


class RefinementBlock(nn.Module):
    """Offsets of one layer from the shared state of H; zero until trained.

    Args:
        in_dim: Width of the shared state.
        block_dim: Width of the block's own hidden layer.
        shape: (outputs, inputs) of the layer; inputs 0 for a plain vector.
        rank: Rank of the offsets.
    """

    def __init__(self, in_dim: int, block_dim: int, shape: tuple[int, int], rank: int) -> None:
        super().__init__()
        self.n_outputs, self.n_inputs = shape
        self.rank = rank if self.n_inputs else 1
        self.hidden = nn.Linear(in_dim, block_dim)
        self.outputs = nn.Linear(block_dim, self.n_outputs * self.rank)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)
        # Only one factor starts at zero: with both at zero no gradient would ever reach either.
        self.inputs = nn.Linear(block_dim, self.n_inputs * self.rank) if self.n_inputs else None
        if self.inputs is not None:
            nn.init.normal_(self.inputs.bias, std=1.0 / math.sqrt(self.rank))
            nn.init.normal_(self.inputs.weight, std=0.5 / math.sqrt(block_dim * self.rank))

    def forward(self, state: Tensor) -> Tensor:
        """Map the state (B, in_dim) to factors (B, outputs + inputs, rank), or to a vector (B, outputs)."""
        hidden = activate(self.hidden(state))
        outputs = self.outputs(hidden)
        if self.inputs is None:
            return outputs
        outputs = outputs.unflatten(1, (self.n_outputs, self.rank))
        return torch.cat([outputs, self.inputs(hidden).unflatten(1, (self.n_inputs, self.rank))], dim=1)


class Hypernetwork(nn.Module):
    """H(h, h_init): a shallow MLP, then one refinement block per layer of G.

    Its input is features of f. Those of the map, which learn together with H, have no adversary and know the pitch:
    what H changes fades with the interval where notes are played.

    Source: HyperGANStrument, the hypernetwork equation; low-rank offsets are ours.

    Args:
        config: Sizes of H.
        h_dim: Width of h.
        shapes: Layers of G that may change, from `Generator.offset_shapes`.
    """

    def __init__(self, config: HypernetworkConfig, h_dim: int, shapes: dict[str, tuple[int, int]]) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            [nn.Linear(2 * h_dim, config.hidden_dim), nn.Linear(config.hidden_dim, config.hidden_dim)]
        )
        self.names = list(shapes)
        self.blocks = nn.ModuleList(
            RefinementBlock(
                config.hidden_dim,
                config.block_dim if shape[1] else config.plain_dim,
                shape,
                config.head_rank if name == "head" else config.rank,
            )
            for name, shape in shapes.items()
        )

    def untrained(self) -> bool:
        """Whether every offset is still zero, whatever is heard."""
        return not any(bool(value.any()) for name, value in self.blocks.named_parameters() if ".outputs." in name)

    def forward(self, h: Tensor, h_init: Tensor) -> dict[str, Tensor]:
        """Predict the generator weight offsets that pull the first reconstruction towards the input.

        Args:
            h: Feature of the input sound, (B, h_dim).
            h_init: Feature of the first reconstruction, (B, h_dim).

        Returns:
            Offsets by layer name: low-rank factors (B, outputs + inputs, rank), or (B, outputs) for a plain vector.
        """
        # Both parts of h have unit length: values and their differences are brought to about 1.
        scale = math.sqrt(h.shape[1])
        state = torch.cat([h * scale, (h - h_init) * (3.0 * scale)], dim=1)
        for layer in self.layers:
            state = activate(layer(state))
        return {name: block(state).float() for name, block in zip(self.names, self.blocks, strict=True)}


def add_offsets(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum of two sets of offsets: factors are joined along the rank, plain vectors added."""
    if not first:
        return second
    return {
        name: first[name] + second[name] if second[name].dim() == 2 else torch.cat([first[name], second[name]], dim=-1)
        for name in second
    }
