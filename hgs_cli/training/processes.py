"""Training by several processes (torchrun): each takes its part of every batch, and all end a step with one network."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from hgs_cli.errors import TrainingError


@dataclass(frozen=True)
class Part:
    """Which of several processes this is."""

    rank: int = 0  # from 0
    size: int = 1  # how many there are

    def of(self, count: int) -> slice:
        """Its part of `count` things.

        Raises:
            TrainingError: They cannot be shared out evenly.
        """
        if count % self.size:
            raise TrainingError(
                f"{count} examples a step for {self.size} processes", "choose a batch_size that they can share evenly"
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


WHOLE = Part()


def under_torchrun() -> Part:
    """This process, as torchrun has it; the only one without torchrun."""
    return Part(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def are_several() -> bool:
    """Whether processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a value of every process, without a gradient.

    A sum over a process's examples, divided by the mean over processes of how many count there, has as its own mean
    over processes the mean over the whole batch: so the gradients come out that one process would find.
    """
    if not are_several():
        return value
    shared = value.detach().clone()
    torch.distributed.all_reduce(shared)
    return shared / torch.distributed.get_world_size()


@torch.no_grad()
def gathered(value: Tensor) -> Tensor:
    """The rows (B / size, …) of all processes in the order of the whole batch, (B, …), without a gradient."""
    if not are_several():
        return value
    parts = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, value.detach().contiguous())
    return torch.cat(parts)
